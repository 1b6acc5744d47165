"""Whether an encoding's hooks return what the protocol asks for, told in words.

It is no check of `CHECKS`: a hook of another shape would fail most of them, each with an error of torch.
"""

import difflib
import inspect
from collections.abc import Iterator

import torch
from torch import Tensor

from pebench.encodings.base import At, Columns, Encoding, Keys, Shape, distance
from pebench.encodings.registry import EncodingError
from pebench.encodings.streams import build

SHAPE = Shape(layers=2, heads=4, head_dim=16, train_length=16)
EXAMPLES, TOKENS = 2, 8
ROWS = (EXAMPLES, SHAPE.heads, TOKENS)
RETURNS = {
    "positions": "a tensor (T,), (B, T) or (B, T, n)",
    "embed": "a tensor (B, T, D) of the dtype of x",
    "columns": "None, or Columns(q, k) of tensors that broadcast to (B, H, T, n), of one n unless `weights` reads them",
    "qk": "a pair of tensors (B, H, T, e) of one width e and of the dtype of q",
    "by_distance": "None, or a tensor (H, *) for distances (*)",
    "bias": "None, or a tensor (H, T, S) or (B, H, T, S)",
    "weights": "None, or a tensor (B, H, T, S)",
    "values": "a tensor (B, H, T, d) of the dtype of v",
    "output": "a tensor (B, H, T, d) of the dtype of y",
}
LETTERS = f"here B = {EXAMPLES}, H = {SHAPE.heads}, T = S = {TOKENS}, d = {SHAPE.head_dim}, D = {SHAPE.width}"


def demand_hooks(name: str, cls: type[Encoding]) -> None:
    """EncodingError where a hook takes other arguments, or returns something else, than encodings/base.py says."""
    if problem := hook_problem(cls):
        raise EncodingError(f"{name}: {problem}")


def hook_problem(cls: type[Encoding]) -> str:
    """The first hook that breaks the protocol, and what it is to do; empty where all keep it.

    An exception inside a hook is no problem here: the certificate tells its line.
    """
    if problem := misnamed(cls) or next(filter(None, (other_arguments(cls, hook) for hook in RETURNS)), ""):
        return problem
    try:
        encoding = build(cls, SHAPE).eval()
        for layer in range(SHAPE.layers):
            for hook, right, value in returned(encoding, layer):
                if not right:
                    return f"`{hook}` returns {described(value)}; return {RETURNS[hook]} ({LETTERS})"
    except Exception:
        return ""
    return ""


def misnamed(cls: type[Encoding]) -> str:
    """A method with nearly a hook's name, in a class without any hook."""
    if any(cls.defines(hook) for hook in RETURNS):
        return ""
    for name in vars(cls):
        near = difflib.get_close_matches(name, RETURNS, n=1, cutoff=0.75)
        if near and callable(getattr(cls, name)) and name not in RETURNS:
            return f"`{name}` is no hook, and the class has no other; did you mean `{near[0]}`?"
    return ""


def other_arguments(cls: type[Encoding], hook: str) -> str:
    """How a hook's arguments differ from the protocol's; empty where the protocol's call fits them."""
    asked = list(inspect.signature(getattr(Encoding, hook)).parameters)
    try:
        inspect.signature(getattr(cls, hook)).bind(*asked)
    except TypeError:
        own = ", ".join(inspect.signature(getattr(cls, hook)).parameters)
        return f"`{hook}` is defined with ({own}); define it with ({', '.join(asked)})"
    except ValueError:  # a callable without a signature
        return ""
    return ""


@torch.no_grad()
def returned(encoding: Encoding, layer: int) -> Iterator[tuple[str, bool, object]]:
    """Each hook, whether it returned what it should, and what it returned; the next is called when this was right."""
    rng = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, *ROWS, SHAPE.head_dim, generator=rng)
    x = torch.randn(EXAMPLES, TOKENS, SHAPE.width, generator=rng)
    tokens, index = torch.randint(7, (EXAMPLES, TOKENS), generator=rng), torch.arange(TOKENS)
    pos = encoding.positions(index, tokens, {})
    placed = isinstance(pos, Tensor) and (
        pos.shape == index.shape or (pos.dim() <= 3 and pos.shape[:2] == tokens.shape)
    )
    yield "positions", placed, pos
    yield "embed", alike(y := encoding.embed(x, pos), x), y
    at = At(layer, x, v, index, pos, {})
    columns = encoding.columns(q, k, at)
    sides = columns if isinstance(columns, Columns) else ()
    fit = all(fits(side, (*ROWS, -1)) for side in sides)
    same = fit and (encoding.kernel() == "own" or len({side.shape[-1] for side in sides}) <= 1)
    yield "columns", columns is None or (bool(sides) and same), columns
    turned = encoding.qk(q, k, at)
    pair = isinstance(turned, tuple) and len(turned) == 2 and all(isinstance(side, Tensor) for side in turned)
    yield "qk", pair and turned[0].shape == turned[1].shape and alike(turned[0][..., :1], q[..., :1]), turned
    keys = Keys(index, pos)
    if sides:
        at, keys = at._replace(columns=columns.q), keys._replace(columns=columns.k)  # type: ignore[union-attr]
    far = distance(index, index)
    near = encoding.by_distance(far, layer)
    deep = fits(near, (SHAPE.heads, *far.shape)) and near.dim() == 1 + far.dim()  # type: ignore[union-attr]
    yield "by_distance", near is None or deep, near
    added = encoding.bias(at, keys)
    yield "bias", added is None or fits(added, (*ROWS, TOKENS)), added
    rows = encoding.weights(*turned, at, keys)
    yield "weights", rows is None or (isinstance(rows, Tensor) and rows.shape == (*ROWS, TOKENS)), rows
    yield "values", alike(y := encoding.values(v, at), v), y
    yield "output", alike(y := encoding.output(v, at), v), y


def alike(value: object, like: Tensor) -> bool:
    """Whether this is a tensor of the same shape and dtype."""
    return isinstance(value, Tensor) and value.shape == like.shape and value.dtype == like.dtype


def fits(value: object, shape: tuple[int, ...]) -> bool:
    """Whether this is a tensor that broadcasts to a shape; a last size of -1 is free."""
    if not isinstance(value, Tensor) or value.dim() == 0:
        return False
    wanted = shape if shape[-1] >= 0 else (*shape[:-1], value.shape[-1])
    try:
        return torch.broadcast_shapes(value.shape, wanted) == wanted
    except RuntimeError:
        return False


def described(value: object) -> str:
    """What a hook returned, in words.

    >>> described(torch.ones(2, 3)), described((1, 2)), described(None)
    ('a tensor (2, 3) of float32', 'a tuple of 2 (int, int)', 'None')
    """
    if isinstance(value, Columns) and all(isinstance(side, Tensor) for side in value):
        return f"Columns of {described(value.q)} and {described(value.k)}"
    if isinstance(value, Tensor):
        return f"a tensor {tuple(value.shape)} of {str(value.dtype).removeprefix('torch.')}"
    if isinstance(value, tuple):
        parts = ", ".join(
            described(part) if isinstance(part, Tensor) else type(part).__name__ for part in value
        )
        return f"a tuple of {len(value)} ({parts})"
    return "None" if value is None else f"a {type(value).__name__}"
