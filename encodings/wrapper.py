import functools
from collections.abc import Hashable
from typing import Any, ClassVar, Self, TypeVar, cast

from torch import Tensor

from pebench.encodings.base import At, Columns, Encoding, Form, Keys, Memory, Shape
from pebench.encodings.made import Made

W = TypeVar("W", bound="Wrapper")
INNER = "inner"  # the memory of the wrapped encoding, in its wrapper's


class Wrapper(Encoding, metaclass=Made):
    """An encoding that changes how another one is used: a modifier, or a pattern over the layers.

    A subclass overrides hooks and calls `super()`'s, which are the inner encoding's with a memory of their own.
    Registered under its own name it wraps `inner_class`; written behind another encoding ("alibi+ssmax") it wraps that.
    """

    inner_class: ClassVar[type[Encoding]]

    def __init_subclass__(cls, **rest: Any):
        super().__init_subclass__(**rest)
        if "by_distance" in vars(cls):
            raise TypeError(f"{cls.__name__} wraps an encoding, whose bias comes in `bias`; write that hook")

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.inner = self.inner_class(shape)
        self.max_length = self.inner.max_length

    @classmethod
    def over(cls, inner: type[Encoding]) -> type[Self]:
        """This wrapper around another encoding. EncodingError where the two do not go together."""
        return cast(type[Self], wrapped(cls, cast(Hashable, inner)))

    def is_plain(self, layer: int) -> bool:
        """Whether the inner encoding is left out in this layer."""
        return False

    def rebias(self, bias: Tensor, at: At, keys: Keys) -> Tensor:
        """Change the bias of an inner encoding that has one."""
        return bias

    def reweigh(self, weights: Tensor, at: At, keys: Keys) -> Tensor:
        """Change the weights of an inner encoding that computes its own."""
        return weights

    def positions(self, index: Tensor, tokens: Tensor, memory: Memory) -> Tensor:
        return self.inner.positions(index, tokens, memory.setdefault(INNER, {}))

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        return self.inner.embed(x, pos)

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return (q, k) if self.is_plain(at.layer) else self.inner.qk(q, k, at.within(INNER))

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns | None:
        return None if self.is_plain(at.layer) else self.inner.columns(q, k, at.within(INNER))

    def bias(self, at: At, keys: Keys) -> Tensor | None:
        if self.is_plain(at.layer):
            return None
        bias = self.inner.bias(at.within(INNER), keys)
        return None if bias is None else self.rebias(bias, at, keys)

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor | None:
        if self.is_plain(at.layer):
            return None
        weights = self.inner.weights(q, k, at.within(INNER), keys)
        return None if weights is None else self.reweigh(weights, at, keys)

    def form(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Form | None:
        if self.is_plain(at.layer) or self.overruled("form", "reweigh"):
            return None
        return self.inner.valid_form(q, k, at.within(INNER), keys)

    def values(self, v: Tensor, at: At) -> Tensor:
        return v if self.is_plain(at.layer) else self.inner.values(v, at.within(INNER))

    def output(self, y: Tensor, at: At) -> Tensor:
        return y if self.is_plain(at.layer) else self.inner.output(y, at.within(INNER))

    @classmethod
    def defines(cls, hook: str) -> bool:
        return cls.inner_class.defines(hook) or getattr(cls, hook) is not getattr(Wrapper, hook)


@functools.cache
def wrapped(cls: type[W], inner: type[Encoding]) -> type[W]:
    """The class of a wrapper around another encoding."""
    about = {
        "__module__": cls.__module__,
        "__doc__": f"{cls.__doc__ or ''}\n\n    Here over {inner.title}: {inner.__doc__ or ''}",
        "inner_class": inner,
        "recipe": (wrapped, (cls, inner)),
        "title": f"{inner.title}, {cls.title}",
        "family": inner.family,
        "relative": cls.relative and inner.relative,
        "norm_preserving": cls.norm_preserving and inner.norm_preserving,
    }
    return cast(type[W], Made(f"{cls.__name__}Over{inner.__name__}", (cls,), about))
