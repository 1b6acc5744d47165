from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pebench.suite.results.record import Record, Row, from_json, to_json
from tests.spoiled import Spoiled, card, changed, demand_found, floors, found, one, problems, rows_of, values


def second_seed(f: Path) -> None:
    path = one(f)
    path.with_name(f"7-{path.name[2:]}").write_text(to_json(replace(from_json(path.read_text()), seed=7)))


def twice(f: Path) -> None:
    path = one(f)
    again = replace(from_json(path.read_text()), fingerprint="a" * 64)
    path.with_name(f"0-{'a' * 16}.json").write_text(to_json(again))


def setup(f: Path, **other: Any) -> None:
    path = one(f, "language")
    changed(f, "language", setup={**from_json(path.read_text()).setup, **other})


def in_words(f: Path) -> tuple[Row, ...]:
    """Lengths as texts: their labels are those of the numbers."""
    return tuple(
        replace(row, condition={k: f"{v}" for k, v in row.condition.items()})
        if row.metric == "exact"
        else row
        for row in rows_of(f)
    )


SPOILED: Spoiled = {
    "a missing run": (lambda f: one(f, "needle").unlink(), "no record of my_idea needle SMOKE seed 0"),
    "a missing certificate": (lambda f: one(f, "certificate").unlink(), "there is none"),
    "an unasked seed": (second_seed, "seed 7 is not asked for"),
    "two records of a run": (twice, "has 2 records"),
    "a seed less than said": (lambda f: card(f, seeds=2), "seed 1; `pebench submit` continues"),
    "a failed run": (
        lambda f: changed(f, rows=(), outcome="failed", reason="out of luck"),
        "has no result (failed)",
    ),
    "a lower floor": (lambda f: floors(f, 0.3), "is another question"),
    "a length in words": (lambda f: changed(f, rows=in_words(f)), "is another question"),
    "more steps": (lambda f: setup(f, steps=10**6), "differs in: 'steps'"),
    "another text": (lambda f: setup(f, corpus={"name": "books-v1", "sha256": "0" * 64}), "'corpus'"),
    "one's own text": (lambda f: setup(f, corpus={"name": "user:x", "sha256": "0" * 64}), "'corpus'"),
    "a lower gate": (lambda f: setup(f, gate=0.0), "differs in: 'gate'"),
    "a failed certificate": (lambda f: values(f, "certificate", 0.0), "it fails: 'hides'"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_what_is_wrong_with_its_runs_is_found(what: str, folder: Path, board: list[Record]) -> None:
    demand_found(SPOILED[what], folder, board)


def test_a_question_that_is_left_out_is_found(folder: Path, board: list[Record]) -> None:
    longer = [
        replace(r, rows=(*r.rows, replace(r.rows[-1], metric="per_token"))) if r.task == "copy" else r
        for r in board
    ]
    assert "per_token (length 8) is missing" in problems(found(folder, longer))


def test_a_length_at_which_an_encoding_is_undefined_is_no_fault(folder: Path, board: list[Record]) -> None:
    changed(folder, rows=rows_of(folder)[:2])
    report = found(folder, board)
    assert report.passed
    assert "copy is not defined at length 8" in report.notes
