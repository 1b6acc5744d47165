import math

from pebench.encodings.base import Shape, rope_frequencies
from pebench.encodings.registry import register
from pebench.encodings.rope import Rotary


@register("resonance_rope")
class ResonanceRoPE(Rotary):
    """RoPE whose planes turn once in a whole number of tokens, so that their angles repeat (Wang et al., 2024).

    Planes of wavelengths below L meet no new angle in a longer text, as far as float32 keeps whole turns.
    """

    title = "Resonance RoPE"
    paper = "arXiv:2403.00071"
    formula = (
        r"\ell_{ij} = q_i^\top R\big((j-i)\theta\big)\,k_j / \sqrt d,\quad "
        r"\theta_m = \frac{2\pi}{\mathrm{round}(2\pi \cdot 10000^{2m/d})}"
    )

    def __init__(self, shape: Shape):
        super().__init__(shape, 2 * math.pi / (2 * math.pi / rope_frequencies(shape.head_dim)).round())
