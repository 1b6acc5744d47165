"""A claim and the parts that claims share: what `pebench prove` measures on random inputs.

A claim is a function in a file of `identities/`, under the decorator `claim`. It returns the largest difference of two
computations that theory says are equal.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar, cast

import torch
from torch import Tensor

from pebench.encodings import group
from pebench.encodings.base import (
    At,
    Encoding,
    Keys,
    Shape,
    visible,
)
from pebench.encodings.streams import build, stream
from pebench.suite.lm.attention import attended

E = TypeVar("E", bound=Encoding)
Precision = Literal["float32", "float64"]

FLOAT64 = 1e-12
"""Tolerance where both sides are computed in float64."""
FLOAT32 = 3e-6
"""Tolerance of attention weights, which lie in [0, 1], where an encoding computes in float32."""

SHAPE = Shape(layers=2, heads=4, head_dim=8, train_length=32)
TOKENS = 17


@dataclass(frozen=True)
class Identity:
    """One line of the table: two things that are equal up to rounding, or must not be (not `expected`)."""

    name: str
    statement: str
    source: str
    precision: Precision  # that both sides are computed in
    error: float  # the largest difference of any two numbers
    tolerance: float
    holds: bool
    expected: bool

    @property
    def proven(self) -> bool:
        """Whether it comes out as documented."""
        return self.holds == self.expected


@dataclass(frozen=True)
class Claim:
    """An identity before it is measured."""

    statement: str
    source: str
    measure: Callable[[], float]
    tolerance: float
    expected: bool

    @property
    def name(self) -> str:
        return self.measure.__name__.replace("_", " ")

    def check(self) -> Identity:
        """Measure it once, without gradients."""
        with torch.no_grad():
            error = self.measure()
        return Identity(
            name=self.name,
            statement=self.statement,
            source=self.source,
            precision="float64" if self.tolerance == FLOAT64 else "float32",
            error=error,
            tolerance=self.tolerance,
            holds=error <= self.tolerance,
            expected=self.expected,
        )


CLAIMS: list[Claim] = []


Measure = Callable[[], float]


def claim(
    statement: str, source: str, tolerance: float = FLOAT32, expected: bool = True
) -> Callable[[Measure], Measure]:
    """Add a function that returns the largest difference of two sides to the table."""

    def add(measure: Measure) -> Measure:
        CLAIMS.append(Claim(statement, source, measure, tolerance, expected))
        return measure

    return add


def draw(*size: int, name: str = "", dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers that follow from the name and size."""
    rng = torch.Generator().manual_seed(stream(0, f"{name}:{size}"))
    return torch.randn(size, generator=rng, dtype=dtype)


def make(cls: type[E], moved: bool = True) -> E:
    """An encoding in evaluation mode, its parameters moved off their initial values unless told otherwise."""
    encoding = cast(E, build(cls, SHAPE).eval())
    for name, p in encoding.named_parameters():
        p.requires_grad_(False)
        if moved:
            p.add_(0.3 * draw(*p.shape, name=name))
    return encoding


Q, K, V = (draw(2, SHAPE.heads, TOKENS, SHAPE.head_dim, name=name) for name in "qkv")
X = draw(2, TOKENS, SHAPE.width, name="x")
POS = torch.arange(TOKENS)
HERE, KEYS = At.whole(0, X, V, POS), Keys(POS, POS)


def attention(encoding: Encoding, q: Tensor = Q, k: Tensor = K, x: Tensor = X, pos: Tensor = POS) -> Tensor:
    """The attention weights (B, H, T, T) of one layer, through the kernel that the encoding runs on."""
    unit = torch.eye(pos.shape[0]).expand(*q.shape[:2], -1, -1)  # values that read the weights off
    return attended(encoding, At.whole(0, x, V, pos), q, k, unit)


def from_logits(logits: Tensor) -> Tensor:
    """Causal softmax of logits (..., T, T)."""
    seen = visible(HERE, KEYS)
    return logits.masked_fill(~seen, -torch.inf).softmax(-1)


def from_actions(action: Callable[[int, int, int, int], Tensor]) -> Tensor:
    """Causal softmax of the paired scores of lifted Q and K under action(batch, head, i, j), in float64.

    q is scaled by 1/sqrt(d) before the lift, so that the additive part is not.
    """
    q, k = group.lift_query(Q.double() * SHAPE.scale), group.lift_key(K.double())
    logits = torch.zeros(2, SHAPE.heads, TOKENS, TOKENS, dtype=torch.float64)
    for b, h, i in itertools.product(range(2), range(SHAPE.heads), range(TOKENS)):
        for j in range(i + 1):
            logits[b, h, i, j] = group.paired_score(q[b, h, i], action(b, h, i, j), k[b, h, j])
    return from_logits(logits)


def content() -> Tensor:
    """The scaled dot products (2, H, T, T) of Q and K."""
    return Q @ K.mT * SHAPE.scale


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference."""
    return (a.double() - b.double()).abs().max().item()


def planes(count: int, name: str) -> tuple[Tensor, Tensor]:
    """Pairs of random vectors a, b (count, 8) in float64, neither orthogonal nor of unit length."""
    return draw(count, 8, name=f"{name} a", dtype=torch.float64), draw(
        count, 8, name=f"{name} b", dtype=torch.float64
    )
