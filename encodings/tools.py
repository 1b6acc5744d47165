"""What encodings share: rotations, slopes, running sums. `encodings/base.py` passes these names on."""

from typing import Any

import torch
from torch import Tensor, nn


def even(width: int) -> None:
    """ValueError where this many channels are no whole number of planes."""
    if width % 2:
        raise ValueError(
            f"a rotation turns pairs of channels, and a width of {width} is odd: give each head an even width"
        )


def rope_frequencies(head_dim: int, base: float = 10_000.0) -> Tensor:
    """Angular frequencies base^(-2m/d) of the d/2 planes, fastest first (Su et al., 2021, section 3.2.2).

    >>> rope_frequencies(4)
    tensor([1.0000, 0.0100])
    """
    even(head_dim)
    return base ** (-torch.arange(0, head_dim, 2, dtype=torch.float32) / head_dim)


def rotate(x: Tensor, angle: Tensor) -> Tensor:
    """Rotate the planes (m, m + d/2) of x (..., T, d) by angle (..., T, d/2), in float32.

    >>> rotate(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), 3 * rope_frequencies(4)[None])
    tensor([[-1.4134,  1.8791, -2.8289,  4.0582]])
    """
    even(x.shape[-1])
    full = x.float()  # bfloat16 angles would be off by whole turns at long range
    cos, sin = angle.cos(), angle.sin()
    # (a, b) * (cos, cos) + (b, a) * (-sin, sin): whole rows, since strided halves take a CPU thrice as long.
    across = full.roll(full.shape[-1] // 2, dims=-1) * torch.cat([-sin, sin], dim=-1)
    return (full * torch.cat([cos, cos], dim=-1) + across).type_as(x)


def alibi_slopes(heads: int) -> Tensor:
    """One slope per head (Press et al., 2022, section 3, and the authors' rule for other head counts).

    >>> alibi_slopes(4).tolist()
    [0.25, 0.0625, 0.015625, 0.00390625]
    >>> alibi_slopes(6).tolist()
    [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]
    """
    power = 2 ** (heads.bit_length() - 1)
    slopes = [2 ** (-8 * h / power) for h in range(1, power + 1)]
    between = [2 ** (-4 * h / power) for h in range(1, 2 * power + 1, 2)]
    return torch.tensor((slopes + between)[:heads])


def running_sum(x: Tensor, memory: dict[str, Any], name: str) -> Tensor:
    """Inclusive sums of x (..., T) along the tokens, in float32, continued from the cache's memory."""
    total = x.float().cumsum(-1)
    if name in memory:
        total = total + memory[name]
    memory[name] = total[..., -1:]
    return total


def sum_after(x: Tensor) -> Tensor:
    """Sums of x (..., S) over all later entries, exclusive; exact where few entries follow.

    >>> sum_after(torch.tensor([1.0, 2.0, 3.0]))
    tensor([5., 3., 0.])
    """
    later = nn.functional.pad(x.flip(-1)[..., :-1], (1, 0))
    return later.cumsum(-1).flip(-1)


def causal_conv(x: Tensor, weight: Tensor, memory: dict[str, Any], name: str) -> Tensor:
    """Convolve each channel of x (B, T, C) over its last K tokens with weight (C, K), across cached chunks.

    The last column of `weight` meets the token itself; before the first token there are zeros.
    """
    before = weight.shape[-1] - 1
    past = memory[name] if name in memory else x.new_zeros(x.shape[0], before, x.shape[-1])
    x = torch.cat([past, x], dim=1)
    memory[name] = x[:, x.shape[1] - before :]
    return nn.functional.conv1d(x.mT, weight[:, None].type_as(x), groups=x.shape[-1]).mT


def beside(sides: tuple[Tensor, ...]) -> Tensor:
    """Vectors (..., n) side by side, their other axes broadcast."""
    shape = torch.broadcast_shapes(*(side.shape[:-1] for side in sides))
    return torch.cat([side.expand(*shape, -1) for side in sides], dim=-1)


def since(marks: Tensor, memory: dict[str, Any], name: str) -> tuple[Tensor, Tensor]:
    """How many tokens lie between the last mark before each token and it, and how many marks do, int64 (B, T) each.

    `marks` is bool (B, T); the text begins after a mark. Continued from the cache's memory.

    >>> since(torch.tensor([[False, True, False, False]]), {}, "x")
    (tensor([[0, 1, 0, 1]]), tensor([[0, 0, 1, 1]]))
    """
    zero = torch.zeros(len(marks), 1, dtype=torch.long, device=marks.device)
    past = memory.get(name, {"place": zero, "count": zero})
    index = torch.arange(marks.shape[1] + 1, device=marks.device)
    begun = (
        nn.functional.pad(torch.where(marks, index[1:], 0), (1, 0)).cummax(-1).values
    )  # (B, T + 1), 0 where none
    place = torch.where(begun > 0, index - begun, past["place"] + index)
    count = past["count"] + nn.functional.pad(marks.long().cumsum(-1), (1, 0))
    memory[name] = {"place": place[:, -1:], "count": count[:, -1:]}
    return place[:, :-1], count[:, :-1]
