"""The operators of a block but attention, each a step of its own: products and what lies between them.

Native kernels serve where they can (suite/lm/native/ops.py). This module defines them, and runs elsewhere: on a
GPU, in other precisions, under torch.compile, with several threads, without a C compiler. Under bfloat16 autocast
q, k and v are bfloat16 here, and so is attention without columns. The kernels compute them in float32.
"""

from torch import Tensor
from torch.nn.functional import linear, rms_norm, silu

from pebench.suite.lm.native import ops
from pebench.suite.lm.native.ops import EPS, ROWS, usable


def norm_linear(x: Tensor, gain: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """h, the RMS norm of x over its last axis times a gain, and h times the matrix."""
    if usable(x, gain, weight):
        return ops.apply(ops.NormLinearKernel, x, gain, weight)
    h = rms_norm(x, gain.shape, gain, EPS)
    return h, linear(h, weight)


def split_qkv(qkv: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v (B, H, T, d) out of (B, T, 3D): q and k RMS-normalised, q times its head's temperature (H, 1, 1)."""
    if usable(temperature) and usable(qkv, dtypes=ROWS):
        return ops.apply(ops.SplitKernel, qkv, temperature)
    heads = temperature.shape[0]
    q, k, v = (part.transpose(1, 2) for part in qkv.unflatten(-1, (3, heads, -1)).unbind(2))
    q = (rms_norm(q, q.shape[-1:], eps=EPS) * temperature).type_as(v)
    return q, rms_norm(k, k.shape[-1:], eps=EPS).type_as(v), v


def add_linear(x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
    """x plus y times the matrix."""
    if usable(x, y, weight):
        return ops.apply(ops.AddLinearKernel, x, y, weight)
    return x + linear(y, weight)


def feed_forward(x: Tensor, gain: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
    """x plus a SwiGLU of its RMS norm: down(silu(gate) * up) for (gate, up) = gate_up(norm(x) * gain)."""
    if down.shape[1] % 16 == 0 and usable(x, gain, gate_up, down):
        return ops.apply(ops.FeedForwardKernel, x, gain, gate_up, down)
    gate, up = linear(rms_norm(x, gain.shape, gain, EPS), gate_up).chunk(2, dim=-1)
    return x + linear(silu(gate) * up, down)
