"""Which path attention takes on a GPU, by what the hooks of an encoding declare."""

from torch import Tensor

from pebench.encodings.base import At, Columns, Encoding, Keys

# Logits held at once on a GPU where an encoding needs them all, in training and without gradients.
ELEMENTS = 2**26


def serves(q: Tensor) -> bool:
    """Whether the kernels of this room take queries like these (B, H, T, e). None of them is built yet."""
    return False


def attention(
    encoding: Encoding, at: At, q: Tensor, k: Tensor, v: Tensor, keys: Keys, columns: Columns | None
) -> Tensor | None:
    """`attend` of suite/lm/attention.py by a kernel of this room; None where it has none for this encoding."""
    return None
