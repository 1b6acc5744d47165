from typing import TypeVar

import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Columns, Form, Keys, Memory, Shape
from pebench.encodings.nope import NoPE
from pebench.encodings.registry import register
from pebench.encodings.tools import since
from pebench.encodings.wrapper import Wrapper

Place = TypeVar("Place", At, Keys)


@register("abacus")
class Abacus(Wrapper):
    """Each digit is told its place in its number by a learned vector (McLeish et al., 2024).

    Digits count from 1, and all other tokens are 0. In training all places move up by one random number, 0 to 99,
    as in mcleish7/arithmetic, so that the vectors of longer numbers are trained. There are 1,024 vectors, and
    digits beyond share the last. Digits are bytes here, which the tasks of text use: other vocabularies give their
    numbers to other symbols. Vectors start at N(0, 0.02), the embeddings' own, in the place of PyTorch's N(0, 1).
    """

    title = "Abacus places of digits"
    paper = "arXiv:2405.17399"
    family = "absolute"
    formula = (
        r"x_t \leftarrow x_t + P_{c_t},\quad c_t = \text{place of digit } t \text{ in its number, else } 0"
    )
    norm_preserving = True

    inner_class = NoPE
    digits = tuple(b"0123456789")
    known = 1024
    shift = 99

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.table = nn.Parameter(0.02 * torch.randn(self.known, shape.width))

    def positions(self, index: Tensor, tokens: Tensor, memory: Memory) -> Tensor:
        digit = torch.isin(tokens, torch.tensor(self.digits, device=tokens.device))
        run = since(~digit, memory, "number")[0] + 1  # the first of a text, too, is 1
        place = torch.where(digit, run, 0)
        if self.training:
            moved = torch.randint(self.shift + 1, (), device=tokens.device)
            place = torch.where(digit, place + moved, 0)
        inner = super().positions(index, tokens, memory)
        return torch.stack([place, inner.expand_as(place)], dim=-1)

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        place = pos[..., 0].long().clamp(max=self.known - 1)
        return super().embed(x + self.table[place].type_as(x), pos[..., 1])

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return super().qk(q, k, inside(at))

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns | None:
        return super().columns(q, k, inside(at))

    def bias(self, at: At, keys: Keys) -> Tensor | None:
        return super().bias(inside(at), inside(keys))

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor | None:
        return super().weights(q, k, inside(at), inside(keys))

    def form(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Form | None:
        return super().form(q, k, inside(at), inside(keys))

    def values(self, v: Tensor, at: At) -> Tensor:
        return super().values(v, inside(at))

    def output(self, y: Tensor, at: At) -> Tensor:
        return super().output(y, inside(at))

    @classmethod
    def defines(cls, hook: str) -> bool:
        return hook in ("positions", "embed") or cls.inner_class.defines(hook)


def inside(here: Place) -> Place:
    """The same place with the inner encoding's positions."""
    return here._replace(pos=here.pos[..., 1])
