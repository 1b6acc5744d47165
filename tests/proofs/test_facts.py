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
    assert KNOWN["rope"]["action"] == "SO(d) (GRAPE-M)"
    assert KNOWN["fox"]["reads"] == ["positions", "content"]
    assert KNOWN["abacus"]["reads"] == ["positions", "tokens"]
    assert KNOWN["nope"]["acts"] == ["nothing"]
