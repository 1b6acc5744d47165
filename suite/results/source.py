"""What the one file of an encoding may hold, judged by its text: nothing of it is imported or run.

A file is loaded under the first of two rules (`load_problems`): its text is the same on every machine, and it uses
no code that no fingerprint sees. A file is accepted under the second as well (`source_problems`).
"""

import ast
import sys
import tokenize
import unicodedata
from collections.abc import Iterator
from io import BytesIO

# An encoding computes: it has no use for files, networks or the machine.
IMPORTS = frozenset(
    {
        "__future__",
        "torch",
        "math",
        "typing",
        "collections",
        "dataclasses",
        "functools",
        "itertools",
        "pebench",
    }
)
HIDDEN = frozenset({"__import__", "__builtins__", "__loader__", "__spec__"})
NO_CALLS = frozenset({"eval", "exec", "compile", "open", "input", "breakpoint"}) | HIDDEN
# Modules that find other modules, and names that run text: no fingerprint sees what those do.
FINDERS = frozenset(
    {"importlib", "imp", "pkgutil", "runpy", "zipimport", "site", "code", "codeop", "builtins", "encodings"}
)
TORCH_FINDERS = frozenset(
    {"torch.hub", "torch.package", "torch.load", "torch.jit.load", "torch.ops.load_library"}
)
RUNS_TEXT = frozenset({"eval", "exec", "compile"}) | HIDDEN
INVISIBLE = ("Cc", "Cf", "Cs", "Co")  # Unicode categories
LARGEST_SOURCE = 200 * 1024  # bytes


class SourceError(ValueError):
    """A file that is no source text, with what to change."""


def decode(data: bytes) -> str:
    """The text of a source file, with "\\n" at the end of lines and without a byte-order mark.

    SourceError where it is not UTF-8, or its coding line makes another text of it.
    """
    try:
        stated = tokenize.detect_encoding(BytesIO(data).readline)[0]
        text = data.decode("utf-8-sig")
        if data.decode(stated).removeprefix("\ufeff") != text:
            raise SourceError(f"is in {stated}; save it as UTF-8 and remove its coding line")
    except (UnicodeError, SyntaxError, LookupError) as e:
        raise SourceError(f"is not UTF-8 ({e}); save it as UTF-8") from e
    return text.replace("\r\n", "\n").replace("\r", "\n")


def parse(text: str) -> ast.Module:
    """The syntax tree of a source text. SourceError where it is no Python."""
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as e:
        raise SourceError(f"is no Python: {type(e).__name__}: {str(e)[:200]}") from e


def load_problems(tree: ast.Module) -> Iterator[str]:
    """Why no result of this file could be told from another's: it takes code from where no fingerprint looks."""
    for line, module in imported(tree):
        known = module.partition(".")[0] in (sys.stdlib_module_names - FINDERS) | {"torch"}
        if not _ours(module) and (not known or _finds(module)):
            yield (
                f"line {line}: imports {_shown(module)}, whose code no fingerprint sees; put what it needs into this "
                "file, or import it from pebench.encodings"
            )
    for used in builtins(tree):
        if used.id in RUNS_TEXT:
            yield f"line {used.lineno}: runs code by `{used.id}`, which no fingerprint sees"
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in TORCH_FINDERS:
            yield f"line {node.lineno}: loads by `{ast.unparse(node)}` what no fingerprint sees"


def source_problems(text: str, tree: ast.Module) -> Iterator[str]:
    """What the file of a registered encoding never holds."""
    if len(text.encode()) > LARGEST_SOURCE:
        yield f"is larger than {LARGEST_SOURCE // 1024} kB"
    if bad := next((c for c in text if c not in "\n\t\f" and unicodedata.category(c) in INVISIBLE), ""):
        yield f"holds the invisible character U+{ord(bad):04X}"
    for line, module in imported(tree):
        if module.partition(".")[0] not in IMPORTS or (module.startswith("pebench") and not _ours(module)):
            yield f"line {line}: an encoding does not import {_shown(module)}"
    for used in builtins(tree):
        yield f"line {used.lineno}: an encoding has no use for `{used.id}`"


def _finds(module: str) -> bool:
    return any(f"{module}.".startswith(f"{finder}.") for finder in TORCH_FINDERS)


def _ours(module: str) -> bool:
    return module == "pebench.encodings" or module.startswith("pebench.encodings.")


def _shown(text: str) -> str:
    return ascii(text[:80])


def imported(tree: ast.AST) -> list[tuple[int, str]]:
    """The line and the module of every import; `from pebench import encodings` is one of pebench.encodings.

    So `from torch import load` is one of torch.load.
    """
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            source = "." * node.level + (node.module or "")
            whole = source in ("pebench", "torch")
            names = [f"{source}.{alias.name}" for alias in node.names] if whole else [source]
            found += [(node.lineno, name) for name in names]
    return found


def builtins(tree: ast.AST) -> list[ast.Name]:
    """Where a name of NO_CALLS is read that is no variable of the file, or called."""
    nodes = list(ast.walk(tree))
    own = {node.arg for node in nodes if isinstance(node, ast.arg)}
    own |= {node.id for node in nodes if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load)}
    called = {node.func for node in nodes if isinstance(node, ast.Call)}
    read = [node for node in nodes if isinstance(node, ast.Name) and node.id in NO_CALLS]
    return [
        node for node in read if node in called or (isinstance(node.ctx, ast.Load) and node.id not in own)
    ]


def defined_names(tree: ast.AST) -> set[str]:
    """The names of the encodings that a parsed file defines: registered ones, and classes in lower case."""
    classes = {node.name.lower() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}
    return classes | registered_names(tree)


def registered_names(tree: ast.AST) -> set[str]:
    """The names that a parsed file gives its classes by `@register("name")`."""
    calls = (c for node in ast.walk(tree) if isinstance(node, ast.ClassDef) for c in node.decorator_list)
    return {
        str(call.args[0].value)
        for call in calls
        if isinstance(call, ast.Call)
        and isinstance(call.func, ast.Name)
        and call.func.id == "register"
        and len(call.args) == 1
        and isinstance(call.args[0], ast.Constant)
    }
