import copy
import math

from torch import Tensor

from pebench.encodings.base import At, Encoding
from pebench.encodings.extension import Extended, method
from pebench.encodings.streams import build


@method("logn", within=True)
class LogScaling(Extended):
    """Dot products grow with the logarithm of the number of keys, from the training length on (Su, 2021).

    SSMax trains such a factor; here it is 1 up to the training length L and ln n / ln L beyond, whatever the model.
    Written behind another method, "yarn+logn", it is added to it. Biases are left as they are.
    """

    title = "logits scaled by the logarithm of the length"
    paper = "Su, 2021: kexue.fm/archives/8823"
    formula = r"q_i^\top k_j \mapsto \max(1, \ln n_i / \ln L)\, q_i^\top k_j"
    relative = True

    @classmethod
    def extend(cls, encoding: Encoding, factor: float) -> Encoding:
        wrapped = build(cls.over(type(encoding)), encoding.shape)
        assert isinstance(wrapped, LogScaling)
        wrapped.inner = copy.deepcopy(encoding)
        return wrapped.train(encoding.training)

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        q, k = super().qk(q, k, at)
        factor = ((at.order + 1).log() / math.log(max(2, self.shape.train_length))).clamp(min=1)
        return (q.float() * factor[:, None]).type_as(q), k
