"""A benchmark suite and leaderboard for positional encodings of causal Transformer language models.

The names below are what a notebook needs. Each is imported on first use, so `import pebench` loads no torch.

    pebench.load()                       the published ranking, a DataFrame
    pebench.records("records")           the records of a folder
    pebench.board("records")             their ranking, a DataFrame
    pebench.encodings()                  the registered names
    pebench.resolve("rope+fox")          name and class of an encoding
    pebench.check("my_idea.py:MyIdea")   its certificate: a list of checks
    pebench.run("rope", tasks=["copy"])  train and measure: a list of records
    pebench.LM, Size                     the standard model
    pebench.Encoding, Shape, register    to write an encoding
"""

from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pebench.api import board as board
    from pebench.api import check as check
    from pebench.api import load as load
    from pebench.api import records as records
    from pebench.api import resolve as resolve
    from pebench.api import run as run
    from pebench.encodings.base import Encoding as Encoding
    from pebench.encodings.base import Shape as Shape
    from pebench.encodings.registry import names as encodings
    from pebench.encodings.registry import register as register
    from pebench.suite.lm.model import LM as LM
    from pebench.suite.lm.model import Size as Size

__version__ = "0.2.0"
__all__ = [
    "LM",
    "Encoding",
    "Shape",
    "Size",
    "board",
    "check",
    "encodings",
    "load",
    "records",
    "register",
    "resolve",
    "run",
]

_HOME = {
    **dict.fromkeys(("board", "check", "load", "records", "resolve", "run"), "pebench.api"),
    **dict.fromkeys(("Encoding", "Shape"), "pebench.encodings.base"),
    "register": "pebench.encodings.registry",
    **dict.fromkeys(("LM", "Size"), "pebench.suite.lm.model"),
}


class _Encodings(ModuleType):
    """The package `pebench.encodings`, which has no `__init__.py`, made callable: `pebench.encodings()`."""

    def __call__(self) -> list[str]:
        """All registered names, sorted."""
        from pebench.encodings.registry import names

        return names()


import_module("pebench.encodings").__class__ = _Encodings


def __dir__() -> list[str]:
    return sorted({*__all__, *(name for name in globals() if name.startswith("__"))})


if not TYPE_CHECKING:  # static tools see the imports above, and tell a wrong name

    def __getattr__(name: str) -> Any:
        if name not in _HOME:
            from pebench.suite.results.names import hint

            raise AttributeError(f"module 'pebench' has no attribute {name!r}; {hint(name, __all__)}")
        return getattr(import_module(_HOME[name]), name)
