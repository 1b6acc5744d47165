from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, logsigmoid, rms_norm

from pebench.encodings.base import (
    At,
    Columns,
    Encoding,
    Keys,
    Path,
    Shape,
    alibi_slopes,
    rotate,
    sum_after,
    visible,
)
from pebench.encodings.registry import register

FORMULA = (
    r"\ell_{ij} = q_i^\top k_j/\sqrt d + \sum_{s=j+1}^{i} \psi(i,s),\quad "
    r"\psi(i,s) = \alpha_h \log\sigma\big(p_i^\top R_s\,\hat p_s / d_p\big)"
)


class PathIntegral(Encoding):
    """A sum over the path from key to query of what each token on it costs this query (GRAPE, section 5)."""

    paper = "arXiv:2512.07805"
    family = "path-integral"

    normalise_query = False
    turns = True  # R_s turns the key side's feature, every plane by one radian a token

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.register_buffer("slopes", alibi_slopes(shape.heads), persistent=False)
        self.slopes: Tensor

    @abstractmethod
    def feature(self, q: Tensor, k: Tensor, at: At) -> Tensor:
        """p of each token and head, (B, H, T, f) in float32, f even."""

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns:
        p = self.feature(q, k, at)
        unit = rms_norm(p, p.shape[-1:], eps=1e-6)
        angle = at.place.float().expand(*at.place.shape[:-1], p.shape[-1] // 2)
        return Columns(unit if self.normalise_query else p, rotate(unit, angle) if self.turns else unit)

    def form(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Path:
        return Path(q, k, at.columns, keys.columns, self.slopes)

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
        seen = visible(at, keys)
        step = logsigmoid(at.columns @ keys.columns.mT / at.columns.shape[-1]) * self.slopes[:, None, None]
        path = sum_after(step.masked_fill(~seen, 0.0))
        logits = (q @ k.mT).float() * self.shape.scale + path
        return logits.masked_fill(~seen, -torch.inf).softmax(-1)


class Projected(PathIntegral):
    """The feature is a projection of x, 8 numbers a head."""

    features = 8

    def __init__(self, shape: Shape):
        super().__init__(shape)
        size = (shape.layers, shape.heads * self.features, shape.width)
        self.weight = nn.Parameter(torch.randn(size) * 0.5 * shape.width**-0.5)

    def feature(self, q: Tensor, k: Tensor, at: At) -> Tensor:
        p = linear(at.x, self.weight[at.layer]).float()
        return p.unflatten(-1, (self.shape.heads, self.features)).transpose(1, 2)


@register("grape_ap")
class GrapeAP(Projected):
    """A path integral of what each token between key and query costs this query (GRAPE, section 5).

    A small feature p (8 numbers a head) is read from x; R_s turns every plane by s radians. As in the reference
    code, the key side's p is RMS-normalised and the query side's is not; the paper, eq. 5.1, normalises both.
    alpha are the fixed ALiBi slopes. R_s acts on one side only, so the bias depends on absolute positions.
    """

    title = "GRAPE-AP, path-integral additive"
    formula = FORMULA


@register("grape_ap_both")
class GrapeAPBoth(Projected):
    """GRAPE-AP as the paper writes it: p is RMS-normalised on the query side too (eq. 5.1)."""

    title = "GRAPE-AP, normalised on both sides"
    formula = FORMULA.replace(r"p_i^\top", r"\hat p_i^\top")
    normalise_query = True


@register("grape_ap_still")
class GrapeAPStill(Projected):
    """GRAPE-AP with the rotation R_s left out, so that path costs do not depend on absolute positions."""

    title = "GRAPE-AP, without rotation"
    formula = FORMULA.replace(r"R_s\,", "")
    relative = True
    turns = False


@register("grape_ap_q")
class GrapeAPQuery(PathIntegral):
    """GRAPE-AP whose feature p is q itself, d wide (the reference code's `p_tie_mode` pq)."""

    title = "GRAPE-AP, p tied to q"
    formula = (
        r"\ell_{ij} = q_i^\top k_j/\sqrt d + \sum_{s=j+1}^{i} \psi(i,s),\quad "
        r"\psi(i,s) = \alpha_h \log\sigma\big(q_i^\top R_s\,\hat q_s / d\big)"
    )

    def feature(self, q: Tensor, k: Tensor, at: At) -> Tensor:
        return q.float()


@register("grape_ap_k")
class GrapeAPKey(PathIntegral):
    """GRAPE-AP whose feature p is k itself, d wide (the reference code's `p_tie_mode` pk)."""

    title = "GRAPE-AP, p tied to k"
    formula = (
        r"\ell_{ij} = q_i^\top k_j/\sqrt d + \sum_{s=j+1}^{i} \psi(i,s),\quad "
        r"\psi(i,s) = \alpha_h \log\sigma\big(k_i^\top R_s\,\hat k_s / d\big)"
    )

    def feature(self, q: Tensor, k: Tensor, at: At) -> Tensor:
        return k.float()


@register("grape_ap_v")
class GrapeAPValue(PathIntegral):
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
