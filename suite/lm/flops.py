"""What a forward pass computes, counted: the same for every machine, unlike its time."""

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from pebench.suite.lm.model import LM
from pebench.suite.lm.native import ops


def flops_per_token(lm: LM, length: int) -> int:
    """Floating-point operations of a forward pass over `length` tokens, per token; a training step takes thrice that.

    Counted by torch.utils.flop_counter, on the path in plain PyTorch: matrix products and convolutions, two for
    each multiply-add, attention over the whole T x T square. Nothing elementwise is counted (norms, rotations,
    gates, softmax), and nothing that a kernel saves.
    """
    tokens = torch.zeros(1, length, dtype=torch.long, device=next(lm.parameters()).device)
    with (
        ops.definitions(),
        sdpa_kernel(SDPBackend.MATH),
        FlopCounterMode(display=False) as counter,
        torch.no_grad(),
    ):
        lm(tokens)
    return counter.get_total_flops() // length
