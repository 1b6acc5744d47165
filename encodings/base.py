"""The one abstraction: an encoding is a few hooks that do nothing by default.

Letters used throughout the project: B batch, H heads, T tokens of this call, S keys seen so far
(S = T in training), d head width, D = H * d model width, L training length.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from torch import Tensor, nn

from pebench.encodings.forms import Broken as Broken
from pebench.encodings.forms import Counted as Counted
from pebench.encodings.forms import Form as Form
from pebench.encodings.forms import Path as Path
from pebench.encodings.forms import Reflected as Reflected
from pebench.encodings.tools import alibi_slopes as alibi_slopes
from pebench.encodings.tools import causal_conv as causal_conv
from pebench.encodings.tools import rope_frequencies as rope_frequencies
from pebench.encodings.tools import rotate as rotate
from pebench.encodings.tools import running_sum as running_sum
from pebench.encodings.tools import sum_after as sum_after

Family = Literal["none", "absolute", "multiplicative", "additive", "path-integral", "contextual"]
Kernel = Literal["fused", "masked", "own"]
Memory = dict[str, Any]  # tensors by name, and such dicts of parts: it lives as long as the cache
NOTHING = torch.empty(0)
DONE = torch.tensor(1.0)


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
    """Where a hook is called: the tokens of this call, in one layer. In `bias` and `weights`: the queries."""

    layer: int
    x: Tensor  # (B, T, D) float32, the normalised input of the attention block
    v: Tensor  # (B, H, T, d), its values, before the hook `values`
    order: Tensor  # (T,), the tokens' places in the text, from 0
    pos: Tensor  # what `positions` returned for them
    memory: Memory  # of this layer's cache: running sums go there
    progress: Tensor = DONE  # float32 scalar: the share of the training that is done; 1 in a trained model
    columns: Tensor = NOTHING  # (B, H, T, n) float32: in `weights`, the query vectors of `columns`

    @classmethod
    def whole(cls, layer: int, x: Tensor, v: Tensor, pos: Tensor) -> Self:
        """The place of whole texts, without a cache."""
        return cls(layer, x, v, torch.arange(x.shape[1], device=x.device), pos, {})

    @property
    def place(self) -> Tensor:
        """`pos` as it meets (B, H, T, *): (T, 1), or (B, 1, T, 1) where each example has its own."""
        return spread(self.pos)

    def within(self, part: str) -> Self:
        """The same place with a memory for this part alone."""
        return self._replace(memory=self.memory.setdefault(part, {}))


class Keys(NamedTuple):
    """All keys up to the last query. `columns` (B, H, S, m) float32: in `weights`, the key vectors of `columns`."""

    order: Tensor  # (S,) = 0, 1, 2 ...
    pos: Tensor  # what `positions` returned for them
    columns: Tensor = NOTHING


class Columns(NamedTuple):
    """Vectors that ride beside q and k: float32, of shapes that broadcast to (B, H, T, n)."""

    q: Tensor
    k: Tensor


class Encoding(nn.Module):
    """A positional encoding; subclasses override the hooks that they need and nothing else.

    A subclass states what it is in class attributes, and what it claims: `pebench check` tests each claim.
    q and k come normalised (RMS norm over d, times a scalar per head), and logits are scaled by 1/sqrt(d).
    q, k and v are float32, bfloat16 where a model trains on a GPU, or of the dtype that a model was cast to.
    What depends on positions is computed in float32; the result has the dtype of what came. The encoding's own
    parameters and buffers are float32 in every model.
    """

    title: ClassVar[str]
    paper: ClassVar[str]  # "arXiv:1234.56789", or a few words where there is no paper
    family: ClassVar[Family]  # for listings: nothing is computed from it
    formula: ClassVar[str]  # LaTeX
    relative: ClassVar[bool] = False  # claim: adding one number to all positions changes no output
    norm_preserving: ClassVar[bool] = False  # claim: `qk` keeps the norms of q and k
    max_length: int | None = None  # None: defined at every length

    def __init__(self, shape: Shape):
        super().__init__()
        self.shape = shape

    def positions(self, index: Tensor, tokens: Tensor, memory: Memory) -> Tensor:
        """The positions of tokens (B, T) with these indices (T,): (T,), (B, T), or (B, T, n), n numbers a token.

        `memory` belongs to the cache. Every other hook of the model gets the result.
        """
        return index

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        """Add absolute positions to the token embeddings (B, T, D); returns the dtype of x."""
        return x

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        """Transform q and k (B, H, T, d); both may return wider. k is cached as it is returned."""
        return q, k

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns | None:
        """Declare a bias of low rank, float32: the logit of i and j gains columns.q[i] . columns.k[j].

        q and k (B, H, T, d) are those that `qk` gets, not those that it returns. The key vectors are cached. Beside
        `weights` the vectors are no bias, may differ in width, and arrive there as `at.columns` and `keys.columns`.
        """
        return None

    def bias(self, at: At, keys: Keys) -> Tensor | None:
        """Logits (H, T, S) or (B, H, T, S) added to the scaled dot products; -inf hides a key."""
        if not self.defines("by_distance"):
            return None
        bias = self.by_distance(distance(at.pos, keys.pos), at.layer)
        return None if bias is None else bias.movedim(0, -3)

    def by_distance(self, far: Tensor, layer: int) -> Tensor | None:
        """`bias` where it depends on the distance alone: logits (H, *) at distances (*) of any shape, float32."""
        return None

    def sight(self, layer: int) -> int | None:
        """How many tokens a query sees, its own included, where `bias` is such a window and nothing else."""
        return None

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor | None:
        """The attention weights (B, H, T, S) themselves, with the future zero; None in a layer that has no own.

        q (B, H, T, e) and k (B, H, S, e) are what `qk` returned, in one dtype.
        """
        return None

    def form(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Form | None:
        """Where `weights` has a form for which there is a fast kernel: its parts. The queries are the last T of S."""
        return None

    def valid_form(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Form | None:
        """`form`, unless a subclass has redefined `weights` and inherits it."""
        return None if self.overruled("form", "weights") else self.form(q, k, at, keys)

    def values(self, v: Tensor, at: At) -> Tensor:
        """Change the values that attention reads: v (B, H, T, d), before it is cached; returns its dtype."""
        return v

    def output(self, y: Tensor, at: At) -> Tensor:
        """Change what was read: y (B, H, T, d), before the output projection; returns its dtype."""
        return y

    def spectrum(self) -> Tensor | None:
        """Angular frequencies (..., planes) in radians a token, fastest first, where the encoding has some."""
        return None

    def retune(self, frequencies: Tensor) -> None:
        """Take these frequencies, shaped as `spectrum` gives them, in the place of its own."""
        raise NotImplementedError(f"{type(self).__name__} has a `spectrum` and no `retune`; define it")

    @classmethod
    def defines(cls, hook: str) -> bool:
        """Whether this hook does anything."""
        return getattr(cls, hook) is not getattr(Encoding, hook)

    @classmethod
    def kernel(cls) -> Kernel:
        """Which attention kernel the hooks ask for."""
        if cls.defines("weights"):
            return "own"
        return "masked" if cls.defines("bias") or cls.defines("by_distance") else "fused"

    @classmethod
    def overruled(cls, fast: str, hook: str) -> bool:
        """Whether the class redefines a hook and inherits the fast path of the old one."""
        return cls._definer(hook) is not cls._definer(fast) and issubclass(
            cls._definer(hook), cls._definer(fast)
        )

    @classmethod
    def _definer(cls, hook: str) -> type:
        return next(base for base in cls.__mro__ if hook in vars(base))

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

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Move as any module does, but never change a dtype, nor lose a constant to the meta device.

        `lm.bfloat16()` would round positions above 256, and `to_empty` fills only what a checkpoint has.
        """
        constants = {id(x) for m in self.modules() for x in constants_of(m)}

        def moved(x: Tensor) -> Tensor:
            y = fn(x)
            if id(x) in constants and x.is_meta and not y.is_meta:
                raise RuntimeError(f"{type(self).__name__} was made on the meta device; make it by `build`")
            if id(x) in constants:
                return x if y.is_meta else x.to(y.device)
            return y if y.dtype == x.dtype else x.to(y.device)

        super()._apply(moved, recurse)
        return self


def constants_of(module: nn.Module) -> list[Tensor]:
    """The buffers of this module itself that no checkpoint has."""
    return [
        x
        for name, x in module._buffers.items()
        if x is not None and name in module._non_persistent_buffers_set
    ]


def one_number(pos: Tensor) -> Tensor:
    """Positions (T,) or (B, T); ValueError where a token has several, which only their own encoding can read."""
    if pos.dim() > 2:
        raise ValueError(f"each token has {pos.shape[-1]} positions here, and this encoding reads one")
    return pos


def spread(pos: Tensor) -> Tensor:
    """Positions (T,) or (B, T) as they meet (B, H, T, *): (T, 1) or (B, 1, T, 1)."""
    return pos[:, None] if pos.dim() == 1 else one_number(pos)[:, None, :, None]


def distance(q_pos: Tensor, k_pos: Tensor) -> Tensor:
    """How far each key lies behind each query, (T, S) or (B, T, S) in float32; the future is clamped to 0."""
    return (one_number(q_pos)[..., :, None] - one_number(k_pos)[..., None, :]).clamp(min=0).float()


def visible(at: At, keys: Keys) -> Tensor:
    """Which keys a query may see, itself included: bool (T, S). It follows from the order, not from positions."""
    return keys.order <= at.order[:, None]
