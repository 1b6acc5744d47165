"""Encodings with one fault each, to show that the certificate sees it. None of them is registered.

`WRONG` names for each the checks that it must fail, and it must fail no other. Some faults show twice: who
sees the future in a whole sequence cannot decode alike, and what is not a number at one length is none at a
greater. Those that raise an exception (`DeclaresTooMuch`, `DeclaresTooLittle`, `DoesNotRun`) fail wherever
they do.
"""

import random

import torch
from torch import Tensor, nn

from pebench.encodings.alibi import ALiBi
from pebench.encodings.base import (
    At,
    Columns,
    Encoding,
    Keys,
    Shape,
    alibi_slopes,
    distance,
    rope_frequencies,
)
from pebench.encodings.compose import Composition, composition
from pebench.encodings.randomized import Randomized
from pebench.encodings.rope import RoPE, Rotary


class Wrong(Encoding):
    """No encoding at all, until a subclass adds its fault."""

    title = "Wrong on purpose"
    paper = "none"
    family = "none"
    formula = r"\ell_{ij} = q_i^\top k_j / \sqrt d"


class WithoutFormula(Encoding):
    """Does not say what it computes."""

    title = "Without formula"
    paper = "none"
    family = "none"


class SeesTheFuture(Wrong):
    """Subtracts the mean over the sequence, later tokens included."""

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        return x - x.mean(dim=1, keepdim=True)


class SeesTheFutureWithoutGradient(Wrong):
    """Scales every query by the mean size of the whole sequence, past the eyes of autograd."""

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return q * at.x.detach().abs().mean(dim=(1, 2))[:, None, None, None].type_as(q), k


class SeesTheNextToken(Wrong):
    """Attention weights whose mask is off by one."""

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
        seen = keys.order <= at.order[:, None] + 1
        return ((q @ k.mT).float() * self.shape.scale).masked_fill(~seen, -torch.inf).softmax(-1)


class ForgetsItsMemory(Wrong):
    """Sums gates from the start of the chunk, not of the sequence."""

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns:
        column = at.x.float().mean(-1).sigmoid().cumsum(-1)[:, None, :, None]
        return Columns(torch.ones_like(column), column)


class CountsFromTheShape(RoPE):
    """Rotates by the index within the chunk."""

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return super().qk(q, k, at._replace(pos=torch.arange(at.x.shape[1])))


class SeesTheFutureOfLongTexts(Wrong):
    """Subtracts the mean over the sequence where that is longer than four texts of training."""

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        return x - x.mean(dim=1, keepdim=True) * (x.shape[1] > 4 * self.shape.train_length)


class KnowsTheLengthOfLongTexts(RoPE):
    """Rotates at another speed in a long text, as far as it has been read."""

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        slower = 2 if at.x.shape[1] > 4 * self.shape.train_length else 1
        return super().qk(q, k, at._replace(pos=at.pos / slower))


class StopsTheGradient(RoPE):
    """Rotates past the eyes of autograd: nothing before it learns."""

    @torch.no_grad()
    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return super().qk(q, k, at)


class HasAnIdleParameter(Wrong):
    """Owns a parameter that nothing depends on."""

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.idle = nn.Parameter(torch.ones(shape.heads))


class HasABrokenGradient(Wrong):
    """Raises the distance to a learned power by its logarithm: 0^p log 0 is not a number."""

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.power = nn.Parameter(torch.full((shape.heads, 1, 1), 2.0))

    def bias(self, at: At, keys: Keys) -> Tensor:
        return -0.01 * (self.power * distance(at.pos, keys.pos).log()).exp()


class Overflows(Wrong):
    """Grows keys by the exponential of the position: infinite from position 249 on."""

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return q, k * (at.pos[:, None] - 160).float().exp()


class OverflowsFarAway(Wrong):
    """Grows keys by the exponential of a small part of the position: infinite from position 880,000 on."""

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return q, k * (1e-4 * at.pos[:, None]).exp().type_as(k)


class IsRelativeNearby(RoPE):
    """Claims to be relative, and turns twice as fast from position 2,048 on."""

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return super().qk(q, k, at._replace(pos=at.pos * (1 + (at.pos >= 2048))))


class DeclaresTooMuch(Wrong):
    """Says that it is defined up to twice the training length, but its table is shorter."""

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.max_length = 2 * shape.train_length
        self.table = nn.Parameter(torch.randn(shape.train_length, shape.width))

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        return x + self.table[pos]


class DeclaresTooLittle(Wrong):
    """Is not even defined at the training length."""

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.max_length = shape.train_length // 2


class RoundsPositions(Wrong):
    """ALiBi with one key column in the dtype of k: bfloat16 holds whole numbers up to 256."""

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        column = alibi_slopes(self.shape.heads)[:, None, None] * at.pos[:, None]
        ones = torch.full_like(q[..., :1], 1 / self.shape.scale)
        return torch.cat([q, ones], -1), torch.cat([k, column.type_as(k).expand_as(k[..., :1])], -1)


class ClaimsToBeRelative(Wrong):
    """Claims that only differences of positions matter, and attends more sharply at some positions."""

    relative = True

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return q * (1.0 + 0.5 * at.pos[:, None].sin()).type_as(q), k


class RotatesTheQueryBackwards(RoPE):
    """RoPE with one sign wrong: the logits depend on the sum of the positions."""

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return super().qk(q, k, at._replace(pos=-at.pos))[0], super().qk(q, k, at)[1]


class ClaimsToKeepNorms(Wrong):
    """Claims to keep the norms, and shortens keys."""

    norm_preserving = True

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return q, 0.9 * k


class MixesTheBatch(Wrong):
    """Subtracts the mean over the examples of a batch."""

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        return x - x.mean(dim=0, keepdim=True)


class IsNotAFunction(Wrong):
    """Answers every second call a little differently."""

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.calls = 0

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        self.calls += 1
        return x * (1 + 1e-6 * (self.calls % 2))


class IsDrawnElsewhere(Wrong):
    """Takes its initial values from Python's random numbers, which no seed of ours reaches."""

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.temperature = nn.Parameter(torch.tensor([random.random() for _ in range(shape.heads)]))

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return q * self.temperature[:, None, None].type_as(q), k


class DrawsAndLooks(Randomized):
    """Draws its positions in training, which is allowed, and is louder there."""

    title = "Wrong on purpose"

    def values(self, v: Tensor, at: At) -> Tensor:
        return 5 * v if self.training else v


class LooksAtTheFlag(Wrong):
    """Is louder in training."""

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return (1.1 * q if self.training else q), k


class IsNotSaved(Wrong):
    """Keeps random numbers where a saved model does not have them."""

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.register_buffer("temperature", torch.rand(shape.heads, 1, 1), persistent=False)
        self.temperature: Tensor

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return q * self.temperature.type_as(q), k


class DisturbsTheStream(Wrong):
    """Draws from the global random stream, and so changes the batches of the training that it is part of."""

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        return x + 0.0 * torch.rand(1)


class BreaksTheGraph(Wrong):
    """Asks Python about a tensor's value."""

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return (q if q.abs().max() > 0 else -q), k


class TurnsUnderAnotherLabel(Rotary):
    """A rotation that says that it is something else: nothing wrong, and part of the sum below."""

    title = "A rotation"
    paper = "none"
    family = "contextual"
    formula = r"\ell_{ij} = q_i^\top k_j / \sqrt d"

    def __init__(self, shape: Shape):
        super().__init__(shape, rope_frequencies(shape.head_dim))


class DropsAPart(Composition):
    """Keeps the turned q and k of the parts whose label says that they turn."""

    title = "A rotation + ALiBi"
    paper = "none"
    family = "additive"
    formula = r"\ell_{ij} = q_i^\top k_j / \sqrt d"
    relative = True
    classes = (TurnsUnderAnotherLabel, ALiBi)

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        for part in self.parts:
            if part.family == "multiplicative":
                q, k = part.qk(q, k, at)
        return q, k


class HidesAControlCharacter(Wrong):
    """A formula that is no raw string: Python reads a tab and a backspace."""

    formula = "\theta \beta"


class DoesNotRun(Wrong):
    """Every call is an exception: every check that calls it fails, and none lets it through."""

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        return x @ pos


class LosesAPart(composition("rope+alibi", (RoPE, ALiBi))):  # type: ignore[misc]
    """Adds ALiBi to RoPE and forgets its bias."""

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns | None:
        return None


WRONG: dict[type[Encoding], set[str]] = {
    WithoutFormula: {"says what it is"},
    SeesTheFuture: {"hides the future", "decodes as it reads"},
    SeesTheFutureWithoutGradient: {"hides the future", "decodes as it reads"},
    SeesTheNextToken: {"hides the future", "decodes as it reads"},
    ForgetsItsMemory: {"decodes as it reads"},
    CountsFromTheShape: {"decodes as it reads"},
    SeesTheFutureOfLongTexts: {"hides the future", "decodes as it reads"},
    KnowsTheLengthOfLongTexts: {"decodes as it reads"},
    StopsTheGradient: {"learns every parameter"},
    HasAnIdleParameter: {"learns every parameter"},
    HasABrokenGradient: {"learns every parameter", "stands long inputs"},
    Overflows: {"stands long inputs", "keeps precision in bf16", "stands far positions"},
    OverflowsFarAway: {"stands far positions"},
    RoundsPositions: {"keeps precision in bf16"},
    ClaimsToBeRelative: {"is relative as claimed", "relative range"},
    RotatesTheQueryBackwards: {"is relative as claimed", "relative range"},
    IsRelativeNearby: {"relative range"},
    ClaimsToKeepNorms: {"keeps norms as claimed"},
    MixesTheBatch: {"keeps examples apart"},
    IsNotAFunction: {"gives the same bits twice"},
    IsDrawnElsewhere: {"gives the same bits twice"},
    LooksAtTheFlag: {"ignores the training flag"},
    DrawsAndLooks: {"ignores the training flag"},
    IsNotSaved: {"comes back from disk"},
    DisturbsTheStream: {"leaves the rest alone"},
    BreaksTheGraph: {"compiles whole"},
    DropsAPart: {"each part changes the result"},
    HidesAControlCharacter: {"says what it is"},
    LosesAPart: {"each part changes the result"},
}
