from abc import abstractmethod

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from pebench.encodings.base import At, Encoding, Shape, rope_frequencies, rotate, running_sum
from pebench.encodings.registry import register
from pebench.encodings.turning import Turning

SLOWER = 16.0  # by how much less a step of Adam moves log(theta) than other parameters: log_freq_scale


class Learned(Encoding):
    """Learned spectra: one per layer, or one for each head of it. Stored is 16 log(theta)."""

    paper = "arXiv:2512.07805"
    family = "multiplicative"
    relative = True
    norm_preserving = True

    def __init__(self, shape: Shape, spectra: int):
        super().__init__(shape)
        start = SLOWER * rope_frequencies(shape.head_dim).log()
        self.slow_log_frequencies = nn.Parameter(start.repeat(shape.layers, spectra, 1))

    @property
    def log_frequencies(self) -> Tensor:
        """log(theta), (layers, 1 or H, d/2)."""
        return self.slow_log_frequencies / SLOWER

    def spectrum(self) -> Tensor:
        """theta, (layers, 1 or H, d/2)."""
        return self.log_frequencies.exp()

    def retune(self, frequencies: Tensor) -> None:
        self.slow_log_frequencies.copy_(SLOWER * frequencies.log())

    def angle(self, at: At) -> Tensor:
        """How far each plane of each head has turned at each token, (1 or H, T, d/2)."""
        return at.place * self.log_frequencies[at.layer][:, None].exp()


FORMULA = (
    r"\ell_{ij} = q_i^\top R\big((j-i)\theta\big)\,k_j / \sqrt d,\quad "
    r"\theta = e^{\rho/16},\ \rho\ \text{learned}"
)


@register("grape_m_nonctx")
class GrapeM(Learned):
    """RoPE with learned frequencies: GRAPE-M on canonical commuting planes (GRAPE, section 3.1).

    One spectrum per layer, shared by its heads, as in every published configuration. Stored is 16 log(theta), as in
    the reference code (model/llama-mha-grape-m-nonctx.py): under Adam the frequencies then move 16 times more
    slowly. Equals RoPE at its initial values.
    """

    title = "GRAPE-M, learned frequencies"
    formula = FORMULA

    def __init__(self, shape: Shape):
        super().__init__(shape, spectra=1)

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        angle = self.angle(at)
        return rotate(q, angle), rotate(k, angle)


@register("grape_m_per_head")
class GrapeMPerHead(Learned):
    """GRAPE-M with a spectrum of its own for every head, as the paper writes it (omega with index h)."""

    title = "GRAPE-M, learned frequencies per head"
    formula = FORMULA

    def __init__(self, shape: Shape):
        super().__init__(shape, spectra=shape.heads)

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        angle = self.angle(at)
        return rotate(q, angle), rotate(k, angle)


class Contextual(Turning):
    """RoPE whose clocks are set by the tokens: each advances the phase by a learned amount."""

    paper = "arXiv:2512.07805"
    family = "multiplicative"
    relative = True
    norm_preserving = True

    def __init__(self, shape: Shape, clocks: int):
        super().__init__(shape)
        self.log_frequencies = nn.Parameter(rope_frequencies(shape.head_dim).log().repeat(shape.layers, 1))
        self.weight = nn.Parameter(torch.zeros(shape.layers, clocks, shape.width))
        self.step_bias = nn.Parameter(torch.full((shape.layers, clocks), 1e-3).expm1().log())

    def spectrum(self) -> Tensor:
        return self.log_frequencies.exp()

    def retune(self, frequencies: Tensor) -> None:
        self.log_frequencies.copy_(frequencies.log())

    @abstractmethod
    def step(self, logit: Tensor) -> Tensor:
        """How far each token turns each clock, positive, from w.x + b (B, T, 1 or H)."""

    def angle(self, at: At) -> Tensor:
        step = self.step(linear(at.x.float(), self.weight[at.layer], self.step_bias[at.layer])).mT
        phase = running_sum(step, at.memory, "phase") - step
        return phase[..., None] * self.log_frequencies[at.layer].exp()  # (B, 1 or H, T, d/2)


CONTEXTUAL = (
    r"\ell_{ij} = q_i^\top R\big((\Phi_j-\Phi_i)\theta\big)\,k_j / \sqrt d,\quad "
    r"\Phi_t = \sum_{s<t} \sigma\big((w^\top x_s + b)/16\big)"
)


@register("grape_m_ctx")
class GrapeMContextual(Contextual):
    """RoPE whose clock is set by the tokens: each advances the phase by a learned amount.

    Contextual GRAPE-M of the reference code (model/llama-mha-grape-m-ctx.py); the paper names it in
    appendices A and B without a formula. The phase sums exclude the token itself. The step is sigmoid((w.x
    + b) / 16), one per token and layer, as the reference code computes it, with w = 0 and b =
    softplus^-1(0.001): about 0.39 at first. (Its comments describe a softplus that starts at 0.001; that
    would start as NoPE, not as RoPE.)
    """

    title = "GRAPE-M, contextual phase"
    formula = CONTEXTUAL

    def __init__(self, shape: Shape):
        super().__init__(shape, clocks=1)

    def step(self, logit: Tensor) -> Tensor:
        return torch.sigmoid(logit / 16)


@register("grape_m_ctx_softplus")
class GrapeMContextualSoftplus(Contextual):
    """Contextual GRAPE-M with the step that the reference code documents: softplus(w.x + b), 0.001 at first.

    The step has no upper bound, and at 0.001 a token the model starts as NoPE.
    """

    title = "GRAPE-M, contextual phase, softplus"
    formula = (
        r"\ell_{ij} = q_i^\top R\big((\Phi_j-\Phi_i)\theta\big)\,k_j / \sqrt d,\quad "
        r"\Phi_t = \sum_{s<t} \mathrm{softplus}(w^\top x_s + b)"
    )

    def __init__(self, shape: Shape):
        super().__init__(shape, clocks=1)

    def step(self, logit: Tensor) -> Tensor:
        return softplus(logit)


@register("grape_m_ctx_per_head")
class GrapeMContextualPerHead(Contextual):
    """Contextual GRAPE-M with a clock per head: an option that the reference code never switches on."""

    title = "GRAPE-M, contextual phase per head"
    formula = CONTEXTUAL

    def __init__(self, shape: Shape):
        super().__init__(shape, clocks=shape.heads)

    def step(self, logit: Tensor) -> Tensor:
        return torch.sigmoid(logit / 16)
