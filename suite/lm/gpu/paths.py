"""Which path serves which encoding on a GPU, told on a CPU and without Triton."""

import torch

from pebench.encodings.base import At, Encoding, Keys, Shape
from pebench.encodings.streams import build
from pebench.suite.lm.gpu import choice, flex

SHAPE = Shape(layers=4, heads=2, head_dim=16, train_length=32)
TORCH, FLEX, BLOCKS = "torch's own", "flex attention", "definition in blocks"
FLA = "flash-linear-attention without gradients in bfloat16, else definition in blocks"


@torch.no_grad()
def path(encoding: Encoding, layer: int) -> str:
    """How a GPU reads whole texts in this layer of an encoding of `SHAPE`."""
    length = SHAPE.train_length
    q, k, v = torch.zeros(3, 1, SHAPE.heads, length, SHAPE.head_dim)
    index = torch.arange(length)
    pos = encoding.positions(index, torch.zeros(1, length, dtype=torch.long), {})
    at = At(layer, torch.zeros(1, length, SHAPE.width), v, index, pos, {})
    columns = encoding.columns(q, k, at)
    q, k = encoding.qk(q, k, at)
    keys = Keys(at.order, at.pos)
    if columns is not None:
        at, keys = at._replace(columns=columns.q.float()), keys._replace(columns=columns.k.float())
    picked = choice.pick(encoding, at, q, k, v, keys, columns if encoding.kernel() != "own" else None)
    if picked is not None:
        return f"walk: {picked[2].source}"
    if columns is None and flex.takes(encoding, at, q):
        return FLEX
    if choice.reflected(encoding, at, q, k, keys) is not None:
        return FLA
    own = encoding.kernel() == "own" and encoding.weights(q, k, at, keys) is not None
    biased = encoding.kernel() == "masked" and encoding.bias(at, keys) is not None
    return BLOCKS if own or biased else TORCH


def paths(cls: type[Encoding]) -> list[str]:
    """The path of each of four layers."""
    encoding = build(cls, SHAPE).eval()
    return [path(encoding, layer) for layer in range(SHAPE.layers)]


def walked(cls: type[Encoding]) -> list[int]:
    """The layers whose attention is a walk of our own kernels."""
    return [layer for layer, way in enumerate(paths(cls)) if way.startswith("walk")]
