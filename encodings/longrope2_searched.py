import copy
from typing import cast

import torch
from torch import Tensor

from pebench.encodings.base import Encoding, Shape
from pebench.encodings.extension import LongRoPE2, Retuned, Sharpened, method
from pebench.encodings.registry import EncodingError
from pebench.encodings.streams import build
from pebench.encodings.wrapper import Wrapper

NAME = "longrope2_searched"


class Fitted(Wrapper):
    """A trained encoding with the divisors of its frequencies that a search found on its model, for one factor.

    It computes what the inner encoding computes. `longrope2_searched` takes the divisors from here.
    """

    title = "with divisors found by a search"
    relative = True
    norm_preserving = True

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.factor, self.divisors = 1.0, torch.ones(())

    @classmethod
    def around(cls, encoding: Encoding, factor: float, divisors: Tensor) -> Encoding:
        """A trained encoding with the divisors (planes,) for texts `factor` times as long. EncodingError for others."""
        spectrum = encoding.spectrum()
        if spectrum is None or spectrum.shape[-1:] != divisors.shape:
            raise EncodingError(f"{encoding.title} has no {divisors.numel()} frequencies to divide")
        fitted = build(cls.over(type(encoding)), encoding.shape)
        assert isinstance(fitted, Fitted)
        fitted.inner, fitted.factor, fitted.divisors = encoding, factor, divisors
        return fitted.train(encoding.training)


@method(NAME)
class LongRoPE2Searched(Retuned):
    """Each frequency is divided by a number of its own, which a search found on the trained model (Shang et al., 2025).

    `pebench extend --search` is the search (suite/extend/search.py). An encoding without its result cannot be
    extended. Without a trained model the factor is 1. Dot products grow as in `longrope2`.
    """

    title = "LongRoPE2, its divisors searched on validation text"
    paper = "arXiv:2502.20082"
    formula = (
        r"\theta_m \mapsto \theta_m / \lambda_m,\quad \lambda_m \le \lambda_{m+1},\quad \lambda_m \ge s "
        r"\text{ for } m \ge c,\quad \lambda_m = \lambda_c^{m/c} \text{ for } m < c,\quad "
        r"q^\top k \mapsto (1 + \ln s / \ln L)\, q^\top k"
    )
    norm_preserving = False
    alone = 1.0

    @staticmethod
    def change(frequencies: Tensor, factor: float, length: int) -> Tensor:
        """EncodingError for any factor but 1: the divisors of another factor are not known here."""
        if factor != 1:
            raise EncodingError(
                f"{NAME} needs divisors that a search found on the trained model for the factor {factor:g}; "
                "`pebench extend --search` makes them for a pretrained model, and `longrope2` needs none"
            )
        return frequencies

    @classmethod
    def extend(cls, encoding: Encoding, factor: float) -> Encoding:
        fitted = [part for part in encoding.modules() if isinstance(part, Fitted)]
        if not fitted:
            return super().extend(encoding, factor)
        memo: dict[int, object] = {id(part): cls.divided(part, factor) for part in fitted}
        return copy.deepcopy(encoding, memo)

    @classmethod
    @torch.no_grad()
    def divided(cls, fitted: Fitted, factor: float) -> Encoding:
        """A copy of the inner encoding with its frequencies divided, sharpened as `longrope2` is."""
        inner = copy.deepcopy(fitted.inner)
        if factor == 1:
            return inner
        if factor != fitted.factor:
            raise EncodingError(
                f"the search was for the factor {fitted.factor:g}, not for {factor:g}; search again with "
                "`pebench extend --search`"
            )
        inner.retune(cast(Tensor, inner.spectrum()) / fitted.divisors)
        sharpened = build(Sharpened.over(type(inner)), inner.shape)
        assert isinstance(sharpened, Sharpened)
        sharpened.inner, sharpened.gain = inner, LongRoPE2.gain(factor, inner.shape.train_length)
        return sharpened.train(inner.training)
