"""Loss and retrieval at the training length and beyond it, each with its interval and its difference from the base."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from pebench.leaderboard.extension.records import BASE
from pebench.leaderboard.extension.shares import FEWEST, Share, differences, shares
from pebench.leaderboard.ranking import LEVEL

PHASES = ("at_length", "beyond")


@dataclass(frozen=True)
class Quantity:
    """A mean with its 95 % interval over texts (and items), and its difference from the unextended model."""

    value: float
    low: float | None  # None with fewer than two texts
    high: float | None
    texts: int
    n: int  # tokens or questions
    difference: float | None = None  # on the texts that both have
    difference_low: float | None = None
    difference_high: float | None = None
    difference_texts: int = 0

    @property
    def alone(self) -> bool:
        """Whether it, or its difference, is of one text."""
        return 1 in (self.texts, self.difference_texts)


def loss_quantities(losses: pd.DataFrame, method: str, trained: int) -> dict[str, Quantity]:
    """Mean loss at the training length and beyond it, where it was measured."""
    return {
        phase: quantity
        for phase in PHASES
        if (quantity := loss_quantity(losses[in_phase(losses, phase, trained)], method))
    }


def means_by_method(losses: pd.DataFrame) -> pd.DataFrame:
    """The mean loss of each text (rows) and method (columns)."""
    sums = losses.assign(sum=losses["value"] * losses["n"]).groupby(["method", "text"])[["sum", "n"]].sum()
    return (sums["sum"] / sums["n"]).unstack("method")


def loss_quantity(losses: pd.DataFrame, method: str) -> Quantity | None:
    """The mean over texts, with Student's interval over texts."""
    means = means_by_method(losses)
    if method not in means:
        return None
    own = means[method].dropna()
    paired = (own - means[BASE]).dropna() if BASE in means and method != BASE else own[:0]
    low, high = student(own)
    difference_low, difference_high = student(paired)
    return Quantity(
        value=float(own.mean()),
        low=low,
        high=high,
        texts=len(own),
        n=int(losses.loc[losses["method"] == method, "n"].sum()),
        difference=float(paired.mean()) if len(paired) else None,
        difference_low=difference_low,
        difference_high=difference_high,
        difference_texts=len(paired),
    )


def student(values: pd.Series) -> tuple[float | None, float | None]:
    """The ends of Student's 95 % interval of a mean; None with fewer than two values."""
    n = len(values)
    if n < FEWEST:
        return None, None
    half = float(special.stdtrit(n - 1, 1 - LEVEL / 2) * values.std(ddof=1) / np.sqrt(n))
    return float(values.mean()) - half, float(values.mean()) + half


class Found(NamedTuple):
    """Shares of questions with every number right, by phase or length."""

    levels: dict[tuple[Any, str], Share]  # of a method
    pairs: dict[tuple[Any, str, str], Share]  # of a method minus another

    def difference(self, part: Hashable, one: str, other: str) -> Share | None:
        """One method minus another; None where no text has both."""
        if (part, one, other) in self.pairs:
            return self.pairs[part, one, other]
        found = self.pairs.get((part, other, one))
        return found and found.turned


def found(answers: pd.DataFrame, parts: Sequence[Hashable]) -> Found:
    """What all methods found, with the part of the board that each of these answers counts for.

    Intervals are moderated over all methods and parts, and over all pairs and parts.
    """
    table = questions(answers, parts)
    return Found(shares(table), shares(differences(table), -1.0))


def found_by_phase(answers: pd.DataFrame, trained: int) -> Found:
    """What all methods found at the training length and beyond it."""
    exact = answers[answers["metric"] == "exact"]
    return found(exact, phases(exact, trained))


def questions(answers: pd.DataFrame, parts: Sequence[Hashable]) -> pd.DataFrame:
    """Answers by question (rows: text, length, kind, depth) and by part and method (columns)."""
    keyed = answers.assign(depth=answers["depth"].fillna(-1.0), part=pd.Series(parts, answers.index, object))
    keys = ["text", "length", "kind", "depth", "part", "method"]
    return keyed.set_index(keys)["value"].unstack(["part", "method"]).dropna(axis=1, how="all")


def phases(frame: pd.DataFrame, trained: int) -> list[Hashable]:
    """The phase of each row."""
    return [PHASES[beyond] for beyond in in_phase(frame, "beyond", trained)]


def retrieval_quantities(answers: pd.DataFrame, method: str, trained: int) -> dict[str, Quantity]:
    """Share of questions with every number right, at the training length and beyond it, where it was measured."""
    return quantities_of(found_by_phase(answers, trained), method)


def quantities_of(found: Found, method: str) -> dict[str, Quantity]:
    """A method's shares by phase, each with its difference from the unextended model."""
    quantities = {}
    for phase in PHASES:
        if own := found.levels.get((phase, method)):
            minus = found.difference(phase, method, BASE)
            apart = (minus.value, minus.low, minus.high, minus.texts) if minus else (None, None, None, 0)
            quantities[phase] = Quantity(own.value, own.low, own.high, own.texts, own.n, *apart)
    return quantities


def in_phase(frame: pd.DataFrame, phase: str, trained: int) -> "pd.Series[bool]":
    """The rows of texts or stretches that end at the training length or before, or beyond it."""
    beyond = frame["length"] > trained
    return beyond if phase == "beyond" else ~beyond


def texts_of(frame: pd.DataFrame) -> dict[str, set[int]]:
    """The texts of each method."""
    return {str(method): set(texts) for method, texts in frame.groupby("method")["text"]}
