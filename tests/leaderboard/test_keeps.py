"""What *learns* and *keeps* say of made runs whose truth is known."""

import math
from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pebench.leaderboard.ranking.keeps import ALL, learning, octaves

Curve = Callable[[str, str, int, int], float]  # of encoding, task, seed and length


def tables(
    curve: Curve, gate: Callable[[str, str, int], bool] = lambda e, t, s: True, seeds: int = 3
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Scores and runs of two encodings in three tasks of two families, trained at 8, measured to 64."""
    families = {"copy": "copying", "reverse": "copying", "sort": "sorting"}
    cells = [(e, t, s) for e in ("a", "b") for t in families for s in range(seeds)]
    scores = [(e, t, s, float(n), curve(e, t, s, n)) for e, t, s in cells for n in (8, 16, 32, 64)]
    runs = [(e, t, families[t], s, gate(e, t, s), 8.0, 0.9) for e, t, s in cells]
    return (
        pd.DataFrame(scores, columns=["encoding", "task", "seed", "length", "score"]),
        pd.DataFrame(
            runs, columns=["encoding", "task", "task_family", "seed", "learned", "train_length", "gate"]
        ),
    )


def fading(octave: float) -> Callable[[int], float]:
    """Falls to half at this many octaves of 8, linearly in log2 of the length."""
    return lambda length: max(0.0, 0.9 * (1 - math.log2(length / 8) / 2 / octave))


def value(table: pd.DataFrame, encoding: str, task: str = ALL) -> pd.Series:
    (row,) = (r for _, r in table[(table["encoding"] == encoding) & (table["task"] == task)].iterrows())
    return row


@given(st.floats(0.1, 2.9), st.floats(0.05, 1.0))
def test_half_of_the_score_at_l_is_found_between_the_lengths(octave: float, top: float) -> None:
    curve = {float(n): top / 0.9 * fading(octave)(n) for n in (8, 16, 32, 64, 128)}
    below = next((n for n in (16, 32, 64, 128) if fading(octave)(n) < 0.45), 128)
    clipped = fading(octave)(below) == 0.0  # the line is bent there: the answer lies in the same stretch
    found = octaves(curve, 8)
    assert found == pytest.approx(octave) or (clipped and abs(found - octave) < 1)


def test_a_score_that_holds_everywhere_keeps_the_longest_length() -> None:
    assert octaves({8.0: 0.9, 16.0: 0.8, 64.0: 0.7}, 8) == 3.0


@pytest.mark.parametrize("curve", [{8.0: 0.9}, {16.0: 0.9, 32.0: 0.8}, {8.0: 0.0, 16.0: 0.0}])
def test_without_a_score_at_l_and_beyond_nothing_is_known(curve: dict[float, float]) -> None:
    assert math.isnan(octaves(curve, 8))


def test_the_gate_is_the_score_at_l_where_only_longer_strings_are_measured() -> None:
    scores, runs = tables(lambda e, t, s, n: 0.8 * (n <= 16) + 0.2 * (n > 16))
    beyond = scores[scores["length"] > 8]
    assert value(learning(beyond, runs.assign(gate=0.8)).keeps, "a")["value"] == pytest.approx(1 + 2 / 3)
    assert value(learning(scores, runs.assign(gate=0.1)).keeps, "a")["value"] == pytest.approx(1 + 2 / 3)


def test_a_run_that_fails_its_gate_keeps_nothing() -> None:
    scores, runs = tables(lambda e, t, s, n: fading(1)(n), lambda e, t, s: (e, t) != ("b", "copy"))
    found = learning(scores, runs)
    assert value(found.learns, "b", "copy")["value"] == 0.0
    assert "copy" not in set(found.keeps[found.keeps["encoding"] == "b"]["task"])
    whole = value(found.keeps, "b")
    assert whole["tasks"] == 2
    assert math.isnan(whole["p_best"])  # it is not compared on fewer tasks
    assert value(found.keeps, "a")["p_best"] == 1.0


def test_families_weigh_the_same() -> None:
    scores, runs = tables(
        lambda e, t, s, n: fading(2.0 if t == "sort" else 1.0)(n), lambda e, t, s: t == "sort" or s == 0
    )
    found = learning(scores, runs)
    assert value(found.learns, "a")["value"] == pytest.approx((1 / 3 + 1) / 2)
    assert value(found.keeps, "a", "sort")["value"] == pytest.approx(2.0)
    assert value(found.keeps, "a")["value"] == pytest.approx(1.5)


def test_the_better_of_two_is_the_best_as_surely_as_seeds_say() -> None:
    rng = np.random.default_rng(0)
    noise = {
        (e, t, s): rng.normal(0, 0.05) for e in "ab" for t in ("copy", "reverse", "sort") for s in range(3)
    }
    apart = tables(lambda e, t, s, n: fading((2.0 if e == "a" else 1.0) + noise[e, t, s])(n))
    alike = tables(lambda e, t, s, n: fading(1.0 + noise[e, t, s])(n))
    assert value(learning(*apart).keeps, "a")["p_best"] > 0.99
    assert 0.02 < value(learning(*alike).keeps, "a")["p_best"] < 0.98
    row = value(learning(*apart).keeps, "a")
    assert row["low"] < row["value"] < row["high"]


def test_no_interval_reaches_beyond_the_longest_length_or_below_l() -> None:
    """Seeds that differ much at the longest length, of tasks scored to 64 = 8 L, three octaves."""
    ends = {0: 0.3, 1: 2.9, 2: 9.0}
    found = learning(*tables(lambda e, t, s, n: fading(ends[s])(n)))
    assert found.keeps["low"].min() == 0.0
    assert found.keeps["high"].max() == 3.0
    assert found.keeps["cut"].unique() == pytest.approx(
        [1 / 3]
    )  # one seed in three holds at the longest length
    assert not found.learns["cut"].any()
    assert not learning(*tables(lambda e, t, s, n: fading(1.0)(n))).keeps["cut"].any()


@pytest.mark.parametrize("trained", [0.0, -4.0, 1e-300, float("nan")])
def test_a_strangers_training_length_moves_nobody_else(trained: float) -> None:
    scores, runs = tables(lambda e, t, s, n: fading(9.0 if e == "a" else 1.0)(n))
    alone = value(learning(scores, runs).keeps, "a")
    strange = runs["encoding"].eq("b") & runs["seed"].eq(0)
    moved = value(
        learning(scores, runs.assign(train_length=runs["train_length"].mask(strange, trained))).keeps, "a"
    )
    assert (
        moved[["value", "low", "high", "tasks"]].tolist() == alone[["value", "low", "high", "tasks"]].tolist()
    )


def test_more_seeds_alone_make_no_learner_the_best() -> None:
    scores, runs = tables(lambda e, t, s, n: fading(1.0)(n))
    fewer = runs[(runs["encoding"] != "a") | (runs["seed"] < 2)]
    assert learning(scores, runs).learns["p_best"].notna().all()
    found = learning(scores, fewer)
    assert found.learns["p_best"].isna().all()
    assert found.keeps["p_best"].notna().all()
    assert found.learns["value"].max() == found.learns["high"].max() == 1.0


def test_a_tie_for_the_best_is_shared() -> None:
    """All runs hold to the longest length, which is as far as it was measured."""
    held = tables(lambda e, t, s, n: fading(9.0)(n))
    assert {value(learning(*held).keeps, e)["p_best"] for e in "ab"} == {0.5}


def test_an_interval_reaches_to_its_value_where_all_runs_pass_or_none_does() -> None:
    scores, runs = tables(lambda e, t, s, n: fading(1)(n))
    for passed in (True, False):
        found = learning(scores, runs.assign(learned=passed)).learns
        assert (found["value"] == passed).all()
        assert (found["high" if passed else "low"] == passed).all()
        assert (found["low"] < found["high"]).all()


def test_the_best_is_looked_for_among_the_ranked() -> None:
    scores, runs = tables(lambda e, t, s, n: fading(2.0 if e == "a" else 1.0)(n))
    for table in learning(scores, runs, {"b"}):
        assert value(table, "b")["p_best"] == 1.0
        assert math.isnan(value(table, "a")["p_best"])
        assert math.isnan(value(table, "a", "copy")["p_best"])
        assert value(table, "a")["low"] <= value(table, "a")["value"]


def test_one_seed_has_values_and_no_intervals() -> None:
    found = learning(*tables(lambda e, t, s, n: fading(1)(n), seeds=1))
    for table in found:
        assert table["value"].notna().all()
        assert table[["low", "high", "p_best"]].isna().all(axis=None)


def test_no_runs_are_no_error() -> None:
    scores, runs = tables(lambda e, t, s, n: 0.5, seeds=0)
    assert all(table.empty for table in learning(scores, runs))
