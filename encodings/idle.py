"""Methods that change distances, over encodings that know none: they would change nothing, and say nothing of it."""

from collections.abc import Iterator

import torch
from torch import Tensor

from pebench.encodings.base import At, Encoding, Keys, Shape
from pebench.encodings.extension import Extended, Regrouped
from pebench.encodings.registry import EncodingError
from pebench.encodings.streams import build, stream

TRIED = Shape(layers=2, heads=2, head_dim=16, train_length=16)
TOKENS = 6


def refuse_idle(inner: type[Encoding], methods: list[type[Extended]]) -> None:
    """EncodingError where one of the methods changes distances and no hook of the encoding reads a position."""
    changing = [method for method in methods if issubclass(method, Regrouped)]
    if changing and not reads_positions(inner):
        raise EncodingError(
            f"{inner.title} reads no position, but what the tokens hold, so {changing[0].title} changes nothing; "
            "extend an encoding that does, as rope"
        )


def reads_positions(cls: type[Encoding]) -> bool:
    """Whether `qk`, `columns` or `bias` change where positions lie further apart."""
    encoding = build(cls, TRIED).eval()
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(stream(0, "idle"))
        for p in encoding.parameters():  # many read nothing at their initial values
            p += 0.1 * torch.randn_like(p)
        q, k, v = torch.randn(3, 1, TRIED.heads, TOKENS, TRIED.head_dim)
        x, index = torch.randn(1, TOKENS, TRIED.width), torch.arange(TOKENS)
        pos = encoding.positions(index, torch.zeros(1, TOKENS, dtype=torch.long), {})
        apart = pos + (index if pos.dim() < 3 else index[:, None])
        return any(
            not torch.equal(a, b)
            for layer in range(TRIED.layers)
            for a, b in zip(
                declared(encoding, q, k, At.whole(layer, x, v, pos)),
                declared(encoding, q, k, At.whole(layer, x, v, apart)),
                strict=True,
            )
        )


def declared(encoding: Encoding, q: Tensor, k: Tensor, at: At) -> Iterator[Tensor]:
    """All that the hooks make of positions in one layer."""
    yield from encoding.qk(q, k, at)
    yield from encoding.columns(q, k, at) or ()
    bias = encoding.bias(at, Keys(at.order, at.pos))
    yield bias if bias is not None else torch.zeros(())
