"""Native kernels for the operators of suite/lm/layers.py, which defines them, and for attention.

The definitions run wherever the kernels cannot (`usable`). The two agree to float32 rounding, values and gradients.
"""

import contextlib
import ctypes
import functools
from collections.abc import Callable, Collection, Iterator, Mapping
from contextvars import ContextVar
from types import MappingProxyType
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd import forward_ad
from torch.nn.functional import pad

from pebench.encodings.base import Broken, Columns, Counted, Form, Path, Reflected
from pebench.suite.lm.native.build import library

EPS = 1e-6  # of the RMS norms
ROWS = (torch.float32, torch.bfloat16)
REMEDY = "run the forward pass within pebench.suite.lm.native.ops.definitions()"
INPUTS = ("q", "k", "v", "p", "r", "e", "w", "beta", "qc", "kc")  # of attention, those that get gradients
SHORT = 64  # tokens up to which a lane of a kernel is a (sequence, head)


class View(ctypes.Structure):
    """A (B, H, T, width) tensor, as attention.c sees it."""

    _fields_ = [("at", ctypes.c_void_p), *((name, ctypes.c_int64) for name in ("batch", "head", "token"))]


VIEWS = (
    "q",
    "k",
    "v",
    "y",
    "gy",
    "gq",
    "gk",
    "gv",
    "p",
    "r",
    "gp",
    "gr",
    "e",
    "ge",
    "w",
    "beta",
    "gw",
    "gbeta",
    "qc",
    "kc",
    "gqc",
    "gkc",
)


class Call(ctypes.Structure):
    """The arguments of the attention kernels: `Attention` of attention.c."""

    _fields_ = [
        *((name, View) for name in VIEWS),
        *((name, ctypes.c_void_p) for name in ("lse", "bias", "gbias", "table", "gtable", "slopes", "kept")),
        *(
            (name, ctypes.c_int64)
            for name in (
                "batches",
                "heads",
                "tokens",
                "width",
                "value_width",
                "path_width",
                "known",
                "stick",
                "columns",
            )
        ),
        *((name, ctypes.c_float) for name in ("scale", "path_scale")),
    ]


_serving = ContextVar("serving", default=True)  # of this thread alone


@contextlib.contextmanager
def definitions() -> Iterator[None]:
    """Within, PyTorch's operators serve everywhere, as they do on a GPU."""
    before = _serving.set(False)
    try:
        yield
    finally:
        _serving.reset(before)


def usable(*tensors: Tensor, dtypes: tuple[torch.dtype, ...] = (torch.float32,)) -> bool:
    """Whether the kernels take these: plain float32 numbers, one thread, eager, and the library could be built.

    What lies between two matrix products may be bfloat16 too: the kernels for that are asked for with ROWS.
    """
    return (
        not torch.compiler.is_compiling()  # first: the compiler cannot follow what comes next
        and _serving.get()
        and all(t.dtype in dtypes and t.numel() for t in tensors)
        and plain(*tensors)
        and torch.get_num_threads() == 1
        and eager()
        and torch._C._len_torch_function_stack() == 0
        and product_dtype() in ROWS
        and library() is not None
    )


def eager() -> bool:
    """Whether operators compute at once: nothing traces, batches, differentiates forward or watches them."""
    return (
        not torch.jit.is_tracing()
        and torch._C._len_torch_dispatch_stack() == 0  # FakeTensorMode, make_fx, FlopCounterMode
        and torch._C._functorch.peek_interpreter_stack() is None  # vmap, torch.func.grad, functionalize
        and forward_ad._current_level < 0
    )


def plain(*tensors: Tensor) -> bool:
    """Whether the numbers of these lie in the processor's memory as their type, shape and strides say."""
    kinds = plain_keys()
    return all(
        type(x) in (Tensor, nn.Parameter) and torch._C._dispatch_keys(x).raw_repr() in kinds for x in tensors
    )


@functools.cache
def plain_keys() -> tuple[int, ...]:
    """The dispatch keys of an ordinary tensor and of one made in inference mode.

    Any other kind has a key of its own: other devices, sparse and nested layouts, fake, functional and batched
    tensors, and negations that are still to be computed.
    """
    with torch.inference_mode():
        inference = torch.empty(0)
    return tuple(torch._C._dispatch_keys(x).raw_repr() for x in (torch.empty(0), inference))


def address(x: Tensor) -> int:
    """Where the numbers of x begin; TypeError where x is not `plain`."""
    if not plain(x):
        raise TypeError(
            f"the native kernels read ordinary CPU tensors, not this {type(x).__name__} on {x.device}; {REMEDY}"
        )
    return x.data_ptr()


def run(name: str, *arguments: Any) -> None:
    """Call a kernel on tensors (by their first element; None: no tensor), whole numbers, floats and a `Call`."""
    if kernel(name, tuple(map(type, arguments)))(
        *(address(x) if isinstance(x, Tensor) else x for x in arguments)
    ):
        raise MemoryError(f"no memory for the scratch space of {name}")


@functools.cache
def kernel(name: str, kinds: tuple[type, ...]) -> Any:
    """A function of the library that takes arguments of these kinds."""
    found = cast(ctypes.CDLL, library())[name]  # by its index, which gives a new one each time
    types: dict[type, Any] = {int: ctypes.c_int64, float: ctypes.c_float, Call: ctypes.POINTER(Call)}
    found.argtypes = [types.get(kind, ctypes.c_void_p) for kind in kinds]
    return found


def brief(x: Tensor) -> int:
    """Whether the numbers of x take 16 bits, as a kernel is told."""
    return int(x.dtype == torch.bfloat16)


def rows(x: Tensor) -> Tensor:
    """x (..., width) as a matrix with dense rows, one after another."""
    return x.reshape(-1, x.shape[-1]).contiguous()


def product_dtype() -> torch.dtype:
    """What matrix products read: bfloat16 under autocast, else float32."""
    return torch.get_autocast_dtype("cpu") if torch.is_autocast_enabled("cpu") else torch.float32


def product(x: Tensor, weight: Tensor) -> Tensor:
    """x (n, width) times a matrix (out, width). A single row is bound by the reading of the matrix."""
    if len(x) == 1 and usable(x, weight):
        y = x.new_empty(1, len(weight))
        run("product_step", weight.contiguous(), x, y, *weight.shape)
        return y
    return x @ weight.T


def apply(kernel: type[torch.autograd.Function], *arguments: Any) -> Any:
    """The kernel's values; without autograd, a large share of the time of a single token, where that is off."""
    return (kernel.apply if torch.is_grad_enabled() else functools.partial(kernel.forward, Forgets()))(
        *arguments
    )


class Forgets:
    """A context of an autograd function that keeps nothing."""

    like: Any

    def save_for_backward(self, *tensors: Tensor | None) -> None: ...

    def set_materialize_grads(self, value: bool) -> None: ...


def keep(ctx: Any, *tensors: Tensor | None) -> None:
    """Save what the backward pass reads."""
    ctx.save_for_backward(*tensors)
    ctx.like = tuple(None if x is None else (x.shape, x.dtype) for x in tensors)


def kept(ctx: Any) -> list[Any]:
    """What `keep` saved, perhaps elsewhere in memory and with other strides: checkpoints and hooks see to that."""
    tensors = ctx.saved_tensors
    for x, like in zip(tensors, ctx.like, strict=True):
        if x is not None and (x.shape, x.dtype) != like:
            raise ValueError(
                f"a saved-tensor hook gave back {tuple(x.shape)} {x.dtype} for {tuple(like[0])} {like[1]}; {REMEDY}"
            )
    return list(tensors)


def kept_dense(ctx: Any) -> list[Any]:
    """What `keep` saved, without gaps, as all kernels but attention read it."""
    return [x.contiguous() for x in kept(ctx)]


def first_order(backward: Callable[..., Any]) -> Callable[..., Any]:
    """A backward pass that raises where its result would have to be differentiated, batched or traced.

    `once_differentiable` lets a second derivative through, without the kernel's part, where the incoming gradient
    does not require one.
    """

    @functools.wraps(backward)
    def checked(ctx: Any, *gradients: Tensor | None) -> Any:
        if torch.is_grad_enabled():
            raise RuntimeError(f"the native kernels have no second derivative (create_graph=True); {REMEDY}")
        if not eager():
            raise RuntimeError(
                f"the native kernels cannot be traced, batched or watched in backward; {REMEDY}"
            )
        if not torch.is_autocast_enabled("cpu"):
            return backward(ctx, *gradients)
        with torch.autocast("cpu", enabled=False):  # the dtypes are the forward pass's
            return backward(ctx, *gradients)

    return checked


def normed(x: Tensor, gain: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """RMS norm of the rows x (n, width) times a gain, and 1 / rms of each."""
    if gain.shape != x.shape[1:]:
        raise ValueError(f"a gain of shape {tuple(gain.shape)} for rows of {x.shape[1]} numbers")
    y, inverse = torch.empty_like(x, dtype=dtype), x.new_empty(len(x))
    run("norm_forward", x, gain.contiguous(), y, inverse, *x.shape, brief(y), EPS)
    return y, inverse


def norm_gradient(
    gy: Tensor, x: Tensor, gain: Tensor, inverse: Tensor, more: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """The gradients of x, `more` added, and of the gain."""
    gx, ggain = torch.empty_like(x), torch.zeros_like(gain)
    run("norm_backward", gy, x, gain, inverse, more, gx, ggain, *x.shape, brief(gy))
    return gx, ggain


class NormLinearKernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
        ctx.set_materialize_grads(False)  # few encodings read h
        flat, dtype = rows(x), product_dtype()
        h, inverse = normed(flat, gain, torch.float32)
        read, weight = h.to(dtype), weight.to(dtype)
        keep(ctx, flat, gain, inverse, read, weight)
        return h.view(x.shape), product(read, weight).view(*x.shape[:-1], -1)

    @staticmethod
    @first_order
    def backward(ctx: Any, gh: Tensor | None, gy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        x, gain, inverse, read, weight = kept_dense(ctx)
        shape, gy = gy.shape, rows(gy)
        back = gy @ weight
        if gh is not None:
            back = rows(gh) + back
        gx, ggain = norm_gradient(back, x, gain, inverse)
        return gx.view(*shape[:-1], -1), ggain, (gy.T @ read).float()


class AddLinearKernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, y: Tensor, weight: Tensor) -> Tensor:
        dtype = product_dtype()
        read, weight = rows(y).to(dtype), weight.to(dtype)
        keep(ctx, read, weight)
        return x + product(read, weight).view(x.shape)

    @staticmethod
    @first_order
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        read, weight = kept_dense(ctx)
        g16 = rows(g).to(weight.dtype)
        return g, (g16 @ weight).float().view(*g.shape[:-1], -1), (g16.T @ read).float()


class SplitKernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, qkv: Tensor, temperature: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        qkv, temperature = qkv.contiguous(), temperature.contiguous()
        b, t, _ = qkv.shape
        heads = temperature.numel()
        d = qkv.unflatten(-1, (3, heads, -1)).shape[-1]
        q, k, v = (temperature.new_empty(b, heads, t, d) for _ in range(3))
        inverse = temperature.new_empty(b, t, heads, 2)
        run("split_forward", qkv, temperature, q, k, v, inverse, b, t, heads, d, brief(qkv), EPS)
        keep(ctx, qkv, temperature, inverse)
        return q, k, v

    @staticmethod
    @first_order
    def backward(ctx: Any, gq: Tensor, gk: Tensor, gv: Tensor) -> tuple[Tensor, Tensor]:
        qkv, temperature, inverse = kept_dense(ctx)
        gq, gk, gv = (g.contiguous() for g in (gq, gk, gv))
        gqkv, gtemperature = torch.empty_like(qkv), torch.zeros_like(temperature)
        b, h, t, d = gq.shape
        tensors = (gq, gk, gv, qkv, temperature, inverse, gqkv, gtemperature)
        run("split_backward", *tensors, b, t, h, d, brief(qkv))
        return gqkv, gtemperature


class FeedForwardKernel(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gain: Tensor, gate_up: Tensor, down: Tensor) -> Tensor:
        flat, dtype = rows(x), product_dtype()
        gate_up, down = gate_up.to(dtype), down.to(dtype)
        h, inverse = normed(flat, gain, dtype)
        up = product(h, gate_up).view(-1, 2 * down.shape[1])
        mid = up.new_empty(len(up), down.shape[1])
        run("swiglu_forward", up, mid, *mid.shape, brief(up))
        keep(ctx, flat, gain, inverse, h, gate_up, up, mid, down)
        return (flat + product(mid, down)).view(x.shape)

    @staticmethod
    @first_order
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        x, gain, inverse, h, gate_up, up, mid, down = kept_dense(ctx)
        shape, g = g.shape, rows(g)
        g16 = g.to(down.dtype)
        gup = torch.empty_like(up)
        run("swiglu_backward", g16 @ down, up, gup, *mid.shape, brief(up))
        gx, ggain = norm_gradient(gup @ gate_up, x, gain, inverse, g)
        return gx.view(shape), ggain, (gup.T @ h).float(), (g16.T @ mid).float()


def view(x: Tensor) -> View:
    return View(address(x), *x.stride()[:3])


def dense(x: Tensor) -> Tensor:
    """With a dense last axis, which is all that the kernel asks of a layout."""
    return x if x.stride(-1) == 1 else x.contiguous()


def described(
    inputs: dict[str, Tensor],
    y: Tensor,
    lse: Tensor,
    bias: Tensor | None,
    table: Tensor | None,
    slopes: Tensor | None,
    scale: float,
    stick: bool,
    views: Mapping[str, View] = MappingProxyType({}),
) -> Call:
    """The call for these tensors; `views` of some are at hand. The caller keeps all alive until it has run."""
    q, v = inputs["q"], inputs["v"]
    b, h, t, width = q.shape
    made = {name: view(x) for name, x in (inputs | {"y": y}).items() if name not in views}
    call = Call(
        **made, **views, lse=address(lse),
        batches=b, heads=h, tokens=t, width=width, value_width=v.shape[-1], stick=stick, scale=scale,
    )  # fmt: skip
    if bias is not None:
        call.bias = address(bias)
    if table is not None:
        call.table = address(table)
    if slopes is not None:
        call.slopes, call.path_width = address(slopes), inputs["p"].shape[-1]
        call.path_scale = 1 / call.path_width
    if "e" in inputs:
        call.known = inputs["e"].shape[-1]
    if "qc" in inputs:
        call.columns = inputs["qc"].shape[-1]
    if is_short(t, inputs, bias, stick):
        call.kept = call.lse
    return call


def is_short(tokens: int, inputs: Collection[str], bias: Tensor | None, stick: bool) -> bool:
    """Whether short.c computes this: a lane for each (sequence, head)."""
    return tokens <= SHORT and bias is None and not stick and not {"e", "w"} & set(inputs)


def room_to_keep(q: Tensor, inputs: Collection[str], short: bool) -> Tensor:
    """Room for what attention keeps for its backward pass: all weights of short sequences, else a sum for each row."""
    b, h, t, _ = q.shape
    return q.new_empty(short_kept(b * h, t, "p" in inputs) if short else b * h * t)


@functools.cache
def short_kept(heads: int, tokens: int, path: bool) -> int:
    """How many numbers short.c keeps."""
    found = cast(ctypes.CDLL, library())["short_kept"]
    found.argtypes, found.restype = [ctypes.c_int64] * 3, ctypes.c_int64
    return int(found(heads, tokens, path))


_attends: ContextVar[Callable[..., Tensor] | None] = ContextVar("attends", default=None)


@contextlib.contextmanager
def attending(call: Callable[..., Tensor]) -> Iterator[None]:
    """Within, `call` is what `attention` calls in the place of `AttentionKernel`, with the same arguments."""
    before = _attends.set(call)
    try:
        yield
    finally:
        _attends.reset(before)


class AttentionKernel(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        scale: float,
        stick: bool,
        slopes: Tensor | None,
        bias: Tensor | None,
        table: Tensor | None,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        *rest: Tensor | None,
    ) -> Tensor:
        pairs = zip(INPUTS, (q, k, v, *rest), strict=True)
        inputs = {name: dense(x) for name, x in pairs if x is not None}
        b, h, t, _ = q.shape
        y = v.new_empty(b, t, h, v.shape[-1]).transpose(1, 2)  # as the model reads it
        lse = room_to_keep(q, inputs, is_short(t, inputs, bias, stick))
        keys_first = None if bias is None else by_key(bias)
        padded = None if table is None else by_lane(table)
        go(described(inputs, y, lse, keys_first, padded, slopes, scale, stick), "forward")
        ctx.names, ctx.numbers = tuple(inputs), (scale, stick)
        keep(ctx, lse, keys_first, padded, slopes, y, *inputs.values())
        return y

    @staticmethod
    @first_order
    def backward(ctx: Any, gy: Tensor) -> tuple[Tensor | None, ...]:
        saved = kept(ctx)
        whole: list[Any] = [None if x is None else x.contiguous() for x in saved[:4]]
        lse, keys_first, padded, slopes = whole
        y, *tensors = map(dense, saved[4:])
        inputs = dict(zip(ctx.names, tensors, strict=True))
        call = described(inputs, y, lse, keys_first, padded, slopes, *ctx.numbers)
        asked = {
            name
            for name, needed in zip(("bias", "table", *INPUTS), ctx.needs_input_grad[3:], strict=True)
            if needed
        }
        given = back(call, dense(gy), inputs, keys_first, padded, asked)
        return None, None, None, *(given.get(name) for name in ("bias", "table", *INPUTS))


def go(call: Call, way: str) -> None:
    """Run attention "forward" or "backward"."""
    run(f"{'short' if call.kept else 'attention'}_{way}", call)


def back(
    call: Call,
    gy: Tensor,
    inputs: dict[str, Tensor],
    bias: Tensor | None,
    table: Tensor | None,
    asked: Collection[str],
) -> dict[str, Tensor]:
    """The gradients of `inputs`, of a bias and of a table, by name, for that of y. The call has been run forth.

    Those for which the call has a place already are written there. `asked` are the names whose gradients are needed.
    """
    given = {name: torch.empty_like(x) for name, x in inputs.items() if not getattr(call, f"g{name}").at}
    for name, g in given.items():
        if name in asked or name not in ("qc", "kc"):  # a kernel writes all gradients but those of columns
            setattr(call, f"g{name}", view(g))
    call.gy = view(gy)
    gbias = torch.zeros_like(bias) if bias is not None and "bias" in asked else None
    gtable = torch.zeros_like(table) if table is not None and "table" in asked else None
    call.gbias, call.gtable = (None if g is None else address(g) for g in (gbias, gtable))
    go(call, "backward")
    t = gy.shape[2]
    if gbias is not None:
        given["bias"] = gbias[..., :t].mT
    if gtable is not None:
        given["table"] = gtable[:, lanes() : lanes() + t]
    return given


@functools.cache
def lanes() -> int:
    """How many queries the kernel takes at once: what a bias and a table are padded to."""
    return int(cast(ctypes.CDLL, library()).lanes())


def by_lane(table: Tensor) -> Tensor:
    """A table (H, T) with room for the distances of queries that stand beside those in a vector."""
    return pad(table, (lanes(), -table.shape[-1] % lanes()))


def by_key(bias: Tensor) -> Tensor:
    """A bias (H, T, T) with the keys first, (H, T, T and its padding)."""
    h, t, _ = bias.shape
    turned = bias.new_zeros(h, t, t + -t % lanes())
    turned[..., :t] = bias.mT
    return turned


def attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    bias: Tensor | None = None,
    table: Tensor | None = None,
    form: Form | None = None,
    columns: Columns | None = None,
) -> Tensor:
    """Causal attention of q and k (B, H, T, e) over v (B, H, T, d), as many queries as keys: (B, H, T, d).

    `bias` (H or 1, T, T) is added to the logits, so is `table` (H or 1, T), by distance, and so is the product of
    `columns`; a form replaces q and k, and says what becomes of them. Only where `usable`; what else is given may be
    `plain` of any dtype. RuntimeError where a shape does not fit.
    """
    stick, slopes, rest = False, None, dict.fromkeys(INPUTS[3:])
    match form:
        case Path():
            q, k, slopes, rest["p"], rest["r"] = form.q, form.k, form.slopes, form.p, form.r
        case Counted():
            q, k, rest["e"] = form.q, form.k, form.e
        case Reflected():
            q, k, rest["w"], rest["beta"] = form
        case Broken():
            q, k, stick = form.q, form.k, True
    if columns is not None:
        rest["qc"], rest["kc"] = columns
    b, h, t, _ = v.shape
    widths = {"k": q, "r": rest["p"], "w": q, "kc": rest["qc"]}  # those that must be as wide as another one
    given = dict(zip(INPUTS, (q, k, v, *rest.values()), strict=True))
    read = (
        None if x is None else fitted(x, b, h, t, x.shape[-1] if same is None else same.shape[-1])
        for x, same in ((x, widths.get(name)) for name, x in given.items())
    )
    slopes = None if slopes is None else fitted(slopes, h).contiguous()
    bias = None if bias is None else fitted(bias, h, t, t)
    table = None if table is None else fitted(table, h, t)
    call = _attends.get() or functools.partial(apply, AttentionKernel)
    return call(scale, stick, slopes, bias, table, *read)


def takes(form: Form) -> bool:
    """Whether the kernel computes all that this form asks for; it has no gradient for the slopes of a path."""
    return plain(*form) and not (isinstance(form, Path) and form.slopes.requires_grad)


def fitted(x: Tensor, *shape: int) -> Tensor:
    """x in float32 and of this shape, which it may have to be broadcast to: a kernel trusts its strides."""
    return x.float() if x.shape == shape else x.float().expand(shape)


def attention_step(q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Tensor | None = None) -> Tensor:
    """Attention of one new token q (B, H, 1, e) over all of a cache k and v, without gradients: (B, H, 1, d).

    `bias` (H or 1, 1, S) is added to the logits. Nothing of the cache is copied. Only where `usable`.
    """
    b, h, _, e = q.shape
    n = k.shape[2]
    q, k, v = dense(q), dense(k.expand(b, h, n, e)), dense(v.expand(b, h, n, -1))
    y = v.new_empty(b, h, 1, v.shape[-1])
    call = Call(
        q=view(q), k=view(k), v=view(v), y=view(y),
        batches=b, heads=h, tokens=n, width=e, value_width=v.shape[-1], scale=scale,
    )  # fmt: skip
    if bias is not None:
        bias = bias.float().expand(h, 1, n).contiguous()
        call.bias = address(bias)
    run("attention_step", call)
    return y
