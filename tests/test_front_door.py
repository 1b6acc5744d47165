"""What `import pebench` gives, and the examples that use it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

import pebench
from pebench.encodings.registry import EncodingError, UnknownName, names
from pebench.encodings.rope import RoPE
from pebench.leaderboard.reading import BoardError
from tests.wrong_encodings import WRONG

ROOT = Path(__file__).parent.parent


def python(*words: str, cwd: Path = ROOT) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run([sys.executable, *words], cwd=cwd, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_loads_nothing_heavy() -> None:
    code = "import sys, pebench; pebench.__version__, dir(pebench), pebench.encodings; print(*sys.modules)"
    loaded = set(python("-c", code).split())
    assert "pebench" in loaded
    assert {"torch", "pandas", "numpy", "rich", "pebench.encodings.registry"} & loaded == set()


def test_every_name_is_there_and_listed() -> None:
    for name in pebench.__all__:
        assert callable(getattr(pebench, name))
        assert name in dir(pebench)
        assert name in (pebench.__doc__ or "")
    for wrong, says in (
        ("lod", "did you mean 'load'"),
        ("recrods", "did you mean 'records'"),
        ("x", "there are: LM"),
    ):
        with pytest.raises(AttributeError, match=f"no attribute {wrong!r}; {says}"):
            getattr(pebench, wrong)
    assert {name for name in dir(pebench) if not name.startswith("__")} == set(pebench.__all__)


SCRIPT = """
import pebench
from pebench import Encoding, LM, Size
reveal_type(pebench.encodings())
reveal_type(pebench.resolve("rope"))
reveal_type(pebench.records("records")[0].seed)
lm = LM(Size(2, 64, 4, 256), pebench.resolve("rope")[1], 128, 0)
reveal_type(lm.encoding)
pebench.lod
"""


@pytest.mark.slow
def test_a_users_type_checker_follows_every_name(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    call = [sys.executable, "-m", "mypy", "script.py"]
    told = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=250).stdout
    assert re.findall(r'Revealed type is "([^"]+)"', told) == [
        "list[str]",
        "tuple[str, type[pebench.encodings.base.Encoding]]",
        "int",
        "pebench.encodings.base.Encoding",
    ], told
    (error,) = re.findall(r"error: (.+)", told)
    assert error.startswith('Module has no attribute "lod"'), told


def test_the_encodings_are_listed_and_their_package_still_imports() -> None:
    assert pebench.encodings() == names()
    code = "import pebench.encodings.rope; import pebench; print(pebench.encodings.rope.RoPE, len(pebench.encodings()))"
    assert "RoPE" in python("-c", code)


def test_the_version_stands_once_or_is_compared() -> None:
    stated = re.compile(r'^version(?: =|:) "?([^"\n]+)"?$', re.MULTILINE)
    for file in ("pyproject.toml", "CITATION.cff"):
        assert stated.findall((ROOT / file).read_text()) == [pebench.__version__], file


def test_the_published_ranking_is_a_frame() -> None:
    board = pebench.load("quick")
    assert isinstance(board, pd.DataFrame)
    assert {"name", "rank", "tier", "score", "low", "high"} <= set(board.columns)
    with pytest.raises(BoardError, match=r"did you mean 'STANDARD'\?"):
        pebench.load("STANDRAD")


def test_a_class_is_checked_and_threads_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    assert all(check.passed for check in pebench.check(RoPE))
    failed = [check.name for check in pebench.check(next(iter(WRONG))) if not check.passed]
    assert failed
    assert torch.get_num_threads() == threads
    with pytest.raises(UnknownName, match="did you mean 'rope'"):
        pebench.check("rpoe")


def test_runs_give_records_and_are_not_made_twice(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "records"
    made = pebench.run("nope", "smoke", "copy", seeds=[0], folder=folder)
    assert [(r.encoding, r.task, r.seed, r.outcome) for r in made] == [("nope", "copy", 0, "measured")]
    assert "1 run to make" in capsys.readouterr().out
    assert pebench.run(["nope"], "SMOKE", ["copy"], 1, folder) == made
    assert "to make" not in capsys.readouterr().out
    assert pebench.records(folder) == made
    assert list(pebench.board(folder)["name"]) == ["nope"]
    (folder / "SMOKE/copy/nope/7-0123456789abcdef.json").write_text("{")
    with pytest.warns(UserWarning, match="left out"):
        assert pebench.records(folder) == made


@pytest.mark.parametrize(
    ("wrong", "error", "says"),
    [
        ({"encoding": RoPE}, TypeError, "names such as 'rope'"),
        ({"encoding": [RoPE]}, TypeError, "names such as 'rope'"),
        ({"encoding": "rpoe"}, UnknownName, "did you mean 'rope'"),
        ({"encoding": "nothing.py:X"}, EncodingError, "no file"),
        ({"tasks": "copi"}, UnknownName, "did you mean 'copy'"),
        ({"profile": "SMOK"}, UnknownName, "did you mean 'SMOKE'"),
        ({"seeds": 0}, ValueError, "1 or more"),
        ({"seeds": []}, ValueError, "1 or more"),
        ({"seeds": [-1]}, ValueError, "1 or more"),
        ({"seeds": 1.5}, ValueError, "1 or more"),
        ({"seeds": "0"}, ValueError, "1 or more"),
        ({"device": "gpu"}, RuntimeError, "no device 'gpu'"),
        ({"device": "meta"}, RuntimeError, "no device 'meta'"),
        ({"jobs": -1}, ValueError, "1 or more"),
        ({"jobs": 0}, ValueError, "1 or more"),
        ({"jobs": "2"}, ValueError, "1 or more"),
        ({"profile": 2}, TypeError, "a name such as 'STANDARD_2'"),
        ({"encoding": []}, ValueError, "names nothing"),
        ({"encoding": ""}, ValueError, "names nothing"),
    ],
)
def test_wrong_use_is_told_before_anything_runs(
    wrong: dict[str, object], error: type[Exception], says: str, tmp_path: Path
) -> None:
    given = {"encoding": "nope", "profile": "SMOKE", "tasks": "copy", "folder": tmp_path / "r", **wrong}
    with pytest.raises(error, match=re.escape(says)):
        pebench.run(**given)  # type: ignore[arg-type]
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize("read", [pebench.records, pebench.board])
def test_a_folder_that_is_not_there_is_told(read: object, tmp_path: Path) -> None:
    assert callable(read)
    with pytest.raises(FileNotFoundError, match="pebench run"):
        read(tmp_path / "nowhere")


@pytest.mark.parametrize("wrong", [None, 3, ["rope"], pebench.Size, torch.nn.Linear(2, 2)], ids=str)
def test_no_encoding_is_told(wrong: object) -> None:
    with pytest.raises(TypeError, match="give a name"):
        pebench.check(wrong)  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="give a name"):
        pebench.resolve(wrong)  # type: ignore[arg-type]


def test_no_profile_is_told(tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="a name such as 'STANDARD_2'"):
        pebench.load(["QUICK"])  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="a name such as 'STANDARD_2'"):
        pebench.board(tmp_path, 3)  # type: ignore[arg-type]


def test_the_example_of_the_board_draws(tmp_path: Path) -> None:
    printed = python(os.fspath(ROOT / "examples/load_board.py"), "page.html", cwd=tmp_path)
    assert "wrote page.html" in printed
    assert "grape_a_qk" in (tmp_path / "page.html").read_text()


@pytest.mark.slow
def test_the_example_of_an_encoding_checks_and_trains(tmp_path: Path) -> None:
    printed = python(os.fspath(ROOT / "examples/add_encoding.py"), "r", cwd=tmp_path)
    held = re.search(r"(\d+) of (\d+) checks hold", printed)
    assert held is not None
    assert held[1] == held[2]
    assert "rope: measured" in printed
    assert "own_distance: measured" in printed
