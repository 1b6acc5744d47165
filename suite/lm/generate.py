"""Text from a trained model, token by token through the cache."""

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from pebench.suite.lm.model import LM


def generate(
    lm: LM, tokens: Sequence[int], n: int, temperature: float = 0.0, rng: torch.Generator | None = None
) -> Iterator[int]:
    """Up to n tokens after these (at least one), each as soon as it is chosen.

    Temperature 0 takes the likeliest token; above it, `rng` draws from softmax(logits / temperature).
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
        token = choose(logits.cpu(), temperature, rng)
        yield token
        unread = torch.tensor([[token]], device=device)


def choose(logits: Tensor, temperature: float, rng: torch.Generator | None) -> int:
    """One token by its logits (vocab,)."""
    if temperature == 0:
        return int(logits.argmax())
    return int(torch.multinomial(torch.softmax(logits / temperature, -1), 1, generator=rng))


def shown(text: str) -> str:
    """Text that cannot steer a terminal: what is no visible character becomes a replacement character.

    >>> shown("line\\n\\x1b[2J")
    'line\\n\ufffd[2J'
    """
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)
