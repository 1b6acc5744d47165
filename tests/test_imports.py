"""Who may import whom, what starts without heavy libraries, and that examples in docstrings run."""

import ast
import doctest
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("encodings", "tasks", "suite", "leaderboard")
MODULES = sorted(file for package in PACKAGES for file in (ROOT / package).rglob("*.py"))

STANDARD_ONLY = ("suite.results",)
OURS = {
    "encodings": (
        "encodings",
        *STANDARD_ONLY,
    ),  # the ground floor: all stand on it, it stands on nothing of ours
    "tasks": ("tasks", *STANDARD_ONLY),
    "suite": ("suite", "encodings", "tasks"),
    "leaderboard": ("leaderboard", *STANDARD_ONLY),
}
THEIRS = {
    "encodings": {"torch"},
    "tasks": {"torch", "numpy", "datasets", "tokenizers", "lm_eval", "filelock", "platformdirs"},
    "leaderboard": {
        "PIL",
        "pandas",
        "pyarrow",
        "numpy",
        "scipy",
        "plotly",
        "streamlit",
        "rich",
        "httpx2",
        "huggingface_hub",
        "latex2mathml",
    },
}


def dotted(file: Path) -> str:
    """The module's name without `pebench.`: suite/lm/model.py is suite.model."""
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(file: Path) -> set[str]:
    """Everything that a file imports anywhere, as full names."""
    found: set[str] = set()
    tree = ast.parse(file.read_text())
    for node in [node for node in ast.walk(tree) if isinstance(node, ast.If)]:
        if ast.unparse(node.test) == "TYPE_CHECKING":  # nothing is imported
            node.body = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno} imports relatively"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def within(name: str, packages: tuple[str, ...]) -> bool:
    return any(f"{name}.".startswith(f"pebench.{package}.") for package in packages)


@pytest.mark.parametrize("file", MODULES, ids=dotted)
def test_a_module_imports_only_what_it_may(file: Path) -> None:
    module = dotted(file)
    package = module.partition(".")[0]
    names = {name for name in imported(file) if name.partition(".")[0] not in sys.stdlib_module_names}
    ours = {name for name in names if name.startswith("pebench.")}
    theirs = {name.partition(".")[0] for name in names - ours}
    if within(f"pebench.{module}", ("suite.cli", "suite.commands")):
        return  # the top floor: it brings suite and leaderboard together
    if within(f"pebench.{module}", STANDARD_ONLY):
        assert theirs <= {"platformdirs"}  # inside a function that reading calls never
        assert all(within(name, STANDARD_ONLY) for name in ours)
        return
    assert [name for name in sorted(ours) if not within(name, OURS[package])] == []
    if package in THEIRS:
        assert sorted(theirs - THEIRS[package]) == []


FLOORS = {
    "suite": "results lm experiment proofs runs extend submissions commands cli",
    "leaderboard": (
        "shipped about columns folders reading table ranking entries notes board printing "
        "extension reports app submissions export"
    ),
}


def upward(part: str, file: Path) -> list[str]:
    """The modules that a file takes from a higher room of its own package than the one it lies in."""
    floors = FLOORS[part].split()
    own = floors.index(dotted(file).split(".")[1])
    taken = {name.split(".")[2] for name in imported(file) if name.startswith(f"pebench.{part}.")}
    return sorted(name for name in taken & set(floors) if floors.index(name) > own)


@pytest.mark.parametrize("file", [f for f in MODULES if dotted(f).count(".")], ids=dotted)
def test_a_room_imports_lower_rooms_only(file: Path) -> None:
    part = dotted(file).partition(".")[0]
    if part in FLOORS:
        assert upward(part, file) == []


def test_the_page_on_rooms_draws_these_floors() -> None:
    page = (ROOT / "docs/decisions/0008-rooms.md").read_text(encoding="utf-8")
    for part, floors in FLOORS.items():
        assert f"- `{part}`: `{' < '.join(floors.split())}`" in page


def test_there_is_no_circle_of_modules() -> None:
    """Imports at the top of a module and inside functions; a package stands for the names that it gives on."""
    names = {f"pebench.{dotted(file)}" for file in MODULES}
    left = {}
    for file in MODULES:
        own, found = f"pebench.{dotted(file)}", set[str]()
        for name in imported(file):
            module = name if name in names else name.rpartition(".")[0]
            found |= {module} & names - {own}
        left[own] = found
    while free := [name for name, needs in left.items() if not needs & left.keys()]:
        for name in free:
            del left[name]
    assert sorted(left) == []


def test_the_walk_sees_a_forbidden_import(tmp_path: Path) -> None:
    file = tmp_path / "x.py"
    file.write_text("def f():\n    from pebench.suite.lm import model\n    import torch.nn\n")
    assert imported(file) == {"pebench.suite.lm.model", "torch.nn"}
    assert not within("pebench.suite.lm.model", OURS["leaderboard"])
    assert not within("pebench.suite.resultsof", OURS["leaderboard"])
    assert within("pebench.suite.results.record.Record", OURS["leaderboard"])


def python(code: str, **environment: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | environment,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("module", "without"),
    [
        ("pebench.suite.results.record", "torch numpy pandas rich typer"),
        ("pebench.suite.results.metrics", "torch numpy pandas rich typer"),
        ("pebench.suite.cli", "torch pandas streamlit datasets lm_eval"),
        ("pebench.leaderboard.board", "torch streamlit datasets"),
        ("pebench.encodings.registry", "pandas streamlit datasets lm_eval"),
    ],
)
def test_a_module_loads_nothing_heavy(module: str, without: str) -> None:
    loaded = python(f"import sys, {module}; print(*sorted(set({without.split()!r}) & set(sys.modules)))")
    assert loaded == ""


def test_the_encodings_folder_is_no_package() -> None:
    assert not (ROOT / "encodings" / "__init__.py").exists()


def test_python_starts_with_the_root_on_its_path() -> None:
    code = "import encodings.utf_8, sys; print(encodings.utf_8.__file__, 'é'.encode('utf-8').hex())"
    file, encoded = python(code, PYTHONPATH=str(ROOT)).split()
    assert not Path(file).is_relative_to(ROOT / "encodings")
    assert encoded == "c3a9"


@pytest.mark.parametrize("file", [file for file in MODULES if ">>> " in file.read_text()], ids=dotted)
def test_docstring_examples_run(file: Path) -> None:
    result = doctest.testmod(importlib.import_module(f"pebench.{dotted(file)}"))
    assert result.attempted > 0
    assert result.failed == 0
