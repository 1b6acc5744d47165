"""Which path attention takes on a GPU, by what the hooks of an encoding declare.

Plain attention is torch's own (flash, cuDNN). Declared columns, tables by distance, windows and forms are walked by the
kernels of this room. A `Scored` encoding is served by flex attention, reflections by flash-linear-attention. All else
is computed by its definition, in blocks of queries that the backward pass recomputes.
"""

import contextlib
import functools
import importlib.util
import os
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import replace
from typing import Any, cast

import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Broken, Columns, Counted, Encoding, Keys, Path, Reflected
from pebench.encodings.scores import Scored
from pebench.suite.lm.gpu import fla, flex
from pebench.suite.lm.gpu.bias import BROKEN, COUNTED, PATH, Bias
from pebench.suite.lm.native import ops

# Logits held at once on a GPU where an encoding needs them all, in training and without gradients.
ELEMENTS = 2**26
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
WIDEST = 128  # numbers of a head, and of a feature
MOST_COLUMNS = 4
OLDEST = (8, 0)  # the compute capability from which a GPU multiplies bfloat16

_on_cpu = ContextVar("on_cpu", default=False)


def serves(q: Tensor) -> bool:
    """Whether the kernels of this room take queries like these (B, H, T, e)."""
    return (
        not torch.compiler.is_compiling()  # first: the compiler cannot follow what comes next
        and (q.is_cuda or _on_cpu.get())
        and q.dtype in DTYPES
        and type(q) in (Tensor, nn.Parameter)
        and q.numel() > 0
        and ops._serving.get()
        and ops.eager()
        and torch._C._len_torch_function_stack() == 0
        and (_on_cpu.get() or able(q.device))
    )


def installed() -> bool:
    """Whether Triton can be imported: `pip install pebench[gpu]` brings it."""
    return importlib.util.find_spec("triton") is not None


@functools.cache
def able(device: torch.device) -> bool:
    """Whether this GPU can run the kernels."""
    return installed() and torch.version.hip is None and torch.cuda.get_device_capability(device) >= OLDEST


def why_not_interpreted() -> str:
    """Why the kernels cannot run on the CPU in this process; empty where they can."""
    if not installed():
        return "Triton is not installed; pip install 'pebench[gpu]'"
    if "triton" not in sys.modules and not torch.cuda.is_available():
        os.environ["TRITON_INTERPRET"] = "1"  # Triton looks once, when it is imported
    if os.environ.get("TRITON_INTERPRET") != "1" or not walk().kernels.INTERPRETED.value:
        return "Triton was imported before, to compile; set TRITON_INTERPRET=1"
    return ""


@contextlib.contextmanager
def interpreted() -> Iterator[None]:
    """Within, the kernels serve on the CPU, under Triton's interpreter. RuntimeError where they cannot."""
    if reason := why_not_interpreted():
        raise RuntimeError(reason)
    before = _on_cpu.set(True)
    try:
        yield
    finally:
        _on_cpu.reset(before)


@functools.cache
def walk() -> Any:
    """The kernels' module, which needs Triton."""
    from pebench.suite.lm.gpu import walk

    return walk


def attention(
    encoding: Encoding, at: At, q: Tensor, k: Tensor, v: Tensor, keys: Keys, columns: Columns | None
) -> Tensor | None:
    """`attend` of suite/lm/attention.py by a path of this room; None where it has none for this encoding."""
    whole = q.shape[-2] == k.shape[-2]
    if not whole and torch.is_grad_enabled() and any(x.requires_grad for x in (q, k, v)):
        return None
    if (picked := pick(encoding, at, q, k, v, keys, columns)) is not None:
        q, k, bias = picked
        call = walk().whole if whole else walk().over_cache
        y: Tensor = call(q, k.type_as(q), v.type_as(q), encoding.shape.scale, bias)
    elif columns is None and flex.takes(encoding, at, q):
        y = flex.attention(cast(Scored, encoding), at, q, k.type_as(q), v.type_as(q), keys)
    elif q.is_cuda and whole and (form := reflected(encoding, at, q, k, keys)) and fla.takes(form, v):
        y = fla.attention(form, v, encoding.shape.scale)
    else:
        return None
    return y.type_as(v)


def pick(
    encoding: Encoding, at: At, q: Tensor, k: Tensor, v: Tensor, keys: Keys, columns: Columns | None
) -> tuple[Tensor, Tensor, Bias] | None:
    """q, k and the bias of a walk; None where there is no need of one, or none serves."""
    if max(q.shape[-1], v.shape[-1]) > WIDEST:
        return None
    if encoding.kernel() == "own":
        return walked(encoding, at, q, k, keys)
    bias = beside(encoding, at, q, k, keys, columns)
    return None if bias is None else (q, k, bias)


def walked(
    encoding: Encoding, at: At, q: Tensor, k: Tensor, keys: Keys
) -> tuple[Tensor, Tensor, Bias] | None:
    """q, k and the bias of an encoding with rows of its own, where a walk has their form."""
    match encoding.valid_form(q, k, at, keys):
        case Path(q, k, p, r, slopes) if p.shape[-1] <= WIDEST and not slopes.requires_grad:
            return q, k, Bias(PATH, p=full(p, q), r=full(r, k), slopes=slopes.float())
        case Counted(q, k, e):
            return q, k, Bias(COUNTED, e=full(e, q))
        case Broken(q, k):
            return q, k, Bias(BROKEN)
    return None


def reflected(encoding: Encoding, at: At, q: Tensor, k: Tensor, keys: Keys) -> Reflected | None:
    """The form of an encoding whose rows are reflections along the path."""
    form = encoding.valid_form(q, k, at, keys) if encoding.kernel() == "own" else None
    return form if isinstance(form, Reflected) else None


def beside(
    encoding: Encoding, at: At, q: Tensor, k: Tensor, keys: Keys, columns: Columns | None
) -> Bias | None:
    """The bias of an encoding without rows of its own, where a walk has it and torch's kernels do not."""
    given = Bias()
    if columns is not None:
        if columns.q.shape[-1] > MOST_COLUMNS:
            return None
        given = Bias(qc=full(columns.q, q), kc=full(columns.k, k))
    if encoding.kernel() == "fused":
        plain = columns is None and q.shape[-2] in (1, k.shape[-2])
        return None if plain else given
    if not consecutive(encoding, at, keys):
        return None
    near = None if encoding.overruled("sight", "bias") else encoding.sight(at.layer)
    if near is not None:
        return replace(given, window=near)
    if encoding.overruled("by_distance", "bias"):
        return None
    table = encoding.by_distance(torch.arange(k.shape[-2], device=q.device).float(), at.layer)
    return None if table is None else replace(given, table=table.float().expand(q.shape[1], -1))


def full(x: Tensor, like: Tensor) -> Tensor:
    """x (*, n) in float32 for every example, head and token of `like` (B, H, n, e)."""
    return x.float().expand(*like.shape[:-1], -1)


def consecutive(encoding: Encoding, at: At, keys: Keys) -> bool:
    """Whether the positions of the keys follow one another by one, and the queries' are the last of them."""
    if at.pos is at.order and not encoding.defines("positions"):
        return True  # without asking the GPU
    if at.pos.dim() > 1 or (at.pos.is_cuda and torch.cuda.is_current_stream_capturing()):
        return False
    last = keys.pos[keys.pos.shape[0] - at.pos.shape[0] :]
    return bool((keys.pos.diff() == 1).all()) and bool((last == at.pos).all())
