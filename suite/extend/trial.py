"""A trial of a method on a small random model: what cannot be measured is refused, with the reason, before it is."""

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pebench.encodings.extension import (
    Extended,
    Regrouped,
    Retuned,
    Windowed,
    extended,
    load_method,
    longer,
    method_classes,
)
from pebench.encodings.registry import SMALL, EncodingError, own_place
from pebench.encodings.streams import build, stream
from pebench.encodings.wrapper import Wrapper
from pebench.suite.extend.checkpoint import Architecture, Checkpoint, PretrainedRoPE, frequencies, shapes
from pebench.suite.extend.model import Model
from pebench.suite.extend.searched import needs_search, with_divisors

ABOUT = Architecture(
    layers=2, width=48, heads=6, kv_heads=2, head_dim=8, vocab=64, eps=1e-5, trained=64, base=1000.0
)
DRAWN = (1.0, 4.5, 4.5, 7.0)  # divisors of the planes, which do not fall
HIDDEN = 96  # the feed-forward width
FACTOR = 4.0
SAID = ("title", "paper", "formula")  # what a record's card holds of a class
PLACES = ("positions", "embed")  # hooks that the keys of a pretrained model do not know
UNREAD: dict[Any, tuple[str, ...]] = {
    Retuned: ("qk", "columns", "bias", "weights", "values", "output"),  # its frequencies alone are used
    Regrouped: (
        "columns",
        "bias",
        "values",
        "output",
    ),  # attention in parts has its views, and what is hidden
}
_SUM = re.compile(r"(?P<file>.*\.py(?::\w+)?)(?P<rest>(?:\+\w+)*)", re.DOTALL)


def method_named(spec: str) -> str:
    """The name of a method that can be measured: as in `load_method`, also `path/to/file.py:Class+logn`.

    UnknownName or EncodingError where there is none.
    """
    match = _SUM.fullmatch(spec)
    name = load_method(match["file"]) + match["rest"] if match else load_method(spec)
    tried(name)
    return name


def tried(method: str) -> Model:
    """A small random model with the method, which has read a text. EncodingError says why there is none.

    A method that needs a search takes drawn divisors.
    """
    for cls in method_classes(method):
        demand_class(cls, searched=needs_search(method))
    checkpoint = random_checkpoint()
    if needs_search(method):
        checkpoint = with_divisors(checkpoint, FACTOR, DRAWN)
    try:
        build(longer(PretrainedRoPE, method), SMALL)  # as its code is hashed
        model = Model(checkpoint, extended(checkpoint.rope(), method, FACTOR).eval(), torch.float32)
        model.read(torch.arange(ABOUT.trained + 8) % ABOUT.vocab, model.cache())
    except EncodingError:
        raise
    except Exception as e:
        raise EncodingError(
            f"no text can be read with {method}: {type(e).__name__}: {e}{own_place(e)}; `pebench new NAME --extension` "
            "writes a method that can be"
        ) from e
    return model


def demand_class(cls: Any, searched: bool) -> None:
    """EncodingError where a class under `@method` is no whole method of context extension."""
    if not (isinstance(cls, type) and issubclass(cls, Extended)):
        raise EncodingError(f"{cls.__name__} is no Extended; derive it from Retuned, Regrouped or Windowed")
    for about in SAID:
        if not isinstance(getattr(cls, about, None), str):
            raise EncodingError(f"{cls.__name__} does not say its {about}; add it to the class as a text")
    for part in ("extend", "change", "views", "chosen"):
        if getattr(getattr(cls, part, None), "__isabstractmethod__", False):
            raise EncodingError(f"{cls.__name__} has no `{part}`; define it")
    inherits = issubclass(cls, Windowed) and cls.window is Windowed.window
    if inherits and not isinstance(getattr(cls, "share", None), int | float):
        raise EncodingError(f"{cls.__name__} has no `share`; give it the window over the training length")
    for hook in PLACES:
        if getattr(cls, hook) is not getattr(Wrapper, hook):
            raise EncodingError(
                f"{cls.__name__} defines `{hook}`, and a pretrained model's keys stand at their order; place them by "
                "`views` of a Regrouped"
            )
    demand_hooks_that_run(cls)
    if issubclass(cls, Retuned) and not searched:
        demand_change(cls)


def demand_hooks_that_run(cls: type[Extended]) -> None:
    """EncodingError where a class overrides a hook that no reading would call."""
    for parent, unread in UNREAD.items():
        for hook in unread if issubclass(cls, parent) else ():
            if getattr(cls, hook) is not getattr(parent, hook):
                raise EncodingError(
                    f"{cls.__name__} overrides `{hook}`, which a {parent.__name__} is read without; derive it from "
                    "Extended"
                )


def demand_change(cls: type[Retuned]) -> None:
    """EncodingError where `change` gives something else than a frequency for each plane."""
    planes = frequencies(ABOUT)
    try:
        found: object = cls.change(planes.clone(), FACTOR, ABOUT.trained)
    except Exception as e:
        raise EncodingError(f"`change` of {cls.__name__} fails: {type(e).__name__}: {e}{own_place(e)}") from e
    if not isinstance(found, Tensor) or found.shape != planes.shape:
        shown = tuple(found.shape) if isinstance(found, Tensor) else type(found).__name__
        raise EncodingError(
            f"`change` of {cls.__name__} gives {shown} for frequencies of shape {tuple(planes.shape)}; return a tensor "
            "of their shape"
        )


def random_checkpoint(seed: int = 0) -> Checkpoint:
    """A Llama-shaped model with random weights, large enough that attention is far from uniform."""
    weights = dict[str, Tensor]()
    for name, shape in shapes(ABOUT).items():
        if not name.endswith("weight") or name == "lm_head.weight":
            continue
        size = [HIDDEN if n == -1 else n for n in shape]
        rng = torch.Generator().manual_seed(stream(seed, name))
        weights[name] = torch.ones(size) if len(size) == 1 else 0.3 * torch.randn(size, generator=rng)
    return Checkpoint(Path(), ABOUT, weights)
