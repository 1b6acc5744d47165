from torch import Tensor

from pebench.encodings.extension import Retuned, method


@method("dropped")
class Dropped(Retuned):
    """RoPE is left out of a model that was trained with it, as DroPE does, and nothing is trained afterwards.

    DroPE (Gelberg et al., 2025) trains on for a short while after it has dropped RoPE. This is the state before.
    """

    title = "RoPE dropped without training"
    paper = "arXiv:2512.12167"
    formula = r"\theta_m \mapsto 0"

    @staticmethod
    def change(frequencies: Tensor, factor: float, length: int) -> Tensor:
        return frequencies * 0
