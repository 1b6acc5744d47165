"""The trend over made records at two and three sizes, whose truth is known."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pebench.leaderboard.about import PUBLISHED
from pebench.leaderboard.app import views
from pebench.leaderboard.reports.trend import (
    FAILS,
    STANDS,
    UNKNOWN,
    TrendError,
    by_quantity,
    gates,
    groups,
    in_short,
    of_folder,
    published,
    to_markdown,
    trend,
)
from pebench.leaderboard.table import run_table
from pebench.suite.results.record import Record, Row, read_all, write
from tests.in_process import exit_code


def made(
    profile: str, parameters: int, score: Callable[[str], float], seeds: int = 3, trained: int = 8
) -> list[Record]:
    """Three encodings, two tasks, two lengths; seeds differ by 0.01, 10,000 answers each."""
    rng = np.random.default_rng(parameters)
    return [
        Record(
            *(name, task, profile, seed, "ab" * 8),
            rows=tuple(
                Row("exact", score(name) + rng.normal(0, 0.01), 10_000, {"length": n}, 0.0, 1.0)
                for n in (trained, 2 * trained)
            ),
            setup={"task_family": task, "train_length": trained},
            provenance={"parameters": {"total": parameters, "encoding": 0}},
        )
        for name in ("alibi", "fox", "rope")
        for task in ("copy", "sort")
        for seed in range(seeds)
    ]


SMALL = made("STANDARD_2", 300_000, {"alibi": 0.6, "fox": 0.5, "rope": 0.3}.__getitem__)
LARGE = made("LARGE", 1_200_000, {"alibi": 0.5, "fox": 0.7, "rope": 0.3}.__getitem__)


def verdicts(found) -> dict[tuple[str, str], str]:
    return {(row.better, row.worse): row.verdict for row in found.pairs.itertuples()}


def test_what_agrees_stands_and_what_turns_round_does_not_carry_over() -> None:
    found = trend({"LARGE": LARGE, "STANDARD_2": SMALL})
    assert found.profiles == ["STANDARD_2", "LARGE"]
    assert found.parameters == pytest.approx([300_000, 1_200_000])
    assert verdicts(found) == {("alibi", "fox"): FAILS, ("alibi", "rope"): STANDS, ("fox", "rope"): STANDS}
    assert "stands 2, does not carry over 1, unknown 0" in to_markdown(found)


def test_the_slope_is_the_change_for_each_doubling() -> None:
    row = (
        trend({"LARGE": LARGE, "STANDARD_2": SMALL})
        .pairs.set_index(["better", "worse"])
        .loc[("alibi", "fox")]
    )
    assert row.differences == pytest.approx((0.1, -0.2), abs=0.02)
    assert row.slope == pytest.approx(-0.3 / 2, abs=0.01)
    assert row.low < row.slope < row.high < 0


def test_three_sizes_give_one_slope() -> None:
    middle = made("MIDDLE", 600_000, {"alibi": 0.55, "fox": 0.6, "rope": 0.3}.__getitem__)
    found = trend({"LARGE": LARGE, "MIDDLE": middle, "STANDARD_2": SMALL})
    assert found.profiles == ["STANDARD_2", "MIDDLE", "LARGE"]
    row = found.pairs.set_index(["better", "worse"]).loc[("alibi", "fox")]
    assert row.slope == pytest.approx(-0.15, abs=0.01)
    assert row.verdict == FAILS


def test_a_difference_within_its_interval_or_of_one_seed_is_unknown() -> None:
    level = made("LARGE", 1_200_000, {"alibi": 0.501, "fox": 0.5, "rope": 0.3}.__getitem__)
    assert verdicts(trend({"LARGE": level, "STANDARD_2": SMALL}))["alibi", "fox"] == UNKNOWN
    one = made("LARGE", 1_200_000, {"alibi": 0.5, "fox": 0.7, "rope": 0.3}.__getitem__, seeds=1)
    assert set(verdicts(trend({"LARGE": one, "STANDARD_2": SMALL})).values()) == {UNKNOWN}


def test_a_pair_with_one_seed_borrows_no_interval_from_other_encodings() -> None:
    few = [r for r in LARGE if r.encoding != "alibi" or r.seed == 0]
    found = trend({"LARGE": few, "STANDARD_2": SMALL})
    assert verdicts(found) == {
        ("alibi", "fox"): UNKNOWN,
        ("alibi", "rope"): UNKNOWN,
        ("fox", "rope"): STANDS,
    }
    rows = found.pairs.set_index("better")
    assert rows.loc["alibi", ["slope", "low", "high"]].isna().all(axis=None)
    assert rows.loc["fox", ["slope", "low", "high"]].notna().all(axis=None)
    assert "| - | unknown |" in to_markdown(found)


def test_a_pair_is_compared_on_the_tasks_that_both_have_at_every_size() -> None:
    """Without `sort` at the larger size, `fox` is compared on `copy` alone at both; other pairs keep both tasks."""
    small = [replace(r, rows=tuple(replace(row, value=row.value / 2) for row in r.rows)) if r.task == "sort" else r
             for r in SMALL]  # fmt: skip
    large = [r for r in LARGE if (r.encoding, r.task) != ("fox", "sort")]
    rows = trend({"LARGE": large, "STANDARD_2": small}).pairs.set_index(["better", "worse"])["differences"]
    assert rows["alibi", "fox"][0] == pytest.approx(0.1, abs=0.02)
    assert rows["alibi", "rope"][0] == pytest.approx((0.3 + 0.15) / 2, abs=0.02)
    text = to_markdown(trend({"LARGE": large, "STANDARD_2": small}))
    assert [line.endswith("(1 of 2 tasks) |") for line in text.splitlines() if "| fox |" in line] == [
        True,
        True,
    ]
    assert "tasks)" not in next(line for line in text.splitlines() if line.startswith("| alibi | rope |"))
    small = [r for r in small if (r.encoding, r.task) != ("fox", "sort")]
    nowhere = trend({"LARGE": large, "STANDARD_2": small}).pairs.set_index(["better", "worse"])["tasks"]
    assert nowhere.to_dict() == {("alibi", "fox"): 1, ("alibi", "rope"): 2, ("fox", "rope"): 1}


def test_a_task_with_one_seed_takes_no_verdict_from_another(tmp_path: Path) -> None:
    """A first seed of `sort` at the larger size: the pairs stay as `copy`, which has all seeds, says."""
    large = [r for r in LARGE if r.task == "copy" or r.seed == 0]
    found = trend({"LARGE": large, "STANDARD_2": SMALL})
    whole = trend({"LARGE": [r for r in large if r.task == "copy"], "STANDARD_2": SMALL})
    assert verdicts(found) == verdicts(whole)
    assert UNKNOWN not in verdicts(found).values()
    assert set(found.pairs["tasks"]) == {1}


def test_an_encoding_that_a_larger_size_serves_worse_is_named() -> None:
    worse = made("LARGE", 1_200_000, {"alibi": 0.4, "fox": 0.7, "rope": 0.3}.__getitem__)
    found = trend({"LARGE": worse, "STANDARD_2": SMALL})
    assert list(found.fallen) == ["alibi"]
    assert found.fallen["alibi"] == pytest.approx((0.6, 0.4), abs=0.02)
    assert "alibi (0.60, 0.40)" in found.doubt
    assert "Pairs with such an encoding: stands 1, does not carry over 1, unknown 0." in to_markdown(found)
    one = [r for r in worse if r.seed == 0]
    assert not trend({"LARGE": one, "STANDARD_2": SMALL}).fallen  # the interval of one seed is not known
    assert not trend({"LARGE": LARGE, "STANDARD_2": made("STANDARD_2", 300_000, lambda name: 0.2)}).doubt


def test_a_quantity_names_the_tasks_that_have_it_alone() -> None:
    """`sort` is scored beyond L alone: at L its name, its parameters and its scores do not count."""
    beyond = [
        [replace(r, rows=r.rows[1:]) if r.task == "sort" else r for r in part] for part in (SMALL, LARGE)
    ]
    found = {"STANDARD_2": beyond[0], "LARGE": beyond[1]}
    assert trend(found, "at_length").tasks == ["copy"]
    assert trend(found, "beyond").tasks == trend(found).tasks == ["copy", "sort"]
    at_length = {name: [r for r in part if r.task == "sort"] for name, part in found.items()}
    with pytest.raises(TrendError, match="no score in common of the quantity 'at_length'"):
        trend(at_length, "at_length")


def test_other_steps_are_another_recipe_and_precisions_are_named() -> None:
    """An older version with as many parameters less does not take a task that it trained longer."""
    for part, value in (("steps", 3000), ("tokens", 1024)):
        other = [replace(r, setup={**r.setup, part: value}) if r.task == "sort" else r for r in SMALL]
        assert trend({"STANDARD_2": other, "LARGE": LARGE}).tasks == ["copy"]
    old = [replace(r, profile="STANDARD", setup={**r.setup, "steps": 1 if r.task == "copy" else None},
                   provenance={"parameters": {"total": 100_000, "encoding": 0}}) for r in SMALL]  # fmt: skip
    assert groups({"STANDARD": old, "STANDARD_2": SMALL, "LARGE": LARGE})[0] == ["STANDARD_2", "LARGE"]
    mixed = [
        replace(r, provenance={**r.provenance, "precision": "float16" if r.seed else "float32"})
        for r in LARGE
    ]
    found = trend({"STANDARD_2": SMALL, "LARGE": mixed})
    assert found.precisions == ["", "float16, float32"]
    assert "LARGE 1.20 M parameters (seeds: 3; float16, float32)" in to_markdown(found)


def test_an_encoding_that_is_published_is_shown_as_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs, mine = tmp_path / "theirs", tmp_path / "mine"
    for record in [*SMALL, *LARGE]:
        write(record, theirs)
    for record in made("STANDARD_2", 300_000, lambda name: 0.9, seeds=3):
        write(
            replace(record, fingerprint="cd" * 8, provenance={**record.provenance, "started": "2099"}), mine
        )
    monkeypatch.setattr("pebench.leaderboard.reports.trend.PUBLISHED", theirs)
    both, alone = of_folder([mine, theirs]), of_folder([theirs])
    assert to_markdown(both) == to_markdown(alone)


def test_tasks_of_other_training_lengths_are_left_out() -> None:
    longer = [replace(r, setup={**r.setup, "train_length": 16}) if r.task == "sort" else r for r in LARGE]
    assert trend({"LARGE": longer, "STANDARD_2": SMALL}).tasks == ["copy"]
    with pytest.raises(TrendError, match="no task with the same training length, steps and tokens"):
        trend({"LARGE": made("LARGE", 1_200_000, lambda name: 0.5, trained=16), "STANDARD_2": SMALL})


def test_no_trend_is_told_with_the_remedy() -> None:
    with pytest.raises(TrendError, match="pebench run --profile LARGE"):
        trend({"LARGE": [], "STANDARD_2": SMALL})
    with pytest.raises(TrendError, match="two profiles"):
        trend({"STANDARD_2": SMALL})
    with pytest.raises(TrendError, match="one size"):
        trend({"A": made("A", 300_000, lambda name: 0.5), "STANDARD_2": SMALL})


def test_the_command_finds_the_sizes_and_prints_the_pairs_or_the_remedy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def told(*options: str) -> tuple[object, str, str]:
        code = exit_code(monkeypatch, "trend", "--records", str(tmp_path), *options)
        return code, *capsys.readouterr()

    for record in SMALL:
        write(record, tmp_path)
    code, _, error = told()
    assert (code, "--profile LARGE" in error) == (3, True)
    for record in LARGE + made("OTHER_LENGTH", 900_000, lambda name: 0.5, trained=16):
        write(record, tmp_path)
    code, text, error = told()
    assert code == 0, error
    assert "STANDARD_2 0.30 M parameters (seeds: 3), LARGE 1.20 M parameters (seeds: 3)." in text
    assert r"| alibi\* | rope |" in text  # its score at L is smaller at the larger size
    data = json.loads(told("--json", "--quantity", "beyond", "-p", "large,standard_2")[1])
    assert list(data["profiles"]) == ["STANDARD_2", "LARGE"]
    assert {pair["verdict"] for pair in data["pairs"]} == {STANDS, FAILS}
    assert told("--csv")[1].startswith(
        "better,worse,STANDARD_2,STANDARD_2_low,STANDARD_2_high,LARGE,LARGE_low,LARGE_high,slope,low,high,verdict,tasks,apart\n"
    )
    assert json.loads(told("--json", "-t", "sort")[1])["tasks"] == ["sort"]
    code, _, error = told("-t", "copy,srot")
    assert (code, "no trend of the task 'srot'; there are: copy, sort" in error) == (3, True)
    code, _, error = told("-p", "STANDARD_2,LARGR")
    assert (code, "no records of profile 'LARGR'" in error) == (3, True)


def test_each_task_has_a_trend_of_its_own(tmp_path: Path) -> None:
    for record in [*SMALL, *(r for r in LARGE if r.task == "copy" or r.encoding != "alibi")]:
        write(record, tmp_path)
    found = by_quantity([tmp_path])
    of_one = [name for name, part in found.items() if len(part.tasks) == 1]
    assert of_one == [(title, task) for title in ("At L", "Beyond L") for task in ("copy", "sort")]
    assert len(found["At L", "copy"].pairs) == 3
    assert verdicts(found["Beyond L", "sort"]) == {("fox", "rope"): STANDS}


def test_the_page_counts_gates_at_each_size() -> None:
    text = gates("STANDARD_2", "LARGE")
    runs = [r for r in read_all(PUBLISHED)[0] if (r.profile, r.task) == ("LARGE", "language_ends")]
    passed = sum(bool(run) for run in run_table(runs)["learned"])
    many = len({r.encoding for r in runs})
    assert re.search(
        rf"`language_ends` \| \d+ of \d+ runs, \d+ encodings \| {passed} of {len(runs)} runs, {many} ", text
    )
    assert "| `sort` |" in text


def test_profiles_of_nearly_one_size_are_no_two_sizes() -> None:
    other_rate = made("RATE", 310_000, lambda name: 0.5)
    found = {"STANDARD_2": SMALL, "RATE": other_rate, "LARGE": LARGE}
    assert groups(found) == [["STANDARD_2", "LARGE"], ["RATE", "LARGE"]]
    assert groups({"STANDARD_2": SMALL, "RATE": other_rate}) == []


def test_tasks_together_have_the_encodings_with_two_seeds_in_each(tmp_path: Path) -> None:
    lone = [r for r in LARGE if (r.encoding, r.task) == ("rope", "sort") and r.seed]
    for record in [*SMALL, *(r for r in LARGE if r not in lone)]:
        write(record, tmp_path)
    found = by_quantity([tmp_path])
    assert [name for name in found if name[0] == "Beyond L"] == [
        ("Beyond L", name) for name in ("2 tasks together", "copy", "sort")
    ]
    together = found["Beyond L", "2 tasks together"]
    assert verdicts(together) == {("alibi", "fox"): FAILS}
    assert together.tasks == ["copy", "sort"]
    table, *parts = published(found).split("\n\n")
    assert "| Beyond L, 2 tasks together | 2 | 1 | 0 | 1 | 0 |" in table
    assert "| Beyond L, `copy` | 3 | 3 | 2 | 1 | 0 |" in table
    assert len([part for part in parts if part.startswith("**")]) == len(found)


def test_the_sentence_counts_the_pairs_that_stand_and_falls_with_its_data(tmp_path: Path) -> None:
    for record in (*SMALL, *LARGE):
        write(record, tmp_path)
    said = in_short(by_quantity([tmp_path]), "page.md")
    assert (
        "Beyond L, by 2 tasks together (0.30 M and 1.20 M parameters; seeds: 3 and 3), 3 pairs of 3 encodings: "
        "stands 2, does not carry over 1, unknown 0. Standing: `alibi` above `rope`, `fox` above `rope`."
        in said
    )
    assert "Of the 1, 1 are with `alibi`, whose score at L falls with size." in said
    assert "Beyond L, by `copy` (0.30 M" in said
    assert "`sort`" not in said  # as many pairs as `copy`
    assert "(page.md#the-trend)" in said
    assert in_short({}, "page.md") == ""
    assert published({}).startswith("No two sizes")
    at_alone = {name: part for name, part in by_quantity([tmp_path]).items() if name[0] == "At L"}
    assert in_short(at_alone, "page.md") == ""


def test_a_pair_on_fewer_tasks_is_counted_as_another_quantity() -> None:
    every = views.sizes_compared(trend({"LARGE": LARGE, "STANDARD_2": SMALL}))
    assert "another quantity" not in every
    lacking = [r for r in LARGE if (r.encoding, r.task) != ("alibi", "sort")]
    found = trend({"LARGE": lacking, "STANDARD_2": SMALL})
    assert views.sizes_compared(found).endswith("fewer of these tasks, and so of another quantity: 2.")
    lines = views.trend_lines(found)
    assert list(lines.columns[:4]) == ["better", "worse", "verdict", "tasks"]
    assert sorted(lines["tasks"]) == [1, 1, 2]
