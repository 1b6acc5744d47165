"""Which source a result depends on, as one hash: results of other code show as stale."""

import ast
import functools
import hashlib
import sys
from pathlib import Path

from pebench.encodings.base import Encoding

SUITE = Path(__file__).parent
ALWAYS = (SUITE / "model.py", SUITE / "attention.py", SUITE / "training.py")
PER_TASK = {"throughput": (SUITE / "speed.py",), "certificate": (SUITE / "certificate.py",)}


def fingerprint(encoding: type[Encoding], task: str, plan: str, corpus: str) -> str:
    """SHA-256 over the code of the encoding, task, model and training, the task's plan and the corpus."""
    files = [*encoding_files(encoding), *task_files(task), *ALWAYS, *PER_TASK.get(task, ())]
    parts = [encoding.__qualname__, task, plan, corpus, *(code(file) for file in files)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def encoding_files(encoding: type[Encoding]) -> list[Path]:
    """The files of the class and of all that it inherits from."""
    modules = {cls.__module__ for cls in encoding.__mro__ if issubclass(cls, Encoding)}
    return sorted(Path(sys.modules[name].__file__ or "") for name in modules)


def task_files(task: str) -> list[Path]:
    """The files that a task is made of."""
    from pebench.tasks import TASKS

    modules = (
        {cls.__module__ for cls in TASKS[task].__mro__ if cls.__module__.startswith("pebench.")}
        if task in TASKS
        else set()
    )
    files = {Path(sys.modules[name].__file__ or "") for name in modules}
    if task in TASKS and TASKS[task].reads_text:
        files.add(Path(sys.modules["pebench.tasks.text"].__file__ or ""))
    return sorted(files)


@functools.cache
def code(file: Path) -> str:
    """What a file's code says: its lines without docstrings, comment lines and blank ones.

    A better comment must not make a night of results stale.
    """
    text = file.read_text(encoding="utf-8")
    described = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docstrings: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, described) and ast.get_docstring(node, clean=False) is not None:
            docstrings.update(range(node.body[0].lineno, (node.body[0].end_lineno or 0) + 1))
    lines = [line.rstrip() for n, line in enumerate(text.splitlines(), start=1) if n not in docstrings]
    return "\n".join(line for line in lines if line and not line.lstrip().startswith("#"))
