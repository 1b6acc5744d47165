"""Finding encodings: by name, in a file, or in an installed package.

A file in this folder adds an encoding by existing; a package adds one through the entry-point group
`pebench.encodings`; `path/to/file.py:Class` names one that is installed nowhere.
"""

import difflib
import functools
import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType

from pebench.encodings.base import Encoding

FOLDER = Path(__file__).resolve().parent
GROUP = "pebench.encodings"
_REGISTRY: dict[str, type[Encoding]] = {}


class UnknownName(ValueError):
    """A name that nothing is registered under, with the nearest one that is."""

    def __init__(self, kind: str, name: str, known: Iterable[str]):
        known = sorted(known)
        near = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there are: {', '.join(known)}"
        super().__init__(f"no {kind} {name!r}; {hint}")


class EncodingError(ValueError):
    """An encoding that cannot be loaded, with what to change."""


def register(name: str) -> Callable[[type[Encoding]], type[Encoding]]:
    """Class decorator: list this encoding under `name` (lower case, digits and underscores)."""
    if not (name.isascii() and name.isidentifier() and name == name.lower()):
        raise EncodingError(f"{name!r} is no encoding name: use lower-case letters, digits and underscores")

    def add(cls: type[Encoding]) -> type[Encoding]:
        other = _REGISTRY.get(name)
        if other is not None and (source(other), other.__qualname__) != (source(cls), cls.__qualname__):
            raise EncodingError(f"{name!r} is registered twice: in {source(other)} and in {source(cls)}")
        _REGISTRY[name] = cls
        return cls

    return add


def source(cls: type[Encoding]) -> Path:
    """The file that defines this encoding."""
    return Path(sys.modules[cls.__module__].__file__ or "").resolve()


@functools.cache
def _load_all() -> None:
    for file in sorted(FOLDER.glob("*.py")):
        importlib.import_module(f"pebench.encodings.{file.stem}")
    for point in importlib.metadata.entry_points(group=GROUP):
        try:
            point.load()
        except Exception as e:
            raise EncodingError(
                f"the installed encoding {point.name!r} ({point.value}) does not load: {e}"
            ) from e


def names() -> list[str]:
    """All registered names, sorted."""
    _load_all()
    return sorted(_REGISTRY)


def resolve(spec: str) -> tuple[str, type[Encoding]]:
    """The name and class of a registered name, of a sum such as `rope+fox`, or of `path/to/file.py:Class`.

    Each of them extended at evaluation time by a method: `rope@yarn`.
    """
    spec, method = extension_of(spec)
    if method:
        name, cls = resolve(spec)
        return f"{name}@{method}", importlib.import_module("pebench.encodings.extension").longer(cls, method)
    if ".py" in spec:
        return _from_file(spec)
    _load_all()
    if "+" in spec:
        return spec, importlib.import_module("pebench.encodings.compose").compose(spec)
    if spec not in _REGISTRY:
        raise UnknownName("encoding", spec, _REGISTRY)
    return spec, _REGISTRY[spec]


def extension_of(spec: str) -> tuple[str, str]:
    """What was trained, and the method that extends it at evaluation time; empty where none does.

    >>> extension_of("rope+fox@yarn"), extension_of("me@home/file.py:Mine")
    (('rope+fox', 'yarn'), ('me@home/file.py:Mine', ''))
    """
    trained, _, method = spec.rpartition("@")
    return (trained, method) if trained and method and ".py" not in method else (spec, "")


def _from_file(spec: str) -> tuple[str, type[Encoding]]:
    path, _, wanted = spec.partition(":")
    file = Path(path).resolve()
    if not file.is_file():
        raise EncodingError(f"there is no file {path}")
    _load_all()  # so that a name which is taken is refused
    module = _import(file)
    found = {
        name: cls
        for name, cls in vars(module).items()
        if isinstance(cls, type) and issubclass(cls, Encoding) and cls.__module__ == module.__name__
    }
    if not wanted and len(found) == 1:
        wanted = next(iter(found))
    if wanted not in found:
        raise EncodingError(f"{path} has no encoding {wanted!r}; its encodings: {', '.join(found) or 'none'}")
    cls = found[wanted]
    if unsaid := [about for about in ("title", "paper", "family", "formula") if not hasattr(cls, about)]:
        raise EncodingError(f"{path}: {wanted} does not say its {', '.join(unsaid)}; add them to the class")
    registered = [name for name, other in _REGISTRY.items() if other is cls]
    name = registered[0] if registered else wanted.lower()
    if _REGISTRY.get(name, cls) is not cls:
        raise EncodingError(f"{path}: {name!r} is the name of another encoding; rename the class {wanted}")
    return name, cls


def _import(file: Path) -> ModuleType:
    if file.parent == FOLDER:
        return importlib.import_module(f"pebench.encodings.{file.stem}")
    name = f"pebench_file_{file.stem}_{hashlib.sha256(str(file).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as e:
        del sys.modules[name]
        for entry in [entry for entry, cls in _REGISTRY.items() if cls.__module__ == name]:
            del _REGISTRY[entry]
        if isinstance(e, EncodingError):
            raise
        raise EncodingError(f"{file} does not load: {type(e).__name__}: {e}") from e
    return module
