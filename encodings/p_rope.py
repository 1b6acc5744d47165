from pebench.encodings.base import Shape, rope_frequencies
from pebench.encodings.registry import register
from pebench.encodings.rope import Rotary


@register("p_rope")
class PRoPE(Rotary):
    """RoPE with its slowest quarter of frequencies set to zero (Barbero et al., 2025).

    The slow planes carry content; unrotated they stay robust at any distance. The kept share is p = 0.75.
    """

    title = "p-RoPE, p = 0.75"
    paper = "arXiv:2410.06205"
    formula = (
        r"\ell_{ij} = q_i^\top R\big((j-i)\theta\big)\,k_j / \sqrt d,\quad "
        r"\theta_m = 10000^{-2m/d}\,[\,m < \lfloor p\,d/2 \rfloor\,]"
    )

    share = 0.75

    def __init__(self, shape: Shape):
        frequencies = rope_frequencies(shape.head_dim)
        frequencies[int(self.share * shape.head_dim / 2) :] = 0.0
        super().__init__(shape, frequencies)
