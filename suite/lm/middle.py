"""What an encoding does in a native training step (suite/lm/step.py), between two parts in C.

The only file of the step that knows an encoding's hooks. Where no kernel knows what they do, they run in PyTorch, and
autograd goes over them alone.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from pebench.encodings.base import At, Encoding
from pebench.encodings.rope import RoPE
from pebench.suite.lm.attention import attend
from pebench.suite.lm.native import ops

if TYPE_CHECKING:
    from pebench.suite.lm.model import Size
    from pebench.suite.lm.step import Arena, LayerCall


class Place:
    """What one layer's encoding reads and writes, as tensors over the arena."""

    def __init__(self, arena: "Arena", call: "LayerCall", size: "Size"):
        b, t, w, heads = call.batches, call.tokens, call.width, call.heads
        d = w // heads
        self.call = call
        self.q, self.k, self.v = (arena.tensor(at, b, heads, t, d) for at in (call.q, call.k, call.v))
        self.h = arena.tensor(call.h, b, t, w) if call.h else torch.empty(0)
        self.y, self.gy = arena.tensor(call.y, b, t, w), arena.tensor(call.gy, b, t, w)
        self.own = {name: getattr(call, name) for name in ("gq", "gk", "gv")}  # where the kernels write
        short = ops.is_short(t, (), None, False)
        self.kept = torch.empty(ops.short_kept(b * heads, t, False) if short else b * heads * t)
        self.kernel = "short" if short else "attention"
        across, along = (heads * t * d, t * d, d), (t * w, d, w)
        names = {"q": across, "k": across, "v": across, "gq": across, "gk": across, "gv": across, "y": along, "gy": along}
        self.attention = ops.Call(
            **{name: ops.View(getattr(call, name), *strides) for name, strides in names.items()},
            lse=self.kept.data_ptr(), kept=self.kept.data_ptr(), batches=b, heads=heads, tokens=t, width=d, value_width=d, scale=d**-0.5,
        )  # fmt: skip


class Middle:
    """The encoding of a model, step by step: `begin`, for each layer `before` and `forward`, then `backward`, and `end`."""

    def __init__(self, encoding: Encoding):
        self.encoding = encoding
        self.plain = type(encoding).qk is Encoding.qk and type(encoding).kernel() == "fused"
        self.rotation = type(encoding) is RoPE
        self.reads_input = not (self.plain or self.rotation)

    def begin(self, x: Tensor) -> None:
        """Positions, and what is added to the embeddings x (B, T, D), in place."""
        self.pos = self.encoding.positions(torch.arange(x.shape[1]))
        self.embedded: tuple[Tensor, Tensor] | None = None
        self.graphs: dict[int, Any] = {}
        leaf = x.data.requires_grad_()
        out = self.encoding.embed(leaf, self.pos)
        if out is not leaf:
            self.embedded = leaf, out
            x.copy_(out.detach())
        self.turns = None
        if self.rotation:
            angle = self.pos[:, None] * self.encoding.frequencies
            self.turns = torch.cat([angle.cos(), angle.sin()], dim=-1)

    def end(self, gx: Tensor) -> None:
        """From the gradient of `embed`'s result to that of the embeddings, in place."""
        if self.embedded is not None:
            leaf, out = self.embedded
            out.backward(gx)
            assert leaf.grad is not None
            gx.copy_(leaf.grad)
            self.embedded = None

    def before(self, layer: int, place: Place) -> None:
        place.call.turns = None if self.turns is None else self.turns.data_ptr()

    def forward(self, layer: int, place: Place) -> None:
        """From q, k and v to what attention reads."""
        if not self.reads_input:
            ops.run(f"{place.kernel}_forward", place.attention)
            return
        leaves = [x.data.requires_grad_() for x in (place.q, place.k, place.v, place.h)]
        q, k, v, h = leaves
        at = At(layer, h, v, self.pos, {})
        with torch.enable_grad():
            y = attend(self.encoding, layer, *self.encoding.qk(q, k, at), v, self.pos, self.pos).transpose(1, 2).flatten(2)
        place.y.copy_(y.detach())
        self.graphs[layer] = leaves, y

    def backward(self, layer: int, place: Place) -> None:
        """From the gradient of what attention read to those of q, k, v and the normalised input."""
        call = place.call
        if not self.reads_input:
            ops.run(f"{place.kernel}_backward", place.attention)
            return
        leaves, y = self.graphs.pop(layer)
        y.backward(place.gy)
        self.kept = [torch.zeros_like(x) if x.grad is None else x.grad.contiguous() for x in leaves]
        call.gq, call.gk, call.gv, _ = (g.data_ptr() for g in self.kept)
        call.gh = None if leaves[3].grad is None else self.kept[3].data_ptr()
