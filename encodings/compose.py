"""Encodings written as sums: "rope+fox" uses both, "alibi+ssmax" modifies what stands before it."""

import functools
from typing import ClassVar

import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Encoding, Kernel, Shape
from pebench.encodings.registry import EncodingError, resolve
from pebench.encodings.wrapper import Wrapper


class Composition(Encoding):
    """Several encodings at once: multiplicative times additive (GRAPE, appendix E).

    The rotation turns q and k; all others read them unrotated, else their gates would depend on absolute
    positions, and their columns are appended unrotated.
    """

    classes: ClassVar[tuple[type[Encoding], ...]]

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.parts: list[Encoding] = nn.ModuleList(cls(shape) for cls in self.classes)  # type: ignore[assignment]
        self.max_length = min((p.max_length for p in self.parts if p.max_length is not None), default=None)

    def positions(self, index: Tensor) -> Tensor:
        for part in self.parts:
            index = part.positions(index)
        return index

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        for part in self.parts:
            x = part.embed(x, pos)
        return x

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        d = q.shape[-1]
        turned, columns = (q, k), []
        for n, part in enumerate(self.parts):
            mine = f"{n}:"
            memory = {name.removeprefix(mine): x for name, x in at.memory.items() if name.startswith(mine)}
            wide = part.qk(q, k, at._replace(memory=memory))
            at.memory.update({mine + name: x for name, x in memory.items()})
            if part.family == "multiplicative":
                turned = wide
            else:
                columns.append([side[..., d:] for side in wide])
        q, k = (torch.cat(parts, dim=-1) for parts in zip(turned, *columns, strict=True))
        return q, k

    def bias(self, q_pos: Tensor, k_pos: Tensor, layer: int) -> Tensor | None:
        biases = [part.bias(q_pos, k_pos, layer) for part in self.parts]
        given = [bias for bias in biases if bias is not None]
        return functools.reduce(torch.add, given) if given else None

    def weights(self, q: Tensor, k: Tensor, q_pos: Tensor, k_pos: Tensor, layer: int) -> Tensor | None:
        own = next(part for part in self.parts if part.kernel() == "own")
        return own.weights(q, k, q_pos, k_pos, layer)

    @classmethod
    def kernel(cls) -> Kernel:
        kernels = {part.kernel() for part in cls.classes}
        return "own" if "own" in kernels else "masked" if "masked" in kernels else "fused"


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
    return composition(spec, classes)


def composition(spec: str, classes: list[type[Encoding]]) -> type[Composition]:
    """Several encodings in one. EncodingError where two of them claim the same hook."""
    rotations = [cls for cls in classes if cls.family == "multiplicative"]
    own = [cls for cls in classes if cls.kernel() == "own"]
    if len(rotations) > 1:
        raise EncodingError(
            f"{spec}: {rotations[0].title} and {rotations[1].title} both turn q and k; keep one"
        )
    for other in classes:
        if own and other is not own[0] and not other.norm_preserving:
            raise EncodingError(f"{spec}: {own[0].title} computes whole rows; only a rotation goes with it")
    about = {
        "__module__": __name__,
        "__doc__": "\n\n    ".join(cls.__doc__ or "" for cls in (Composition, *classes)),
        "classes": tuple(classes),
        "title": " + ".join(cls.title for cls in classes),
        "paper": ", ".join(dict.fromkeys(cls.paper for cls in classes)),
        "family": next((cls.family for cls in classes if cls.family != "multiplicative"), "multiplicative"),
        "formula": r" \quad\text{with}\quad ".join(cls.formula for cls in classes),
        # What reads a rotated q outside of q.k, as CoPE does, feels absolute positions: no claim then.
        "relative": all(cls.relative for cls in classes) and not (own and rotations),
        "norm_preserving": all(cls.norm_preserving for cls in classes),
    }
    return type("Plus".join(cls.__name__ for cls in classes), (Composition,), about)
