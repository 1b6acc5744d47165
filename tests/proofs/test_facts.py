"""The facts of the map of encodings follow from the code."""

import json

import pytest

from pebench.encodings.registry import names, resolve
from pebench.suite.proofs.facts import FILE, facts

KNOWN = {fact["name"]: fact for fact in json.loads(FILE.read_text(encoding="utf-8"))}
REMEDY = "run: python -m pebench.suite.proofs.facts"
QUICK = ("nope", "rope", "alibi", "fox", "cope", "abacus", "drope")


def test_every_encoding_is_on_the_map():
    assert sorted(KNOWN) == names(), REMEDY


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in names()]
)
def test_the_map_says_what_the_code_does(name):
    assert facts(name, resolve(name)[1]) == KNOWN[name], REMEDY


def test_the_map_tells_what_tells_encodings_apart():
    told = {name: (fact["reads"], fact["acts"], fact["action"]) for name, fact in KNOWN.items()}
    assert told["rope"] == (["distance"], ["rotate"], "SO(d) (GRAPE-M)")
    assert told["fox"] == (["content"], ["add"], "unipotent (GRAPE-A)")
    assert told["nope"] == ([], ["nothing"], "identity")
    assert told["t5_bias"] == (["distance"], ["add"], "none: a table or function of distances")
    assert told["drope"] == (["distance"], ["rotate", "scale", "schedule"], "SO(d) (GRAPE-M) x scalings")
    assert told["bipe"][:2] == (["position", "tokens"], ["place", "embed", "rotate"])
    none = "none: q and k change as no group acts"
    assert told["canon"] == (["distance", "neighbours"], ["rotate", "transform", "mix"], none)
    assert told["output_gate"][:2] == (["distance", "content"], ["rotate", "gate"])
    assert told["swan_512"][1] == told["rnope_swa"][1] == ["rotate", "hide"]
    assert told["grape_ap"][2] == "path of unipotent factors (GRAPE-AP)"
    assert told["path_fox"][2] == "path of reflections"
    assert told["xpos"][1] == ["rotate", "weigh"]
