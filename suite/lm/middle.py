"""The encoding in a native training step (suite/lm/step.py): all that the step knows of hooks.

Rotations by fixed frequencies are part of the step in C, and a layer with nothing else runs no hook. Other hooks run in
PyTorch, and autograd goes over them alone. The attention kernel that they ask for is called outside autograd, by
`Reading`, forward and backward.
"""

import ctypes
import functools
import math
from typing import Any, cast

import torch
from torch import Tensor

from pebench.encodings.base import At, Encoding
from pebench.encodings.rope import Rotary
from pebench.suite.lm.attention import layer as hooks
from pebench.suite.lm.model import LM
from pebench.suite.lm.native import declared, ops
from pebench.suite.lm.native.parts import Part, Step


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
        self.call = call
        b, t, w, heads = call.batches, call.tokens, call.width, call.heads
        d = w // heads
        across, along = (heads * t * d, t * d, d), (t * w, d, w)
        self.inputs, self.gradients = (
            {name: arena.tensor(getattr(call, g + name), b, heads, t, d) for name in "qkv"} for g in ("", "g")
        )
        self.h = arena.tensor(call.h, b, t, w) if call.h else None
        self.y, self.gy = (arena.tensor(at, b, t, heads, d).transpose(1, 2) for at in (call.y, call.gy))
        short = ops.is_short(t, (), None, False)
        room = ops.short_kept(b * heads, t, True) if short else b * heads * t
        kept = arena.take(room)
        self.kept = arena.tensor(kept, room)
        self.views = {
            name: ops.View(getattr(call, name), *(along if name.endswith("y") else across))
            for name in ("q", "k", "v", "y", "gq", "gk", "gv", "gy")
        }
        self.attention = ops.Call(
            **self.views, lse=kept, kept=kept if short else None,
            batches=b, heads=heads, tokens=t, width=d, value_width=d, scale=d**-0.5,
        )  # fmt: skip


class Attended:
    """A call of the attention kernel in the place of `AttentionKernel`, by way of the arena where that fits."""

    def __init__(
        self, place: Place, leaves: dict[str, Tensor], scale: float, stick: bool, slopes: Tensor | None,
        bias: Tensor | None, table: Tensor | None, inputs: dict[str, Tensor],
    ):  # fmt: skip
        self.place, self.leaves, self.slopes = place, leaves, slopes
        self.given = inputs | {name: x for name, x in (("bias", bias), ("table", table)) if x is not None}
        self.here = [name for name, x in leaves.items() if inputs[name] is x]
        self.read = {name: ops.dense(x.detach()) for name, x in inputs.items()}
        self.bias = None if bias is None else ops.by_key(bias.detach())
        self.table = None if table is None else ops.by_lane(table.detach())
        views = {name: place.views[name] for name in self.here}
        v = inputs["v"]
        if v.shape == place.y.shape:
            views["y"], y = place.views["y"], place.y
        else:
            y = v.new_empty(v.transpose(1, 2).shape).transpose(1, 2)
        self.call = ops.described(
            self.read, y, place.kept, self.bias, self.table, slopes, scale, stick, views
        )
        ops.go(self.call, "forward")
        self.y = y.data.requires_grad_()

    def backward(self, gy: Tensor) -> None:
        """From the gradient of y to the gradients of all tensors that it was computed from."""
        for name in self.here:
            setattr(self.call, f"g{name}", self.place.views[f"g{name}"])
        asked = [name for name, x in self.given.items() if x.requires_grad]
        found = ops.back(self.call, ops.dense(gy), self.read, self.bias, self.table, asked)
        for name in self.here:
            leaf, g = self.leaves[name], self.place.gradients[name]
            if leaf.grad is not None:
                g += leaf.grad
            leaf.grad = g
        rest = [name for name in asked if name not in self.here]
        if rest:
            torch.autograd.backward([self.given[name] for name in rest], [found[name] for name in rest])


class Reading:
    """One layer's hooks and attention in one step: hooks by autograd, the kernel that they ask for outside it."""

    def __init__(self, place: Place):
        assert place.h is not None
        self.place, self.call = place, cast(Attended | None, None)
        self.leaves = {name: x.data.requires_grad_() for name, x in place.inputs.items()}
        self.h = place.h.data.requires_grad_()

    def attended(self, *arguments: Any) -> Tensor:
        """What `ops.attention` calls, once in a layer."""
        assert self.call is None
        scale, stick, slopes, bias, table, *inputs = arguments
        given = {name: x for name, x in zip(ops.INPUTS, inputs, strict=True) if x is not None}
        self.call = Attended(self.place, self.leaves, scale, stick, slopes, bias, table, given)
        return self.call.y

    def forward(self, encoding: Encoding, layer: int, order: Tensor, pos: Tensor, progress: Tensor) -> None:
        q, k, v = self.leaves.values()
        with torch.enable_grad(), ops.attending(self.attended):
            self.y = hooks(encoding, At(layer, self.h, v, order, pos, {}, progress), q, k, v)
        self.written = self.y.detach().float().transpose(1, 2).contiguous()  # as the next product reads it
        self.place.call.y = self.written.data_ptr()

    def backward(self) -> None:
        """Write the gradients of q, k, v and the normalised input."""
        place, call = self.place, self.call
        if call is not None and self.y is call.y:
            call.backward(place.gy)
        else:
            torch.autograd.backward(self.y, place.gy.type_as(self.y))
            if call is not None and call.y.grad is not None:
                call.backward(call.y.grad)
        for name, leaf in self.leaves.items():
            if leaf.grad is None:
                place.gradients[name].zero_()
            elif leaf.grad is not place.gradients[name]:
                place.gradients[name].copy_(leaf.grad)
        gh = self.h.grad
        self.gh = None if gh is None else gh.contiguous()
        place.call.gh = None if self.gh is None else self.gh.data_ptr()


def constant_spectrum(encoding: Encoding) -> bool:
    """Whether a `Rotary` has one spectrum for all heads that nothing learns, as the step in C has it."""
    frequencies = getattr(encoding, "frequencies", None)
    return (
        isinstance(frequencies, Tensor)
        and not frequencies.requires_grad
        and frequencies.shape == (encoding.shape.head_dim // 2,)
    )


class Middle:
    """The encoding of a model in a step: what is done in each layer, between `begin` and `end`."""

    def __init__(self, lm: LM):
        self.lm, self.encoding, kind = lm, lm.encoding, type(lm.encoding)
        self.rotary = kind.qk is Rotary.qk and constant_spectrum(lm.encoding)
        others = any(map(kind.defines, declared.HOOKS[2:])) or kind.defines("positions")
        self.silent = (self.rotary or not kind.defines("qk")) and not others
        self.embeds = kind.defines("embed") or "embed" in vars(lm.encoding)
        self.orders, self.turns = dict[int, Tensor](), dict[int, tuple[Tensor, Tensor]]()
        self.declarer = declared.declarer(lm.encoding)
        self.by_hooks = not self.silent and self.declarer is None
        self.in_c = not self.embeds and not self.by_hooks and (self.declarer is None or self.declarer.in_c)
        self.reads_input = self.by_hooks or (self.declarer is not None and self.declarer.reads_input)

    def laid(self, arena: Arena, places: list[Place]) -> declared.Declarer | None:
        """What computes the declarations of the encoding in these places, where its hooks need not run."""
        if self.declarer is None:
            return None
        return self.declarer(self.encoding, arena, [p.call for p in places], [p.attention for p in places])

    def begin(self, tokens: Tensor, places: list[Place], own: declared.Declarer | None) -> None:
        """Before a step: positions of the tokens (B, T) and rotations."""
        self.readings = list[Reading]()
        length = tokens.shape[1]
        if length not in self.orders:
            self.orders[length] = torch.arange(length)
        self.order = self.orders[length]
        self.pos = self.encoding.positions(self.order, tokens, {})
        turns = self.turned(length).data_ptr() if self.silent and self.rotary else None
        for place in places:
            place.call.turns = turns
        if own:
            own.begin(self.order, self.pos, self.lm.progress)

    def turned(self, length: int) -> Tensor:
        """Cosines and sines of all angles by which `Rotary` turns so many tokens, kept as long as its frequencies."""
        frequencies = cast(Rotary, self.encoding).frequencies
        if length not in self.turns or not torch.equal(self.turns[length][0], frequencies):
            angle = self.order[:, None] * frequencies
            self.turns[length] = frequencies.clone(), torch.cat([angle.cos(), angle.sin()], dim=-1)
        return self.turns[length][1]

    def embed(self, x: Tensor) -> list[Step]:
        """What adds to the embeddings x (B, T, D), in place."""
        return [functools.partial(self.add, x)] if self.embeds else []

    def add(self, x: Tensor) -> None:
        """Run the hook `embed`."""
        leaf = x.data.requires_grad_()
        with torch.enable_grad():
            self.embedded = leaf, self.encoding.embed(leaf, self.pos)
        if self.embedded[1] is not leaf:
            x.copy_(self.embedded[1].detach())

    def embed_back(self, gx: Tensor) -> list[Step]:
        """What turns the gradient of what `embed` returned into the gradient of the embeddings, in place."""
        return [functools.partial(self.add_back, gx)] if self.embeds else []

    def add_back(self, gx: Tensor) -> None:
        """The way back through the hook `embed`."""
        leaf, out = self.embedded
        if out is not leaf:
            out.backward(gx)
            assert leaf.grad is not None
            gx.copy_(leaf.grad)

    def forward(self, n: int, place: Place, own: declared.Declarer | None) -> list[Step]:
        """The steps from q, k and v of layer n to what attention read."""
        if self.by_hooks:
            return [functools.partial(self.read, n, place)]
        return [*(own.forth(n) if own else ()), attention(place, "forward")]

    def backward(self, n: int, place: Place, own: declared.Declarer | None) -> list[Step]:
        """The steps from the gradient of what attention read to the gradients of q, k, v and the normalised input."""
        if self.by_hooks:
            return [self.read_back]
        return [attention(place, "backward"), *(own.back(n) if own else ())]

    def read(self, n: int, place: Place) -> None:
        """Run the hooks and attention of layer n."""
        self.readings.append(Reading(place))
        self.readings[-1].forward(self.encoding, n, self.order, self.pos, self.lm.progress)

    def read_back(self) -> None:
        """The way back through the last of the layers that are left."""
        self.last = self.readings.pop()  # the block reads its gradients after this
        self.last.backward()


def attention(place: Place, way: str) -> Part:
    """Attention "forward" or "backward", as far as it is known before the step."""
    return Part(f"{'short' if place.attention.kept else 'attention'}_{way}", place.attention)
