"""Native kernels for what a training step does between its matrix products, and for attention.

Each has its definition in PyTorch beside it, which runs wherever the kernel cannot: on a GPU, in other precisions,
under torch.compile, with several threads, without a C compiler. The two agree to float32 rounding, values and
gradients.
"""

import ctypes
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import rms_norm, silu

from pebench.suite.native.build import library

EPS = 1e-6


class View(ctypes.Structure):
    """A (B, H, T, width) tensor, as kernels.c sees it."""

    _fields_ = [("at", ctypes.c_void_p), *((name, ctypes.c_int64) for name in ("batch", "head", "token"))]


class Call(ctypes.Structure):
    """The arguments of the attention kernels: `Attention` of kernels.c."""

    _fields_ = [
        *((name, View) for name in ("q", "k", "v", "y", "gy", "gq", "gk", "gv", "p", "r", "gp", "gr")),
        *((name, ctypes.c_void_p) for name in ("lse", "bias", "gbias", "slopes")),
        *(
            (name, ctypes.c_int64)
            for name in ("batches", "heads", "tokens", "width", "value_width", "path_width")
        ),
        *((name, ctypes.c_float) for name in ("scale", "path_scale")),
    ]


def usable(*tensors: Tensor) -> bool:
    """Whether the kernels take these: float32 on the CPU, one thread, eager, and the library could be built."""
    return (
        not torch.compiler.is_compiling()  # first: the compiler cannot follow what comes next
        and all(t.dtype == torch.float32 and t.device.type == "cpu" for t in tensors)
        and torch.get_num_threads() == 1
        and library() is not None
    )


def run(name: str, *arguments: Any) -> None:
    """Call a kernel on tensors (by their first element), whole numbers and floats."""
    kernel = getattr(library(), name)
    if kernel(*(argument(x) for x in arguments)):
        raise MemoryError(f"no memory for the scratch space of {name}")


def argument(x: Any) -> Any:
    if isinstance(x, Tensor):
        return ctypes.c_void_p(x.data_ptr())
    if isinstance(x, float):
        return ctypes.c_float(x)
    return ctypes.byref(x) if isinstance(x, Call) else ctypes.c_int64(x)


class NormKernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor) -> Tensor:
        x = x.contiguous()
        y, inverse = torch.empty_like(x), x.new_empty(x.shape[:-1])
        run("norm_forward", x, gain, y, inverse, inverse.numel(), x.shape[-1], EPS)
        ctx.save_for_backward(x, gain, inverse)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor, Tensor]:
        x, gain, inverse = ctx.saved_tensors
        gx, ggain = torch.empty_like(x), torch.zeros_like(gain)
        work = torch.empty_like(gain)
        run("norm_backward", gy.contiguous(), x, gain, inverse, gx, ggain, work, inverse.numel(), x.shape[-1])
        return gx, ggain


def norm(x: Tensor, gain: Tensor) -> Tensor:
    """RMS norm over the last axis, times a gain."""
    if usable(x, gain):
        return NormKernel.apply(x, gain)
    return rms_norm(x, gain.shape, gain, EPS)


class SplitKernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        qkv = qkv.contiguous()
        b, t, width = qkv.shape
        heads = temperature.shape[0]
        d = width // (3 * heads)
        q, k, v = (qkv.new_empty(b, t, heads, d) for _ in range(3))
        inverse = qkv.new_empty(b, t, heads, 2)
        run("split_forward", qkv, temperature, q, k, v, inverse, b * t, heads, d, EPS)
        ctx.save_for_backward(qkv, temperature, inverse)
        return q.transpose(1, 2), k.transpose(1, 2), v.transpose(1, 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gq: Tensor, gk: Tensor, gv: Tensor) -> tuple[Tensor, Tensor]:
        qkv, temperature, inverse = ctx.saved_tensors
        gq, gk, gv = (g.transpose(1, 2).contiguous() for g in (gq, gk, gv))
        b, t, heads, d = gq.shape
        gqkv, gtemperature = torch.empty_like(qkv), torch.zeros_like(temperature)
        run(
            "split_backward", gq, gk, gv, qkv, temperature, inverse, gqkv, gtemperature, b * t, heads, d
        )  # fmt: skip
        return gqkv, gtemperature


def split_qkv(qkv: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """q, k and v (B, H, T, d) out of (B, T, 3D): q and k RMS-normalised, q times its head's temperature (H, 1, 1)."""
    if usable(qkv, temperature):
        return SplitKernel.apply(qkv, temperature)
    heads = temperature.shape[0]
    q, k, v = (part.transpose(1, 2) for part in qkv.unflatten(-1, (3, heads, -1)).unbind(2))
    q = (rms_norm(q, q.shape[-1:], eps=EPS) * temperature).type_as(v)
    return q, rms_norm(k, k.shape[-1:], eps=EPS).type_as(v), v


class SwiGLUKernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        x = x.contiguous()
        y = x.new_empty(*x.shape[:-1], x.shape[-1] // 2)
        run("swiglu_forward", x, y, y.numel() // y.shape[-1], y.shape[-1])
        ctx.save_for_backward(x)
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> Tensor:
        (x,) = ctx.saved_tensors
        gx = torch.empty_like(x)
        run("swiglu_backward", gy.contiguous(), x, gx, gy.numel() // gy.shape[-1], gy.shape[-1])
        return gx


def swiglu(x: Tensor) -> Tensor:
    """silu(gate) * up for x = (gate, up) along the last axis."""
    if usable(x) and x.shape[-1] % 32 == 0:
        return SwiGLUKernel.apply(x)
    gate, up = x.chunk(2, dim=-1)
    return silu(gate) * up


def view(x: Tensor) -> View:
    return View(x.data_ptr(), *x.stride()[:3])


def dense(x: Tensor) -> Tensor:
    """With a dense last axis, which is all that the kernel asks of a layout."""
    return x if x.stride(-1) == 1 else x.contiguous()


def like_tokens(x: Tensor) -> Tensor:
    """An empty (B, H, T, w) that lies in memory as (B, T, H, w), as the rest of the model has it."""
    b, h, t, w = x.shape
    return x.new_empty(b, t, h, w).transpose(1, 2)


class AttentionKernel(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        scale: float,
        bias: Tensor | None,
        p: Tensor | None,
        r: Tensor | None,
        slopes: Tensor | None,
    ) -> Tensor:
        q, k, v = dense(q), dense(k), dense(v)
        p, r = (None, None) if p is None or r is None else (dense(p), dense(r))
        b, h, t, e = q.shape
        y, lse = like_tokens(v), q.new_empty(b, h, t)
        keys_first = None if bias is None else by_key(bias)
        call = Call(
            q=view(q), k=view(k), v=view(v), y=view(y), lse=lse.data_ptr(),
            batches=b, heads=h, tokens=t, width=e, value_width=v.shape[-1], scale=scale,
        )  # fmt: skip
        if keys_first is not None:
            call.bias = keys_first.data_ptr()
        if p is not None and r is not None and slopes is not None:
            call.p, call.r, call.slopes = view(p), view(r), slopes.data_ptr()
            call.path_width, call.path_scale = p.shape[-1], 1 / p.shape[-1]
        run("attention_forward", call)
        ctx.save_for_backward(q, k, v, y, lse, keys_first, p, r, slopes)
        ctx.call = call
        return y

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        q, k, _, _, _, keys_first, p, _, _ = ctx.saved_tensors
        gy, call = dense(gy), ctx.call
        gq, gk, gv = like_tokens(q), like_tokens(k), like_tokens(gy)
        call.gy, call.gq, call.gk, call.gv = view(gy), view(gq), view(gk), view(gv)
        gbias = torch.zeros_like(keys_first) if ctx.needs_input_grad[4] else None
        call.gbias = None if gbias is None else gbias.data_ptr()
        gp = gr = None
        if p is not None:
            gp, gr = like_tokens(p), like_tokens(p)
            call.gp, call.gr = view(gp), view(gr)
        run("attention_backward", call)
        turned = None if gbias is None else gbias[..., : q.shape[2]].mT
        return gq, gk, gv, None, turned, gp, gr, None


def by_key(bias: Tensor) -> Tensor:
    """A bias (H, T, T) with the keys first, (H, T, T + padding to 16 queries)."""
    h, t, _ = bias.shape
    turned = bias.new_zeros(h, t, -(-t // 16) * 16)
    turned[..., :t] = bias.mT
    return turned


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    bias: Tensor | None = None,
    path: tuple[Tensor, Tensor, Tensor] | None = None,
) -> Tensor:
    """Causal attention of q and k (B, H, T, e) over v (B, H, T, d), as many queries as keys: (B, H, T, d).

    `bias` (H or 1, T, T) is added to the logits. `path` (p, r, slopes), of shapes (B, H, T, f), (B, H, T, f) and
    (H,), adds the sum over j < l <= i of slope * log sigmoid(p_i . r_l / f). Only where `usable`.
    """
    bias = None if bias is None else bias.expand(q.shape[1], -1, -1)
    return AttentionKernel.apply(q, k, v, scale, bias, *(path or (None, None, None)))
