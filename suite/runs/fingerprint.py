"""The identity of a result: hashes of what the code means that it depends on. Results of other code show as stale.

`meaning.py` says what such a hash sees through. It has three parts: the code of the encoding, the code that all
encodings of a task share, and other inputs. These are the plan, the corpus, and the run whose model is measured.
"""

import contextlib
import dataclasses
import functools
import importlib.util
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary

import yaml

from pebench import tasks
from pebench.encodings.base import Encoding, Shape
from pebench.encodings.registry import loaded_text, read_source, resolve
from pebench.encodings.streams import build
from pebench.suite.experiment.measure import examine, timings
from pebench.suite.experiment.training import train
from pebench.suite.lm.attention import attend
from pebench.suite.lm.model import LM
from pebench.suite.lm.native.build import SOURCES
from pebench.suite.proofs.certificate import certify
from pebench.suite.runs.meaning import Code, Place, digest
from pebench.tasks import TASKS

# A kernel computes what layers.py and attention.py of suite/lm define, so a faster one changes no result. Raise this
# after a wrong kernel was mended, and after a change of the norms' epsilon, which stands in the kernels.
REVISION = "3"  # 3: the native head multiplies in float32
ANY = Shape(layers=2, heads=2, head_dim=16, train_length=16)
# Modules whose code changes no score: they find, store and fetch, and data have hashes of their own.
UNCOUNTED = (
    "pebench.encodings.registry",
    "pebench.suite.results",
    "pebench.suite.experiment.answers",
    "pebench.suite.experiment.resume",
    "pebench.suite.lm.gpu",  # computes what attention.py defines
    "pebench.tasks.data.corpus",
    "pebench.tasks.data.wheels",
)
KERNELS = (  # count for timings only
    "pebench.suite.lm.native",
    "pebench.suite.lm.precision",
    "pebench.suite.lm.step",
    "pebench.suite.lm.middle",
)
EXTENSION = ("pebench.encodings.extension",)  # counts for the encodings that it extends
QUESTIONS = Path(tasks.__file__).parent / "lm_eval"


def fingerprint(encoding: type[Encoding], task: str, plan: object, corpus: str, base: str = "") -> str:
    """SHA-256 of everything that the scores of an encoding in a task depend on.

    `plan` is the task's plan, `corpus` the hash of its text. `base` is the fingerprint of another run whose
    trained model is measured, or empty.
    """
    return digest(encoding_code(encoding), shared_code(task), task, stated(plan), corpus, base)


def stated(plan: object) -> str:
    """A plan in words, without the fields that have their default: a new option changes no old plan.

    >>> from pebench.suite.experiment.training import Recipe
    >>> stated(Recipe(length=4, steps=4, tokens=128))
    'Recipe(length=4,steps=4,tokens=128)'
    """
    if not dataclasses.is_dataclass(plan) or isinstance(plan, type):
        return repr(plan)
    given: dict[str, Any] = {
        f.name: getattr(plan, f.name) for f in dataclasses.fields(plan) if changed(plan, f)
    }
    return f"{type(plan).__name__}({','.join(f'{name}={stated(value)}' for name, value in given.items())})"


def changed(plan: object, f: "dataclasses.Field[Any]") -> bool:
    """Whether a field of a plan has another value than its default."""
    default = f.default_factory() if callable(f.default_factory) else f.default
    return bool(getattr(plan, f.name) != default)


def encoding_code(encoding: type[Encoding]) -> str:
    """SHA-256 of the code of an encoding: its class, its parts, what they inherit from and all that those use.

    A file that was loaded again gives another class, and so another hash.
    """
    if encoding not in _CODES:
        classes = parts(encoding)
        code = code_of(
            tuple(sorted({cls.__module__ for cls in classes if not cls.__module__.startswith("pebench.")}))
        )
        roots = {place for cls in classes for place in places(cls, code)}
        _CODES[encoding] = digest(encoding.__qualname__, code.hash(roots))
    return _CODES[encoding]


_CODES: WeakKeyDictionary[type, str] = WeakKeyDictionary()


def parts(encoding: type[Encoding]) -> set[type]:
    """The classes that an encoding consists of, with their parents."""
    modules = build(encoding, ANY).modules()
    return {cls for part in modules for cls in type(part).__mro__ if issubclass(cls, Encoding)}


def places(cls: type, code: Code) -> set[Place]:
    """The definition of a class; all of its module's where it was made by a call."""
    module, name = cls.__module__, cls.__qualname__.partition(".")[0]
    return {Place(module, name)} if vars(sys.modules[module]).get(name) is cls else code.all_of(module)


@functools.cache
def shared_code(task: str) -> str:
    """SHA-256 of the code that all encodings share in a task: the task, the model, its training and its measuring."""
    uses: list[Callable[..., Any]] = [LM, attend]
    uncounted: tuple[str, ...] = (*UNCOUNTED, *EXTENSION, *KERNELS)
    data = list[str]()
    if task in TASKS:
        uses.append(TASKS[task])
    if task == "throughput":
        uses += [timings, resolve("rope")[1]]
        uncounted, data = (*UNCOUNTED, *EXTENSION), [native(file) for file in SOURCES]
    elif task in TASKS:
        uses += [train, examine]
    else:
        uses.append(certify)
    if task.startswith("harness"):
        data = [f"{file.name} {questions(file)}" for file in sorted(QUESTIONS.iterdir()) if asks(file)]
    roots = {Place(each.__module__, each.__qualname__) for each in uses}
    return digest(REVISION, code_of((), uncounted).hash(roots), *data)


def forward_code(encoding: type[Encoding]) -> str:
    """SHA-256 of the code that turns a model's weights into logits: the encoding's and the standard LM's."""
    uses = {Place(each.__module__, each.__qualname__) for each in (LM, attend)}
    return digest(encoding_code(encoding), code_of((), (*UNCOUNTED, *KERNELS)).hash(uses))


def asks(file: Path) -> bool:
    """Whether this file of tasks/lm_eval is a definition of questions."""
    return file.suffix == ".yaml" or (file.is_file() and file.suffix == "" and file.name.startswith("_"))


def questions(file: Path) -> str:
    """What a YAML file says, whatever its comments and its layout."""

    def said(node: yaml.Node) -> object:
        inside = node.value
        if isinstance(node, yaml.MappingNode):
            inside = [(said(key), said(value)) for key, value in node.value]
        elif isinstance(node, yaml.SequenceNode):
            inside = [said(part) for part in node.value]
        return node.tag, inside

    return ascii(said(yaml.compose(file.read_text(encoding="utf-8"))))


def native(file: Path) -> str:
    """The lines of a C file without comments, blank lines and the space around them."""
    text = file.read_text(encoding="utf-8")
    text = re.sub(r'("(?:\\.|[^"\\\n])*")|/\*.*?\*/|//[^\n]*', lambda m: m[1] or " ", text, flags=re.DOTALL)
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


@functools.cache
def code_of(outside: tuple[str, ...], uncounted: tuple[str, ...] = UNCOUNTED) -> Code:
    """The modules that count: all of ours, and those that modules outside pebench may take code from.

    Those are the modules of their packages, and what no package installer brought, such as a file on PYTHONPATH.
    """
    own = {"pebench", *(module.partition(".")[0] for module in outside)}

    def read(module: str) -> str | None:
        if any(module == name or module.startswith(f"{name}.") for name in uncounted):
            return None
        top = module.partition(".")[0]
        if top not in own and not (outside and loose(top)):
            return None
        file = file_of(module)
        return loaded_text(module) or (read_source(file) if file else None)

    return Code(read)


@functools.cache
def loose(top: str) -> bool:
    """Whether a top-level module is neither Python's, nor torch, nor of an installed package."""
    if top in sys.stdlib_module_names or top == "torch":
        return False
    file = file_of(top)
    return file is not None and not {"site-packages", "dist-packages"} & set(file.parts)


@functools.cache
def file_of(module: str) -> Path | None:
    """The source file of a module; None where there is none."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None and module not in sys.modules:
        with contextlib.suppress(ImportError, ValueError):  # a class or a function behind a module's name
            spec = importlib.util.find_spec(module)
            file = spec.origin if spec else None
    return Path(file) if file and file.endswith(".py") else None
