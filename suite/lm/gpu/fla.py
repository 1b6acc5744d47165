"""Attention along reflections (PaTH) by flash-linear-attention's kernels, where nothing learns.

Their gradients are summed by atomics, in no fixed order. So PaTH learns by its definition, in blocks. The kernels
multiply in half precision and have fixed head widths (fla-core 0.6.0, `fla.ops.path_attn.parallel_path_attn`).
"""

import functools
import importlib.util

import torch
from torch import Tensor

from pebench.encodings.base import Reflected

WIDTHS = (16, 32, 64, 128)


@functools.cache
def installed() -> bool:
    """Whether fla-core can be imported: `pip install pebench[gpu]` brings it."""
    return importlib.util.find_spec("fla") is not None


def takes(form: Reflected, v: Tensor) -> bool:
    """Whether flash-linear-attention serves this form over v (B, H, T, d), in bfloat16 and without gradients."""
    return (
        form.q.dtype == v.dtype == torch.bfloat16
        and form.q.shape[-1] in WIDTHS
        and v.shape[-1] in WIDTHS
        and not torch.is_grad_enabled()
        and installed()
    )


def attention(form: Reflected, v: Tensor, scale: float) -> Tensor:
    """Causal attention of whole texts along the reflections of `form`: (B, H, T, d), of v's dtype."""
    from fla.ops.path_attn import parallel_path_attn  # seconds to import

    q, k, v, w, beta = (
        x.transpose(1, 2).contiguous() for x in (form.q, form.k.type_as(form.q), v, form.w, form.beta)
    )
    y: Tensor = parallel_path_attn(q, k, v, w.float(), beta[..., 0].float(), scale=scale)[0]
    return y.transpose(1, 2)
