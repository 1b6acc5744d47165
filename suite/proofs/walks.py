"""Whether the kernels of a GPU compute what an encoding defines: a line of its certificate where Triton is.

It is no check of `CHECKS`, for a machine without Triton makes the same certificate.
"""

import torch
from torch import Tensor

from pebench.encodings.base import Encoding
from pebench.suite.lm.gpu import choice, paths
from pebench.suite.lm.model import LM
from pebench.suite.lm.native import ops
from pebench.suite.proofs.certificate import (
    EQUAL,
    Check,
    batch,
    largest,
    longest,
    loss_of,
    model,
    number,
    origin,
)

TITLE = "gpu kernels equal their definition"
TOKENS = 20  # more than a tile of the interpreter's


def kernels_equal_their_definition(cls: type[Encoding], seed: int = 0) -> Check | None:
    """The check, under Triton's interpreter; None where no kernel serves the encoding, or Triton cannot interpret.

    An exception inside is its failure, as in the certificate.
    """
    if choice.why_not_interpreted():
        return None
    try:
        return compared(cls, seed) if paths.walked(cls) else None
    except Exception as e:
        reason = f"{type(e).__name__}: {e}".splitlines()[0]
        return Check(TITLE, False, "an exception", "none", f"{cls.title} raised {reason}{origin(e, cls)}")


def compared(cls: type[Encoding], seed: int) -> Check:
    """The check of an encoding that a kernel serves."""
    worst = max(errors(cls, seed))
    return Check(
        TITLE,
        worst <= EQUAL,
        number(worst),
        number(EQUAL),
        "Logits and every gradient by the kernels, interpreted on the CPU, are those of the definition."
        if worst <= EQUAL
        else "What `columns`, `by_distance`, `sight` or `form` declares is not what `bias` or `weights` computes.",
    )


def errors(cls: type[Encoding], seed: int = 0) -> tuple[float, float]:
    """Largest errors of the logits, and of any gradient, by the kernels: over one plus the largest number."""
    lm = model(cls, seed)
    tokens = batch(1, longest(lm, TOKENS), seed)
    with ops.definitions():
        true = learned(lm, tokens)
    with choice.interpreted():
        found = learned(lm, tokens)
    by = {name: largest(found[name] - true[name]) / (1 + largest(true[name])) for name in true}
    return by.pop("logits"), max(by.values())


def learned(lm: LM, tokens: Tensor) -> dict[str, Tensor]:
    """Logits and gradients, zero where there is none."""
    lm.zero_grad()
    with torch.no_grad():
        logits = lm(tokens)
    loss_of(lm, tokens).backward()
    return {"logits": logits} | {
        n: torch.zeros_like(p) if p.grad is None else p.grad.clone() for n, p in lm.named_parameters()
    }
