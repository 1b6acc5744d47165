import math

from pebench.encodings.base import Shape, rope_frequencies
from pebench.encodings.registry import register
from pebench.encodings.rope import Rotary


@register("hope")
class HoPE(Rotary):
    """RoPE without the planes that turn less than once in the training length (Chen et al., 2025).

    Planes with theta below 2 pi / L never show a full turn in training, so beyond L they would meet unseen angles.
    Here they carry content alone. With L = 1024 and d = 128, 36 of 64 planes are kept.
    """

    title = "HoPE, high frequencies only"
    paper = "arXiv:2410.21216"
    formula = (
        r"\ell_{ij} = q_i^\top R\big((j-i)\theta\big)\,k_j / \sqrt d,\quad "
        r"\theta_m = 10000^{-2m/d}\,[\,10000^{-2m/d} \ge 2\pi/L\,]"
    )

    def __init__(self, shape: Shape):
        frequencies = rope_frequencies(shape.head_dim)
        frequencies[frequencies < 2 * math.pi / shape.train_length] = 0.0
        super().__init__(shape, frequencies)
