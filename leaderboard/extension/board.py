"""A board of the track: its methods, and the plan of its profile."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from pebench.leaderboard.extension.quantities import Quantity
from pebench.leaderboard.extension.records import BASE

CACHE, CACHE_RATIO = "cache_bytes", "cache_ratio"
COSTS = ("prefill_ratio", "decode_ratio", "prefill_speed", "decode_speed", CACHE)


class Plan(NamedTuple):
    """The texts and methods that a profile measures."""

    texts: int
    methods: tuple[str, ...]


# As suite/extend/profiles.py has them, which needs torch.
PLANS = {
    "EXTEND_QUICK": Plan(2, (BASE, "ntk", "yarn", "dual_chunk")),
    "EXTEND": Plan(
        4,
        (
            *(BASE, "pi", "ntk", "ntk_dynamic", "yarn", "yarn_frequencies", "llama3", "longrope2"),
            *(
                "longrope2_searched",
                "self_extend",
                "rerope",
                "dual_chunk",
                "streaming",
                "dropped",
                "yarn+logn",
            ),
        ),
    ),
}


@dataclass(frozen=True)
class Line:
    """A method on the board. What was not measured is None or absent."""

    method: str
    title: str
    loss: dict[str, Quantity]  # by phase
    retrieval: dict[str, Quantity]
    costs: dict[str, float]

    @property
    def quantities(self) -> list[Quantity]:
        """Those that were measured, of both phases."""
        return [*self.loss.values(), *self.retrieval.values()]

    @property
    def place(self) -> tuple[bool, float, str]:
        """What lines are ordered by: the difference in loss beyond L; those without one stand below, by their loss."""
        loss = self.loss.get("beyond")
        if self.method == BASE and loss:
            return False, 0.0, self.method
        if loss and loss.difference is not None:
            return False, loss.difference, self.method
        return True, loss.value if loss else np.inf, self.method


@dataclass(frozen=True)
class Track:
    """The board of one profile, one model and one corpus: only texts of one corpus are pairs."""

    profile: str
    model: str
    sha256: str
    trained: int  # tokens
    lines: list[Line]
    losses: pd.DataFrame  # method, text, start, length, value, n
    answers: pd.DataFrame  # method, text, length, kind, depth, metric, value, n
    notes: list[str]
    corpus: str
    dates: str = ""  # of its runs: a day, or the first and the last
    named: bool = False  # whether the title names the corpus: the model was read on several
    alike: bool = False  # whether the title has the model's sha256: another model has this name
