import torch
from torch import Tensor, nn
from torch.nn.functional import linear, logsigmoid

from pebench.encodings.base import At, Columns, Encoding, Shape, running_sum
from pebench.encodings.registry import register


class Forgetting(Encoding):
    """Each token forgets: adds the log forget gates between key and query."""

    paper = "arXiv:2503.02130"
    family = "additive"
    relative = True

    def __init__(self, shape: Shape, start: Tensor):
        super().__init__(shape)
        self.weight = nn.Parameter(0.02 * torch.randn(shape.layers, shape.heads, shape.width))
        self.gate_bias = nn.Parameter(start.repeat(shape.layers, 1))

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns:
        gate = linear(at.x, self.weight[at.layer], self.gate_bias[at.layer])  # (B, T, H)
        total = running_sum(logsigmoid(gate.float()).transpose(1, 2), at.memory, "forgotten")
        column = -total[..., None]  # (B, H, T, 1)
        return Columns(torch.ones_like(column), column)


@register("fox")
class FoX(Forgetting):
    """Each token forgets: adds the log forget gates between key and query (Lin et al., 2025, eq. 4).

    With C_t the running sum of log f, the bias C_i - C_j is a constant of the row plus one key column. Gate
    weights start at N(0, 0.02), gate biases at 0 (the authors' code), so that f is about 1/2 at first.
    """

    title = "Forgetting attention"
    formula = r"\ell_{ij} = q_i^\top k_j / \sqrt d + \sum_{s=j+1}^{i} \log\sigma(w_h^\top x_s + b_h)"

    def __init__(self, shape: Shape):
        super().__init__(shape, torch.zeros(shape.heads))


def open_gates(times: Tensor) -> Tensor:
    """The biases of gates that forget by 1/e in so many tokens: -log(e^(1/T) - 1)."""
    return -(1 / times).expm1().log()


@register("fox_scaled")
class ScaledFoX(Forgetting):
    """FoX whose gates start open: heads forget within L/32 to 8 L tokens at first, log-spaced (Lin et al., 2025).

    A gate of the bias -log(e^(1/T) - 1) forgets by 1/e in T tokens. The authors' code has this start
    (`fgate_bias_init`) for gates that do not read x; the shares of L are ours.
    """

    title = "Forgetting attention, gates open at first"
    formula = (
        r"\ell_{ij} = q_i^\top k_j / \sqrt d + \sum_{s=j+1}^{i} \log\sigma(w_h^\top x_s + b_h),\quad "
        r"b_h = -\log(e^{1/T_h} - 1) \text{ at first},\ T_h = L/32 \dots 8L"
    )

    def __init__(self, shape: Shape):
        times = shape.train_length * torch.logspace(-5, 3, shape.heads, base=2)
        super().__init__(shape, open_gates(times))
