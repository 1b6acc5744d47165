import torch
from torch import Tensor, nn

from pebench.encodings.alibi import ScaledALiBi
from pebench.encodings.base import Encoding, Shape, alibi_slopes
from pebench.encodings.registry import register


class GaussianPrior(Encoding):
    """The log of a generalised Gaussian prior over distances (Bianchessi et al., 2025).

    Each head of each layer learns its place, scale and shape. Shape 1 at place 0 is ALiBi, scale 0 is NoPE. They start
    as ALiBi with the slopes `first` (H,), as in ArthurSBianchessi/BAM. There one prior serves all layers, the scale
    stands outside of the power, and the exponent is free to be negative.
    """

    paper = "arXiv:2505.22842"
    family = "additive"
    formula = r"\ell_{ij} = q_i^\top k_j / \sqrt d - \big|\alpha_h\,(i-j-\mu_h)\big|^{\beta_h}"
    relative = True

    nearest = 1e-12  # |x|^b has no slope in b at x = 0

    def __init__(self, shape: Shape, first: Tensor):
        super().__init__(shape)
        self.log_rate = nn.Parameter(first.log().repeat(shape.layers, 1))
        self.log_power, self.middle = (nn.Parameter(torch.zeros(shape.layers, shape.heads)) for _ in range(2))

    def by_distance(self, far: Tensor, layer: int) -> Tensor:
        heads = (-1, *[1] * far.dim())
        rate, power, middle = (
            p[layer].view(heads) for p in (self.log_rate.exp(), self.log_power.exp(), self.middle)
        )
        return -((rate * (far - middle)).abs().clamp(min=self.nearest).log() * power).exp()


@register("bam")
class BAM(GaussianPrior):
    """BAM that starts as ALiBi."""

    title = "Bayesian attention, generalised Gaussian prior (BAM)"

    def __init__(self, shape: Shape):
        super().__init__(shape, alibi_slopes(shape.heads))


@register("bam_scaled")
class ScaledBAM(GaussianPrior):
    """BAM that starts as `alibi_scaled`, whose last slope is 4 / L. This form is ours, not the paper's."""

    title = "Bayesian attention (BAM), first scales by the training length"

    def __init__(self, shape: Shape):
        super().__init__(shape, ScaledALiBi(shape).slopes)
