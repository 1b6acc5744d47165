"""Longer contexts at evaluation time: a trained encoding read in another way, its weights reused.

A method changes frequencies (`Retuned`) or distances (`Regrouped`), and one file with `@method("name")` adds one.
Frequencies come from `Encoding.spectrum`. YaRN's bands count turns at one unit a token: where tokens set the clock
(contextual GRAPE-M, Selective RoPE) they are as if each advanced it by one.
"""

import copy
import functools
import itertools
import math
from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar, NamedTuple, Self, TypeVar, cast

import torch
from torch import Tensor

from pebench.encodings.base import At, Columns, Encoding, Keys, Shape, distance, visible
from pebench.encodings.registry import EncodingError, UnknownName, load_file, names, source
from pebench.encodings.streams import build
from pebench.encodings.tools import beside
from pebench.encodings.wrapper import Wrapper
from pebench.suite.results.names import name_problem


def pi(frequencies: Tensor, factor: float, length: int) -> Tensor:
    """Position interpolation: all frequencies divided by the factor (Chen et al., 2023, arXiv:2306.15595).

    >>> pi(torch.tensor([1.0, 0.01]), 4.0, 1024)
    tensor([0.2500, 0.0025])
    """
    return frequencies / factor


def ntk(frequencies: Tensor, factor: float, length: int) -> Tensor:
    """A larger base: the fastest plane stays, the slowest is divided by the factor (bloc97, 2023).

    The base times factor^(d/(d-2)) is plane m of n divided by factor^(m/(n-1)).

    >>> ntk(torch.tensor([1.0, 0.1, 0.01]), 4.0, 1024)
    tensor([1.0000, 0.0500, 0.0025])
    """
    planes = frequencies.shape[-1]
    return frequencies * factor ** (-torch.arange(planes, device=frequencies.device) / max(1, planes - 1))


def yarn(frequencies: Tensor, factor: float, length: int) -> Tensor:
    """Planes that turn 32 times in training stay, those below one turn are divided (Peng et al., 2024).

    Between the two lies a ramp over the planes' indices, its ends rounded outwards, as in jquesnelle/yarn and
    Hugging Face transformers. The paper's text has the ramp linear in the number of turns instead. The index of a
    plane follows from its frequency, so learned spectra have one too. `sharpening` belongs to it.
    """
    used = frequencies.clamp(min=torch.finfo(frequencies.dtype).tiny).log()
    top = used.amax(-1, keepdim=True)
    planes = (frequencies > 0).sum(-1, keepdim=True)
    slowest = used.masked_fill(frequencies <= 0, math.inf).amin(-1, keepdim=True)
    step = ((top - slowest) / (planes - 1).clamp(min=1)).clamp(min=1e-9)  # log-frequency from plane to plane
    low, high = ((top - math.log(turns * 2 * math.pi / length)) / step for turns in (32, 1))
    low = low.floor().clamp(min=0)
    high = high.ceil().clamp(max=2 * frequencies.shape[-1] - 1)
    ramp = (((top - used) / step - low) / (high - low).clamp(min=1e-3)).clamp(0, 1)
    return frequencies * (1 - ramp + ramp / factor)


def llama3(frequencies: Tensor, factor: float, length: int) -> Tensor:
    """Planes of four turns or more in training stay, those below one are divided (Llama 3.1's `apply_scaling`).

    Between them the share kept is linear in the number of turns. The model's factor is 8 and its length 8,192.

    >>> llama3(2 * torch.pi * torch.tensor([4.0, 2.5, 1.0]), 5.0, 1) / (2 * torch.pi)
    tensor([4.0000, 1.5000, 0.2000])
    """
    turns = frequencies * length / (2 * math.pi)
    kept = ((turns - 1) / 3).clamp(0, 1)
    return frequencies * (kept + (1 - kept) / factor)


def longrope2(frequencies: Tensor, factor: float, length: int) -> Tensor:
    """Planes from a critical one on are divided by the factor, those before it less, as in a larger base.

    Of n planes that turn once in training, the critical one is number 5n/6. LongRoPE2 (Shang et al., 2025, section
    3.2) finds it by a search, at 30 of 35 for LLaMA3-8B and 25 of 31 for Phi3-mini. The search also fits a factor to
    each plane beyond. It needs a trained model and is left out here: `longrope2_searched` is the method with it.

    >>> longrope2(torch.tensor([8.0, 4.0, 2.0, 1.0, 0.5]), 4.0, 6)
    tensor([8.0000, 2.0000, 0.5000, 0.2500, 0.1250])
    """
    share = torch.arange(frequencies.shape[-1], device=frequencies.device) / critical_plane(
        frequencies, length
    )
    return frequencies * factor ** -share.clamp(max=1)


def critical_plane(frequencies: Tensor, length: int) -> Tensor:
    """The number (..., 1) of the plane from which on `longrope2` divides (..., planes) by the whole factor."""
    return (5 * turning(frequencies, length) // 6).clamp(min=1)


def turning(frequencies: Tensor, length: int, turns: float = 1) -> Tensor:
    """How many planes (..., 1) of (..., planes) turn at least so many times in a text of this length."""
    return (frequencies * length >= turns * 2 * math.pi).sum(-1, keepdim=True)


def sharpening(factor: float) -> float:
    """What YaRN multiplies q and k by, each: 0.1 ln(factor) + 1 (Peng et al., 2024).

    >>> round(sharpening(4), 6)
    1.138629
    """
    return 0.1 * math.log(max(1.0, factor)) + 1


class Sharpened(Wrapper):
    """An encoding whose q is multiplied by a constant after it has been turned."""

    title = "sharpened"
    relative = True
    gain = 1.0

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        q, k = super().qk(q, k, at)
        return q * self.gain, k


class Extended(Wrapper):
    """Reads texts longer than any of the training.

    A trained model is measured with the factor of the task's length, which may differ from the factor of its
    tokens. For example, a list of 32 pairs with two in use is shorter than eight lists of four. Built alone, as
    for its certificate and its speed, it is extended by 4.
    """

    alone = 4.0

    @classmethod
    @abstractmethod
    def extend(cls, encoding: Encoding, factor: float) -> Encoding:
        """A copy of a trained encoding for texts `factor` times as long. EncodingError where there is none."""


class Retuned(Extended):
    """A method that changes the frequencies of whatever has some."""

    relative = True
    norm_preserving = True

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.inner = self.extend(self.inner, self.alone)

    @staticmethod
    @abstractmethod
    def change(frequencies: Tensor, factor: float, length: int) -> Tensor:
        """Frequencies (..., planes) for texts `factor` times as long as the training's `length` tokens."""

    @staticmethod
    def gain(factor: float, length: int) -> float:
        """What the dot products of turned q and k are multiplied by."""
        return 1.0

    @classmethod
    def extend(cls, encoding: Encoding, factor: float) -> Encoding:
        parts = [part for part in encoding.modules() if isinstance(part, Encoding)]
        owners = [part for part in parts if part.spectrum() is not None]
        if not owners:
            raise EncodingError(
                f"{encoding.title} has no frequencies to change; extend another encoding, such as rope"
            )
        memo: dict[int, object] = {id(part): cls.retuned(part, factor) for part in owners}
        return copy.deepcopy(encoding, memo)  # each owner replaced by its changed copy

    @classmethod
    @torch.no_grad()
    def retuned(cls, part: Encoding, factor: float) -> Encoding:
        """A copy of this encoding with other frequencies, sharpened where it turns q and k."""
        part = copy.deepcopy(part)
        part.retune(cls.change(cast(Tensor, part.spectrum()), factor, part.shape.train_length))
        gain = cls.gain(factor, part.shape.train_length)
        if gain == 1 or not part.defines("qk"):
            return part
        wrapped = build(Sharpened.over(type(part)), part.shape)
        assert isinstance(wrapped, Sharpened)
        wrapped.inner, wrapped.gain = part, gain
        return wrapped.train(part.training)


class PI(Retuned):
    title = "position interpolation"
    paper = "arXiv:2306.15595"
    formula = r"\theta_m \mapsto \theta_m / s"
    change = staticmethod(pi)


class NTK(Retuned):
    title = "NTK-aware base"
    paper = "bloc97, 2023"
    formula = r"\theta_m \mapsto \theta_m\, s^{-m/(n-1)}"
    change = staticmethod(ntk)


class YaRN(Retuned):
    title = "YaRN"
    paper = "arXiv:2309.00071"
    formula = (
        r"\theta_m \mapsto (1 - \gamma_m)\, \theta_m + \gamma_m\, \theta_m / s,\quad "
        r"q^\top k \mapsto (0.1 \ln s + 1)^2\, q^\top k"
    )
    norm_preserving = False
    change = staticmethod(yarn)

    @staticmethod
    def gain(factor: float, length: int) -> float:
        return sharpening(factor) ** 2


class Llama3(Retuned):
    title = "Llama 3's scaling"
    paper = "arXiv:2407.21783"
    formula = (
        r"\theta_m \mapsto \big(\kappa_m + (1 - \kappa_m)/s\big)\, \theta_m,\quad "
        r"\kappa_m = \mathrm{clip}\big((L\theta_m/2\pi - 1)/3,\ 0,\ 1\big)"
    )
    change = staticmethod(llama3)


class LongRoPE2(Retuned):
    title = "LongRoPE2, without its search"
    paper = "arXiv:2502.20082"
    formula = (
        r"\theta_m \mapsto \theta_m\, s^{-\min(m/c,\,1)},\quad q^\top k \mapsto (1 + \ln s / \ln L)\, q^\top k,\quad "
        r"c = 5/6 \text{ of the planes with } L\theta \ge 2\pi"
    )
    norm_preserving = False
    change = staticmethod(longrope2)

    @staticmethod
    def gain(factor: float, length: int) -> float:
        # Its square root multiplies q and k: microsoft/LongRoPE, rope/longrope.py.
        return 1 + math.log(factor) / math.log(max(2, length))


class View(NamedTuple):
    """How some pairs of query and key are placed: each maps positions, of any shape, to others."""

    query: Callable[[Tensor], Tensor]
    key: Callable[[Tensor], Tensor]


class Regrouped(Extended):
    """A method that changes distances: each pair is seen in one of several views, with positions of its own.

    The logit of a pair is the inner encoding's in that view: rotations, columns and biases alike. So `views` of
    the positions themselves and of their halves, with the far pairs in the second, halve large distances.
    """

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.factor = self.alone

    @abstractmethod
    def views(self) -> tuple[View, ...]:
        """All views, for texts `self.factor` times as long as the training's."""

    @abstractmethod
    def chosen(self, at: At, keys: Keys) -> Tensor:
        """The number (T, S) or (B, T, S), int64, of each pair's view."""

    def hidden(self, at: At, keys: Keys) -> Tensor | None:
        """Which earlier keys no query sees, bool (T, S) or (B, T, S); None where all are seen."""
        return None

    @classmethod
    def over(cls, inner: type[Encoding]) -> type[Self]:
        if inner.defines("weights"):
            raise EncodingError(f"{inner.title} computes whole rows, in which distances cannot be changed")
        if not any(inner.defines(hook) for hook in ("qk", "columns", "bias", "by_distance")):
            raise EncodingError(
                f"{inner.title} knows no distances to change; extend another encoding, such as rope"
            )
        return super().over(inner)

    @classmethod
    def extend(cls, encoding: Encoding, factor: float) -> Encoding:
        wrapped = build(cls.over(type(encoding)), encoding.shape)
        assert isinstance(wrapped, Regrouped)
        wrapped.inner, wrapped.factor = copy.deepcopy(encoding), factor
        return wrapped.train(encoding.training)

    def placed(self, at: At) -> list[tuple[At, At]]:
        """Where each view's queries and keys are, with a memory for each."""
        return [
            (
                at._replace(pos=view.query(at.pos)).within(f"query {n}"),
                at._replace(pos=view.key(at.pos)).within(f"key {n}"),
            )
            for n, view in enumerate(self.views())
        ]

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        pairs = [
            (self.inner.qk(q, k, query)[0], self.inner.qk(q, k, key)[1]) for query, key in self.placed(at)
        ]
        return torch.cat([q for q, _ in pairs], dim=-1), torch.cat([k for _, k in pairs], dim=-1)

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns | None:
        placed = self.placed(at._replace(memory=at.memory.setdefault("columns", {})))
        sides: list[Columns] = []  # torch.compile cannot follow list[Columns]()
        for query, key in placed:
            here, there = self.inner.columns(q, k, query), self.inner.columns(q, k, key)
            if here is None or there is None:
                return None
            # A bias is declared up to a number for each row, here another in each view: all are 0 at the query's place.
            own = (here.q * here.k).sum(-1, keepdim=True)
            sides.append(
                Columns(beside((here.q, -own)), beside((there.k, torch.ones_like(there.k[..., :1]))))
            )
        return Columns(*(beside(part) for part in zip(*sides, strict=True)))

    def bias(self, at: At, keys: Keys) -> None:
        """`weights` adds it."""

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
        views = self.views()
        sides = (self.apart(x, len(views)) for x in (q, k, at.columns, keys.columns))
        parts = zip(views, *sides, strict=True)
        logits = torch.stack([self.seen(view, q, k, a, b, at, keys) for view, q, k, a, b in parts])
        chosen = self.chosen(at, keys)
        chosen = (chosen if chosen.dim() == 2 else chosen[:, None]).expand(logits.shape[1:])
        mine = logits.gather(0, chosen[None])[0]
        shown, hidden = visible(at, keys), self.hidden(at, keys)
        if hidden is not None:
            shown = shown & ~(hidden if hidden.dim() == 2 else hidden[:, None])
        return mine.masked_fill(~shown, -torch.inf).softmax(-1)

    def seen(
        self, view: View, q: Tensor, k: Tensor, q_columns: Tensor, k_columns: Tensor, at: At, keys: Keys
    ) -> Tensor:
        """The logits (B, H, T, S) of all pairs in one view."""
        logits = (q @ k.mT).float() * self.shape.scale
        if q_columns.numel():
            logits = logits + q_columns @ k_columns.mT
        placed = at._replace(pos=view.query(at.pos)).within("bias")
        bias = self.inner.bias(placed, keys._replace(pos=view.key(keys.pos)))
        return logits if bias is None else logits + bias

    def apart(self, sides: Tensor, views: int) -> tuple[Tensor, ...]:
        """What each view's part of (B, H, T, n) is."""
        return sides.chunk(views, dim=-1) if sides.numel() else (sides,) * views


def same(pos: Tensor) -> Tensor:
    """Positions as they are."""
    return pos


class Windowed(Regrouped):
    """Keys near a query keep their distance, in the first view; those at the window or beyond are in the second."""

    share: ClassVar[float]  # of the training length

    @property
    def window(self) -> int:
        return max(1, int(self.share * self.shape.train_length))

    def chosen(self, at: At, keys: Keys) -> Tensor:
        return (distance(at.pos, keys.pos) >= self.window).long()


class SelfExtend(Windowed):
    """Far keys are seen in groups that share a position (Jin et al., 2024, section 3).

    The window is a quarter of the training length, as 1,024 of Llama 2's 4,096. Groups are the smallest that keep
    every distance of the longer text below the training length. The query is moved by w - floor(w / G), as in the
    paper; one branch of datamllab/LongLM divides without rounding.
    """

    title = "Self-Extend"
    paper = "arXiv:2401.01325"
    formula = (
        r"i - j \mapsto \lfloor i/G \rfloor - \lfloor j/G \rfloor + w - \lfloor w/G \rfloor \text{ where } i-j \ge w,"
        r"\quad w = L/4,\ G \text{ the smallest that keeps all below } L"
    )
    share = 0.25

    @property
    def group(self) -> int:
        length, near = max(2, self.shape.train_length), self.window
        last = math.ceil(self.factor * length) - 1
        return next(g for g in itertools.count(1) if last // g + near - near // g < length)

    def views(self) -> tuple[View, View]:
        group, near = self.group, self.window
        return View(same, same), View(
            lambda pos: pos // group + near - near // group, lambda pos: pos // group
        )


class ReRoPE(Windowed):
    """All keys at the window or beyond are seen at its distance (Su, 2023, kexue.fm/archives/9708).

    The window is an eighth of the training length, as 512 of 4,096 in bojone/rerope, whatever the factor. That code
    also multiplies logits by max(1, log n / log L), which is left out here.
    """

    title = "ReRoPE"
    paper = "Su, 2023: bojone/rerope"
    formula = r"i - j \mapsto \min(i - j,\ w),\quad w = L/8"
    relative = True
    share = 0.125

    def views(self) -> tuple[View, View]:
        return View(same, same), View(lambda pos: torch.full_like(pos, self.window), torch.zeros_like)


class DualChunk(Regrouped):
    """Positions begin anew in each chunk; queries move up for the chunk before and for all earlier (An et al., 2024).

    Chunks have c = 3 L / 4 - w tokens with w = L / 16. Within its chunk a query stands at i mod c. For the chunk before
    it stands at i mod c + c, at most 3 L / 4, and for earlier chunks at 3 L / 4. HKUNLP/ChunkLlama has w = L / 16 in
    flash_decoding_chunkllama.py and chunkqwen_attn_replace.py, and L / 8 where it replaces the attention of Llama and
    Mistral. Its rotary class also multiplies q and k by 0.05 ln(T / L) + 1 each, which is left out here.
    """

    title = "dual chunk attention"
    paper = "arXiv:2402.17463"
    formula = (
        r"j \mapsto j \bmod c,\quad i \mapsto i \bmod c,\ \min(i \bmod c + c,\, 3L/4),\ 3L/4 \text{ for keys of the "
        r"same, the previous, an earlier chunk},\quad c = 3L/4 - L/16"
    )

    @property
    def far(self) -> int:
        """The query's place for keys of earlier chunks."""
        return max(2, 3 * self.shape.train_length // 4)

    @property
    def chunk(self) -> int:
        return self.far - max(1, self.shape.train_length // 16)

    def views(self) -> tuple[View, View, View]:
        def here(pos: Tensor) -> Tensor:
            return pos % self.chunk

        return (
            View(here, here),
            View(lambda pos: (here(pos) + self.chunk).clamp(max=self.far), here),
            View(lambda pos: torch.full_like(pos, self.far), here),
        )

    def chosen(self, at: At, keys: Keys) -> Tensor:
        return distance(at.pos // self.chunk, keys.pos // self.chunk).clamp(max=2).long()


class Claims(NamedTuple):
    """How a method is used, and what it claims."""

    within: bool = False  # claim: texts up to the trained length are read as the trained encoding reads them
    dynamic: bool = (
        False  # the factor is each text's own, 1 up to the trained length; else it is the longest text's
    )


# The methods of other files come in by `method`; `registry.names()` loads all files of this folder.
CLAIMS: dict[str, Claims] = {}
METHODS: dict[str, type[Extended]] = {
    "pi": PI,
    "ntk": NTK,
    "yarn": YaRN,
    "llama3": Llama3,
    "longrope2": LongRoPE2,
    "self_extend": SelfExtend,
    "rerope": ReRoPE,
    "dual_chunk": DualChunk,
}


E = TypeVar("E", bound=Extended)


def method(name: str, within: bool = False, dynamic: bool = False) -> Callable[[type[E]], type[E]]:
    """Class decorator: list this method under `name`, behind the `@` of every encoding, with its claims.

    EncodingError where the name cannot be used or belongs to a method of another file.
    """
    if problem := name_problem(name):
        raise EncodingError(f"a method cannot be called {name!r}: it {problem}")

    def add(cls: type[E]) -> type[E]:
        other = METHODS.get(name)
        if other is not None and (source(other), other.__qualname__) != (source(cls), cls.__qualname__):
            raise EncodingError(
                f"the method {name!r} is defined twice: in {source(other)} and in {source(cls)}"
            )
        METHODS[name], CLAIMS[name] = cls, Claims(within, dynamic)
        return cls

    return add


def methods() -> dict[str, type[Extended]]:
    """All methods by name, from all files of this folder and from installed packages."""
    names()
    return METHODS


def method_classes(spec: str) -> list[type[Extended]]:
    """The classes of a method, or of several on top of each other: "yarn+logn". UnknownName for another."""
    known, parts = methods(), spec.split("+")
    for part in parts:
        if part not in known:
            raise UnknownName("extension", part, known)
    return [known[part] for part in parts]


def claims(spec: str) -> Claims:
    """What all methods of a spec claim, and whether one of them takes each text's own factor."""
    parts = [CLAIMS.get(part, Claims()) for part in spec.split("+")]
    return Claims(all(part.within for part in parts), any(part.dynamic for part in parts))


def load_method(spec: str) -> str:
    """The name of a method: of a registered one, of a sum, or of the method in `path/to/file.py:Class`.

    UnknownName or EncodingError where there is none.
    """
    path, colon, wanted = spec.rpartition(":")
    path = path if colon and path.endswith(".py") else spec
    if not path.endswith(".py"):
        method_classes(spec)
        return spec
    module = load_file(path)
    found = {
        name: cls.__name__
        for name, cls in methods().items()
        if cls.__module__ == module.__name__ and (path == spec or cls.__name__ == wanted)
    }
    if len(found) != 1:
        known = [cls.__name__ for cls in METHODS.values() if cls.__module__ == module.__name__]
        raise EncodingError(
            f"{spec} names {len(found) or 'no'} methods; the file's are {', '.join(known) or 'none'}: put "
            f'@method("name") before a class, and name it as {path}:Class'
        )
    return next(iter(found))


@functools.cache
def longer(inner: type[Encoding], method: str) -> type[Extended]:
    """The class of an encoding as extended by a method: "rope@yarn", "rope@yarn+logn". Errors as in `extended`.

    >>> from pebench.encodings.rope import RoPE
    >>> longer(RoPE, "yarn").title
    'Rotary position embedding, YaRN'
    """
    if issubclass(inner, Extended):
        raise EncodingError(f"{inner.title} is extended already; name one method")
    extended(build(inner, Shape(layers=2, heads=2, head_dim=16, train_length=16)), method, 1.0)
    cls: type[Encoding] = inner
    for part in method_classes(method):
        cls = part.over(cls)
    return cast(type[Extended], cls)


def extended(encoding: Encoding, method: str, factor: float) -> Encoding:
    """A copy of a trained encoding for texts `factor` times as long, by a method, or by several: "yarn+logn".

    UnknownName for another method, EncodingError where it does not apply or the factor is below 1.
    """
    parts = method_classes(method)
    if not factor >= 1:
        raise EncodingError(f"an extension by {factor} would shorten the text; give a factor of at least 1")
    for part in parts:
        encoding = part.extend(encoding, factor)
    return encoding
