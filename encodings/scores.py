"""A bias that is a function of two positions: one formula for every path of attention."""

from abc import abstractmethod

import torch
from torch import Tensor

from pebench.encodings.base import At, Encoding, Keys


class Scored(Encoding):
    """Adds a score of the query's and the key's position to each logit. A subclass writes `score`.

    >>> from pebench.encodings.base import Shape
    >>> class Near(Scored):
    ...     def score(self, layer, head, i, j):
    ...         return -0.1 * (head + 1) * (i - j).sqrt()
    >>> at = At.whole(0, torch.zeros(1, 3, 32), torch.zeros(1, 2, 3, 16), torch.arange(3))
    >>> Near(Shape(layers=1, heads=2, head_dim=16, train_length=8)).bias(at, Keys(at.order, at.pos)).shape
    torch.Size([2, 3, 3])
    """

    family = "additive"

    @abstractmethod
    def score(self, layer: int, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        """The score of queries at i and keys at j, no key later than its query; -inf hides a key.

        `head` is an integer tensor; i and j are float32. The shapes broadcast. Flex attention passes single numbers, so
        only elementwise operators and indexing are allowed.
        """

    def bias(self, at: At, keys: Keys) -> Tensor:
        """The scores of all pairs, (H, T, S) or (B, H, T, S)."""
        head = torch.arange(self.shape.heads, device=at.pos.device)[:, None, None]
        i, j = (side.float() for side in (at.pos, keys.pos))
        if i.dim() == 2:
            i, j = i[:, None], j[:, None]
        i, j = i[..., :, None], j[..., None, :]
        return self.score(at.layer, head, i, torch.minimum(j, i))
