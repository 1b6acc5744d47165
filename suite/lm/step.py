"""The native training step of the standard LM: forward, backward, clipping and AdamW, without autograd between them.

Parameters, gradients and moments lie in flat buffers, what a step keeps in one arena. Each layer is two parts in C
(suite/lm/native/step.c), and between them the encoding (suite/lm/middle.py). The model in PyTorch is the
definition, and runs wherever `serves` says no.
"""

import contextlib
import ctypes
import functools
import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Protocol, cast

import torch
from torch import Tensor, nn

from pebench.suite.lm import precision
from pebench.suite.lm.middle import Arena, LayerCall, Middle, Place
from pebench.suite.lm.model import LM, Attention, Block, LengthError, RMSNorm, SwiGLU
from pebench.suite.lm.native import ops
from pebench.suite.lm.native.build import library
from pebench.suite.lm.native.declared import Declarer
from pebench.suite.lm.native.parts import Part, Step, joined
from pebench.tasks.base import IGNORE, Batch

TILE, PANEL = 96, 64  # tokens, columns: at least those of step.c
CACHE, KEPT = 3_500_000, 68  # bytes: of a cache, and what a step keeps of a token, by width and layer
GROUP = 16  # heads that short attention takes at once
ROUND = 16  # parameters begin at multiples of so many floats
SPREAD = 16  # the gradient of one token's loss, in half precision: small ones must not vanish


class HeadCall(ctypes.Structure):
    """The arguments of embedding and head: `Head` of step.c."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("rows", "width", "vocab", "asked", "ignored", "gradient")),
        *((name, ctypes.c_void_p) for name in ("tokens", "targets", "embedding", "gain", "forth", "back")),
        *((name, ctypes.c_void_p) for name in ("first", "x", "gx", "room", "room_left", "room_right")),
        *((name, ctypes.c_float) for name in ("scale", "loss")),
    ]  # fmt: skip


class AdamW(Protocol):
    """What the step takes over of an optimiser: lists with an entry for each parameter."""

    parameters: list[Tensor]
    decays: list[float]  # one rate, or 0
    means: list[Tensor]
    squares: list[Tensor]
    steps: list[Tensor]
    betas: tuple[float, float]
    eps: float


class Flat:
    """All parameters that an optimiser trains, its moments and the gradients, each kind in one buffer."""

    def __init__(self, opt: AdamW):
        self.opt, self.decay = opt, max(opt.decays)
        order = sorted(range(len(opt.parameters)), key=lambda n: opt.decays[n] == 0)  # those that decay first
        ends = list(accumulate((-(-opt.parameters[n].numel() // ROUND) * ROUND for n in order), initial=0))
        self.decayed = ends[sum(decay > 0 for decay in opt.decays)]
        self.values, self.gradients, self.means, self.squares = (torch.zeros(ends[-1]) for _ in range(4))
        self.count = torch.stack(opt.steps).amax()
        for n, start in zip(order, ends[:-1], strict=True):
            p = opt.parameters[n]

            def here(buffer: Tensor, p: Tensor = p, start: int = start) -> Tensor:
                return buffer[start : start + p.numel()].view(p.shape)

            opt.means[n], opt.squares[n] = (
                here(self.means).copy_(opt.means[n]),
                here(self.squares).copy_(opt.squares[n]),
            )
            p.data, p.grad = here(self.values).copy_(p.detach()), here(self.gradients)
            opt.steps[n] = self.count
        self.addresses = [p.data_ptr() for p in opt.parameters]

    def check(self) -> None:
        """RuntimeError where a parameter or its gradient is here no more: the parts in C would write elsewhere."""
        far = 4 * self.distance()
        for p, at in zip(self.opt.parameters, self.addresses, strict=True):
            if p.data_ptr() != at or p.grad is None or p.grad.data_ptr() != at + far:
                raise RuntimeError(
                    "a parameter was moved or its gradient dropped since the native step took it over; "
                    "after `release`, `.to` or `zero_grad` make a new step"
                )

    def distance(self) -> int:
        """How many floats from a parameter to its gradient."""
        return (self.gradients.data_ptr() - self.values.data_ptr()) // 4

    def update(self, scale: float, clip: float, rate: float) -> float:
        """Clip and take a step of AdamW; the norm of the gradients. Where it is not finite, nothing is done."""
        (beta1, beta2), count = self.opt.betas, self.count.item() + 1
        norm: float = updating()(
            *(x.data_ptr() for x in (self.values, self.gradients, self.means, self.squares)),
            self.values.numel(), self.decayed, scale, clip, rate / (1 - beta1**count), (1 - beta2**count) ** -0.5,
            1 - rate * self.decay, beta1, beta2, self.opt.eps,
        )  # fmt: skip
        if math.isfinite(norm):
            self.count += 1
        return norm

    def release(self) -> None:
        """Give every parameter and every moment memory of its own again."""
        for p in self.opt.parameters:
            p.data, p.grad = p.detach().clone(), None
        for kind in (self.opt.means, self.opt.squares, self.opt.steps):
            kind[:] = [x.clone() for x in kind]


def in_full() -> contextlib.AbstractContextManager[object]:
    """Without autocast, at no cost where there is none."""
    on = torch.is_autocast_enabled("cpu")
    return torch.autocast("cpu", enabled=False) if on else contextlib.nullcontext()


@functools.cache
def counting() -> Any:
    """`step_asked` of step.c."""
    found = cast(ctypes.CDLL, library())["step_asked"]
    found.argtypes, found.restype = [*[ctypes.c_void_p] * 2, *[ctypes.c_int64] * 3], ctypes.c_int64
    return found


@functools.cache
def updating() -> Any:
    """`step_update` of step.c."""
    found = cast(ctypes.CDLL, library())["step_update"]
    found.argtypes = [*[ctypes.c_void_p] * 4, *[ctypes.c_int64] * 2, *[ctypes.c_float] * 8]
    found.restype = ctypes.c_float
    return found


@dataclass
class Layout:
    """Where a step over texts of one shape keeps what, and what it does."""

    packs: list[Callable[[], None]]  # once for all texts of a batch
    parts: list[Callable[[], None]]
    head: HeadCall
    places: list[Place]
    own: Declarer | None


class NativeStep:
    """Takes training steps of a model that `serves` accepts, and of its optimiser."""

    def __init__(self, lm: LM, opt: AdamW, clip: float):
        self.lm, self.clip = lm, clip
        self.flat = Flat(opt)
        self.middle = Middle(lm)
        self.layouts: dict[tuple[int, int, bool], Layout] = {}
        self.memory = torch.empty(0, dtype=torch.uint8)

    def __call__(self, data: Batch, rate: float) -> tuple[float, float]:
        """Loss and norm of the gradients; the step is taken where both are finite.

        A step that overflows in half precision is computed again in float32, with the same random numbers.
        """
        half = multiplies_half()
        state = torch.get_rng_state() if half else None
        loss, norm = self.attempt(data, rate, half)
        if state is not None and not (math.isfinite(loss) and math.isfinite(norm)):
            torch.set_rng_state(state)
            loss, norm = self.attempt(data, rate, False)
        return loss, norm

    def attempt(self, data: Batch, rate: float, half: bool) -> tuple[float, float]:
        """A step with products in this precision."""
        loss, scale = self.gradients(*data, half)
        return loss, self.flat.update(scale, self.clip, rate) if math.isfinite(loss) else math.nan

    def gradients(self, tokens: Tensor, targets: Tensor, half: bool) -> tuple[float, float]:
        """Forward and backward. The loss, and the factor by which all gradients are too large."""
        self.flat.check()
        limit = self.lm.encoding.max_length
        if limit is not None and tokens.shape[1] > limit:
            raise LengthError(f"{tokens.shape[1]} tokens, but this encoding is defined up to {limit}")
        batches, length = tokens.shape
        sizes = self.pieces(batches, length)
        pieces = list(zip(tokens.contiguous().split(sizes), targets.contiguous().split(sizes), strict=True))
        layouts = {
            len(piece): self.layout(len(piece), length, half) for piece, _ in pieces
        }  # the largest first
        asked = self.asked(tokens, targets)
        scale = float(SPREAD * 2 ** (asked - 1).bit_length()) if half else 1.0
        self.flat.gradients.zero_()
        loss = 0.0
        with torch.no_grad(), in_full():
            for layout in layouts.values():
                layout.head.asked, layout.head.scale = asked, scale
                self.middle.begin(tokens, layout.places, layout.own)
            for part in layouts[len(pieces[0][0])].packs:
                part()
            for piece, wanted in pieces:
                layout = layouts[len(piece)]
                layout.head.tokens, layout.head.targets = piece.data_ptr(), wanted.data_ptr()
                for part in layout.parts:
                    part()
                loss += layout.head.loss
            for layout in layouts.values():
                if layout.own:
                    layout.own.end()
        return loss, scale

    def asked(self, tokens: Tensor, targets: Tensor) -> int:
        """How many tokens have a target; IndexError where a token or a target is not in the vocabulary."""
        last = self.lm.size.vocab - 1
        tokens, targets = tokens.contiguous(), targets.contiguous()
        found = int(counting()(tokens.data_ptr(), targets.data_ptr(), tokens.numel(), last + 1, IGNORE))
        if found < 0:
            raise IndexError(f"a token or a target is not in 0 to {last}")
        return found

    def pieces(self, batches: int, tokens: int) -> list[int]:
        """How many texts go through all layers, forth and back, before the next ones; the largest number first.

        All of them, unless a cache holds what a step keeps of some hundred tokens, and all that is done is in C.
        """
        size = self.lm.size
        held = CACHE // (KEPT * size.layers * size.width)
        if held < 2 * TILE or not self.middle.in_c:
            return [batches]
        whole = max(1, GROUP // size.heads) if tokens <= ops.SHORT else 1
        each = max(1, held // tokens // whole) * whole
        times, rest = divmod(batches, each)
        if times and 2 * rest <= each:
            return [each + rest] + [each] * (times - 1)
        return [each] * times + [rest]

    def release(self) -> None:
        """Give the parameters memory of their own again; no step can follow."""
        self.flat.release()

    def layout(self, batches: int, tokens: int, half: bool) -> Layout:
        """The layout of batches of this shape, kept from the last time."""
        key = batches, tokens, half
        if key not in self.layouts:
            arena = Arena(self.memory)
            layout = self.laid_out(arena, *key)
            if arena.used > len(self.memory):
                self.layouts.clear()  # they point into the old memory
                self.memory = torch.empty(arena.used, dtype=torch.uint8)
                layout = self.laid_out(Arena(self.memory), *key)
            self.layouts[key] = layout
        return self.layouts[key]

    def laid_out(self, arena: Arena, batches: int, tokens: int, half: bool) -> Layout:
        size, rows, each = self.lm.size, batches * tokens, 2 if half else 4
        width, hidden, heads, vocab = size.width, size.hidden, size.heads, size.vocab
        take, distance = arena.take, self.flat.distance()
        wide = max(width, vocab + PANEL)

        def packed(name: str, matrix: Tensor, each: int) -> dict[str, int]:
            out, into = matrix.shape
            sizes = {"forth": (into, -(-out // PANEL)), "back": (out, -(-into // PANEL))}
            return {f"{name}{way}": take(*s, PANEL, each=each) for way, s in sizes.items()}

        blocks = cast(list[Block], list(self.lm.blocks))
        matrices = [
            {
                "qkv": block.attention.qkv.weight, "out": block.attention.out.weight,
                "gate_up": block.mlp.gate_up.weight, "down": block.mlp.down.weight,
            }
            for block in blocks
        ]  # fmt: skip
        # What does not depend on the number of texts comes first: all layouts find it at the same place.
        packs = [
            {key: at for name, m in inside.items() for key, at in packed(f"{name}_", m, each).items()}
            for inside in matrices
        ]
        head_packs = packed("", self.lm.embedding.weight, 4)
        room = {
            "room": take(TILE, max(2 * hidden, 4 * width, wide) + width),
            "room_left": take(TILE, max(3 * width, width + 2 * hidden, wide)),
            "room_right": take(TILE, hidden + PANEL),
        }
        gradients = {name: take(rows, width) for name in ("gx", "gq", "gk", "gv", "gy")}

        first = x = take(rows, width)
        ginput = take(rows, width)
        places = list[Place]()
        for block, inside, packs_of in zip(blocks, matrices, packs, strict=True):
            others = {
                "gain1": block.norm1.weight,
                "gain2": block.norm2.weight,
                "temperature": block.attention.temperature,
            }
            call = LayerCall(
                batches=batches, tokens=tokens, rows=rows, width=width, heads=heads, hidden=hidden, gradient=distance,
                **{name: p.data_ptr() for name, p in (inside | others).items()}, **packs_of,
                **{name: take(rows, width) for name in ("x1", "next", "q", "k", "v", "y")},
                x=x, all=take(rows, 3 * width), inverse1=take(rows), inverse2=take(rows), ratio=take(rows, 2 * heads),
                h1=take(rows, width, each=each), h2=take(rows, width, each=each), up=take(rows, 2 * hidden, each=each),
                **gradients, **room,
            )  # fmt: skip
            if self.middle.reads_input:
                call.h = take(rows, width)
                call.gh = None if self.middle.by_hooks else ginput
            x = call.next
            places.append(Place(arena, call))
        head = HeadCall(
            rows=rows, width=width, vocab=vocab, ignored=IGNORE, gradient=distance,
            embedding=self.lm.embedding.weight.data_ptr(), gain=self.lm.norm.weight.data_ptr(),
            **head_packs, first=first, x=x, gx=gradients["gx"], **room,
        )  # fmt: skip
        own = self.middle.laid(arena, places)
        embedded, gx = (arena.tensor(at, batches, tokens, width) for at in (first, gradients["gx"]))
        kind, middle, layers = "half" if half else "float", self.middle, list(enumerate(places))
        packing: list[Step] = [Part(f"step_pack_{kind}", place.call) for place in places]
        steps: list[Step] = [Part("step_embed", head), *middle.embed(embedded)]
        for n, place in layers:
            steps.append(Part(f"step_read_{kind}", place.call))
            steps += middle.forward(n, place, own)
            steps.append(Part(f"step_write_{kind}", place.call))
        steps.append(Part("step_head", head))
        for n, place in reversed(layers):
            steps.append(Part(f"step_write_back_{kind}", place.call))
            steps += middle.backward(n, place, own)
            steps.append(Part(f"step_read_back_{kind}", place.call))
        steps += [*middle.embed_back(gx), Part("step_embed_back", head)]
        return Layout(joined([*packing, Part("step_pack_head", head)]), joined(steps), head, places, own)


def multiplies_half() -> bool:
    """Whether products are in half precision: where the processor has it and the compiler could ask for it."""
    kernels = library() if precision.fast_fp16() else None
    return kernels is not None and bool(kernels.step_half())


def multiplies_in(device: torch.device, lm: nn.Module | None = None) -> precision.Kind:
    """The kind of number that a training step of this model multiplies; without one, of the standard block."""
    native = device.type == "cpu" and (lm is None or serves(lm))
    return "float16" if native and multiplies_half() else precision.multiplies_in(device)


def serves(lm: nn.Module) -> bool:
    """Whether the native step can train this model: the standard block as it stands here, in float32 on one CPU thread.

    A model with modules of other classes, with hooks on its modules or on all, or with frozen parameters trains in
    PyTorch.
    """
    if type(lm) is not LM or nn.modules.module._has_any_global_hook() or not ops.usable(*lm.parameters()):
        return False
    if precision.fast_bf16(torch.device("cpu")) and not multiplies_half():
        return False  # PyTorch's products are in bfloat16 there
    inside = set(lm.encoding.modules())
    standard = (LM, Block, Attention, RMSNorm, SwiGLU, nn.Linear, nn.Embedding, nn.ModuleList)
    return all(p.requires_grad for p in lm.parameters()) and all(
        not hooked(m) and (m in inside or type(m) in standard) for m in lm.modules()
    )


def hooked(module: nn.Module) -> bool:
    """Whether calling this module would do more than its class says."""
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, kind) for kind in kinds) or "forward" in vars(module)
