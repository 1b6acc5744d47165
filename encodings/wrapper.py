from typing import ClassVar, Self

from torch import Tensor

from pebench.encodings.base import At, Encoding, Kernel, Shape


class Wrapper(Encoding):
    """An encoding that changes how another one is used: a modifier, or a pattern over the layers.

    A subclass overrides hooks and calls `self.inner`'s. Registered under its own name it wraps `inner_class`;
    written behind another encoding ("alibi+ssmax") it wraps that.
    """

    inner_class: ClassVar[type[Encoding]]

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.inner = self.inner_class(shape)
        self.max_length = self.inner.max_length

    @classmethod
    def over(cls, inner: type[Encoding]) -> type[Self]:
        """This wrapper around another encoding. EncodingError where the two do not go together."""
        about = {
            "__module__": cls.__module__,
            "__doc__": f"{cls.__doc__}\n\n    Here over {inner.title}: {inner.__doc__}",
            "inner_class": inner,
            "title": f"{inner.title}, {cls.title}",
            "family": inner.family,
            "relative": cls.relative and inner.relative,
            "norm_preserving": cls.norm_preserving and inner.norm_preserving,
        }
        return type(f"{cls.__name__}Over{inner.__name__}", (cls,), about)

    def positions(self, index: Tensor) -> Tensor:
        return self.inner.positions(index)

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        return self.inner.embed(x, pos)

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return self.inner.qk(q, k, at)

    def bias(self, q_pos: Tensor, k_pos: Tensor, layer: int) -> Tensor | None:
        return self.inner.bias(q_pos, k_pos, layer)

    def weights(self, q: Tensor, k: Tensor, q_pos: Tensor, k_pos: Tensor, layer: int) -> Tensor | None:
        return self.inner.weights(q, k, q_pos, k_pos, layer)

    @classmethod
    def kernel(cls) -> Kernel:
        return cls.inner_class.kernel()
