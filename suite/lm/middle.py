"""The encoding in a native training step (suite/lm/step.py): all that the step knows of hooks.

Rotations by fixed frequencies are part of the step in C, and a layer with nothing else runs no hook. Other hooks run in
PyTorch, and autograd goes over them alone. The attention kernel that they ask for is called outside autograd, by
`Recorder`, forward and backward.
"""

import ctypes
import math
from typing import Any, cast

import torch
from torch import Tensor

from pebench.encodings.base import At
from pebench.encodings.rope import Rotary
from pebench.suite.lm.attention import layer as hooks
from pebench.suite.lm.model import LM
from pebench.suite.lm.native import ops


class LayerCall(ctypes.Structure):
    """The arguments of a layer's parts: `Block` of step.c."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("batches", "tokens", "rows", "width", "heads", "hidden", "gradient")),
        *((name, ctypes.c_void_p) for name in ("gain1", "qkv", "temperature", "out", "gain2", "gate_up", "down")),
        *((f"{m}_{way}", ctypes.c_void_p) for m in ("qkv", "out", "gate_up", "down") for way in ("forth", "back")),
        *((name, ctypes.c_void_p) for name in ("x", "x1", "next", "all", "q", "k", "v", "y")),
        *((name, ctypes.c_void_p) for name in ("inverse1", "inverse2", "ratio", "h", "h1", "h2", "up")),
        *((name, ctypes.c_void_p) for name in ("gx", "gq", "gk", "gv", "gy", "gh", "turns")),
        *((name, ctypes.c_void_p) for name in ("room", "room_left", "room_right")),
    ]  # fmt: skip


class Arena:
    """Memory that every step uses anew, handed out from the beginning."""

    slack = 64  # numbers that a vector may read beyond the end of an array

    def __init__(self, memory: Tensor):
        self.memory, self.used = memory, 0

    def take(self, *shape: int, each: int = 4) -> int:
        """The address of an array of numbers of so many bytes each."""
        at = self.memory.data_ptr() + self.used
        self.used += -(-(math.prod(shape) + self.slack) * each // 64) * 64
        return at

    def tensor(self, address: int, *shape: int) -> Tensor:
        """The floats that were taken at this address, to autograd a tensor apart from all others."""
        start = address - self.memory.data_ptr()
        if start + 4 * math.prod(shape) > len(self.memory):
            return torch.empty(shape)  # the memory is being measured
        return self.memory[start : start + 4 * math.prod(shape)].view(torch.float32).view(shape).data


class Place:
    """What one layer's encoding reads and writes, as tensors over the arena."""

    def __init__(self, arena: Arena, call: LayerCall):
        self.call, self.y_at = call, call.y
        b, t, w, heads = call.batches, call.tokens, call.width, call.heads
        d = w // heads
        self.q, self.k, self.v = (arena.tensor(at, b, heads, t, d) for at in (call.q, call.k, call.v))
        self.h = arena.tensor(call.h, b, t, w) if call.h else None
        self.y, self.gy = (arena.tensor(at, b, t, heads, d).transpose(1, 2) for at in (call.y, call.gy))
        short = ops.is_short(t, (), None, False)
        kept = arena.take(ops.short_kept(b * heads, t, False) if short else b * heads * t)
        self.kernel = "short" if short else "attention"
        across, along = (heads * t * d, t * d, d), (t * w, d, w)
        strides = {
            name: along if name.endswith("y") else across
            for name in ("q", "k", "v", "y", "gq", "gk", "gv", "gy")
        }
        self.attention = ops.Call(
            **{name: ops.View(getattr(call, name), *strides[name]) for name in strides},
            lse=kept, kept=kept,
            batches=b, heads=heads, tokens=t, width=d, value_width=d, scale=d**-0.5,
        )  # fmt: skip


class Recorder:
    """Calls of the attention kernel outside autograd: what is asked for forth is kept, and gone over back."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, tuple[Tensor | None, ...], Tensor]] = []

    def __call__(self, scale: float, stick: bool, slopes: Tensor | None, *inputs: Tensor | None) -> Tensor:
        ctx = ops.Context((False, False, False, *(x is not None and x.requires_grad for x in inputs)))
        known: list[Any] = [None if x is None else x.detach() for x in inputs]
        y: Tensor = ops.AttentionKernel.forward(ctx, scale, stick, slopes, *known).requires_grad_()
        self.calls.append((ctx, inputs, y))
        return y

    def backward(self, y: Tensor, gy: Tensor) -> None:
        """Accumulate the gradients of the leaves from which these calls and operators of PyTorch computed y."""
        accumulate([y], [gy])
        for ctx, inputs, found in reversed(self.calls):
            if found.grad is None:
                continue
            given = ops.AttentionKernel.backward(ctx, found.grad)[3:]
            pairs = [(x, g) for x, g in zip(inputs, given, strict=True) if x is not None and x.requires_grad]
            accumulate([x for x, _ in pairs], [g for _, g in pairs])


def accumulate(tensors: list[Tensor], gradients: list[Tensor]) -> None:
    """`torch.autograd.backward`, which would copy the gradient of a leaf that has none so far."""
    rest = []
    for x, g in zip(tensors, gradients, strict=True):
        if not x.is_leaf:
            rest.append((x, g))
        elif x.grad is None:
            x.grad = g
        else:
            x.grad += g
    if rest:
        torch.autograd.backward([x for x, _ in rest], [g for _, g in rest])


class Middle:
    """The encoding of a model, step by step: `begin`, for each layer `forward`, then `backward`, and `end`."""

    def __init__(self, lm: LM):
        self.lm, self.encoding, kind = lm, lm.encoding, type(lm.encoding)
        seen = ("positions", "columns", "values", "output", "weights", "bias", "by_distance")
        self.rotary = kind.qk is Rotary.qk
        self.silent = (self.rotary or not kind.defines("qk")) and not any(map(kind.defines, seen))

    def begin(self, tokens: Tensor, x: Tensor, places: list[Place]) -> None:
        """Positions of the tokens (B, T), rotations, and what is added to the embeddings x (B, T, D), in place."""
        self.order = torch.arange(x.shape[1])
        self.pos = self.encoding.positions(self.order, tokens, {})
        self.calls: list[tuple[list[Tensor], Tensor, Recorder]] = []
        self.embedded = None
        leaf = x.data.requires_grad_()
        with torch.enable_grad():
            out = self.encoding.embed(leaf, self.pos)
        if out is not leaf:
            self.embedded = leaf, out
            x.copy_(out.detach())
        turns = None
        if self.silent and self.rotary:
            angle = self.pos[:, None] * cast(Rotary, self.encoding).frequencies
            self.turns = torch.cat([angle.cos(), angle.sin()], dim=-1)
            turns = self.turns.data_ptr()
        for place in places:
            place.call.turns = turns

    def end(self, gx: Tensor) -> None:
        """From the gradient of what `embed` returned to that of the embeddings, in place."""
        if self.embedded is not None:
            leaf, out = self.embedded
            out.backward(gx)
            assert leaf.grad is not None
            gx.copy_(leaf.grad)

    def forward(self, n: int, place: Place) -> None:
        """From q, k and v of layer n to what attention read."""
        if self.silent:
            ops.run(f"{place.kernel}_forward", place.attention)
            return
        assert place.h is not None
        leaves = [x.data.requires_grad_() for x in (place.q, place.k, place.v, place.h)]
        q, k, v, h = leaves
        recorder = Recorder()
        with torch.enable_grad(), ops.attending(recorder):
            y = hooks(self.encoding, At(n, h, v, self.order, self.pos, {}, self.lm.progress), q, k, v)
        if y.stride() == place.y.stride() and y.dtype == torch.float32:
            place.call.y = y.data_ptr()
        else:
            place.call.y = place.y_at
            place.y.copy_(y.detach())
        self.calls.append((leaves, y, recorder))

    def backward(self, n: int, place: Place) -> None:
        """From the gradient of what attention read to those of q, k, v and the normalised input."""
        if self.silent:
            ops.run(f"{place.kernel}_backward", place.attention)
            return
        leaves, y, recorder = self.calls.pop()
        recorder.backward(y, place.gy)
        self.given = [torch.zeros_like(x) if x.grad is None else x.grad.contiguous() for x in leaves]
        call = place.call
        call.gq, call.gk, call.gv, call.gh = (g.data_ptr() for g in self.given)
