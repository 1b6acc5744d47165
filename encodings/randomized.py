from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor

from pebench.encodings.base import Encoding, Memory, Shape
from pebench.encodings.registry import register
from pebench.encodings.rope import RoPE
from pebench.encodings.wrapper import INNER, Wrapper


class Drawn(Wrapper):
    """Trains on random positions of a range; in evaluation one draw of 16 L positions serves every text."""

    family = "multiplicative"
    relative = False

    inner_class = RoPE
    span: int  # of all positions, in training lengths
    reach = 16  # of a text in evaluation

    def __init__(self, shape: Shape):
        Encoding.__init__(self, shape)
        self.range = self.span * shape.train_length
        self.inner = self.inner_class(replace(shape, train_length=self.range))
        self.max_length = self.reach * shape.train_length
        self.register_buffer("drawn", self.draw(self.max_length, torch.device("cpu")))
        self.drawn: Tensor

    @abstractmethod
    def draw(self, count: int, device: torch.device) -> Tensor:
        """This many sorted random positions."""

    def positions(self, index: Tensor, tokens: Tensor, memory: Memory) -> Tensor:
        index = self.draw(index.shape[0], index.device) if self.training else self.drawn[index]
        return self.inner.positions(index, tokens, memory.setdefault(INNER, {}))


@register("randomized")
class Randomized(Drawn):
    """Train on random positions from a longer range: none is new in a longer text (Ruoss et al., 2023).

    Each training step draws T sorted positions of [0, 32 L), the same for all layers and examples.
    google-deepmind/randomized_positional_encodings draws anew in each layer where positions turn q and k. The
    authors draw at test time too, which no cache can follow: how dense the positions lie depends on a length that
    decoding does not know yet. Here one draw of 16 L positions, made with the model, serves every text in
    evaluation. For 16 L tokens, the most that it is defined for, that is the paper's law. Shorter texts lie denser
    than in training, at the training length 16 times as dense: where this encoding fails a gate, that may be why.
    The gaps between tokens differ, so moving a text does change its outputs.
    """

    title = "randomized positions"
    paper = "arXiv:2305.16843"
    formula = r"t \mapsto r_t,\quad \{r_0 < r_1 < \dots < r_{T-1}\} \subset [0, 32 L) \text{ uniform}"

    span = 32

    def draw(self, count: int, device: torch.device) -> Tensor:
        return torch.randperm(self.range, device=device)[:count].sort().values
