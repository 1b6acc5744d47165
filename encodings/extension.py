"""Longer contexts at evaluation time: a trained encoding with its frequencies changed, its weights reused.

Everything with a frequency vector takes part: a buffer `frequencies`, a parameter `log_frequencies` or, of GRAPE-M,
`slow_log_frequencies`, whose last axis runs over the planes, fastest first. YaRN's bands count turns at one unit a
token: where tokens set the clock (contextual GRAPE-M, Selective RoPE) they are as if each advanced it by one.
"""

import copy
import functools
import math
from collections.abc import Callable
from typing import ClassVar

import torch
from torch import Tensor, nn

from pebench.encodings.base import At, Encoding, Shape
from pebench.encodings.grape_m import SLOWER
from pebench.encodings.registry import EncodingError, UnknownName
from pebench.encodings.streams import build
from pebench.encodings.wrapper import Wrapper


def pi(frequencies: Tensor, factor: float, length: int) -> Tensor:
    """Position interpolation: all frequencies divided by the factor (Chen et al., 2023, arXiv:2306.15595).

    >>> pi(torch.tensor([1.0, 0.01]), 4.0, 1024)
    tensor([0.2500, 0.0025])
    """
    return frequencies / factor


def ntk(frequencies: Tensor, factor: float, length: int) -> Tensor:
    """A larger base: the fastest plane stays, the slowest is divided by the factor (bloc97, 2023).

    The base times factor^(d/(d-2)) is plane m of n divided by factor^(m/(n-1)).

    >>> ntk(torch.tensor([1.0, 0.1, 0.01]), 4.0, 1024)
    tensor([1.0000, 0.0500, 0.0025])
    """
    planes = frequencies.shape[-1]
    return frequencies * factor ** (-torch.arange(planes, device=frequencies.device) / max(1, planes - 1))


def yarn(frequencies: Tensor, factor: float, length: int) -> Tensor:
    """Planes that turn 32 times in training stay, those below one turn are divided (Peng et al., 2024).

    Between the two a ramp over the planes' indices, its ends rounded outwards, as in jquesnelle/yarn and
    Hugging Face transformers; the paper's text has the ramp linear in the number of turns instead. The
    index of a plane follows from its frequency, so learned spectra have one too. `sharpening` belongs to
    it.
    """
    used = frequencies.clamp(min=torch.finfo(frequencies.dtype).tiny).log()
    top = used.amax(-1, keepdim=True)
    planes = (frequencies > 0).sum(-1, keepdim=True)
    slowest = used.masked_fill(frequencies <= 0, math.inf).amin(-1, keepdim=True)
    step = ((top - slowest) / (planes - 1).clamp(min=1)).clamp(min=1e-9)  # log-frequency from plane to plane
    low, high = ((top - math.log(turns * 2 * math.pi / length)) / step for turns in (32, 1))
    low = low.floor().clamp(min=0)
    high = high.ceil().clamp(max=2 * frequencies.shape[-1] - 1)
    ramp = (((top - used) / step - low) / (high - low).clamp(min=1e-3)).clamp(0, 1)
    return frequencies * (1 - ramp + ramp / factor)


def sharpening(factor: float) -> float:
    """What YaRN multiplies q and k by, each: 0.1 ln(factor) + 1 (Peng et al., 2024).

    >>> round(sharpening(4), 6)
    1.138629
    """
    return 0.1 * math.log(max(1.0, factor)) + 1


METHODS: dict[str, Callable[[Tensor, float, int], Tensor]] = {"pi": pi, "ntk": ntk, "yarn": yarn}


class Sharpened(Wrapper):
    """An encoding whose q is multiplied by a constant after it has been turned."""

    title = "sharpened"
    relative = True
    gain = 1.0

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        q, k = super().qk(q, k, at)
        return q * self.gain, k


class Extended(Wrapper):
    """Reads texts longer than those of the training: a trained model's frequencies changed, its weights reused.

    A trained model is measured with the factor of the task's length, which is not always that of its tokens (a list of
    32 pairs, of which two are in use, is shorter than eight times one of four). Built alone, as for its certificate and
    its speed, it is extended by 4.
    """

    relative = True
    norm_preserving = True
    method: ClassVar[str]
    alone = 4.0

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.inner = extended(self.inner, self.method, self.alone)


class PI(Extended):
    title = "position interpolation"
    paper = "arXiv:2306.15595"
    formula = r"\theta_m \mapsto \theta_m / s"
    method = "pi"


class NTK(Extended):
    title = "NTK-aware base"
    paper = "bloc97, 2023"
    formula = r"\theta_m \mapsto \theta_m\, s^{-m/(n-1)}"
    method = "ntk"


class YaRN(Extended):
    title = "YaRN"
    paper = "arXiv:2309.00071"
    formula = (
        r"\theta_m \mapsto (1 - \gamma_m)\, \theta_m + \gamma_m\, \theta_m / s,\quad "
        r"q^\top k \mapsto (0.1 \ln s + 1)^2\, q^\top k"
    )
    norm_preserving = False
    method = "yarn"


@functools.cache
def longer(inner: type[Encoding], method: str) -> type[Extended]:
    """The class of an encoding as extended by a method: "rope@yarn". The errors are those of `extended`.

    >>> from pebench.encodings.rope import RoPE
    >>> longer(RoPE, "yarn").title
    'Rotary position embedding, YaRN'
    """
    if issubclass(inner, Extended):
        raise EncodingError(f"{inner.title} is extended already; name one method")
    extended(build(inner, Shape(layers=2, heads=2, head_dim=16, train_length=16)), method, 1.0)
    return next(cls for cls in (PI, NTK, YaRN) if cls.method == method).over(inner)


def extended(encoding: Encoding, method: str, factor: float) -> Encoding:
    """A copy of a trained encoding for texts `factor` times as long, by "pi", "ntk" or "yarn".

    UnknownName for another method, EncodingError where there is no frequency vector or the factor is below 1.
    """
    if method not in METHODS:
        raise UnknownName("extension", method, METHODS)
    if not factor >= 1:
        raise EncodingError(f"an extension by {factor} would shorten the text; give a factor of at least 1")
    owners = [part for part in encoding.modules() if isinstance(part, Encoding) and has_frequencies(part)]
    if not owners:
        raise EncodingError(
            f"{encoding.title} has no frequencies to change; extend one that has, such as rope"
        )
    copies = {part: changed(part, method, factor) for part in owners}
    memo: dict[int, object] = {id(part): new for part, new in copies.items()}
    return copy.deepcopy(encoding, memo)  # each owner replaced by its changed copy


# How an encoding may store its frequencies: by name, to read them and to store others.
STORED: dict[str, tuple[Callable[[Tensor], Tensor], Callable[[Tensor], Tensor]]] = {
    "frequencies": (torch.clone, torch.clone),
    "log_frequencies": (torch.exp, torch.log),
    "slow_log_frequencies": (lambda x: (x / SLOWER).exp(), lambda x: SLOWER * x.log()),
}


def has_frequencies(part: nn.Module) -> bool:
    """Whether this module itself, not a part of it, has a frequency vector."""
    own = dict(part.named_buffers(recurse=False)) | dict(part.named_parameters(recurse=False))
    return bool(own.keys() & STORED.keys())


@torch.no_grad()
def changed(part: Encoding, method: str, factor: float) -> Encoding:
    """A copy of this encoding with its frequency vector changed, sharpened where the method asks for it."""
    part, change = copy.deepcopy(part), METHODS[method]
    length = part.shape.train_length
    for name, x in (*part.named_buffers(recurse=False), *part.named_parameters(recurse=False)):
        if name in STORED:
            read, stored = STORED[name]
            x.copy_(stored(change(read(x), factor, length)))
    if method != "yarn" or part.family != "multiplicative":
        return part
    wrapped = build(Sharpened.over(type(part)), part.shape)
    assert isinstance(wrapped, Sharpened)
    wrapped.inner, wrapped.gain = part, sharpening(factor) ** 2
    return wrapped.train(part.training)
