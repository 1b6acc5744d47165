from pebench.encodings.base import Encoding
from pebench.encodings.registry import register


@register("nope")
class NoPE(Encoding):
    """No encoding at all: order enters through the causal mask alone (Haviv et al., 2022; Kazemnejad et al., 2023)."""

    title = "No positional encoding"
    paper = "arXiv:2305.19466"
    family = "none"
    formula = r"\ell_{ij} = q_i^\top k_j / \sqrt d"
    relative = True
    norm_preserving = True
