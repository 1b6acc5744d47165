"""Attention of many queries over keys that all of them see, in bfloat16 on AMX tiles: `stretch.c`.

Where it does not serve, PyTorch's operator computes the same. Where it does, its sums are more exact.
"""

import ctypes
import functools

import torch
from torch import Tensor

from pebench.suite.lm.native.build import library

FEWEST = 64  # queries of a head, below which PyTorch's operator is as fast
STEP = 32  # widths are multiples of it


class Call(ctypes.Structure):
    """The arguments: `Stretch` of stretch.c."""

    _fields_ = [
        *((name, ctypes.c_void_p) for name in ("q", "k", "v", "y", "lse", "room")),
        *((f"{name}_{way}", ctypes.c_int64) for name in "qkv" for way in ("head", "row")),
        *((name, ctypes.c_int64) for name in ("heads", "rows", "keys", "width", "value_width")),
        ("scale", ctypes.c_float),
    ]


@functools.cache
def kernels() -> ctypes.CDLL | None:
    """The library, where this processor has the tiles and the system gives them."""
    found = library()
    if found is None or not found.stretch_usable():
        return None
    found.stretch_room.argtypes, found.stretch_room.restype = [ctypes.c_int64] * 3, ctypes.c_int64
    found.stretch.argtypes, found.stretch.restype = [ctypes.POINTER(Call)], None
    return found


def serves(q: Tensor, k: Tensor, v: Tensor) -> bool:
    """Whether the kernel takes q (1, H, R, d), k (1, H, S, d) and v (1, H, S, e)."""
    return (
        q.shape[2] >= FEWEST
        and all(x.dtype == torch.bfloat16 and x.device.type == "cpu" for x in (q, k, v))
        and all(x.stride(-1) == 1 and not x.shape[-1] % STEP and x.numel() for x in (q, k, v))
        and kernels() is not None
    )


def stretch(q: Tensor, k: Tensor, v: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Out of tensors that `serves`: y (1, H, R, e), and the logarithms (1, H, R) of the normalisers, in float32."""
    found = kernels()
    assert found is not None
    _, heads, rows, width = q.shape
    keys, value_width = v.shape[2:]
    y, lse = torch.empty(1, heads, rows, value_width), torch.empty(1, heads, rows)
    room = torch.empty(found.stretch_room(rows, width, value_width) + 64, dtype=torch.uint8)
    sides = {"q": q, "k": k, "v": v}
    found.stretch(
        Call(
            **{name: x.data_ptr() for name, x in (sides | {"y": y, "lse": lse}).items()},
            **{f"{name}_head": x.stride(1) for name, x in sides.items()},
            **{f"{name}_row": x.stride(2) for name, x in sides.items()},
            room=room.data_ptr() + -room.data_ptr() % 64,
            heads=heads,
            rows=rows,
            keys=keys,
            width=width,
            value_width=value_width,
            scale=scale,
        )
    )
    return y, lse
