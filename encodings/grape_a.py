import torch
from torch import Tensor, nn
from torch.nn.functional import normalize, softplus

from pebench.encodings.base import At, Columns, Encoding, Shape, alibi_slopes, running_sum
from pebench.encodings.registry import register

BOTH = (
    r"\ell_{ij} = q_i^\top k_j/\sqrt d - (i-j)\,\omega_h\,\big(\lambda_v(q_i) + \lambda_u(k_j)\big),"
    r"\quad \lambda_v(z) = \mathrm{softplus}(v_h^\top z/\sqrt d)"
)


class GrapeA(Encoding):
    """ALiBi whose slope is gated by the content of query, key or both: additive GRAPE (GRAPE, section 4).

    b_ij = -(i - j) w_h (lambda_q + lambda_k), a unipotent action on lifted vectors, here as key columns. Gates are
    softplus(v.q / sqrt(d)) of the normalised q, with v normalised at use, as in the reference code (the paper
    leaves v free). w_h = softplus(o_h) * ALiBi slope, with o_h starting so that the factor is 1. The bias is added
    after the 1/sqrt(d) (paper, eq. 5.3; its eq. 4.6 would scale it too).
    """

    paper = "arXiv:2512.07805"
    family = "additive"
    relative = True

    query_gated = key_gated = False
    free = False  # gates as they are, not normalised at use

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.register_buffer("slopes", alibi_slopes(shape.heads), persistent=False)
        self.slopes: Tensor
        self.log_slope = nn.Parameter(torch.ones(shape.layers, shape.heads).expm1().log())
        size = (shape.layers, shape.heads, shape.head_dim)
        if self.query_gated:
            self.query_gate = nn.Parameter(torch.randn(size) * shape.scale)
        if self.key_gated:
            self.key_gate = nn.Parameter(torch.randn(size) * shape.scale)

    def direction(self, gate: Tensor) -> Tensor:
        """What q or k is compared with, from the parameter (H, d)."""
        return gate if self.free else normalize(gate, dim=-1)

    def gated_slope(self, x: Tensor, gate: Tensor, layer: int) -> Tensor:
        """w_h * lambda for q or k (B, H, T, d): (B, H, T, 1), positive."""
        score = x.float() @ self.direction(gate[layer])[:, :, None]  # (B, H, T, 1)
        slope = softplus(self.log_slope[layer]) * self.slopes
        return slope[:, None, None] * softplus(score * self.shape.scale)

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns:
        pos = at.place.float()  # (T, 1)
        q_cols, k_cols = [], []
        if self.query_gated:  # -(i - j) s_i is s_i * j plus a constant of the row
            slope = self.gated_slope(q, self.query_gate, at.layer)
            q_cols += [slope]
            k_cols += [pos.expand_as(slope)]
        if self.key_gated:  # -(i - j) s_j is 1 * (j s_j) + (-i) * s_j
            slope = self.gated_slope(k, self.key_gate, at.layer)
            q_cols += [torch.ones_like(slope), -pos.expand_as(slope)]
            k_cols += [pos * slope, slope]
        return Columns(torch.cat(q_cols, -1), torch.cat(k_cols, -1))


@register("grape_a_q")
class GrapeAQ(GrapeA):
    __doc__ = GrapeA.__doc__
    title = "GRAPE-A, query-gated"
    formula = (
        r"\ell_{ij} = q_i^\top k_j/\sqrt d - (i-j)\,\omega_h\,\lambda(q_i),\quad "
        r"\lambda(z) = \mathrm{softplus}(v_h^\top z/\sqrt d)"
    )
    query_gated = True


@register("grape_a_k")
class GrapeAK(GrapeA):
    __doc__ = GrapeA.__doc__
    title = "GRAPE-A, key-gated"
    formula = (
        r"\ell_{ij} = q_i^\top k_j/\sqrt d - (i-j)\,\omega_h\,\lambda(k_j),\quad "
        r"\lambda(z) = \mathrm{softplus}(u_h^\top z/\sqrt d)"
    )
    key_gated = True


@register("grape_a_qk")
class GrapeAQK(GrapeA):
    __doc__ = GrapeA.__doc__
    title = "GRAPE-A, query- and key-gated"
    formula = BOTH
    query_gated = key_gated = True


@register("grape_a_qk_free")
class GrapeAQKFree(GrapeA):
    """GRAPE-A-QK with gates as the paper writes them: v and u are free vectors (GRAPE, section 4.1).

    Normalised at use, as in the reference code, a gate stays between 0.31 and 1.31 for q of unit RMS; free,
    it can close, and open without bound.
    """

    title = "GRAPE-A, query- and key-gated, free gates"
    formula = BOTH
    query_gated = key_gated = free = True


@register("grape_a_phase")
class GrapeAPhase(Encoding):
    """Additive GRAPE along the contextual clock of GRAPE-M: -w_h (Phi_i - Phi_j) (GRAPE, section 5).

    FoX with log f_s = -w_h step(s), where the step is one softplus(w.x + b) per layer, 1 at first: the
    encoding starts as ALiBi. The clock counts the token itself, as the paths of eq. 5.2 do and the paper's
    definition of it does not. Not in the reference code.
    """

    title = "GRAPE-A, phase-modulated"
    paper = "arXiv:2512.07805"
    family = "additive"
    formula = (
        r"\ell_{ij} = q_i^\top k_j/\sqrt d - \omega_h\,(\Phi_i - \Phi_j),\quad "
        r"\Phi_t = \sum_{s \le t} \mathrm{softplus}(w^\top x_s + b)"
    )
    relative = True

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.register_buffer("slopes", alibi_slopes(shape.heads), persistent=False)
        self.slopes: Tensor
        self.log_slope = nn.Parameter(torch.ones(shape.layers, shape.heads).expm1().log())
        self.weight = nn.Parameter(torch.zeros(shape.layers, shape.width))
        self.step_bias = nn.Parameter(torch.ones(shape.layers).expm1().log())

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns:
        step = softplus(at.x.float() @ self.weight[at.layer] + self.step_bias[at.layer])  # (B, T)
        phase = running_sum(step, at.memory, "phase")[:, None, :, None]
        slope = softplus(self.log_slope[at.layer]) * self.slopes
        column = slope[:, None, None] * phase  # (B, H, T, 1)
        return Columns(torch.ones_like(column), column)
