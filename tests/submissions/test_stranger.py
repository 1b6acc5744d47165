"""docs/submit.md, walked by a stranger and a maintainer in a copy of this checkout."""

import json
import os
import re
import subprocess
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from tests.made_submission import fill

ROOT = Path(__file__).parents[2]
COMMAND = re.compile(r"`pebench ([a-z]+)")


@dataclass
class Checkout:
    """A copy of this checkout, with its history begun anew; `walked` are the commands that were run in it."""

    folder: Path
    walked: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        listed = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
        for name in subprocess.run(listed, cwd=ROOT, capture_output=True, text=True).stdout.splitlines():
            source, target = ROOT / name, self.folder / name
            target.parent.mkdir(parents=True, exist_ok=True)
            if source.is_symlink():
                target.symlink_to(os.readlink(source))
            elif source.is_file():
                target.write_bytes(source.read_bytes())
        self.git("init", "-q")
        self.git("add", "-A", "-f")
        self.git("commit", "-qm", "pebench")

    def git(self, *words: str) -> str:
        author = ("-c", "user.name=x", "-c", "user.email=x@example.org")
        call = ["git", *author, *words]
        return subprocess.run(call, cwd=self.folder, capture_output=True, text=True, check=True).stdout

    def process(self, *words: str) -> subprocess.Popen[str]:
        self.walked.add(words[0])
        env = {**os.environ, "PYTHONPATH": os.fspath(self.folder)}
        call = [sys.executable, "-m", "pebench.suite.cli", *words]
        pipe = subprocess.PIPE
        return subprocess.Popen(call, cwd=self.folder, env=env, stdout=pipe, stderr=pipe, text=True)

    def pebench(self, *words: str, code: int = 0) -> str:
        process = self.process(*words)
        printed, errors = process.communicate(timeout=900)
        assert process.returncode == code, printed + errors
        return printed

    def page_of_the_app(self) -> str:
        """What the app answers on its first address."""
        app = self.process("app", "--no-browser")
        assert app.stdout
        try:
            address = next(m[0] for line in app.stdout if (m := re.search(r"http://[^\s]+", line)))
            with urllib.request.urlopen(address, timeout=60) as page:
                return str(page.read().decode())
        finally:
            app.terminate()
            app.communicate(timeout=60)


@pytest.mark.slow
@pytest.mark.timeout(3000)
def test_a_stranger_walks_the_page_to_the_merged_row(tmp_path: Path) -> None:
    """Step by step, with the profile SMOKE in the place of QUICK."""
    here = Checkout(tmp_path / "copy")
    here.pebench("new", "my_idea")  # 1
    here.pebench("check", "my_idea.py")  # 2
    smoke = ("--profile", "SMOKE")
    here.pebench("run", *smoke, "-e", "rope,alibi,my_idea.py", "-t", "copy")  # 3
    assert "my_idea" in here.pebench("board", *smoke)  # 4
    assert "<title>" in here.page_of_the_app()
    here.git("add", "my_idea.py")  # 5
    here.git("commit", "-qm", "An idea")
    here.pebench("submit", "my_idea.py", *smoke, code=1)  # 6: the card is not filled
    fill(here.folder / "submissions/my_idea")  # 7
    assert "✗" not in here.pebench("validate", "submissions/my_idea")  # 8
    here.git("add", "submissions")  # 9
    here.git("commit", "-qm", "Submit my_idea")
    assert "every check holds" in here.pebench("validate", "submissions/my_idea", "--markdown")

    folder = Path("submissions/my_idea")
    record = next((here.folder / folder / "records/SMOKE/copy").rglob("*.json"))
    said = here.pebench("reproduce", os.fspath(record), "-e", f"{folder / 'my_idea.py'}:MyIdea")
    assert "equal" in said
    here.git("rm", "-q", "my_idea.py")
    printed = here.pebench("accept", os.fspath(folder))
    assert "encodings/my_idea.py" in printed
    assert "leaderboard/citations.bib" in printed
    here.git("add", "-A")
    here.git("commit", "-qm", "Accept my_idea")
    assert here.git("ls-files", "submissions") == ""
    the_row_stands(here)
    page = (ROOT / "docs/submit.md").read_text(encoding="utf-8")
    assert set(COMMAND.findall(page)) <= here.walked


def the_row_stands(here: Checkout) -> None:
    """The accepted encoding is registered and ranked among the records, and no record of it is stale."""
    assert "my_idea" in here.pebench("ls", "encodings")
    published = ("--records", "leaderboard/records", "-p", "SMOKE", "--json")
    (row,) = json.loads(here.pebench("board", *published))["encodings"]
    assert row["name"] == "my_idea"
    assert row["certificate"] == "passed"
    states = json.loads(here.pebench("status", "-e", "my_idea", *published))
    assert {run["state"] for run in states} == {"measured"}
    assert here.pebench("accept", "submissions/my_idea", code=2) == ""
