"""Intervals of shares: how often they hold the true difference, and where there is none."""

import numpy as np
import pandas as pd
import pytest
from scipy import special

from pebench.leaderboard.extension.shares import differences, intervals, shares

QUESTIONS, DRAWS = 22, 200
TRUE = ((0.85, 0.7, 0.55), (0.6, 0.45, 0.3), (0.4, 0.25, 0.1))  # of three methods at three lengths


def answered(rng: np.random.Generator, texts: int, effect: float) -> np.ndarray:
    """Answers (texts * questions, lengths, methods): methods share what is hard, and texts suit some of them better.

    A method's level on a text varies by `effect` standard deviations of a question.
    """
    shape = texts, QUESTIONS, len(TRUE), len(TRUE[0])
    hard, own = rng.standard_normal((*shape[:3], 1)), rng.standard_normal(shape)
    suits = effect * rng.standard_normal((texts, 1, *shape[2:]))
    ease = 0.6**0.5 * hard + 0.4**0.5 * own + suits
    return (ease < special.ndtri(TRUE) * (1 + effect**2) ** 0.5).astype(float).reshape(-1, *shape[2:])


@pytest.mark.parametrize("texts", [2, 4])
@pytest.mark.parametrize("effect", [0.0, 0.5])
def test_intervals_hold_a_true_difference_of_15_points_as_often_as_they_say(texts, effect):
    rng, held = np.random.default_rng(1), list[bool]()
    text = np.repeat(np.arange(texts), QUESTIONS)
    for _ in range(DRAWS):
        drawn = answered(rng, texts, effect)
        gaps = [drawn[..., one] - drawn[..., other] for one, other in ((0, 1), (1, 2), (0, 2))]
        middle, half, *_ = intervals(np.concatenate(gaps, axis=1), text)
        near = slice(0, 2 * len(TRUE))  # pairs with a true difference of 0.15
        known = np.isfinite(half[near])
        held += list((np.abs(middle[near] - 0.15) <= half[near])[known])
    assert len(held) > 5.5 * DRAWS
    assert 0.92 <= np.mean(held) <= 0.99


def table(**columns: list[float]) -> pd.DataFrame:
    """Two questions on each text."""
    n = len(next(iter(columns.values())))
    return pd.DataFrame(
        columns, index=pd.MultiIndex.from_arrays([[k // 2 for k in range(n)]], names=["text"])
    )


def test_equal_answers_and_one_text_have_no_interval():
    found = shares(table(equal=[1, 1, 1, 1], one=[0, 1, np.nan, np.nan], none=[np.nan] * 4, two=[0, 1, 1, 1]))
    assert (found["equal"].low, found["equal"].texts) == (None, 2)
    assert (found["one"].low, found["one"].texts, found["one"].n) == (None, 1, 2)
    assert "none" not in found
    assert 0 <= found["two"].low < 0.75 < found["two"].high == 1


def test_a_text_with_answers_of_its_own_widens_the_interval_of_every_cell():
    rows = pd.MultiIndex.from_arrays([np.repeat(range(4), 20)], names=["text"])
    mixed = [0.0, 1.0] * 40
    apart = [*[0.0, 0.0, 0.0, 1.0] * 10, *[1.0, 1.0, 1.0, 0.0] * 10]
    alone = shares(pd.DataFrame({"mixed": mixed, "other": mixed}, rows))["mixed"]
    beside = shares(pd.DataFrame({"mixed": mixed, "apart": apart}, rows))
    assert alone.half < beside["mixed"].half < beside["apart"].half


def test_a_difference_is_paired_and_turns():
    index = pd.MultiIndex.from_arrays([[0, 0, 1, 1]], names=["text"])
    columns = [("near", "a"), ("near", "b"), ("far", "a"), ("far", "b")]
    values = [[1, 0, 1, 0], [1, 1, np.nan, 1], [1, 0, 0, 0], [1, 0, np.nan, 1]]
    found = shares(differences(pd.DataFrame(values, index, pd.MultiIndex.from_tuples(columns))), -1.0)
    assert list(found) == [("near", "a", "b"), ("far", "a", "b")]
    share = found["near", "a", "b"]
    assert (share.value, found["far", "a", "b"].value, found["far", "a", "b"].n) == (0.75, 0.5, 2)
    assert share.turned.turned == share
    assert (share.turned.value, share.turned.high) == (-share.value, -share.low)
    assert shares(differences(pd.DataFrame(values, index, pd.MultiIndex.from_tuples(columns)).iloc[:0])) == {}
