"""The tasks that came after STANDARD, from training to a record, at a size of seconds."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pebench.suite.experiment.profiles import PROFILES, SMOKE, Plan
from pebench.suite.experiment.training import Recipe
from pebench.suite.results.record import from_json, to_json
from pebench.suite.runs.cell import Cell, run
from pebench.tasks import TASKS

LENGTHS = {"needle_text": 64, "language_ends": 64}
# Tasks over token shards: tests/tasks/test_token_tasks.py runs them.
ON_SHARDS = PROFILES["PAPER_SMOKE"].plans
NEWER = [name for name in TASKS if name not in {*SMOKE.plans, *ON_SHARDS, "harness_grape"}]


@pytest.mark.parametrize("task", NEWER)
def test_a_task_gives_a_record_with_a_gate_scores_and_answers(
    task: str, books: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = Plan(1, 16, 2, Recipe(LENGTHS.get(task, 4), steps=2, tokens=128), (1, 2), 4)
    monkeypatch.setitem(PROFILES, "SMOKE", replace(SMOKE, plans={task: plan}))
    record = run(Cell("rope", task, "SMOKE", 0), torch.device("cpu"), tmp_path)
    assert record.outcome == "measured"
    assert [row.metric for row in record.rows].count("gate") == 1
    scored = {(*row.condition.items(),) for row in record.rows if row.score is not None and row.condition}
    assert {condition["length"] for condition in map(dict, scored)} == {
        plan.recipe.length,
        2 * plan.recipe.length,
    }
    assert {(*a["condition"].items(),) for a in record.answers} == scored
    assert from_json(to_json(record)) == record
