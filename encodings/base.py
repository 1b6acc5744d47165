"""The one abstraction: an encoding is five hooks that do nothing by default.

Letters used throughout the project: B batch, H heads, T tokens of this call, S keys seen so far
(S = T in training), d head width, D = H * d model width, L training length.
"""

from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

Family = Literal["none", "absolute", "multiplicative", "additive", "path-integral", "contextual"]
Kernel = Literal["fused", "masked", "own"]


@dataclass(frozen=True)
class Shape:
    """What an encoding may know about the model it is built into."""

    layers: int
    heads: int
    head_dim: int
    train_length: int

    @property
    def width(self) -> int:
        return self.heads * self.head_dim

    @property
    def scale(self) -> float:
        """The factor 1/sqrt(d) of every logit."""
        return self.head_dim**-0.5


class At(NamedTuple):
    """Where a hook is called.

    `x` (B, T, D) is the normalised input of the attention block, `v` (B, H, T, d) its values, `pos` (T,) are
    the positions of its tokens, and `memory` is a dict that lives as long as that layer's cache: running
    sums go there.
    """

    layer: int
    x: Tensor
    v: Tensor
    pos: Tensor
    memory: dict[str, Tensor]


class Path(NamedTuple):
    """A softmax over q_i . k_j / sqrt(d) plus the sum over j < l <= i of slope * log sigmoid(p_i . r_l / f).

    q and k are (B, H, T, d), p and r (B, H, T, f), the slopes (H,).
    """

    q: Tensor
    k: Tensor
    p: Tensor
    r: Tensor
    slopes: Tensor


class Counted(NamedTuple):
    """A softmax over l_ij + e_i[c_ij], with l_ij = q_i . k_j / sqrt(d).

    The count c_ij is the sum over j <= s <= i of sigmoid(l_is), at most n - 1; e (B, H, T, n) is interpolated
    between whole numbers.
    """

    q: Tensor
    k: Tensor
    e: Tensor


class Reflected(NamedTuple):
    """A softmax over k_j . H_(j+1) ... H_i q_i / sqrt(d), with H_t = I - beta_t w_t w_t^T.

    w is (B, H, T, d), beta (B, H, T, 1).
    """

    q: Tensor
    k: Tensor
    w: Tensor
    beta: Tensor


class Broken(NamedTuple):
    """Weights sigmoid(l_ij) times the product over j < s < i of 1 - sigmoid(l_is), with l_ij = q_i . k_j / sqrt(d)."""

    q: Tensor
    k: Tensor


Form = Path | Counted | Reflected | Broken


class Encoding(nn.Module):
    """A positional encoding; subclasses override the hooks that they need and nothing else.

    A subclass states what it is in class attributes, and what it claims: `pebench check` tests each claim.
    q and k come normalised (RMS norm over d, times a scalar per head), and logits are scaled by 1/sqrt(d).
    """

    title: ClassVar[str]
    paper: ClassVar[str]  # "arXiv:1234.56789", or a few words where there is no paper
    family: ClassVar[Family]
    formula: ClassVar[str]  # LaTeX
    relative: ClassVar[bool] = False  # claim: adding one number to all positions changes no output
    norm_preserving: ClassVar[bool] = False  # claim: `qk` keeps the norms of q and k
    max_length: int | None = None  # None: defined at every length

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape

    def positions(self, index: Tensor) -> Tensor:
        """The positions (T,) of the tokens with these indices (T,)."""
        return index

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        """Add absolute positions to the token embeddings (B, T, D)."""
        return x

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        """Transform q and k (B, H, T, d); both may return wider. k is cached as it is returned."""
        return q, k

    def bias(self, q_pos: Tensor, k_pos: Tensor, layer: int) -> Tensor | None:
        """Logits (H, T, S) added to the scaled dot products; -inf hides a key."""
        return self.by_distance(distance(q_pos, k_pos), layer)

    def by_distance(self, far: Tensor, layer: int) -> Tensor | None:
        """`bias` where it depends on the distance alone: logits (H, *) at distances (*) of any shape."""
        return None

    def weights(self, q: Tensor, k: Tensor, q_pos: Tensor, k_pos: Tensor, layer: int) -> Tensor | None:
        """The attention weights (B, H, T, S) themselves, with the future (k_pos > q_pos) at zero."""
        return None

    def form(self, q: Tensor, k: Tensor, layer: int) -> Form | None:
        """Where `weights` has a form for which there is a fast kernel: its parts, from q and k as `qk` returns them."""
        return None

    @classmethod
    def kernel(cls) -> Kernel:
        """Which attention kernel this encoding needs; `suite/lm/attention.py` picks the same way."""
        if cls.weights is not Encoding.weights:
            return "own"
        biased = cls.bias is not Encoding.bias or cls.by_distance is not Encoding.by_distance
        return "masked" if biased else "fused"

    @classmethod
    def card(cls) -> dict[str, Any]:
        """What a listing shows of this encoding."""
        return {
            "title": cls.title,
            "family": cls.family,
            "paper": cls.paper,
            "kernel": cls.kernel(),
            "formula": cls.formula,
            "about": (cls.__doc__ or "").strip(),
            "relative": cls.relative,
            "norm_preserving": cls.norm_preserving,
        }


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


def distance(q_pos: Tensor, k_pos: Tensor) -> Tensor:
    """How far each key lies behind each query, (T, S) in float32; the future is clamped to 0."""
    return (q_pos[:, None] - k_pos).clamp(min=0).float()


def running_sum(x: Tensor, memory: dict[str, Tensor], name: str) -> Tensor:
    """Inclusive sums of x (..., T) along the tokens, in float32, continued from the cache's memory."""
    total = x.float().cumsum(-1)
    if name in memory:
        total = total + memory[name]
    memory[name] = total[..., -1:]
    return total


def widen(q: Tensor, k: Tensor, q_cols: Tensor, k_cols: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Append columns so that q.k * scale gains the sum over n of q_cols[n] * k_cols[n].

    q and k are (B, H, T, d), the columns broadcast to (B, H, T, n). This is the homogeneous lift of
    GRAPE (section 4): a bias of low rank rides on the plain fused kernel. The result is float32 and so is
    the attention that follows: bfloat16 would round positions above 256, and even exact columns would
    leave the gradient of a gate, a difference of large sums, to the kernel's rounding.
    """
    q_cols, k_cols = (q_cols / scale).expand(*q.shape[:-1], -1), k_cols.expand(*k.shape[:-1], -1)
    return torch.cat([q.float(), q_cols.float()], dim=-1), torch.cat([k.float(), k_cols.float()], dim=-1)


def sum_after(x: Tensor) -> Tensor:
    """Sums of x (..., S) over all later entries, exclusive; exact where few entries follow.

    >>> sum_after(torch.tensor([1.0, 2.0, 3.0]))
    tensor([5., 3., 0.])
    """
    later = nn.functional.pad(x.flip(-1)[..., :-1], (1, 0))
    return later.cumsum(-1).flip(-1)


def visible(q_pos: Tensor, k_pos: Tensor) -> Tensor:
    """Which keys a query may see, itself included: bool (T, S)."""
    return k_pos <= q_pos[:, None]


def causal_conv(x: Tensor, weight: Tensor, memory: dict[str, Tensor], name: str) -> Tensor:
    """Convolve each channel of x (B, T, C) over its last K tokens with weight (C, K), across cached chunks.

    The last column of `weight` meets the token itself; before the first token there are zeros.
    """
    before = weight.shape[-1] - 1
    past = memory[name] if name in memory else x.new_zeros(x.shape[0], before, x.shape[-1])
    x = torch.cat([past, x], dim=1)
    memory[name] = x[:, x.shape[1] - before :]
    return nn.functional.conv1d(x.mT, weight[:, None].type_as(x), groups=x.shape[-1]).mT
