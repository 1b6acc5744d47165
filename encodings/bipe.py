import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Memory, Shape, rope_frequencies
from pebench.encodings.registry import register
from pebench.encodings.tools import since
from pebench.encodings.tuned import Tuned
from pebench.encodings.turning import Turning


@register("bipe")
class BiPE(Turning, Tuned):
    """Tokens know their place in a sentence, and RoPE turns by the number of the sentence (He et al., 2024).

    A full stop or a line feed ends a segment and belongs to it, as in zhenyuhe00/BiPE. Here they are bytes, as in
    the tasks of text; other vocabularies give these numbers to other symbols. The place in a segment is a learned
    vector, N(0, 0.02), added to the embedding. There are L, and tokens beyond share the last.
    """

    title = "Bilevel positions (BiPE), RoPE between segments"
    paper = "arXiv:2401.16421"
    family = "absolute"
    formula = (
        r"x_t \leftarrow x_t + P_{\min(t - b_t,\, L-1)},"
        r"\quad \ell_{ij} = q_i^\top R\big((n_j-n_i)\theta\big)\,k_j / \sqrt d,"
        r"\quad b_t, n_t: \text{ start and number of the segment of } t"
    )
    norm_preserving = True

    separators = tuple(b".\n")

    def __init__(self, shape: Shape):
        super().__init__(shape, rope_frequencies(shape.head_dim))
        self.table = nn.Parameter(0.02 * torch.randn(shape.train_length, shape.width))

    def positions(self, index: Tensor, tokens: Tensor, memory: Memory) -> Tensor:
        ends = torch.isin(tokens, torch.tensor(self.separators, device=tokens.device))
        place, ended = since(ends, memory, "segment")
        return torch.stack([place, ended], dim=-1)  # (B, T, 2)

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        return x + self.table[pos[..., 0].clamp(max=len(self.table) - 1)].type_as(x)

    def angle(self, at: At) -> Tensor:
        return at.pos[:, None, :, 1:] * self.frequencies
