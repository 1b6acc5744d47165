"""The mapped packages must arrive whole in a wheel and in a source distribution."""

import io
import json
import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PARTS = ("suite", "tasks", "encodings", "leaderboard")


def tracked() -> set[str]:
    """The Python and data files of the packages, as paths below the root."""
    return {
        str(path.relative_to(ROOT))
        for part in PARTS
        for pattern in ("*.py", "*.json", "*.csv", "*.js", "*.css")
        for path in (ROOT / part).rglob(pattern)
    }


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the source distribution, and the wheel made from it."""
    folder = tmp_path_factory.mktemp("dist")
    copy = tmp_path_factory.mktemp("source") / "pebench"
    files = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    for name in filter(None, files):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    for words in (
        ["init", "-q"],
        ["add", "-A", "-f"],
        ["-c", "user.name=x", "-c", "user.email=x@x", "commit", "-qm", "x"],
    ):
        subprocess.run(["git", "-C", str(copy), *words], check=True)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(copy)]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


def test_every_folder_with_code_is_a_package_of_the_project() -> None:
    stated = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {file.parent.relative_to(ROOT) for part in PARTS for file in (ROOT / part).rglob("*.py")}
    assert sorted(stated) == sorted({"pebench", *(".".join(("pebench", *f.parts)) for f in folders)})


@pytest.mark.walks
def test_the_source_distribution_is_whole(built: Path) -> None:
    (archive,) = built.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        names = {name.partition("/")[2] for name in tar.getnames()}
    assert tracked() <= names
    assert {"pyproject.toml", "README.md", "LICENSE"} <= names


@pytest.mark.walks
def test_the_wheel_is_whole_and_has_one_import_name(built: Path) -> None:
    (archive,) = built.glob("*.whl")
    with zipfile.ZipFile(archive) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
        packed = io.BytesIO(wheel.read("pebench/leaderboard/published.tar.xz"))
    with tarfile.open(fileobj=packed) as published:
        held = {f"leaderboard/{name}" for name in published.getnames()}
    results = {
        name
        for name in tracked()
        if name.startswith(tuple(f"leaderboard/{part}/" for part in ("elsewhere", "extended", "records")))
    }
    assert held == results
    assert {f"pebench/{name}" for name in tracked() - results} <= names
    assert len([name for name in names if "leaderboard/records" in name]) == 0
    assert all(name.startswith("pebench/") for name in names)
    assert "pebench/encodings/__init__.py" not in names
    assert {"pebench/py.typed", "pebench/api.py"} <= names


@pytest.mark.walks
def test_an_installed_wheel_works_without_the_checkout(built: Path, tmp_path: Path) -> None:
    (archive,) = built.glob("*.whl")
    with zipfile.ZipFile(archive) as wheel:
        wheel.extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, '.'); import pebench.encodings.registry as r; "
        "assert r.__file__.startswith(sys.argv[1]), r.__file__; "
        "import pebench; assert pebench.__file__.startswith(sys.argv[1]); assert len(pebench.load('QUICK')) == 6; "
        "print(len(pebench.encodings()))"
    )
    result = subprocess.run(
        [sys.executable, "-I", "-c", code, str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"PEBENCH_CACHE": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) >= 20


@pytest.mark.walks
def test_an_installed_wheel_shows_the_published_leaderboard_and_names_its_commit(
    built: Path, tmp_path: Path
) -> None:
    """Where no records folder is; a file that was changed since makes the commit a dirty one."""
    (archive,) = built.glob("*.whl")
    site = tmp_path / "site"
    subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(site), str(archive)],
        check=True,
    )
    assert archive.stat().st_size < 2e6
    code = (
        "import sys, json; sys.path.insert(0, sys.argv.pop(1)); from pebench.suite.runs.machine import commit; "
        "print(json.dumps(commit()), file=sys.stderr); sys.argv[0] = 'pebench'; "
        "from pebench.suite.cli import main; main()"
    )

    def run() -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-I", "-c", code, str(site), "board", "--profile", "QUICK", "--csv"]
        own = os.environ | {"PEBENCH_CACHE": str(tmp_path / "cache")}
        return subprocess.run(words, cwd=tmp_path, env=own, capture_output=True, text=True, timeout=240)

    shown = run()
    assert shown.returncode == 0, shown.stderr
    stated, told, *_ = shown.stderr.splitlines()
    assert "these are the published results" in told
    assert len(shown.stdout.splitlines()) == 7
    built_of = json.loads(stated)
    assert len(built_of["commit"]) == 40
    assert built_of["dirty"] is False
    with (site / "pebench" / "tasks" / "copy.py").open("a", encoding="utf-8") as file:
        file.write("# changed\n")
    assert json.loads(run().stderr.splitlines()[0])["dirty"] is True
