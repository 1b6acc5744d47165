"""Odd files, paths and names: whatever `check` takes, `run`, `submit` and `validate` take too."""

import inspect
import json
import pickle
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pebench.encodings import registry
from pebench.encodings.registry import (
    EncodingError,
    demand_acceptable,
    distinct,
    names,
    register,
    resolve,
    source_text,
)
from pebench.leaderboard.submissions.validate import validate
from pebench.suite.commands.common import specs
from pebench.suite.experiment.profiles import PROFILES
from pebench.suite.results.cache import cache_folder
from pebench.suite.results.names import name_problem, whole_problem
from pebench.suite.results.record import Record, RecordError, Row, write
from pebench.suite.runs.cell import Cell
from pebench.suite.runs.engines.local import order
from pebench.suite.runs.runner import cells
from pebench.suite.submissions import submission
from pebench.suite.submissions.template import TemplateError, encoding_file
from tests.in_process import exit_code
from tests.walks import some

SMOKE = PROFILES["SMOKE"]
TEXT = 'from pebench.encodings.rope import RoPE\n\n\nclass Idea(RoPE):\n    """Mine."""\n\n    base = 20.0\n'


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    names()
    before = dict(registry._REGISTRY)
    yield
    registry._REGISTRY.clear()
    registry._REGISTRY.update(before)
    registry._LOADED.clear()


def whole_way(spec: str, folder: Path) -> str:
    """Push a spec through check, run, submit and validate, without a training: its name. EncodingError from any."""
    name, cls = resolve(spec)
    demand_acceptable(name, cls)
    assert cells(SMOKE, [spec], ["copy"], [0], None)[0].name == name
    assert json.loads(order(Cell(spec, "copy", "SMOKE", 0), folder))["encoding"] == spec
    plan = submission.propose(spec, SMOKE, 1)
    for cell in plan.cells:
        row = (
            Row("pass", 1.0, 1, {"check": "x"})
            if cell.task == "certificate"
            else Row("exact", 0.5, 1, {"length": 4}, 0.0, 1.0)
        )
        facts = {"started": "2026-01-02T03:04:05+00:00", "commit": "0123456789" * 4, "dirty": False}
        write(cell.record(rows=(row,), provenance=facts), folder / "records")
    submission.demand_alike(plan, folder / "records")
    submission.pack(plan, folder / "records", folder / "out")
    report = validate(folder / "out", {}, {})
    wanted = ("only the files", "one source file", "every record", "the records are of this", "the name")
    for check in report.checks:
        assert not (check.name.startswith(wanted) and check.problems), (check.name, check.problems)
    return name


ODD_PATHS = [
    *(
        "2026-11-28T11:27",
        "a,b",
        "with space",
        "100%",
        "it's",
        'a"b',
        "line\nbreak",
        "~",
        "a+b",
        "me@home",
        "ä",
    ),
    *("x.py", "rope", "-e", "$HOME", "*", "a;b", "[x]", "a\\b", "con", "..x", "#"),
]


@pytest.mark.parametrize("folder", ODD_PATHS)
def test_any_folder_will_do(folder: str, tmp_path: Path) -> None:
    (tmp_path / folder).mkdir()
    file = tmp_path / folder / "my.py"
    file.write_text(TEXT)
    assert whole_way(f"{file}:Idea", tmp_path / "r") == "idea"
    assert specs([f"rope,{file}:Idea,alibi"]) == ["rope", f"{file}:Idea", "alibi"]
    assert resolve(f"{file}:Idea@yarn")[0] == "idea@yarn"


@pytest.mark.parametrize(
    "name",
    [
        "my idea.py",
        "my-idea.py",
        "2026.py",
        "ä.py",
        "a:b.py",
        "a.py:b.py",
        "a.b.py",
        ".py",
        "random.py",
        "con.py",
    ],
)
def test_any_file_name_will_do(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(TEXT)
    assert whole_way(f"{tmp_path / name}:Idea", tmp_path / "r") == "idea"
    assert whole_way(str(tmp_path / name), tmp_path / "r") == "idea"


SOURCES = {
    "a byte-order mark": (b"\xef\xbb\xbf" + TEXT.encode(), ""),
    "carriage returns": (TEXT.replace("\n", "\r\n").encode(), ""),
    "a form feed": (TEXT.replace("\n\n\n", "\n\f\n").encode(), ""),
    "UTF-8 stated": (b"# coding: utf-8\n# \xc3\xa9\n" + TEXT.encode(), ""),
    "latin-1 stated, ASCII inside": (b"# coding: latin-1\n" + TEXT.encode(), ""),
    "latin-1 stated and meant": (b"# coding: latin-1\n# \xe9\n" + TEXT.encode(), "not UTF-8"),
    "latin-1 stated, UTF-8 inside": (
        b"# coding: latin-1\nX = '\xc3\xa9'\n" + TEXT.encode(),
        "is in iso-8859-1",
    ),
    "latin-1 unstated": (b"# \xe9\n" + TEXT.encode(), "not UTF-8"),
    "an unknown encoding": (b"# coding: klingon\n" + TEXT.encode(), "not UTF-8"),
    "UTF-16": (TEXT.encode("utf-16"), "not UTF-8"),
    "a null byte": (TEXT.encode() + b"\0", "is no Python"),
    "no class": (b"x = 1\n", "its encodings: none"),
    "nothing": (b"", "its encodings: none"),
    "a class of another file": (b"from pebench.encodings.rope import RoPE as Idea\n", "its encodings: none"),
    "a helper module": (b"from help_slope import SLOPE\n" + TEXT.encode(), "imports 'help_slope'"),
    "a helper inside a function": (
        TEXT.encode() + b"def f():\n    import help_slope\n",
        "imports 'help_slope'",
    ),
    "a relative import": (b"from .rope import RoPE\n" + TEXT.encode(), "imports '.rope'"),
    "numpy": (b"import numpy\n" + TEXT.encode(), "imports 'numpy'"),
    "a module of the suite": (
        b"from pebench.suite.lm import model\n" + TEXT.encode(),
        "imports 'pebench.suite.lm'",
    ),
    "an import by name": (b"import importlib\n" + TEXT.encode(), "imports 'importlib'"),
    "an import by a call": (TEXT.encode() + b"x = __import__('math')\n", "runs code by `__import__`"),
    "an import by a module's call": (b"import builtins\n" + TEXT.encode(), "imports 'builtins'"),
    "an import by a hidden name": (TEXT.encode() + b"x = __builtins__\n", "runs code by `__builtins__`"),
    "a loader": (TEXT.encode() + b"x = __spec__.loader\n", "runs code by `__spec__`"),
    "torch's hub": (b"from torch import hub\n" + TEXT.encode(), "imports 'torch.hub'"),
    "torch's loader": (b"import torch\nx = torch.load\n" + TEXT.encode(), "loads by `torch.load`"),
    "a codec that takes no text": (b"# coding: punycode\n" + TEXT.encode(), "not UTF-8"),
    "a bare exception": (TEXT.encode() + b"raise BaseException('x')\n", "does not load: BaseException"),
    "a control character": (TEXT.encode() + b"    formula = '\\theta'\n", "the formula of Idea holds '\\t'"),
    "a title of no text": (TEXT.encode() + b"    title = 5\n", "the title of Idea is no text"),
    "a constructor of its own": (
        TEXT.encode() + b"    def __init__(self, shape, more):\n        super().__init__(shape)\n",
        "Idea cannot be made for Shape(layers=2",
    ),
    "a constructor that raises": (
        TEXT.encode() + b"    def __init__(self, shape):\n        raise ValueError('needs 4 heads')\n",
        "ValueError: needs 4 heads (my.py, line 9, in __init__)",
    ),
    "code in text": (TEXT.encode() + b"exec('x = 1')\n", "runs code by `exec`"),
    "the end": (TEXT.encode() + b"raise SystemExit(0)\n", "SystemExit"),
    "an invisible character": (TEXT.encode() + "x = '\u200b'\n".encode(), "U+200B"),
    "the machine": (b"import os\n" + TEXT.encode(), "does not import 'os'"),
    "a file of data": (TEXT.encode() + b"def f():\n    return open('x')\n", "no use for `open`"),
    "a page of a title": (TEXT.encode() + b"    title = 'x' * 300\n", "`title` is too long"),
    "a title with markup": (TEXT.encode() + b"    title = '<b>'\n", "`title` holds"),
    "two classes of one name": (
        TEXT.encode() + b"class IDEA(RoPE):\n    pass\n",
        "have the same name 'idea'",
    ),
    "a factory": (
        b"from pebench.encodings.rope import RoPE\nIdea = type('Idea', (RoPE,), {'base': 3.0})\n",
        "defines no",
    ),
}


@pytest.mark.parametrize("kind", SOURCES)
def test_what_check_takes_all_take(kind: str, tmp_path: Path) -> None:
    data, says = SOURCES[kind]
    file = tmp_path / "my.py"
    file.write_bytes(data)
    if not says:
        assert whole_way(f"{file}:Idea", tmp_path / "r") == "idea"
        return
    with pytest.raises(EncodingError) as refused:
        whole_way(f"{file}:Idea", tmp_path / "r")
    assert says in str(refused.value)
    assert not (tmp_path / "r").exists()


CLASSES = {
    "_Idea": "is not a name", "Wärme": "is not a name", "A" * 41: "41 characters", "A" * 90: "90 characters",
    "Con": "a device on Windows", "LPT1": "a device on Windows", "Lambda": "Python's own", "Base": "another encoding",
    "Registry": "another encoding", "RoPE2_": "", "A" * 40: "", "Ab_c": "", "Idea9": "", "Match": "",
}  # fmt: skip


@pytest.mark.parametrize("cls", CLASSES)
def test_a_class_name_is_good_for_all_or_for_none(cls: str, tmp_path: Path) -> None:
    file = tmp_path / "my.py"
    file.write_text(TEXT.replace("Idea", cls))
    if not CLASSES[cls]:
        assert whole_way(f"{file}:{cls}", tmp_path / "r") == cls.lower()
        return
    with pytest.raises(EncodingError, match=CLASSES[cls]):
        whole_way(f"{file}:{cls}", tmp_path / "r")
    listed = TEXT.replace("Idea", cls).replace(
        "class", "from pebench.encodings.registry import register\n@register('fine')\nclass"
    )
    file.write_text(listed)
    assert whole_way(f"{file}:{cls}", tmp_path / "r") == "fine"


NAMES = [
    "_a",
    "Rope",
    "a-b",
    "a b",
    "ä",
    "1a",
    "",
    "a.",
    "a" * 41,
    "a" * 90,
    "con",
    "nul",
    "com1",
    "if",
    "none",
    "a/b",
    "a\n",
]


@pytest.mark.parametrize("name", NAMES)
def test_one_rule_of_names(name: str) -> None:
    assert name_problem(name)
    assert whole_problem(name)
    assert whole_problem(f"rope+{name}")
    with pytest.raises(EncodingError):
        register(name)
    with pytest.raises(TemplateError):
        encoding_file(name)
    with pytest.raises(RecordError):
        Record(name, "copy", "QUICK", 0, "ab" * 8, reason="x", outcome="failed")


@pytest.mark.parametrize(
    ("spec", "says"),
    [
        ("x.py", "is a folder"),
        ("loop.py", "there is no file"),
        ("gone.py:A", "there is no file"),
        ("a/b.txt:C", "no Python file"),
        (f"{'x' * 300}.py:A", "no path of a file: File name too long"),
        ("x\0.py:A", "no path of a file: embedded null byte"),
    ],
)
def test_what_is_no_file_is_said(
    spec: str, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.py").mkdir()
    (tmp_path / "loop.py").symlink_to("loop.py")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EncodingError, match=says):
        resolve(spec)


def test_a_link_is_the_file_behind_it(tmp_path: Path) -> None:
    (tmp_path / "real.py").write_text(TEXT)
    (tmp_path / "link.py").symlink_to("real.py")
    assert distinct([f"{tmp_path / 'link.py'}:Idea", f"{tmp_path / 'real.py'}:Idea"]) == [
        f"{tmp_path / 'link.py'}:Idea"
    ]


def test_the_home_folder_is_meant_by_its_sign(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "a,b").mkdir()
    (tmp_path / "a,b/my.py").write_text(TEXT)
    assert specs(["rope,~/a,b/my.py:Idea"]) == ["rope", "~/a,b/my.py:Idea"]
    assert resolve("~/a,b/my.py:Idea")[0] == "idea"


def test_two_sources_of_one_name_are_refused_in_a_sweep(tmp_path: Path) -> None:
    both = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "my.py").write_text(TEXT)
        both.append(f"{tmp_path / folder / 'my.py'}:Idea")
    with pytest.raises(EncodingError, match="two encodings of the name 'idea'"):
        cells(SMOKE, both, ["copy"], [0], None)
    once = cells(SMOKE, [both[0], both[0].removesuffix(":Idea"), "rope"], ["copy"], [0], None)
    assert [cell.name for cell in once] == ["idea", "rope"]


def test_an_edited_file_is_read_again(tmp_path: Path) -> None:
    file = tmp_path / "my.py"
    listed = TEXT.replace(
        "class", "from pebench.encodings.registry import register\n@register('first')\nclass"
    )
    found = []
    for text in (listed, listed.replace("20.0", "90.0"), listed.replace("first", "second"), listed):
        file.write_text(text)
        name, cls = resolve(f"{file}:Idea")
        found.append(
            (name, cls, cls.base, source_text(cls), Cell(f"{file}:Idea", "copy", "SMOKE", 0).fingerprint())
        )
        assert inspect.getsource(cls).rstrip() in text
        assert pickle.loads(pickle.dumps(cls)) is cls
        assert (name in names(), ({"first", "second"} - {name}) & set(names())) == (True, set())
    assert [f[0] for f in found] == ["first", "first", "second", "first"]
    assert [f[2] for f in found] == [20.0, 90.0, 20.0, 20.0]
    assert found[0][1] is found[3][1]
    assert found[0][4] == found[3][4] != found[1][4]
    assert pickle.loads(pickle.dumps(found[1][1])) is found[1][1]  # objects of an older version stay whole


def test_a_sweep_keeps_to_what_it_began_with(tmp_path: Path) -> None:
    file = tmp_path / "my.py"
    file.write_text(TEXT)
    cell = Cell(f"{file}:Idea", "copy", "SMOKE", 0)
    path = cell.path
    file.write_text(TEXT.replace("20.0", "90.0"))
    assert cell.path == path != Cell(f"{file}:Idea", "copy", "SMOKE", 0).path


def test_a_file_that_hides_the_standard_library_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On PYTHONPATH it would be imported in the library's place, and no fingerprint would see it."""
    (tmp_path / "colorsys.py").write_text("SLOPE = 0.5\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    file = tmp_path / "my.py"
    file.write_text("import math\nimport colorsys\n" + TEXT)
    with pytest.raises(EncodingError, match=r"colorsys\.py hides the standard library's 'colorsys'; rename"):
        resolve(f"{file}:Idea")
    assert "colorsys" not in sys.modules


def test_a_class_in_no_file_says_so() -> None:
    made = type("Made", (resolve("rope")[1],), {"__module__": "__nowhere__"})
    with pytest.raises(EncodingError, match="is in no file"):
        registry.source(made)


@pytest.mark.parametrize("folder", some(["2026-11-28T11:27, a~b", "ä 100%"], "2026-11-28T11:27, a~b"))
def test_check_and_run_take_it_for_real(
    folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / folder).mkdir()
    (tmp_path / folder / "my idea.py").write_bytes(b"\xef\xbb\xbf" + TEXT.replace("\n", "\r\n").encode())
    spec = f"~/{folder}/my idea.py:Idea"
    monkeypatch.setenv("PEBENCH_CACHE", str(cache_folder()))
    monkeypatch.setenv("PEBENCH_RECORDS", "~/r")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    assert exit_code(monkeypatch, "check", spec) == 0
    assert re.search(r": (\d+) of \1 checks hold", capsys.readouterr().out)
    assert exit_code(monkeypatch, "run", "--profile", "SMOKE", "-t", "copy", "-e", spec) == 0
    assert "1 run in" in capsys.readouterr().out
    assert len(list((tmp_path / "r/SMOKE/copy/idea").glob("*.json"))) == 1
