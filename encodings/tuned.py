from torch import Tensor

from pebench.encodings.base import Encoding, Shape


class Tuned(Encoding):
    """An encoding with a vector of fixed frequencies, which `@` may change."""

    def __init__(self, shape: Shape, frequencies: Tensor):
        super().__init__(shape)
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.frequencies: Tensor

    def spectrum(self) -> Tensor:
        return self.frequencies

    def retune(self, frequencies: Tensor) -> None:
        self.frequencies.copy_(frequencies)
