import torch
from torch import Tensor

from pebench.encodings.base import At, Shape, visible
from pebench.encodings.registry import register
from pebench.encodings.rope import RoPE
from pebench.encodings.wrapper import Wrapper


@register("rnope")
class RNoPE(Wrapper):
    """Every fourth layer sees no positions (Yang et al., 2025; Llama 4; SmolLM3).

    Three layers with RoPE, then one without an encoding; models of fewer than four layers do without it in
    their last layer. (The paper's Command models also put a window on the RoPE layers, as `swan` does.)
    """

    title = "interleaved NoPE layers"
    paper = "arXiv:2501.18795"
    family = "multiplicative"
    formula = (
        r"\ell_{ij} = q_i^\top R\big((j-i)\theta\big)\,k_j/\sqrt d \text{ in layers } 1, 2, 3,\quad "
        r"q_i^\top k_j/\sqrt d \text{ in layer } 4"
    )
    relative = True
    norm_preserving = True

    inner_class = RoPE
    period = 4

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.every = min(self.period, shape.layers)

    def is_plain(self, layer: int) -> bool:
        """Whether this layer sees no positions."""
        return layer % self.every == self.every - 1

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return (q, k) if self.is_plain(at.layer) else super().qk(q, k, at)

    def bias(self, q_pos: Tensor, k_pos: Tensor, layer: int) -> Tensor | None:
        return None if self.is_plain(layer) else super().bias(q_pos, k_pos, layer)

    def weights(self, q: Tensor, k: Tensor, q_pos: Tensor, k_pos: Tensor, layer: int) -> Tensor | None:
        if not self.is_plain(layer):
            return super().weights(q, k, q_pos, k_pos, layer)
        logits = (q @ k.mT).float() * self.shape.scale
        return logits.masked_fill(~visible(q_pos, k_pos), -torch.inf).softmax(-1)
