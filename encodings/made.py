"""Classes that are made of other classes, so that a pickle can make them again in another process."""

import copyreg
from collections.abc import Callable
from typing import Any


class Made(type):
    """The type of an encoding class that a function may have made: `recipe` is the function and its arguments."""

    recipe: tuple[Callable[..., Any], tuple[Any, ...]]


def reduced(cls: Made) -> str | tuple[Callable[..., Any], tuple[Any, ...]]:
    """What a pickle holds of a class: how it was made, or its name where it was written."""
    return vars(cls).get("recipe") or cls.__qualname__


copyreg.pickle(Made, reduced)
