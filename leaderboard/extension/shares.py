"""Intervals of shares of answered questions, and of paired differences of two methods' shares.

A cell of a table has questions on each of n texts. Its value is the mean over texts of each text's mean. If texts did
not differ, a text's mean would vary by the variance of single questions over their number. It varies more where some
texts suit a method better. The factor is the design effect (Kish, 1965): the variance of the texts' means over the
expected one, at least 1. Two or four texts hardly show it. So it is moderated over the cells of a table, as `ranking`
moderates variances of runs (Smyth, 2004), and never falls below the cell's own. The interval is

    mean -+ t * sqrt(effect * variance of a question / questions of all texts),

with the degrees of freedom of the moderated effect. If a cell's effect is really several times the others', its
interval is too short.
"""

import itertools
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from pebench.leaderboard.ranking import LEVEL, Array, moderate

FEWEST = 2  # texts from which there is an interval
TEXT = "text"  # the index level of a question's text
PAIR = ("part", "method", "other")  # the column levels of a difference


class Share(NamedTuple):
    """A mean over texts with its 95 % interval."""

    value: float
    low: (
        float | None
    )  # None with one text, or where all values are equal: they show no variance, and no certainty
    high: float | None
    texts: int
    n: int  # questions

    @property
    def half(self) -> float | None:
        """Half of the interval."""
        return None if self.low is None or self.high is None else (self.high - self.low) / 2

    @property
    def separated(self) -> bool:
        """Whether 0 lies outside the interval."""
        return self.low is not None and self.high is not None and not self.low <= 0 <= self.high

    @property
    def turned(self) -> "Share":
        """The difference the other way round."""
        low, high = (None if end is None else 0.0 - end for end in (self.high, self.low))
        return self._replace(value=0.0 - self.value, low=low, high=high)  # 0 - 0 is 0, -(0.0) is shown as -0


def shares(questions: pd.DataFrame, least: float = 0.0) -> dict[Any, Share]:
    """Each column of a table of questions, NaN where not asked, as a share from `least` to 1.

    The index has the level TEXT. The columns are the cells over which effects are moderated.
    """
    text, _ = pd.factorize(questions.index.get_level_values(TEXT))
    middle, half, texts, n = intervals(questions.to_numpy(float), text)
    ends = np.clip([middle - half, middle + half], least, 1.0)
    return {
        column: Share(float(middle[c]), *ends_of(ends[:, c]), int(texts[c]), int(n[c]))
        for c, column in enumerate(questions)
        if n[c]
    }


def intervals(values: Array, text: Array) -> tuple[Array, Array, Array, Array]:
    """Means, halves of their intervals, texts and questions of each cell.

    Answers are (questions, cells), their texts (questions,) are numbers from 0. A half is NaN with one text, and where
    all answers are equal.
    """
    there, texts = np.isfinite(values), np.arange(text.max(initial=-1) + 1)[:, None] == text
    asked, sums = texts @ there.astype(float), texts @ np.where(there, values, 0.0)
    n, read = asked.sum(axis=0), (asked > 0).sum(axis=0)
    means = np.divide(sums, asked, out=np.full(asked.shape, np.nan), where=asked > 0)
    middle = np.divide(np.nansum(means, axis=0), read, out=np.full(n.shape, np.nan), where=read > 0)
    highest, lowest = (np.where(there, values, end) for end in (-np.inf, np.inf))
    varied = highest.max(axis=0, initial=-np.inf) > lowest.min(axis=0, initial=np.inf)
    known = np.flatnonzero((read >= FEWEST) & varied)
    half = np.full(n.shape, np.nan)
    if len(known):
        variance = np.nanvar(values[:, known], axis=0, ddof=1)
        half[known] = half_widths(means[:, known], variance, n[known])
    return middle, half, read, n


def half_widths(means: Array, variance: Array, n: Array) -> Array:
    """Half of each cell's interval, of texts' means (texts, cells), the variance of a question, and their number."""
    texts = np.isfinite(means).sum(axis=0)
    expected = variance / n * texts  # of a text's mean, if texts did not differ
    effect = np.maximum(np.nanvar(means, axis=0, ddof=1) / expected, 1.0)
    moderated, df, _ = moderate(effect, texts - 1.0)
    half: Array = special.stdtrit(df, 1 - LEVEL / 2) * np.sqrt(np.maximum(moderated, effect) * variance / n)
    return half


def ends_of(both: Array) -> tuple[float | None, float | None]:
    """The ends of an interval; None where there is none."""
    low, high = (float(end) if np.isfinite(end) else None for end in both)
    return low, high


def differences(questions: pd.DataFrame) -> pd.DataFrame:
    """The paired differences of each two methods: columns (part, method) become (part, method, other method)."""
    values, columns = questions.to_numpy(float), list(questions)
    pairs = [
        (n, m) for n, m in itertools.combinations(range(len(columns)), 2) if columns[n][0] == columns[m][0]
    ]
    names = [(*columns[n], columns[m][1]) for n, m in pairs]
    first, second = np.array(pairs, int).reshape(-1, 2).T
    return pd.DataFrame(
        values[:, first] - values[:, second], questions.index, pd.MultiIndex.from_tuples(names, names=PAIR)
    )
