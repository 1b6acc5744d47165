from pebench.encodings.base import Shape
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

    def is_plain(self, layer: int) -> bool:
        every = period(self.shape)
        return layer % every == every - 1


def period(shape: Shape) -> int:
    """How many layers a pattern of four repeats after: in models of fewer, it is as long as the model."""
    return min(4, shape.layers)
