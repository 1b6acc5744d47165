from pebench.encodings.base import Shape, rope_frequencies
from pebench.encodings.registry import register
from pebench.encodings.rope import Rotary


@register("rope_500k")
class RoPE500k(Rotary):
    """RoPE with base 500,000, so slower planes, as in long-context models (Xiong et al., 2024; Llama 3)."""

    title = "RoPE, base 500,000"
    paper = "arXiv:2309.16039"
    formula = r"\ell_{ij} = q_i^\top R\big((j-i)\theta\big)\,k_j / \sqrt d,\quad \theta_m = 500000^{-2m/d}"

    def __init__(self, shape: Shape):
        super().__init__(shape, rope_frequencies(shape.head_dim, 500_000.0))
