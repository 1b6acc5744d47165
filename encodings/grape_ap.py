import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid, rms_norm

from pebench.encodings.base import At, Encoding, Path, Shape, alibi_slopes, rotate, sum_after, visible
from pebench.encodings.registry import register


@register("grape_ap")
class GrapeAP(Encoding):
    """A path integral of what each token between key and query costs this query (GRAPE, section 5).

    A small feature p (8 numbers a head) is read from x; R_s turns every plane by s radians. As in the
    reference code, the key side's p is RMS-normalised and the query side's is not (the paper, eq. 5.1,
    normalises both), and alpha are the fixed ALiBi slopes. R_s acts on one side only, so the bias depends
    on absolute positions.
    """

    title = "GRAPE-AP, path-integral additive"
    paper = "arXiv:2512.07805"
    family = "path-integral"
    formula = (
        r"\ell_{ij} = q_i^\top k_j/\sqrt d + \sum_{s=j+1}^{i} \psi(i,s),\quad "
        r"\psi(i,s) = \alpha_h \log\sigma\big(p_i^\top R_s\,\hat p_s / d_p\big)"
    )

    feature_dim = 8
    normalise_query = False

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.register_buffer("slopes", alibi_slopes(shape.heads), persistent=False)
        self.slopes: Tensor
        size = (shape.layers, shape.heads * self.feature_dim, shape.width)
        self.weight = nn.Parameter(torch.randn(size) * 0.5 * shape.width**-0.5)

    def feature(self, q: Tensor, k: Tensor, at: At) -> Tensor:
        """p of each token and head, (B, H, T, 8) in float32."""
        p = nn.functional.linear(at.x, self.weight[at.layer]).float()
        return p.unflatten(-1, (self.shape.heads, self.feature_dim)).transpose(1, 2)

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        p = self.feature(q, k, at)
        unit = rms_norm(p, p.shape[-1:], eps=1e-6)
        query = unit if self.normalise_query else p
        return torch.cat([q, query.type_as(q)], -1), torch.cat([k, self.turn(unit, at.pos).type_as(k)], -1)

    def turn(self, p: Tensor, pos: Tensor) -> Tensor:
        """R_s p for p (B, H, T, 8): every plane by one radian per token."""
        return rotate(p, pos[:, None].float().expand(-1, self.feature_dim // 2))

    def form(self, q: Tensor, k: Tensor, layer: int) -> Path:
        sizes = [self.shape.head_dim, self.feature_dim]
        (q, p), (k, turned) = q.split(sizes, dim=-1), k.split(sizes, dim=-1)
        return Path(q, k, p, turned, self.slopes)

    def weights(self, q: Tensor, k: Tensor, q_pos: Tensor, k_pos: Tensor, layer: int) -> Tensor:
        q, k, p, turned, slopes = self.form(q, k, layer)
        seen = visible(q_pos, k_pos)
        step = logsigmoid((p @ turned.mT).float() / self.feature_dim) * slopes[:, None, None]
        path = sum_after(step.masked_fill(~seen, 0.0))
        logits = (q @ k.mT).float() * self.shape.scale + path
        return logits.masked_fill(~seen, -torch.inf).softmax(-1)


@register("grape_ap_both")
class GrapeAPBoth(GrapeAP):
    """GRAPE-AP as the paper writes it: p is RMS-normalised on the query side too (eq. 5.1)."""

    title = "GRAPE-AP, normalised on both sides"
    normalise_query = True


@register("grape_ap_still")
class GrapeAPStill(GrapeAP):
    """GRAPE-AP with the rotation R_s left out, so that path costs do not depend on absolute positions."""

    title = "GRAPE-AP, without rotation"
    relative = True

    def turn(self, p: Tensor, pos: Tensor) -> Tensor:
        return p


@register("grape_ap_q")
class GrapeAPQuery(GrapeAP):
    """GRAPE-AP whose feature p is q itself, d wide (the reference code's `p_tie_mode` pq)."""

    title = "GRAPE-AP, p tied to q"
    formula = (
        r"\ell_{ij} = q_i^\top k_j/\sqrt d + \sum_{s=j+1}^{i} \psi(i,s),\quad "
        r"\psi(i,s) = \alpha_h \log\sigma\big(q_i^\top R_s\,\hat q_s / d\big)"
    )

    def __init__(self, shape: Shape):
        Encoding.__init__(self, shape)
        self.register_buffer("slopes", alibi_slopes(shape.heads), persistent=False)
        self.feature_dim = shape.head_dim

    def feature(self, q: Tensor, k: Tensor, at: At) -> Tensor:
        return q.float()


@register("grape_ap_k")
class GrapeAPKey(GrapeAPQuery):
    """GRAPE-AP whose feature p is k itself, d wide (the reference code's `p_tie_mode` pk)."""

    title = "GRAPE-AP, p tied to k"
    formula = (
        r"\ell_{ij} = q_i^\top k_j/\sqrt d + \sum_{s=j+1}^{i} \psi(i,s),\quad "
        r"\psi(i,s) = \alpha_h \log\sigma\big(k_i^\top R_s\,\hat k_s / d\big)"
    )

    def feature(self, q: Tensor, k: Tensor, at: At) -> Tensor:
        return k.float()


@register("grape_ap_v")
class GrapeAPValue(GrapeAPQuery):
    """GRAPE-AP whose feature p is v itself, d wide (the reference code's `p_tie_mode` pv).

    Values are not normalised, so on the query side the size of v_i sets how sharply path costs differ.
    """

    title = "GRAPE-AP, p tied to v"
    formula = (
        r"\ell_{ij} = q_i^\top k_j/\sqrt d + \sum_{s=j+1}^{i} \psi(i,s),\quad "
        r"\psi(i,s) = \alpha_h \log\sigma\big(v_i^\top R_s\,\hat v_s / d\big)"
    )

    def feature(self, q: Tensor, k: Tensor, at: At) -> Tensor:
        return at.v.float()
