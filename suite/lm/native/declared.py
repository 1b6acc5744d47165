"""Encodings whose declarations the native step computes itself, forth and back, without autograd (declared.h).

What they declare is defined by their hooks in PyTorch. Each class here stands for the hooks of one class there, and
serves the encodings that have exactly these hooks, and tensors of the shapes that the C code trusts.
"""

import ctypes
import functools
from collections.abc import Sequence
from typing import Any, ClassVar, Protocol, cast

import torch
from torch import Tensor

from pebench.encodings.alibi import Sloped
from pebench.encodings.base import At, Encoding
from pebench.encodings.drope import DroPE
from pebench.encodings.fox import Forgetting
from pebench.encodings.grape_a import GrapeA
from pebench.encodings.grape_ap import Projected
from pebench.encodings.grape_m import GrapeM, GrapeMPerHead
from pebench.encodings.rope_pp import RoPEPlusPlus
from pebench.encodings.t5_bias import Bucketed, bucket
from pebench.encodings.turning import Turning
from pebench.suite.lm.native import ops
from pebench.suite.lm.native.build import library
from pebench.suite.lm.native.parts import Part, Step

HOOKS = (
    *(
        "positions",
        "qk",
        "columns",
        "bias",
        "by_distance",
        "weights",
        "form",
        "valid_form",
        "values",
        "output",
    ),
)
SIZES = ("batches", "tokens", "heads", "width", "features", "gradient", "of_query", "of_key", "turns", "free")
BLOCK = ("batches", "tokens", "heads", "width", "gradient", "h", "gh", "q", "k", "gq", "gk")  # of the layer


class DeclaredCall(ctypes.Structure):
    """The arguments of declared.h: `Declared`."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in SIZES),
        *((name, ctypes.c_void_p) for name in ("h", "gh", "q", "k", "gq", "gk", "weight", "bias", "slope", "fixed")),
        *((name, ctypes.c_void_p) for name in ("left", "right", "gleft", "gright", "kept", "room", "packed")),
    ]  # fmt: skip


class Room(Protocol):
    """Memory of the step, by address."""

    def take(self, *shape: int, each: int = 4) -> int: ...

    def tensor(self, address: int, *shape: int) -> Tensor: ...


class Declarer:
    """What stands in the place of an encoding's hooks for batches of one shape.

    It takes room in each layer, and tells the layer's attention once what it will find there.
    """

    of: ClassVar[type[Encoding]]  # whose hooks
    helpers: ClassVar[tuple[str, ...]] = ()  # what else of it those hooks call
    reads_input = False
    in_c = True  # all that it does in a layer

    def __init__(self, encoding: Any, room: Room, blocks: Sequence[Any], attentions: Sequence[ops.Call]):
        raise NotImplementedError

    @classmethod
    def serves(cls, encoding: Any) -> bool:
        """Whether this encoding has these hooks, no others, and tensors as they are read here."""
        kind, names = type(encoding), {*HOOKS, *cls.helpers}
        return (
            isinstance(encoding, cls.of)
            and not names & vars(encoding).keys()
            and all(getattr(kind, name) is getattr(cls.of, name) for name in names)
            and cls.fits(encoding)
        )

    @classmethod
    def fits(cls, encoding: Any) -> bool:
        """Whether its tensors have the shapes that are read here."""
        raise NotImplementedError

    def begin(self, order: Tensor, pos: Tensor, progress: Tensor) -> None:
        """Before a step: the tokens' places in the text, what `positions` returned, and the share of the training."""

    def forth(self, layer: int) -> list[Step]:
        """What is to be done before a layer's attention."""
        return []

    def back(self, layer: int) -> list[Step]:
        """What is to be done after it, on the way back."""
        return []

    def end(self) -> None:
        """After the gradients of all layers."""


class Slopes(Declarer):
    """ALiBi's column, which no parameter reaches."""

    of = Sloped

    def __init__(self, encoding: Any, room: Room, blocks: Sequence[Any], attentions: Sequence[ops.Call]):
        tokens = blocks[0].tokens
        self.column = encoding.slopes[:, None] * torch.arange(tokens)
        for attention in attentions:
            attention.columns, attention.qc = 1, ops.View(ONE.data_ptr(), 0, 0, 0)
            attention.kc = ops.View(self.column.data_ptr(), 0, tokens, 1)

    @classmethod
    def fits(cls, encoding: Any) -> bool:
        return constant(encoding.slopes, encoding)


class Table(Declarer):
    """T5's table of distances, one for all layers, gathered from buckets."""

    of = Bucketed

    def __init__(self, encoding: Any, room: Room, blocks: Sequence[Any], attentions: Sequence[ops.Call]):
        heads, tokens = blocks[0].heads, blocks[0].tokens
        self.buckets = encoding.table
        self.index = bucket(torch.arange(tokens).float(), encoding.buckets, encoding.max_distance)
        self.padded = ops.by_lane(torch.zeros(heads, tokens))
        self.gpadded = torch.zeros_like(self.padded)
        here = slice(ops.lanes(), ops.lanes() + tokens)
        self.table, self.gtable = self.padded[:, here], self.gpadded[:, here]
        for attention in attentions:
            attention.table, attention.gtable = self.padded.data_ptr(), self.gpadded.data_ptr()

    @classmethod
    def fits(cls, encoding: Any) -> bool:
        return bool(encoding.table.shape == (encoding.shape.heads, encoding.buckets))

    def begin(self, order: Tensor, pos: Tensor, progress: Tensor) -> None:
        self.table.copy_(self.buckets.detach().index_select(1, self.index))
        self.gpadded.zero_()

    def end(self) -> None:
        self.buckets.grad.index_add_(1, self.index, self.gtable)


class Computed(Declarer):
    """What is computed anew in each layer, by a pair of functions of declared.h."""

    part: ClassVar[str]

    def __init__(self, encoding: Any, room: Room, blocks: Sequence[Any], attentions: Sequence[ops.Call]):
        self.encoding, self.calls = encoding, list[DeclaredCall]()
        for layer, (block, attention) in enumerate(zip(blocks, attentions, strict=True)):
            call = DeclaredCall(**{name: getattr(block, name) for name in BLOCK})
            self.take(call, room, layer, attention)
            self.calls.append(call)

    def take(self, call: DeclaredCall, room: Room, layer: int, attention: ops.Call) -> None:
        raise NotImplementedError

    def forth(self, layer: int) -> list[Step]:
        return [Part(f"declared_{self.part}", self.calls[layer])]

    def back(self, layer: int) -> list[Step]:
        return [Part(f"declared_{self.part}_back", self.calls[layer])]


class Gates(Computed):
    """FoX's column, the running sum of its gates."""

    of, part, reads_input = Forgetting, "gates", True

    @classmethod
    def fits(cls, encoding: Any) -> bool:
        layers, heads, width = encoding.shape.layers, encoding.shape.heads, encoding.shape.width
        return bool(
            encoding.weight.shape == (layers, heads, width) and encoding.gate_bias.shape == (layers, heads)
        )

    def take(self, call: DeclaredCall, room: Room, layer: int, attention: ops.Call) -> None:
        heads, tokens = call.heads, call.tokens
        rows = call.batches * tokens
        call.weight, call.bias = (
            self.encoding.weight[layer].data_ptr(),
            self.encoding.gate_bias[layer].data_ptr(),
        )
        call.right, call.gright, call.kept, call.room = (room.take(rows, heads) for _ in range(4))
        call.packed = packed(room, call, heads)
        attention.columns, attention.qc = 1, ops.View(ONE.data_ptr(), 0, 0, 0)
        attention.kc, attention.gkc = (
            ops.View(at, heads * tokens, tokens, 1) for at in (call.right, call.gright)
        )


class Gated(Computed):
    """GRAPE-A's columns, from slopes that q and k gate."""

    of, part, helpers = GrapeA, "slopes", ("direction", "gated_slope")

    @classmethod
    def fits(cls, encoding: Any) -> bool:
        layers, heads, d = encoding.shape.layers, encoding.shape.heads, encoding.shape.head_dim
        gates = [
            getattr(encoding, f"{side}_gate")
            for side in ("query", "key")
            if getattr(encoding, f"{side}_gated")
        ]
        return (
            bool(gates)
            and constant(encoding.slopes, encoding)
            and encoding.log_slope.shape == (layers, heads)
            and all(gate.shape == (layers, heads, d) for gate in gates)
        )

    def take(self, call: DeclaredCall, room: Room, layer: int, attention: ops.Call) -> None:
        encoding, heads, tokens = self.encoding, call.heads, call.tokens
        call.of_query, call.of_key, call.free = encoding.query_gated, encoding.key_gated, encoding.free
        if encoding.query_gated:
            call.weight = encoding.query_gate[layer].data_ptr()
        if encoding.key_gated:
            call.bias = encoding.key_gate[layer].data_ptr()
        call.slope, call.fixed = encoding.log_slope[layer].data_ptr(), encoding.slopes.data_ptr()
        n = attention.columns = call.of_query + 2 * call.of_key
        rows = call.batches * tokens
        for name in ("left", "right", "gleft", "gright"):
            setattr(call, name, room.take(rows, heads, n))
        call.kept, call.room = room.take(2, call.batches * heads, tokens + LANES), room.take(tokens + LANES)
        along = n * heads * tokens, n * tokens, n
        attention.qc, attention.kc = ops.View(call.left, *along), ops.View(call.right, *along)
        attention.gqc, attention.gkc = ops.View(call.gleft, *along), ops.View(call.gright, *along)


class Paths(Computed):
    """GRAPE-AP's path costs, from a projection of the input."""

    of, part, helpers, reads_input = Projected, "path", ("feature",), True

    @classmethod
    def fits(cls, encoding: Any) -> bool:
        shape, f = encoding.shape, encoding.features
        return (
            f % 2 == 0
            and constant(encoding.slopes, encoding)
            and encoding.weight.shape == (shape.layers, shape.heads * f, shape.width)
        )

    def take(self, call: DeclaredCall, room: Room, layer: int, attention: ops.Call) -> None:
        encoding, heads, tokens = self.encoding, call.heads, call.tokens
        f = call.features = attention.path_width = encoding.features
        if layer == 0:
            angle = torch.arange(tokens).float()
            self.turn = torch.cat([angle.cos(), angle.sin()])
        rows = call.batches * tokens
        call.of_query, call.turns = encoding.normalise_query, encoding.turns
        call.weight, call.fixed = encoding.weight[layer].data_ptr(), self.turn.data_ptr()
        for name in ("left", "right", "gleft", "gright"):
            setattr(call, name, room.take(rows, heads, f))
        call.kept, call.packed = room.take(rows, heads, f + 1), packed(room, call, heads * f)
        along = tokens * heads * f, f, heads * f
        attention.p, attention.r = ops.View(call.left, *along), ops.View(call.right, *along)
        attention.gp, attention.gr = ops.View(call.gleft, *along), ops.View(call.gright, *along)
        attention.slopes, attention.path_scale = encoding.slopes.data_ptr(), 1 / f


def sharpened(encoding: DroPE, at: At) -> Tensor | None:
    """The factor (T, 1) of q, or None where all are 1."""
    if len(at.order) <= encoding.shape.train_length or at.progress < encoding.share:
        return None
    return encoding.factor(at)


TURNED = {kind.qk for kind in (Turning, GrapeM, GrapeMPerHead, DroPE)}  # by what the method `angle` returns


class Turns(Declarer):
    """Rotations by one angle a token and plane. Autograd goes over the angles alone, which are computed in PyTorch."""

    reads_input, in_c = True, False

    def __init__(self, encoding: Any, room: Any, blocks: Sequence[Any], attentions: Sequence[ops.Call]):
        self.encoding = encoding
        self.calls = [DeclaredCall(**{name: getattr(block, name) for name in BLOCK}) for block in blocks]
        b, t, w, heads = (getattr(blocks[0], name) for name in ("batches", "tokens", "width", "heads"))
        self.h, self.gh = ([room.tensor(getattr(x, n), b, t, w) for x in blocks] for n in ("h", "gh"))
        self.q, self.k, self.v, self.gq, self.gk, self.gv = (
            [room.tensor(getattr(x, n), b, heads, t, w // heads) for x in blocks]
            for n in ("q", "k", "v", "gq", "gk", "gv")
        )

    def angle(self, encoding: Any, at: At) -> Tensor:
        """How far each plane has turned."""
        angle: Tensor = encoding.angle(at)
        return angle

    @classmethod
    def serves(cls, encoding: Any) -> bool:
        kind = type(encoding)
        others = set(HOOKS) - {"positions", "qk"}
        return (
            kind.qk in TURNED
            and (kind.qk is not DroPE.qk or kind.factor is DroPE.factor)
            and not {*HOOKS, "angle", "factor"} & vars(encoding).keys()
            and not any(map(kind.defines, others))
        )

    def begin(self, order: Tensor, pos: Tensor, progress: Tensor) -> None:
        self.where = order, pos
        self.progress, self.kept = (
            progress,
            list[tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor | None]](),
        )

    def forth(self, layer: int) -> list[Step]:
        return [functools.partial(self.turn, layer)]

    def back(self, layer: int) -> list[Step]:
        return [functools.partial(self.turn_back, layer)]

    def turn(self, layer: int) -> None:
        """Rotate q and k."""
        leaf, leaf_v = (side[layer].data.requires_grad_() for side in (self.h, self.v))
        call = self.calls[layer]
        with torch.enable_grad():
            at = At(layer, leaf, leaf_v, *self.where, {}, self.progress)
            angle = self.angle(self.encoding, at)
            angle = angle.expand(torch.broadcast_shapes(angle.shape, (call.tokens, leaf_v.shape[-1] // 2)))
        full = angle.detach()[(None,) * (4 - angle.dim())].contiguous()
        cosine, sine = full.cos(), full.sin()
        factor = sharpened(self.encoding, at) if isinstance(self.encoding, DroPE) else None
        self.kept.append((leaf, leaf_v, angle, cosine, sine, factor))
        call.of_query, call.of_key = full.shape[:2]
        call.left, call.right = cosine.data_ptr(), sine.data_ptr()
        function("turn")(call)
        if factor is not None:
            self.q[layer].mul_(factor)

    def turn_back(self, layer: int) -> None:
        """Rotate their gradients back; the gradient of the normalised input."""
        leaf, leaf_v, angle, cosine, _, factor = self.kept.pop()
        if factor is not None:
            self.gq[layer].mul_(factor)
        g, call = torch.zeros_like(cosine), self.calls[layer]
        call.gleft = g.data_ptr() if angle.requires_grad else None
        function("turn_back")(call)
        if angle.requires_grad:
            angle.backward(g.view_as(angle))
        if leaf_v.grad is not None:
            self.gv[layer].add_(leaf_v.grad)
        if leaf.grad is None:
            self.gh[layer].zero_()
        else:
            self.gh[layer].copy_(leaf.grad)


def back_by_a_quarter(x: Tensor, times: int) -> None:
    """Turn the planes (m, m + d/2) of x (..., d) back by a quarter, or by minus a quarter, in place."""
    a, b = x.chunk(2, dim=-1)
    turned = times * b, -times * a
    for part, new in zip((a, b), turned, strict=True):
        part.copy_(new)


class Pairs(Turns):
    """RoPE++: q, k and v of each even head are the next head's too, whose query is turned back by a quarter."""

    @classmethod
    def serves(cls, encoding: Any) -> bool:
        kind, own = type(encoding), ("qk", "values")
        return (
            isinstance(encoding, RoPEPlusPlus)
            and not set(HOOKS) & vars(encoding).keys()
            and all(getattr(kind, name) is getattr(RoPEPlusPlus, name) for name in own)
            and not any(map(kind.defines, set(HOOKS) - {"positions", *own}))
        )

    def angle(self, encoding: Any, at: At) -> Tensor:
        angle: Tensor = at.place * encoding.frequencies
        return angle

    def turn(self, layer: int) -> None:
        for x in (self.q[layer], self.k[layer], self.v[layer]):
            second = x[:, 1::2]
            second.copy_(x[:, ::2][:, : second.shape[1]])
        back_by_a_quarter(self.q[layer][:, 1::2], 1)
        super().turn(layer)

    def turn_back(self, layer: int) -> None:
        super().turn_back(layer)
        back_by_a_quarter(self.gq[layer][:, 1::2], -1)
        for g in (self.gq[layer], self.gk[layer], self.gv[layer]):
            second = g[:, 1::2]
            g[:, ::2][:, : second.shape[1]] += second
            second.zero_()


def declarer(encoding: Encoding) -> type[Declarer] | None:
    """The class that serves this encoding, if one does."""
    kinds: tuple[type[Declarer], ...] = (Slopes, Table, Gates, Gated, Paths, Turns, Pairs)
    return next((kind for kind in kinds if kind.serves(encoding)), None)


LANES = 16  # at least those of a vector
ONE = torch.ones(LANES)  # a vector may be read where one number is meant


def constant(slopes: Tensor, encoding: Encoding) -> bool:
    """Whether these are constants, one a head."""
    return slopes.shape == (encoding.shape.heads,) and not slopes.requires_grad and ops.usable(slopes)


def packed(room: Room, call: DeclaredCall, n: int) -> int:
    """Room for a matrix (n, width) in panels of at most 64 columns, either way; or for 64 columns of all tokens."""
    return room.take(max((call.width + 64) * (n + 64), 64 * call.batches * call.tokens))


@functools.cache
def function(name: str) -> Any:
    """A function of declared.h."""
    found = cast(ctypes.CDLL, library())[f"declared_{name}"]
    found.argtypes, found.restype = [ctypes.POINTER(DeclaredCall)], None
    return found
