import torch
from torch import Tensor, nn
from torch.nn.functional import linear, normalize, silu

from pebench.encodings.base import At, Encoding, Reflected, Shape, causal_conv, visible
from pebench.encodings.fox import FoX
from pebench.encodings.registry import register


@register("path")
class PaTH(Encoding):
    """Each token between key and query reflects the key at a plane of its own (Yang et al., 2025).

    H_t = I - beta_t w_t w_t^T with a unit w_t. The product over the path is never formed: in chunks of
    keys, from the query backwards, it is I - W^T M^-1 diag(beta) W with the unit triangular M = I +
    stril(diag(beta) W W^T). w and beta ride along as extra key columns. As in
    fla-org/flash-linear-attention: w from a projection of rank 32 and a causal convolution of width 3, beta
    in (0, 2), all weights N(0, 0.02). Its decoder rewrites all cached keys at each step; here keys stay and
    each query walks back over them.
    """

    title = "PaTH attention"
    paper = "arXiv:2505.16381"
    family = "path-integral"
    formula = (
        r"\ell_{ij} = k_j^\top H_{j+1} H_{j+2} \cdots H_i\, q_i / \sqrt d,\quad "
        r"H_t = I - \beta_t w_t w_t^\top,\ \beta_t = 2\sigma(u_h^\top x_t + c_h)"
    )
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

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        w = linear(linear(at.x, self.down[at.layer]), self.up[at.layer])
        w = silu(causal_conv(w, self.conv[at.layer], at.memory, "path_conv"))
        w = normalize(w.unflatten(-1, (self.shape.heads, -1)).float(), dim=-1, eps=1e-6).transpose(1, 2)
        beta = (
            2 * linear(at.x, self.weight[at.layer], self.gate_bias[at.layer]).float().sigmoid()
        )  # (B, T, H)
        return q, torch.cat([k, w.type_as(k), beta.mT[..., None].type_as(k)], dim=-1)

    def form(self, q: Tensor, k: Tensor, layer: int) -> Reflected | None:
        d = self.shape.head_dim
        return Reflected(q, *k.split([d, d, 1], dim=-1))

    def logits(self, q: Tensor, k: Tensor, seen: Tensor) -> Tensor:
        """Unscaled logits (B, H, T, S) of q (B, H, T, d) and k (B, H, S, 2d + 1), future not masked."""
        d = self.shape.head_dim
        q, parts = q.float(), []
        for start in reversed(range(0, k.shape[-2], self.chunk)):
            here = slice(start, start + self.chunk)
            key, w, beta = k[..., here, :].float().split([d, d, 1], dim=-1)
            inner = (beta * (w @ w.mT)).tril(-1)  # M less its unit diagonal
            met = (q @ w.mT).masked_fill(~seen[:, here], 0.0)
            share = torch.linalg.solve_triangular(inner, met, upper=False, left=False, unitriangular=True)
            parts.append(q @ key.mT - share @ (beta * (w @ key.mT)).tril(-1))
            q = q - share @ (beta * w)
        return torch.cat(parts[::-1], dim=-1)

    def weights(self, q: Tensor, k: Tensor, q_pos: Tensor, k_pos: Tensor, layer: int) -> Tensor:
        seen = visible(q_pos, k_pos)
        return (self.logits(q, k, seen) * self.shape.scale).masked_fill(~seen, -torch.inf).softmax(-1)


@register("path_fox")
class PaTHFoX(PaTH):
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

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        gated_q, gated_k = self.fox.qk(q, k, at)  # the gates as columns after the first d
        _, reflected = super().qk(q, k, at)
        d = self.shape.head_dim
        return gated_q, torch.cat([reflected, gated_k[..., d:]], dim=-1)

    def form(self, q: Tensor, k: Tensor, layer: int) -> None:
        """The kernel knows no gates beside the reflections."""

    def weights(self, q: Tensor, k: Tensor, q_pos: Tensor, k_pos: Tensor, layer: int) -> Tensor:
        d = self.shape.head_dim
        seen = visible(q_pos, k_pos)
        # All queries have the same columns. A matrix product would round their sum under bfloat16 autocast.
        forgotten = (q[..., :1, d:].float() * k[..., 2 * d + 1 :].float()).sum(-1)[..., None, :]
        logits = (self.logits(q[..., :d], k[..., : 2 * d + 1], seen) + forgotten) * self.shape.scale
        return logits.masked_fill(~seen, -torch.inf).softmax(-1)
