import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from pebench.encodings.base import At, Encoding, Shape, rope_frequencies, rotate, running_sum
from pebench.encodings.registry import register

SLOWER = 16.0  # by how much less a step of Adam moves log(theta) than other parameters: log_freq_scale


@register("grape_m_nonctx")
class GrapeM(Encoding):
    """RoPE with learned frequencies: GRAPE-M on canonical commuting planes (GRAPE, section 3.1).

    One spectrum per layer, shared by its heads, as in every published configuration. Stored is 16 log(theta), as in
    the reference code (model/llama-mha-grape-m-nonctx.py): under Adam the frequencies then move 16 times more
    slowly. Equals RoPE at its initial values.
    """

    title = "GRAPE-M, learned frequencies"
    paper = "arXiv:2512.07805"
    family = "multiplicative"
    formula = (
        r"\ell_{ij} = q_i^\top R\big((j-i)\theta\big)\,k_j / \sqrt d,\quad "
        r"\theta = e^{\rho/16},\ \rho\ \text{learned}"
    )
    relative = True
    norm_preserving = True

    spectra = 1  # per layer

    def __init__(self, shape: Shape):
        super().__init__(shape)
        start = SLOWER * rope_frequencies(shape.head_dim).log()
        self.slow_log_frequencies = nn.Parameter(start.repeat(shape.layers, self.spectra, 1))

    @property
    def log_frequencies(self) -> Tensor:
        """log(theta), (layers, 1 or H, d/2)."""
        return self.slow_log_frequencies / SLOWER

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        angle = at.pos[:, None] * self.log_frequencies[at.layer][:, None].exp()  # (1 or H, T, d/2)
        return rotate(q, angle), rotate(k, angle)


@register("grape_m_per_head")
class GrapeMPerHead(GrapeM):
    """GRAPE-M with a spectrum of its own for every head, as the paper writes it (omega with index h)."""

    title = "GRAPE-M, learned frequencies per head"

    def __init__(self, shape: Shape):
        self.spectra = shape.heads
        super().__init__(shape)


@register("grape_m_ctx")
class GrapeMContextual(Encoding):
    """RoPE whose clock is set by the tokens: each advances the phase by a learned amount.

    Contextual GRAPE-M of the reference code (model/llama-mha-grape-m-ctx.py); the paper names it in
    appendices A and B without a formula. The phase sums exclude the token itself. The step is sigmoid((w.x
    + b) / 16), one per token and layer, as the reference code computes it, with w = 0 and b =
    softplus^-1(0.001): about 0.39 at first. (Its comments describe a softplus that starts at 0.001; that
    would start as NoPE, not as RoPE.)
    """

    title = "GRAPE-M, contextual phase"
    paper = "arXiv:2512.07805"
    family = "multiplicative"
    formula = (
        r"\ell_{ij} = q_i^\top R\big((\Phi_j-\Phi_i)\theta\big)\,k_j / \sqrt d,\quad "
        r"\Phi_t = \sum_{s<t} \sigma\big((w^\top x_s + b)/16\big)"
    )
    relative = True
    norm_preserving = True

    clocks = 1  # per layer

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.log_frequencies = nn.Parameter(rope_frequencies(shape.head_dim).log().repeat(shape.layers, 1))
        self.weight = nn.Parameter(torch.zeros(shape.layers, self.clocks, shape.width))
        self.step_bias = nn.Parameter(torch.full((shape.layers, self.clocks), 1e-3).expm1().log())

    def step(self, x: Tensor, layer: int) -> Tensor:
        """How far each token of x (B, T, D) turns each clock: (B, T, 1 or H), positive."""
        return torch.sigmoid(self.logit(x, layer) / 16)

    def logit(self, x: Tensor, layer: int) -> Tensor:
        """w.x + b of each clock, (B, T, 1 or H)."""
        return linear(x.float(), self.weight[layer], self.step_bias[layer])

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        step = self.step(at.x, at.layer).mT
        phase = running_sum(step, at.memory, "phase") - step
        angle = phase[..., None] * self.log_frequencies[at.layer].exp()  # (B, 1 or H, T, d/2)
        return rotate(q, angle), rotate(k, angle)


@register("grape_m_ctx_softplus")
class GrapeMContextualSoftplus(GrapeMContextual):
    """Contextual GRAPE-M with the step that the reference code documents: softplus(w.x + b), 0.001 at first.

    The step has no upper bound, and at 0.001 a token the model starts as NoPE.
    """

    title = "GRAPE-M, contextual phase, softplus"
    formula = (
        r"\ell_{ij} = q_i^\top R\big((\Phi_j-\Phi_i)\theta\big)\,k_j / \sqrt d,\quad "
        r"\Phi_t = \sum_{s<t} \mathrm{softplus}(w^\top x_s + b)"
    )

    def step(self, x: Tensor, layer: int) -> Tensor:
        return softplus(self.logit(x, layer))


@register("grape_m_ctx_per_head")
class GrapeMContextualPerHead(GrapeMContextual):
    """Contextual GRAPE-M with a clock per head: an option that the reference code never switches on."""

    title = "GRAPE-M, contextual phase per head"

    def __init__(self, shape: Shape):
        self.clocks = shape.heads
        super().__init__(shape)
