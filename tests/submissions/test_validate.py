import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pebench.encodings.registry import FOLDER
from pebench.leaderboard.submissions import validate as v
from pebench.suite.experiment.profiles import PROFILES
from pebench.suite.results.record import Row, from_json, read_all, to_json
from pebench.suite.submissions.submission import once, setups
from tests.made_submission import SMOKE, standing, submitted

ROOT = Path(__file__).parents[2]
RULES = {name: v.Rules(p.seeds, setups(p), once(p)) for name, p in PROFILES.items()}
TAKEN = v.taken_names(FOLDER)


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> list[Any]:
    return read_all(standing(tmp_path_factory.mktemp("board")))[0]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return submitted(tmp_path_factory.mktemp("whole"))[2]


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(whole, tmp_path / "my_idea"))


def found(folder: Path, board: list[Any]) -> v.Report:
    return v.validate(folder, RULES, TAKEN, board, board)


def problems(report: v.Report) -> str:
    return "\n".join(problem for check in report.checks for problem in check.problems)


def one(folder: Path, task: str = "copy") -> Path:
    return next((folder / "records/SMOKE" / task).rglob("*.json"))


def changed(folder: Path, task: str = "copy", **parts: Any) -> None:
    """Rewrite the record of a task with other content."""
    path = one(folder, task)
    path.write_text(to_json(replace(from_json(path.read_text()), **parts)))


def raw(folder: Path, old: str, new: str) -> None:
    """Rewrite the text of a record."""
    path = one(folder)
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new, 1))


def card(folder: Path, **fields: Any) -> None:
    file = folder / "card.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


def rows_of(folder: Path, task: str = "copy") -> tuple[Row, ...]:
    return from_json(one(folder, task).read_text()).rows


def test_a_whole_submission_passes(whole: Path, board: list[Any]) -> None:
    report = found(whole, board)
    assert problems(report) == ""
    assert report.passed
    assert report.name == "my_idea"
    assert len(report.records) == len(SMOKE.plans) + 1


def test_what_is_submitted_to_this_repository_passes() -> None:
    """What a pull request added to `submissions`: CI reviews it here."""
    ours = read_all(ROOT / "leaderboard" / "records")[0]
    for submission in sorted(ROOT.glob("submissions/*/")):
        report = found(submission, ours)
        assert report.passed, f"{submission.name}: {problems(report)}"


def test_the_comparison_is_a_table_with_its_neighbours(whole: Path, board: list[Any]) -> None:
    text = v.to_markdown(found(whole, board), board)
    assert "every check holds" in text
    assert "| **my\\_idea** |" in text
    assert "paired by seed" in text
    table = [line for line in text.splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in table}) == 1
    assert len(table) == 2 + 4


def test_without_a_board_the_questions_cannot_be_compared_and_that_is_said(whole: Path) -> None:
    report = found(whole, [])
    assert report.passed
    assert "the board has no run of copy to compare the questions with" in report.notes
    assert "my\\_idea" in v.to_markdown(report, [])


def symlink(f: Path) -> None:
    one(f).unlink()
    one_target = f / "records/SMOKE/copy/my_idea/0-0123456789abcdef.json"
    one_target.symlink_to("/etc/passwd")


def huge_file(f: Path) -> None:
    with one(f).open("r+b") as file:
        file.truncate(2**30)  # 1 GiB of zeros that take no room on the disk


def huge_source(f: Path) -> None:
    with (f / "my_idea.py").open("ab") as file:
        file.truncate(2**30)


def deep_folder(f: Path) -> None:
    path = f.joinpath("records", *"abcdefgh")
    path.mkdir(parents=True)
    (path / "x.json").write_text("{}")


def fifo(f: Path) -> None:
    one(f).unlink()
    os.mkfifo(f / "records/SMOKE/copy/my_idea/0-0123456789abcdef.json")


def second_seed(f: Path) -> None:
    path = one(f)
    path.with_name(f"7-{path.name[2:]}").write_text(to_json(replace(from_json(path.read_text()), seed=7)))


def twice(f: Path) -> None:
    path = one(f)
    again = replace(from_json(path.read_text()), fingerprint="a" * 64)
    path.with_name(f"0-{'a' * 16}.json").write_text(to_json(again))


def source(f: Path, text: str) -> None:
    """Other source, with a card and records that agree."""
    (f / "my_idea.py").write_text(text)
    card(f, sha256=hashlib.sha256(text.encode()).hexdigest())
    for path in (f / "records").rglob("*.json"):
        record = from_json(path.read_text())
        path.write_text(to_json(replace(record, card={**record.card, "source": text})))


def floors(f: Path, floor: float) -> None:
    changed(f, rows=tuple(replace(r, floor=floor) if r.floor is not None else r for r in rows_of(f)))


def values(f: Path, task: str, value: float) -> None:
    changed(f, task, rows=tuple(replace(r, value=value) for r in rows_of(f, task)))


def setup(f: Path, **other: Any) -> None:
    path = one(f, "language")
    changed(f, "language", setup={**from_json(path.read_text()).setup, **other})


def provenance(f: Path, **other: Any) -> None:
    changed(f, provenance={**from_json(one(f).read_text()).provenance, **other})


def their_card(f: Path, **other: Any) -> None:
    changed(f, card={**from_json(one(f).read_text()).card, **other})


NESTED: Any = []
for _ in range(30):
    NESTED = [NESTED]

CODE = "__import__('os').system('echo owned > owned')"
SPOILED: dict[str, tuple[Callable[[Path], Any], str]] = {
    "no card": (lambda f: (f / "card.json").unlink(), "there is no card.json"),
    "a card that is no JSON": (lambda f: (f / "card.json").write_text("{"), "card.json: not JSON"),
    "a card that is a list": (lambda f: (f / "card.json").write_text("[]"), "no object"),
    "a deep card": (lambda f: (f / "card.json").write_text("[" * 9000), "card.json: not JSON"),
    "a huge card": (lambda f: (f / "card.json").write_text(" " * 2**20), "larger than 20 kB"),
    "a key twice": (lambda f: (f / "card.json").write_text('{"name": "a", "name": "b"}'), "there twice"),
    "no authors": (lambda f: card(f, authors=" "), "fill `authors`"),
    "no licence": (lambda f: card(f, licence=None), "fill `licence`"),
    "wrong BibTeX": (lambda f: card(f, bibtex="see our paper"), "no BibTeX"),
    "HTML in the title": (lambda f: card(f, title="<script>alert(1)</script>"), "holds '<' or '>'"),
    "a hidden character": (lambda f: card(f, title="a\u202eb"), "U+202E"),
    "half a surrogate": (lambda f: card(f, title="a\ud800b"), "U+D800"),
    "lines in the title": (lambda f: card(f, title="a\n\n# b"), "more than one line"),
    "an unknown field": (lambda f: card(f, run=CODE), "unknown fields"),
    "a path as name": (lambda f: card(f, name="../../rope"), "`name` in card.json"),
    "code as name": (lambda f: card(f, name=CODE), "`name` in card.json"),
    "a path as file": (lambda f: card(f, file="/etc/passwd"), "`file` in card.json"),
    "too many seeds": (lambda f: card(f, seeds=10**9), "`seeds` in card.json"),
    "a huge number": (lambda f: (f / "card.json").write_text(f'{{"seeds": {"9" * 5000}}}'), "5000 digits"),
    "an unknown profile": (lambda f: card(f, profile="MINE"), "there is no profile 'MINE'"),
    "the name of another": (lambda f: card(f, name="rope"), "there is an encoding 'rope' already"),
    "another sha256": (lambda f: card(f, sha256="0" * 64), "its sha256 is not that"),
    "another file": (lambda f: (f / "my_idea.py").write_text("x = 1\n"), "of another source"),
    "two files": (lambda f: (f / "conftest.py").write_text(CODE), "2 Python files"),
    "no Python": (lambda f: source(f, "class ("), "is no Python"),
    "a null byte": (lambda f: source(f, "a\0b"), "is no Python"),
    "deep Python": (lambda f: source(f, "(" * 50_000), "is no Python"),
    "deep sums": (lambda f: source(f, "x = " + "-" * 90_000 + "1"), "is no Python"),
    "another class": (lambda f: source(f, "class Other: pass\n"), "defines no encoding 'my_idea'"),
    "a network": (lambda f: source(f, "import urllib.request\n"), "does not import 'urllib.request'"),
    "the corpus": (lambda f: source(f, "from pebench.tasks.data.corpus import load\n"), "does not import"),
    "eval": (lambda f: source(f, "eval('1')\n"), "no use for `eval`"),
    "bidirectional source": (lambda f: source(f, "x = 1  # \u202e\n"), "U+202E"),
    "a huge source": (huge_source, "larger than 200 kB"),
    "a huge record": (huge_file, "larger than 4096 kB"),
    "a link": (symlink, "is a link"),
    "a pipe": (fifo, "no regular file"),
    "a strange file": (lambda f: (f / "run.sh").write_text(CODE), "does not belong"),
    "a pickle": (lambda f: (f / "records/x.pkl").write_bytes(b"\x80"), "does not belong"),
    "a name with HTML": (lambda f: (f / "<img src=x>.json").write_text("{}"), "does not belong"),
    "deep folders": (deep_folder, "no regular file"),
    "a missing run": (lambda f: one(f, "needle").unlink(), "no record of my_idea needle SMOKE seed 0"),
    "a missing certificate": (lambda f: one(f, "certificate").unlink(), "there is none"),
    "an unasked seed": (second_seed, "seed 7 is not asked for"),
    "two records of a run": (twice, "has 2 records"),
    "a seed less than said": (lambda f: card(f, seeds=2), "seed 1; `pebench submit` continues"),
    "a failed run": (
        lambda f: changed(f, rows=(), outcome="failed", reason="out of luck"),
        "has no result (failed)",
    ),
    "a record of another place": (lambda f: raw(f, '"seed": 0', '"seed": 1'), "says that its place is"),
    "a record of another encoding": (lambda f: raw(f, '"my_idea"', '"rope"'), "says that its place is"),
    "a path in a record": (lambda f: raw(f, '"task": "copy"', '"task": "../x"'), "not a name"),
    "not JSON": (lambda f: one(f).write_text("import os"), "not JSON"),
    "deep JSON": (lambda f: one(f).write_text("[" * 100_000), "not JSON"),
    "deep provenance": (lambda f: provenance(f, cpu=NESTED), "nested too deeply"),
    "wide provenance": (lambda f: provenance(f, cpu=list(range(200))), "more than 100"),
    "NaN": (lambda f: raw(f, '"value": 0.7', '"value": NaN'), "NaN is not a number"),
    "infinity": (lambda f: raw(f, '"value": 0.7', '"value": 1e999'), "not a finite number"),
    "digits": (lambda f: raw(f, '"value": 0.7', '"value": ' + "9" * 400), "400 digits"),
    "more digits": (lambda f: raw(f, '"n": 8', '"n": ' + "9" * 5000), "5000 digits"),
    "an unknown metric": (lambda f: raw(f, '"metric": "exact"', '"metric": "win"'), "unknown metric"),
    "a huge duration": (lambda f: provenance(f, seconds=1e18), "too large a number"),
    "a hidden provenance": (lambda f: provenance(f, cpu="a\u202eb"), "invisible"),
    "a perfect score and more": (lambda f: values(f, "copy", 1.5), "out of range"),
    "a negative time": (lambda f: values(f, "throughput", -1.0), "out of range"),
    "another floor": (lambda f: floors(f, -100.0), "out of range"),
    "a lower floor": (lambda f: floors(f, 0.3), "is another question"),
    "a row less": (lambda f: changed(f, rows=(*rows_of(f)[:2], rows_of(f)[0])), "there twice"),
    "more steps": (lambda f: setup(f, steps=10**6), "differs in: 'steps'"),
    "another text": (lambda f: setup(f, corpus={"name": "books-v1", "sha256": "0" * 64}), "'corpus'"),
    "one's own text": (lambda f: setup(f, corpus={"name": "user:x", "sha256": "0" * 64}), "'corpus'"),
    "a lower gate": (lambda f: setup(f, gate=0.0), "differs in: 'gate'"),
    "changed code": (lambda f: provenance(f, dirty=True), "clean checkout"),
    "no commit": (lambda f: provenance(f, commit="$(rm -rf ~)"), "clean checkout"),
    "no date": (lambda f: provenance(f, started="yesterday"), "says not when"),
    "another card": (lambda f: their_card(f, title="Best of all"), "describes the encoding differently"),
    "another source in a record": (lambda f: their_card(f, source=CODE), "of another source"),
    "a failed certificate": (lambda f: values(f, "certificate", 0.0), "it fails: 'hides'"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_what_is_wrong_is_found(what: str, folder: Path, board: list[Any]) -> None:
    spoil, says = SPOILED[what]
    spoil(folder)
    report = found(folder, board)
    assert says in problems(report)
    assert not report.passed
    text = v.to_markdown(report, board)
    assert "refused" in text
    for trap in ("<script", "<img", "](http", "\u202e"):
        assert trap not in text.replace("\\<", "")
    assert len(text) < 20_000


def test_a_question_that_is_left_out_is_found(folder: Path, board: list[Any]) -> None:
    longer = [
        replace(r, rows=(*r.rows, replace(r.rows[-1], metric="per_token"))) if r.task == "copy" else r
        for r in board
    ]
    assert "per_token (length 8) is missing" in problems(found(folder, longer))


def test_a_length_at_which_an_encoding_is_undefined_is_no_fault(folder: Path, board: list[Any]) -> None:
    changed(folder, rows=rows_of(folder)[:2])
    report = found(folder, board)
    assert report.passed
    assert "copy is not defined at length 8" in report.notes


def test_a_name_on_the_board_with_another_source_is_taken(whole: Path, board: list[Any]) -> None:
    mine = [replace(r, encoding="my_idea") for r in board if r.encoding == "rope"]
    assert "with another source" in problems(found(whole, mine))
    assert v.validate(whole, RULES, TAKEN, mine, board).passed  # only one's own earlier runs have the name


def test_a_submission_that_stands_on_the_board_already_still_passes(whole: Path, board: list[Any]) -> None:
    report = found(whole, board)
    assert found(whole, [*board, *report.records]).passed


@pytest.mark.parametrize("what", ["nowhere", "file", "link"])
def test_what_is_no_folder_is_refused(what: str, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "link").symlink_to(whole)
    with pytest.raises(v.SubmissionError, match="pebench submit"):
        found(tmp_path / what, [])


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60))
def test_no_text_of_a_stranger_becomes_markdown(text: str) -> None:
    shown = v.safe(text)
    assert "\n" not in shown
    for sign in "<>`[]|*_#":
        assert shown.replace(f"\\{sign}", "").count(sign) == 0
    assert "@" not in shown.replace("@\u200b", "")


@settings(max_examples=80, deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='[]{}":,0123456789eE.-', max_size=60).map(str.encode))
def test_any_bytes_are_json_or_a_record_error(data: bytes) -> None:
    with contextlib.suppress(v.RecordError):
        v._json(data)


HOSTILE = """
import pathlib
pwned_marker = 1
pathlib.Path(__file__).with_name("owned").write_text("owned")
class MyIdea: pass
"""
WATCHED = """
import sys
bad = []
def hook(event, args):
    if event == "exec" and "pwned_marker" in getattr(args[0], "co_names", ()):
        bad.append(args[0].co_filename)
    if event in ("pickle.find_class", "subprocess.Popen", "os.system"):
        bad.append(event)
sys.addaudithook(hook)
from pathlib import Path
from pebench.suite.commands import submissions
from pebench.suite.results.record import read_all
from pebench.leaderboard.board import cached_board, make_board
from pebench.leaderboard.printing import to_json, to_markdown
from pebench.leaderboard.app import app, views
folder = Path(sys.argv[1])
report = submissions.judged(folder, submissions.standing(folder / "records"))
assert not report.passed
board = make_board(folder / "records")
to_json(board), to_markdown(board)
for name in ("my_idea",):
    views.one(board, name), views.compare(board, name, ["rope"])
cached_board((str(folder / "records"),), None, (), 0)

from streamlit.testing.v1 import AppTest

import os
os.environ["PEBENCH_RECORDS"] = str(folder / "records")
shown = 0
for name in app.ENTRIES:
    page = f"from pebench.leaderboard.app.app import ENTRIES; ENTRIES[{name!r}][1]()"
    run = AppTest.from_string(page, default_timeout=200)
    run.query_params["encoding"] = "my_idea"
    run.run()
    assert not run.exception, (name, run.exception)
    shown += not run.error
loaded = [m for m in sys.modules.values() if str(getattr(m, "__file__", "")).startswith(str(folder))]
print(len(board.entries), shown == len(app.ENTRIES), bad, loaded)
"""


def test_nothing_of_a_submission_is_executed(folder: Path) -> None:
    source(folder, HOSTILE)
    standing(folder / "records")
    for name in ("conftest.py", "sitecustomize.py", "__init__.py", "pebench.py", "records/streamlit.py"):
        (folder / name).write_text(HOSTILE)
    for path in (folder / "records").rglob("*my_idea/*.json"):
        record = from_json(path.read_text())
        hostile = {**record.card, "formula": CODE, "about": f"{{{{ {CODE} }}}}", "file": "../my_idea.py"}
        path.write_text(to_json(replace(record, card=hostile)))
    done = subprocess.run(
        [sys.executable, "-c", WATCHED, str(folder)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[-2] == "4 True [] []"
    assert not list(folder.rglob("owned"))


def test_the_watch_sees_code_that_is_executed(tmp_path: Path) -> None:
    hook = WATCHED.split("from pathlib")[0] + "exec('pwned_marker = 1')\nprint(bad)"
    done = subprocess.run([sys.executable, "-c", hook], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['<string>']"
