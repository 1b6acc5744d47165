import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pebench.suite.results.record import Record, from_json, read_all, to_json
from tests.made_submission import SMOKE, standing
from tests.spoiled import CODE, found, problems, source

ROOT = Path(__file__).parents[3]


def test_a_whole_submission_passes(whole: Path, board: list[Record]) -> None:
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


def test_a_submission_that_stands_on_the_board_already_still_passes(whole: Path, board: list[Record]) -> None:
    report = found(whole, board)
    assert found(whole, [*board, *report.records]).passed


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


@pytest.mark.walks
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
