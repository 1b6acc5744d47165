import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, silu

from pebench.encodings.base import At, Columns, Encoding, Keys, Reflected, Shape, causal_conv, visible
from pebench.encodings.fox import FoX
from pebench.encodings.registry import register


class Reflections(Encoding):
    """A plane of reflection for each token: unit vectors w (B, H, T, d) and strengths beta, learned from x."""

    paper = "arXiv:2505.16381"
    family = "path-integral"
    relative = True

    rank = 32
    conv_width = 3
    chunk = 64

    def __init__(self, shape: Shape):
        super().__init__(shape)
        layers, width = shape.layers, shape.width
        self.down = nn.Parameter(0.02 * torch.randn(layers, self.rank, width))
        self.up = nn.Parameter(0.02 * torch.randn(layers, width, self.rank))
        self.conv = nn.Parameter(0.02 * torch.randn(layers, width, self.conv_width))
        self.weight = nn.Parameter(0.02 * torch.randn(layers, shape.heads, width))
        self.gate_bias = nn.Parameter(torch.zeros(layers, shape.heads))

    def planes(self, at: At) -> Tensor:
        """w and beta side by side, (B, H, T, d + 1) in float32."""
        w = linear(linear(at.x, self.down[at.layer]), self.up[at.layer])
        w = silu(causal_conv(w, self.conv[at.layer], at.memory, "path_conv"))
        w = normalize(w.unflatten(-1, (self.shape.heads, -1)).float(), dim=-1, eps=1e-6).transpose(1, 2)
        gate = linear(at.x, self.weight[at.layer], self.gate_bias[at.layer])  # (B, T, H)
        return torch.cat([w, 2 * gate.float().sigmoid().mT[..., None]], dim=-1)

    def logits(self, q: Tensor, k: Tensor, planes: Tensor, seen: Tensor) -> Tensor:
        """Scaled logits (B, H, T, S) of q (B, H, T, d), k (B, H, S, d) and `planes` of the keys, future not masked."""
        q, parts = q.float(), []
        for start in reversed(range(0, k.shape[-2], self.chunk)):
            here = slice(start, start + self.chunk)
            key, (w, beta) = k[..., here, :].float(), planes[..., here, :].tensor_split([k.shape[-1]], dim=-1)
            inner = (beta * (w @ w.mT)).tril(-1)  # M less its unit diagonal
            met = (q @ w.mT).masked_fill(~seen[:, here], 0.0)
            share = torch.linalg.solve_triangular(inner, met, upper=False, left=False, unitriangular=True)
            parts.append(q @ key.mT - share @ (beta * (w @ key.mT)).tril(-1))
            q = q - share @ (beta * w)
        return torch.cat(parts[::-1], dim=-1) * self.shape.scale


@register("path")
class PaTH(Reflections):
    """Each token between key and query reflects the key at a plane of its own (Yang et al., 2025).

    H_t = I - beta_t w_t w_t^T with a unit w_t. The product over the path is never formed: in chunks of
    keys, from the query backwards, it is I - W^T M^-1 diag(beta) W with the unit triangular M = I +
    stril(diag(beta) W W^T). w and beta ride beside the keys. As in
    fla-org/flash-linear-attention: w from a projection of rank 32 and a causal convolution of width 3, beta
    in (0, 2), all weights N(0, 0.02). Its decoder rewrites all cached keys at each step; here keys stay and
    each query walks back over them.
    """

    title = "PaTH attention"
    formula = (
        r"\ell_{ij} = k_j^\top H_{j+1} H_{j+2} \cdots H_i\, q_i / \sqrt d,\quad "
        r"H_t = I - \beta_t w_t w_t^\top,\ \beta_t = 2\sigma(u_h^\top x_t + c_h)"
    )

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns:
        return Columns(q[..., :0].float(), self.planes(at))

    def form(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Reflected:
        return Reflected(q, k, *keys.columns.tensor_split([k.shape[-1]], dim=-1))

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
        seen = visible(at, keys)
        return self.logits(q, k, keys.columns, seen).masked_fill(~seen, -torch.inf).softmax(-1)


@register("path_fox")
class PaTHFoX(Reflections):
    """PaTH with the forget gates of FoX added to its logits (Yang et al., 2025).

    As everywhere in this suite the gates are added after the 1/sqrt(d), so that beta = 0 is FoX;
    fla-org/flash-linear-attention scales their sum by it too.
    """

    title = "PaTH with forget gates"
    formula = (
        r"\ell_{ij} = k_j^\top H_{j+1} \cdots H_i\, q_i / \sqrt d + \sum_{s=j+1}^{i} \log f_s,\quad "
        r"f_s = \sigma(w_h^\top x_s + b_h)"
    )

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.fox = FoX(shape)

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns:
        forgotten = self.fox.columns(q, k, at).k  # (B, H, T, 1), the same for all queries
        return Columns(q[..., :0].float(), torch.cat([self.planes(at), forgotten], dim=-1))

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
        seen = visible(at, keys)
        planes, forgotten = keys.columns.tensor_split([-1], dim=-1)
        logits = self.logits(q, k, planes, seen) + forgotten.mT
        return logits.masked_fill(~seen, -torch.inf).softmax(-1)
