"""Text from a trained model, token by token through the cache."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from pebench.suite.lm.model import LM


class Sampling(NamedTuple):
    """How a token is drawn. Temperature 0 takes the likeliest, as its limit from above does.

    `top_k`: of the k likeliest alone (None: of all). `top_p`: of the fewest that have this share of the chance.
    """

    temperature: float = 0.0
    top_k: int | None = None
    top_p: float = 1.0


GREEDY = Sampling()


def generate(
    lm: LM, tokens: Sequence[int], n: int, how: Sampling = GREEDY, rng: torch.Generator | None = None
) -> Iterator[int]:
    """Up to n tokens after these (at least one), each as soon as it is chosen.

    Above temperature 0 `rng` draws from softmax(logits / temperature).
    LengthError once the encoding is defined no further; what was chosen until then has been yielded.
    """
    device = next(lm.parameters()).device
    cache = lm.cache()
    unread = torch.tensor([tokens], device=device)
    for _ in range(n):
        last = torch.zeros_like(unread, dtype=torch.bool)
        last[:, -1] = True
        with torch.no_grad():  # in float32: to round all weights takes longer than to read them
            logits = lm(unread, cache, asked=last)[0]
        token = choose(logits.cpu().flatten(), how, rng)
        yield token
        unread = torch.tensor([[token]], device=device)


def choose(logits: Tensor, how: Sampling, rng: torch.Generator | None) -> int:
    """One token by its logits (vocab,)."""
    if how.temperature == 0:
        return int(logits.argmax())
    # Divided after the largest is taken off: it stays 0 for any temperature, and softmax stays finite.
    scaled = (logits.double() - logits.max()) / how.temperature
    chances, order = scaled.softmax(-1).sort(descending=True, stable=True)
    chances = chances[: how.top_k] / chances[: how.top_k].sum()
    chances = chances[chances.cumsum(0) - chances < how.top_p]
    return int(order[torch.multinomial(chances, 1, generator=rng)])


def shown(text: str) -> str:
    """Text that cannot steer a terminal: what is no visible character becomes a replacement character.

    >>> shown("line\\n\\x1b[2J")
    'line\\n\ufffd[2J'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
