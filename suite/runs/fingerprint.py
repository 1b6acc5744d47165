"""Which source a result depends on, as one hash: results of other code show as stale."""

import ast
import functools
import hashlib
import re
import sys
from pathlib import Path
from types import FunctionType

from pebench import tasks
from pebench.encodings import rope
from pebench.encodings.base import Encoding, Shape
from pebench.encodings.streams import build
from pebench.suite.lm.native.build import SOURCES
from pebench.tasks import TASKS

SUITE = Path(__file__).parent.parent
TASK = Path(tasks.__file__).parent
COMMON = ("lm/model.py", "lm/attention.py", "lm/layers.py", "experiment/training.py", "experiment/measure.py")
ALWAYS = [SUITE / name for name in COMMON]
# A kernel computes what layers.py and attention.py of suite/lm define, and so counts as little as PyTorch's own: a
# faster one leaves results standing. One that was wrong does not: whoever mends it raises this. So does a change of
# the random streams (encodings/streams.py) and of the norms' epsilon, which no fingerprint of revision 1 holds; a test
# watches them.
REVISION = "1"
ANY = Shape(layers=2, heads=2, head_dim=16, train_length=16)
FINDS = ("pebench.encodings.registry", "pebench.encodings.compose")  # find encodings, but compute nothing
ASKED = (TASK / "lm_eval/reader.py", TASK / "lm_eval/books.py", *sorted((TASK / "lm_eval").glob("*.yaml")))
NATIVE = (SUITE / "lm/native/ops.py", SUITE / "lm/native/build.py", *SOURCES)
PER_TASK = {
    "throughput": (SUITE / "experiment/speed.py", SUITE / "lm/precision.py", *NATIVE, Path(rope.__file__)),
    "certificate": (SUITE / "proofs/certificate.py",),
    "harness": ASKED,
    "harness_grape": (*ASKED, TASK / "lm_eval/questions.py"),
}


def fingerprint(encoding: type[Encoding], task: str, plan: str, corpus: str, base: str = "") -> str:
    """SHA-256 over the code of the encoding, task, model and training, the task's plan and the corpus.

    `base` is the fingerprint of the run whose trained model is measured, where that is another one.
    """
    files = [*encoding_files(encoding), *task_files(task), *ALWAYS, *PER_TASK.get(task, ())]
    parts = [REVISION, encoding.__qualname__, task, plan, corpus, base, *(code(file) for file in files)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def task_fingerprint(task: str, plan: str) -> str:
    """SHA-256 of what the results of all encodings in a task have in common, the corpus apart."""
    files = [*task_files(task), *ALWAYS, *PER_TASK.get(task, ())]
    parts = [REVISION, task, plan, *(code(file) for file in files)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def encoding_files(encoding: type[Encoding]) -> list[Path]:
    """The files of the class, of what it inherits from and is made of, and of what those use from `encodings`."""
    parts = build(encoding, ANY).modules()
    todo = {cls.__module__ for part in parts for cls in type(part).__mro__ if issubclass(cls, Encoding)}
    found: set[str] = set()
    while todo:
        found.add(name := todo.pop())
        values = vars(sys.modules[name]).values()
        used = {value.__module__ for value in values if isinstance(value, type | FunctionType)}
        todo |= {name for name in used if name.startswith("pebench.encodings.") and name not in FINDS} - found
    return files(found)


def task_files(task: str) -> list[Path]:
    """The files that a task is made of."""
    if task not in TASKS:
        return []
    modules = {cls.__module__ for cls in TASKS[task].__mro__ if cls.__module__.startswith("pebench.")}
    return files(modules | ({"pebench.tasks.data.text"} if TASKS[task].reads_text else set()))


def files(modules: set[str]) -> list[Path]:
    """The files of these modules, in the order of their names."""
    return [Path(sys.modules[name].__file__ or "") for name in sorted(modules)]


@functools.cache
def code(file: Path) -> str:
    """What a file's code says: of Python, its lines without docstrings of their own lines, comments and blank ones.

    A better comment must not make a night of results stale.
    """
    text = file.read_text(encoding="utf-8")
    if file.suffix in (".c", ".h"):
        return re.sub(r"\s*/\*.*?\*/", "", text, flags=re.DOTALL)
    if file.suffix != ".py":
        return text
    described = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    lines, docstrings = text.splitlines(), set[int]()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, described) and ast.get_docstring(node, clean=False) is not None:
            doc = node.body[0]
            first, last = doc.lineno, doc.end_lineno or doc.lineno
            before = lines[first - 1].encode()[: doc.col_offset].strip()
            after = lines[last - 1].encode()[doc.end_col_offset :].strip()
            if not before and after[:1] in (b"", b"#"):  # else the line holds code too
                docstrings.update(range(first, last + 1))
    lines = [line.rstrip() for n, line in enumerate(lines, start=1) if n not in docstrings]
    return "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))
