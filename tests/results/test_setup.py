"""The types of setup and provenance say what records hold."""

from dataclasses import asdict, fields
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin, get_type_hints, is_typeddict

import pytest
import torch

from pebench.suite.experiment.sharing import Sharing
from pebench.suite.experiment.training import Recipe
from pebench.suite.results.provenance import Provenance
from pebench.suite.results.record import Record, read_all
from pebench.suite.results.setup import Setup
from pebench.suite.runs.cell import Began, Cell, provenance

BOARD = Path(__file__).parents[2] / "leaderboard"


def fits(value: object, hint: Any) -> bool:
    """Whether a value of JSON has this type."""
    if is_typeddict(hint):
        hints = get_type_hints(hint)
        return isinstance(value, dict) and all(
            key in hints and fits(v, hints[key]) for key, v in value.items()
        )
    if get_origin(hint) is UnionType:
        return any(fits(value, part) for part in get_args(hint))
    if hint in (int, float):
        return isinstance(value, (int, hint)) and not isinstance(value, bool)
    return hint is Any or isinstance(value, get_origin(hint) or hint)


@pytest.mark.parametrize("folder", ["records", "extended"])
def test_every_published_record_has_the_types(folder: str) -> None:
    records, _ = read_all(BOARD / folder)
    assert records
    assert [r.path for r in records if not fits(r.setup, Setup)] == []
    assert [r.path for r in records if not fits(r.provenance, Provenance)] == []


def test_the_setup_states_the_whole_recipe() -> None:
    cell = Cell("rope", "copy", "SMOKE", 0)
    assert cell.plan
    setup: dict[str, object] = {**cell.setup()}
    for part in fields(Recipe):
        name = "train_length" if part.name == "length" else part.name
        assert setup[name] == getattr(cell.plan.recipe, part.name)


@pytest.mark.parametrize(
    ("value", "hint"),
    [
        ({"steps": "many"}, Setup),
        ({"step": 1}, Setup),
        ({"model": {"layers": 2.5}}, Setup),
        ({"gate": True}, Setup),
        ({"parameters": {"total": None}}, Provenance),
        ({"ranks_before": 2}, Provenance),
    ],
)
def test_another_type_is_seen(value: object, hint: Any) -> None:
    assert not fits(value, hint)


def test_an_empty_record_has_an_empty_setup() -> None:
    record = Record("rope", "copy", "SMOKE", 0, "0" * 64, outcome="failed", reason="out of luck")
    assert record.setup == record.provenance == {}


def test_the_provenance_of_a_shared_training_states_how_it_is_shared() -> None:
    sharing = Sharing(ranks=2, micro_batch=4, sharded=True, recompute=True)
    made = provenance(Cell("rope", "copy", "SMOKE", 0), Began(), torch.device("cpu"), sharing)
    assert fits(made, Provenance)
    assert made.items() >= asdict(sharing).items()
