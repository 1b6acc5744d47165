"""Encodings written as sums: "rope+fox" uses both, "alibi+ssmax" modifies what stands before it."""

import functools
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Columns, Encoding, Form, Keys, Memory, Shape
from pebench.encodings.made import Made
from pebench.encodings.registry import EncodingError, resolve
from pebench.encodings.streams import build
from pebench.encodings.tools import beside
from pebench.encodings.wrapper import Wrapper

HOOKS = ("positions", "embed", "qk", "columns", "bias", "by_distance", "weights", "values", "output")
TINY = Shape(layers=1, heads=2, head_dim=8, train_length=8)


class Composition(Encoding, metaclass=Made):
    """Several encodings at once: multiplicative times additive (GRAPE, appendix E).

    Each hook calls one part's after the other's; columns and biases add up. All `columns` read q and k as they came,
    unrotated, else their gates would depend on absolute positions.
    """

    classes: ClassVar[tuple[type[Encoding], ...]]

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.parts: list[Encoding] = nn.ModuleList(cls(shape) for cls in self.classes)  # type: ignore[assignment]
        self.max_length = min((p.max_length for p in self.parts if p.max_length is not None), default=None)

    def positions(self, index: Tensor, tokens: Tensor, memory: Memory) -> Tensor:
        for n, part in enumerate(self.parts):
            index = part.positions(index, tokens, memory.setdefault(f"{n}", {}))
        return index

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        for part in self.parts:
            x = part.embed(x, pos)
        return x

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        for n, part in enumerate(self.parts):
            q, k = part.qk(q, k, at.within(f"{n}"))
        return q, k

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns | None:
        declared = [part.columns(q, k, at.within(f"{n}")) for n, part in enumerate(self.parts)]
        given = [columns for columns in declared if columns is not None]
        if len(given) < 2:
            return given[0] if given else None
        return Columns(*(beside(sides) for sides in zip(*given, strict=True)))

    def bias(self, at: At, keys: Keys) -> Tensor | None:
        biases = [part.bias(at.within(f"{n}"), keys) for n, part in enumerate(self.parts)]
        given = [bias for bias in biases if bias is not None]
        return functools.reduce(torch.add, given) if given else None

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor | None:
        rows = (part.weights(q, k, at.within(f"{n}"), keys) for n, part in enumerate(self.parts))
        return next((weights for weights in rows if weights is not None), None)

    def form(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Form | None:
        forms = (part.valid_form(q, k, at.within(f"{n}"), keys) for n, part in enumerate(self.parts))
        return next((form for form in forms if form is not None), None)

    def values(self, v: Tensor, at: At) -> Tensor:
        for n, part in enumerate(self.parts):
            v = part.values(v, at.within(f"{n}"))
        return v

    def output(self, y: Tensor, at: At) -> Tensor:
        for n, part in enumerate(self.parts):
            y = part.output(y, at.within(f"{n}"))
        return y

    @classmethod
    def defines(cls, hook: str) -> bool:
        return any(part.defines(hook) for part in cls.classes)


@functools.cache
def compose(spec: str) -> type[Encoding]:
    """The class of a sum of encoding names, modifiers last. EncodingError where they do not go together.

    >>> compose("rope+fox").__name__
    'RoPEPlusFoX'
    """
    before, _, name = spec.rpartition("+")
    last = resolve(name)[1]
    if issubclass(last, Wrapper):
        return last.over(resolve(before)[1])
    classes = [resolve(name)[1] for name in spec.split("+")]
    if any(issubclass(cls, Wrapper) for cls in classes):
        raise EncodingError(
            f"{spec}: write the encodings first and what modifies them last, as in rope+fox+ssmax"
        )
    return composition(spec, tuple(classes))


@functools.cache
def composition(spec: str, classes: tuple[type[Encoding], ...]) -> type[Composition]:
    """Several encodings in one. EncodingError where a part would be lost, or could not be told from its hooks."""
    if reason := at_odds(classes):
        raise EncodingError(f"{spec}: {reason}")
    turned, own = (any(cls.defines(hook) for cls in classes) for hook in ("qk", "weights"))
    about = {
        "__module__": __name__,
        "__doc__": "\n\n    ".join(cls.__doc__ or "" for cls in (Composition, *classes)),
        "classes": classes,
        "recipe": (composition, (spec, classes)),
        "title": " + ".join(cls.title for cls in classes),
        "paper": ", ".join(dict.fromkeys(cls.paper for cls in classes)),
        "family": next((cls.family for cls in classes if cls.family != "multiplicative"), "multiplicative"),
        "formula": r" \quad\text{with}\quad ".join(cls.formula for cls in classes),
        # What reads a rotated q outside of q.k, as CoPE does, feels absolute positions: no claim then.
        "relative": all(cls.relative for cls in classes) and not (own and turned),
        "norm_preserving": all(cls.norm_preserving for cls in classes),
    }
    name = "Plus".join(cls.__name__ for cls in classes)
    return cast(type[Composition], Made(name, (Composition,), about))


def at_odds(classes: tuple[type[Encoding], ...]) -> str:
    """Why these do not add up, with the remedy; empty where they do."""
    for hook, verb in (
        ("positions", "place the tokens"),
        ("qk", "turn q and k"),
        ("weights", "compute whole rows"),
    ):
        both = [cls.title for cls in classes if cls.defines(hook)]
        if len(both) > 1:
            return f"{both[0]} and {both[1]} both {verb}; keep one"
    if idle := [cls.title for cls in classes if not any(map(cls.defines, HOOKS))]:
        return f"{idle[0]} adds nothing to a sum; leave it out"
    own = next((cls for cls in classes if cls.defines("weights")), None)
    if own is None:
        return ""
    for cls in classes:
        if cls is not own and any(map(cls.defines, ("columns", "bias", "by_distance"))):
            return (
                f"{own.title} computes whole rows and would drop the bias of {cls.title}; only a rotation, or what "
                "changes embeddings, values or outputs, goes with it"
            )
        if cls is not own and widens(cls):
            return f"{own.title} reads q and k as wide as they came, and {cls.title} returns them wider; keep one"
    return ""


def widens(cls: type[Encoding]) -> bool:
    """Whether `qk` returns q or k of another width."""
    if not cls.defines("qk"):
        return False
    zero, index = torch.zeros(1, TINY.heads, 1, TINY.head_dim), torch.zeros(1, dtype=torch.long)
    with torch.no_grad():
        encoding = build(cls, TINY).cpu()
        pos = encoding.positions(index, index[None], {})
        sides = encoding.qk(zero, zero, At(0, torch.zeros(1, 1, TINY.width), zero, index, pos, {}))
    return any(side.shape[-1] != TINY.head_dim for side in sides)
