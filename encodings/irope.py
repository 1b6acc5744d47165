from torch import Tensor

from pebench.encodings.base import At, Keys
from pebench.encodings.local import Local
from pebench.encodings.registry import register
from pebench.encodings.rnope import period


@register("irope")
class IRoPE(Local):
    """Three layers with RoPE that see their own chunk of the text, then one without positions that sees all (Llama 4).

    In the fourth layer q is multiplied by 1 + 0.1 ln(1 + floor((t + 1) / c)), a temperature that grows with the
    text. Chunks have c = L / 2 tokens here, so that training meets more than one. Llama 4 has 8,192, of 262,144 in
    its last training stage. Its norm of q and k after the rotation commutes with it. There is no paper; the
    constants come from Hugging Face transformers.
    """

    title = "chunked RoPE and global NoPE layers (iRoPE)"
    paper = "Llama 4, 2025"
    formula = (
        r"\ell_{ij} = q_i^\top R\big((j-i)\theta\big)\,k_j/\sqrt d,\ "
        r"\lfloor i/c \rfloor = \lfloor j/c \rfloor \text{ in layers } 1, 2, 3,\quad "
        r"\big(1 + 0.1 \ln(1 + \lfloor (i+1)/c \rfloor)\big)\, q_i^\top k_j/\sqrt d \text{ in layer } 4,\quad c = L/2"
    )
    norm_preserving = False

    growth = 0.1

    @property
    def chunk(self) -> int:
        return max(1, self.shape.train_length // 2)

    def is_plain(self, layer: int) -> bool:
        every = period(self.shape)
        return layer % every == every - 1

    def far(self, at: At, keys: Keys) -> Tensor:
        return at.order[:, None] // self.chunk != keys.order // self.chunk

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        q, k = super().qk(q, k, at)
        if not self.is_plain(at.layer):
            return q, k
        factor = 1 + self.growth * ((at.order + 1) // self.chunk).log1p()
        return (q.float() * factor[:, None]).type_as(q), k
