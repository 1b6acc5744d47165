"""Finding encodings: by name, in a file, or in an installed package.

A file in this folder adds an encoding by existing. A package adds one through the entry-point group
`pebench.encodings`. `path/to/file.py:Class` names a class of any other file, which is read again after it has
changed.
"""

import ast
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import linecache
import os
import re
import sys
import sysconfig
import traceback
import unicodedata
import weakref
from collections.abc import Callable, Iterable, Iterator
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType
from typing import NamedTuple

from pebench.encodings.base import Encoding, Shape
from pebench.encodings.streams import build
from pebench.suite.results.card import text_problem
from pebench.suite.results.names import hint, name_problem, whole_problem
from pebench.suite.results.source import (
    SourceError,
    decode,
    defined_names,
    imported,
    load_problems,
    parse,
    source_problems,
)

FOLDER = Path(__file__).resolve().parent
GROUP = "pebench.encodings"
SMALL = Shape(layers=2, heads=2, head_dim=16, train_length=16)  # what every encoding can be made for
# A class stands behind the last colon, and only where .py stands before it.
_FILE = re.compile(r"(?P<path>.*\.py)(?::(?P<wanted>[^:/\\,]*))?", re.DOTALL)
ABOUT = ("title", "paper", "family", "formula")  # what a class says of itself
_REGISTRY: dict[str, type[Encoding]] = {}
_BROKEN: dict[str, str] = {}  # installed encodings that do not load, and why


class Loaded(NamedTuple):
    """A file of a user's own as it was when it was loaded."""

    text: str
    module: ModuleType
    registered: dict[str, type[Encoding]]


_LOADED: dict[Path, list[Loaded]] = {}  # the newest last; older ones stay, for objects that were made of them


class UnknownName(ValueError):
    """A name that nothing is registered under, with the nearest registered name."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        super().__init__(f"no {kind} {name!r}; {hint(name, sorted(known))}")


class EncodingError(ValueError):
    """An encoding that cannot be loaded, with what to change."""


def register(name: str) -> Callable[[type[Encoding]], type[Encoding]]:
    """Class decorator: list this encoding under `name` (suite/results/names.py says what that may be)."""
    if problem := name_problem(name):
        raise EncodingError(f"an encoding cannot be called {name!r}: it {problem}")

    def add(cls: type[Encoding]) -> type[Encoding]:
        other = _REGISTRY.get(name)
        if other is not None and (source(other), other.__qualname__) != (source(cls), cls.__qualname__):
            raise EncodingError(f"{name!r} is registered twice: in {source(other)} and in {source(cls)}")
        _REGISTRY[name] = cls
        return cls

    return add


def source(cls: type[Encoding]) -> Path:
    """The file that defines this encoding. EncodingError where it was made in a session and has none."""
    file = getattr(sys.modules.get(cls.__module__), "__file__", None)
    if file is None:
        raise EncodingError(
            f"the class {cls.__name__} is in no file; write it into one and name it file.py:Class"
        )
    return Path(os.path.realpath(file))


def source_text(cls: type[Encoding]) -> str:
    """The source of the file that defines this encoding, as it was when it was loaded."""
    return loaded_text(cls.__module__) or read_source(source(cls))


def loaded_text(module: str) -> str | None:
    """The text of a user's own file as this module was made of it; None for all other modules."""
    versions = (loaded for of_file in _LOADED.values() for loaded in of_file)
    return next((loaded.text for loaded in versions if loaded.module.__name__ == module), None)


def read_source(file: Path) -> str:
    """The text of a source file. EncodingError where it is not UTF-8."""
    try:
        return decode(file.read_bytes())
    except SourceError as e:
        raise EncodingError(f"{file} {e}") from e


def file_name(name: str, cls: type[Encoding]) -> str:
    """What the file of an encoding is called in records and submissions: of a user's own, after the encoding."""
    return f"{name}.py" if _is_own(cls) else source(cls).name


def _is_own(cls: type[Encoding]) -> bool:
    return cls.__module__.startswith("pebench_file_")


def demand_acceptable(name: str, cls: type[Encoding]) -> None:
    """EncodingError where a file of a user's own loads, but could not be submitted."""
    if not _is_own(cls):
        return
    text = source_text(cls)
    tree = parse(text)
    problems = [*source_problems(text, tree)]
    if name.partition("@")[0] not in defined_names(tree):
        problems.append(f"defines no encoding {name!r} by a class statement")
    problems += [f"`{key}` {p}" for key in ("title", "paper") if (p := text_problem(key, getattr(cls, key)))]
    if problems:
        raise EncodingError(f"{source(cls)}: {'; '.join(problems)}")


def distinct(specs: Iterable[str]) -> list[str]:
    """One spec of each encoding. EncodingError where two different encodings have one name."""
    first: dict[str, tuple[str, type[Encoding]]] = {}
    for spec in specs:
        name, cls = resolve(spec)
        other, known = first.setdefault(name, (spec, cls))
        if known is not cls:
            raise EncodingError(
                f"{other} and {spec} are two encodings of the name {name!r}, and would share their records: give "
                'one another name, with @register("name") or another name of its class'
            )
    return [spec for spec, _ in first.values()]


@functools.cache
def _load_all() -> None:
    for file in sorted(FOLDER.glob("[!.]*.py")):
        importlib.import_module(f"pebench.encodings.{file.stem}")
    for point in importlib.metadata.entry_points(group=GROUP):
        try:
            point.load()
        except Exception as e:
            _BROKEN[point.name] = f"the installed encoding {point.name!r} ({point.value}) does not load: {e}"
            print(f"left out: {_BROKEN[point.name]}", file=sys.stderr)


def names() -> list[str]:
    """All registered names, sorted."""
    _load_all()
    return sorted(_REGISTRY)


def resolve(spec: str) -> tuple[str, type[Encoding]]:
    """The name and class of a registered name, of a sum such as `rope+fox`, or of `path/to/file.py:Class`.

    Each of them extended at evaluation time by a method: `rope@yarn`. UnknownName or EncodingError where there is
    none that can be run.
    """
    name, cls = _found(spec)
    if problem := whole_problem(name):
        raise EncodingError(f'{spec}: the name {name!r} {problem}; name the class with @register("name")')
    if not cls.__module__.startswith("pebench.encodings."):
        _demand_buildable(cls)
    return name, cls


_BUILDABLE = weakref.WeakSet[type[Encoding]]()


def _demand_buildable(cls: type[Encoding]) -> None:
    """EncodingError, with the file and the line, where a class from outside cannot be made."""
    if cls in _BUILDABLE:
        return
    try:
        build(cls, SMALL)
    except Exception as e:
        raise EncodingError(
            f"{cls.__name__} cannot be made for {SMALL}: {type(e).__name__}: {e}{own_place(e)}"
        ) from e
    _BUILDABLE.add(cls)


def own_place(error: BaseException) -> str:
    """The line of a user's own file in which an error arose; empty where none of its calls is there."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if Path(frame.filename) in _LOADED]
    return f" ({Path(own[-1].filename).name}, line {own[-1].lineno}, in {own[-1].name})" if own else ""


def _found(spec: str) -> tuple[str, type[Encoding]]:
    spec, method = extension_of(spec)
    if method:
        name, cls = resolve(spec)
        extension = importlib.import_module("pebench.encodings.extension")
        longer = extension.longer(cls, method)
        importlib.import_module("pebench.encodings.idle").refuse_idle(cls, extension.method_classes(method))
        return f"{name}@{method}", longer
    if match := _FILE.fullmatch(spec):
        return _from_file(match["path"], match["wanted"] or "")
    _load_all()
    if "+" in spec:
        return spec, importlib.import_module("pebench.encodings.compose").compose(spec)
    if spec not in _REGISTRY:
        if os.sep in spec or ":" in spec:
            raise EncodingError(f"{spec} is no Python file; name one as path/to/file.py:Class")
        if spec in _BROKEN:
            raise EncodingError(_BROKEN[spec])
        if os.path.isfile(f"{spec}.py"):
            raise EncodingError(f"no encoding {spec!r} is registered; the file here is named {spec}.py")
        if spec in importlib.import_module("pebench.encodings.extension").methods():
            raise EncodingError(
                f"{spec} is a method of context extension and no encoding: name what it extends, as in rope@{spec}, "
                f"or read a pretrained model: pebench extend -m {spec}"
            )
        raise UnknownName("encoding", spec, _REGISTRY)
    return spec, _REGISTRY[spec]


def names_a_file(spec: str) -> bool:
    """Whether this is `path/to/file.py:Class` of a file that is there, whatever signs its path has."""
    match = _FILE.fullmatch(extension_of(spec)[0])
    return match is not None and os.path.isfile(os.path.expanduser(match["path"]))


def extension_of(spec: str) -> tuple[str, str]:
    """What was trained, and the method that extends it at evaluation time; empty where none does.

    >>> extension_of("rope+fox@yarn"), extension_of("me@home/file.py:Mine")
    (('rope+fox', 'yarn'), ('me@home/file.py:Mine', ''))
    """
    trained, _, method = spec.rpartition("@")
    return (trained, method) if trained and method and ".py" not in method else (spec, "")


def load_file(path: str) -> ModuleType:
    """The module of a Python file, in this folder or of a user's own. EncodingError where it does not load."""
    try:
        file = Path(os.path.realpath(os.path.expanduser(path)))
        is_file, is_folder = file.is_file(), file.is_dir()
    except (OSError, ValueError) as e:  # a path that is too long, or holds a null character
        raise EncodingError(f"{path!r} is no path of a file: {getattr(e, 'strerror', None) or e}") from e
    if not is_file:
        raise EncodingError(f"{path} is a folder" if is_folder else f"there is no file {path}")
    _load_all()  # so that a name which is taken is refused
    return _import(file)


def _from_file(path: str, wanted: str) -> tuple[str, type[Encoding]]:
    module = load_file(path)
    found = {
        name: cls
        for name, cls in vars(module).items()
        if isinstance(cls, type) and issubclass(cls, Encoding) and cls.__module__ == module.__name__
    }
    # What says nothing of itself is abstract, where another class in the file does say what it is.
    found = {name: cls for name, cls in found.items() if not _unsaid(cls)} or found
    wanted = unicodedata.normalize("NFKC", wanted)  # as Python reads names
    if not wanted and len(set(found.values())) == 1:
        wanted = next(iter(found))
    if wanted not in found:
        raise EncodingError(f"{path} has no encoding {wanted!r}; its encodings: {', '.join(found) or 'none'}")
    cls = found[wanted]
    if issubclass(cls, importlib.import_module("pebench.encodings.extension").Extended):
        raise EncodingError(
            f"{path}: {wanted} is a method of context extension and no encoding: "
            "`pebench check --extension` checks it, and `pebench extend -m` measures it on a pretrained model"
        )
    if unsaid := _unsaid(cls):
        raise EncodingError(f"{path}: {wanted} does not say its {', '.join(unsaid)}; add them to the class")
    for about in ABOUT:
        if problem := _unshowable(getattr(cls, about)):
            raise EncodingError(f"{path}: the {about} of {wanted} {problem}")
    name = _name_in_file(cls, wanted)
    if alike := [c for c, other in found.items() if other is not cls and _name_in_file(other, c) == name]:
        raise EncodingError(
            f"{path}: the classes {wanted} and {alike[0]} have the same name {name!r}; rename one"
        )
    taken = _is_own(cls) and (FOLDER / f"{name}.py").exists()
    if taken or _REGISTRY.get(name, cls) is not cls:
        raise EncodingError(f"{path}: {name!r} is the name of another encoding; rename the class {wanted}")
    return name, cls


def _unsaid(cls: type[Encoding]) -> list[str]:
    """What a class must say of itself, and does not."""
    return [about for about in ABOUT if not hasattr(cls, about)]


def _unshowable(text: object) -> str:
    """Why no page can show this text; empty where all can."""
    if not isinstance(text, str):
        return "is no text; set it on the class"
    bad = next((char for char in text if not char.isprintable()), "")
    return f'holds {bad!r}, which no page can show; write it as a raw string, r"..."' if bad else ""


def _name_in_file(cls: type[Encoding], variable: str) -> str:
    """The name of a class in a file: as it is registered, else the class's in lower case."""
    return next((name for name, other in _REGISTRY.items() if other is cls), variable.lower())


class _AsRead(SourceFileLoader):
    """Runs the text that was judged, not what the file or its bytecode holds by then."""

    def __init__(self, name: str, file: Path, text: str):
        super().__init__(name, os.fspath(file))
        self.text = text

    def get_code(self, fullname: str) -> CodeType:
        return compile(self.text, self.path, "exec", dont_inherit=True)


def _import(file: Path) -> ModuleType:
    if file.parent == FOLDER:
        return importlib.import_module(f"pebench.encodings.{file.stem}")
    text = read_source(file)
    versions = _LOADED.setdefault(file, [])
    if versions and versions[-1].text == text:
        return versions[-1].module
    _forget(file)
    if known := next((loaded for loaded in versions if loaded.text == text), None):  # an edit was taken back
        versions.remove(known)
        _REGISTRY.update(known.registered)
    else:
        before = dict(_REGISTRY)
        module = _run(file, text)
        known = Loaded(text, module, {n: c for n, c in _REGISTRY.items() if before.get(n) is not c})
    versions.append(known)
    return known.module


def _forget(file: Path) -> None:
    """Take back what an older version of this file registered, and what `inspect` remembers of its lines."""
    for name in [name for name, cls in _REGISTRY.items() if _is_own(cls) and source(cls) == file]:
        del _REGISTRY[name]
    linecache.cache.pop(os.fspath(file), None)


def _shadowed(tree: ast.Module) -> Iterator[str]:
    """Which imports another file hides from the standard library, on PYTHONPATH for example."""
    for line, module in imported(tree):
        top = module.partition(".")[0]
        spec = importlib.util.find_spec(top) if top in sys.stdlib_module_names else None
        if spec and spec.has_location and spec.origin and not _is_standard(Path(spec.origin)):
            yield f"line {line}: {spec.origin} hides the standard library's {top!r}; rename that file"


def _is_standard(file: Path) -> bool:
    """Whether Python's own library holds this file."""
    folders = {Path(sysconfig.get_path(kind)).resolve() for kind in ("stdlib", "platstdlib")}
    file = file.resolve()
    packages = {"site-packages", "dist-packages"} & set(file.parts)
    return not packages and any(file.is_relative_to(folder) for folder in folders)


def _run(file: Path, text: str) -> ModuleType:
    """The module of this text. EncodingError where it does not load, or takes code from where nobody looks."""
    try:
        tree = parse(text)
        problems = [*load_problems(tree), *_shadowed(tree)]
    except SourceError as e:
        raise EncodingError(f"{file} {e}") from e
    if problems:
        raise EncodingError(f"{file}: {'; '.join(problems)}")
    digest = hashlib.sha256(f"{file}\0{text}".encode(errors="surrogateescape")).hexdigest()[:12]
    name = f"pebench_file_{re.sub(r'[^A-Za-z0-9_]', '_', file.stem)}_{digest}"
    loader = _AsRead(name, file, text)
    spec = importlib.util.spec_from_file_location(name, file, loader=loader)
    assert spec is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        loader.exec_module(module)
    except BaseException as e:
        _forget(file)
        del sys.modules[name]
        if isinstance(e, EncodingError | KeyboardInterrupt):
            raise
        raise EncodingError(f"{file} does not load: {type(e).__name__}: {e}{own_place(e)}") from e
    return module
