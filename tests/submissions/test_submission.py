import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from pebench.encodings.registry import EncodingError
from pebench.suite.cli import app
from pebench.suite.commands import submissions
from pebench.suite.experiment.profiles import PROFILES
from pebench.suite.results.record import CERTIFICATE, read, read_all, write
from pebench.suite.submissions import submission
from tests.made_submission import FILLED, SMOKE, fill, proposal, record, rows, standing, submitted
from tests.publishing import publish

PEBENCH = Path(sys.executable).with_name("pebench")


def words(folder: Path) -> list[str]:
    return [
        *("submit", f"{folder / 'my_idea.py'}:My_Idea", "--profile", "SMOKE"),
        *("--records", str(folder / "records"), "--out", str(folder / "my_idea")),
    ]


def test_a_submission_is_the_whole_profile(tmp_path: Path) -> None:
    plan = proposal(tmp_path, seeds=3)
    asked = {(cell.task, cell.seed) for cell in plan.cells}
    trained = {(task, seed) for task, p in SMOKE.plans.items() for seed in range(3) if p.recipe.steps}
    assert asked == trained | {("throughput", 0), (CERTIFICATE, 0)}
    assert len(plan.cells) == len(asked)
    assert submission.missing(plan, tmp_path) == plan.cells


def test_what_cannot_be_submitted_says_why(tmp_path: Path) -> None:
    with pytest.raises(submission.SubmitError, match="file of its own"):
        submission.propose("rope+alibi", SMOKE)
    with pytest.raises(submission.SubmitError, match="file of its own"):
        submission.propose("rope@yarn", SMOKE)
    with pytest.raises(submission.SubmitError, match="needs 3 seeds, not 2"):
        submission.propose("rope", replace(SMOKE, seeds=3), 2)
    with pytest.raises(EncodingError, match="there is no file"):
        submission.propose(str(tmp_path / "nothing.py"), SMOKE)


@pytest.mark.parametrize("profile", PROFILES.values(), ids=lambda p: p.name)
def test_the_setup_is_that_of_every_encoding(profile) -> None:
    stated = submission.setups(profile)
    assert set(stated) == {CERTIFICATE, *profile.plans}
    plan = submission.propose("alibi", profile)
    for cell in plan.cells:
        assert stated[cell.task] == cell.setup()


def test_a_packed_folder_holds_the_file_the_card_and_the_records(tmp_path: Path) -> None:
    _, records, out = submitted(tmp_path)
    assert (out / "my_idea.py").read_text() == (tmp_path / "my_idea.py").read_text()
    packed, unreadable = read_all(out / "records")
    assert packed == read_all(records)[0]
    assert not unreadable
    card = json.loads((out / "card.json").read_text())
    assert (card["name"], card["profile"], card["seeds"]) == ("my_idea", "SMOKE", 1)
    assert card["title"] == packed[0].card["title"]


def test_packing_again_keeps_what_the_author_filled_in(tmp_path: Path) -> None:
    plan, records, out = submitted(tmp_path)
    assert submission.pack(plan, records, out) == []
    card = json.loads((out / "card.json").read_text())
    assert FILLED.items() <= card.items()
    (out / "card.json").unlink()
    assert submission.pack(plan, records, out) == ["authors", "licence", "bibtex"]


def test_a_run_without_a_record_cannot_be_packed(tmp_path: Path) -> None:
    plan, records, out = submitted(tmp_path)
    (records / plan.cells[3].path).unlink()
    with pytest.raises(submission.SubmitError, match="1 run without a record"):
        submission.pack(plan, records, out)


def test_runs_that_validate_would_refuse_are_told_before_more_are_made(tmp_path: Path) -> None:
    plan, records, _ = submitted(tmp_path)
    submission.demand_alike(plan, records)
    path = records / plan.cells[3].path
    path.write_text(path.read_text().replace('"dirty": false', '"dirty": true'))
    with pytest.raises(submission.SubmitError, match="not committed"):
        submission.demand_alike(plan, records)
    plan.source.write_text("# A comment.\n" + plan.source.read_text())
    plan = submission.propose(plan.encoding, plan.profile, plan.seeds)
    with pytest.raises(submission.SubmitError, match="before its last change"):
        submission.demand_alike(plan, records)


@pytest.mark.parametrize(
    ("file", "line", "says"),
    [
        ("my_idea.py", "x = '\u200b'", "invisible character U+200B"),
        ("my_idea.py", "import os", "does not import"),
        ("my_idea.py", "x = open('y')", "no use for `open`"),
    ],
)
def test_a_file_that_would_be_refused_is_not_trained_first(
    tmp_path: Path, file: str, line: str, says: str
) -> None:
    base = "from pebench.encodings.nope import NoPE\n\n\nclass My_Idea(NoPE):\n    pass\n"
    (tmp_path / "y").touch()
    (tmp_path / file).write_text(base + (f"\n\ndef late():\n    {line}\n" if line else ""))
    called = ["submit", f"{tmp_path / file}:My_Idea", "--profile", "SMOKE", "--records", str(tmp_path / "r")]
    result = CliRunner().invoke(app, called)
    assert isinstance(result.exception, EncodingError)
    assert says in str(result.exception)
    assert not (tmp_path / "r").exists()


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("thesis.tex", "", "holds something else"),
        ("card.json", "{", "is no JSON"),
        ("card.json", '{"name": "other"}', "of another encoding"),
    ],
)
def test_a_folder_with_something_else_is_left_alone(tmp_path: Path, name: str, text: str, says: str) -> None:
    plan, records, out = submitted(tmp_path)
    (out / name).write_text(text)
    before = sorted(out.rglob("*"))
    with pytest.raises(submission.SubmitError, match=says):
        submission.pack(plan, records, out)
    assert sorted(out.rglob("*")) == before


@pytest.mark.walks
@pytest.mark.usefixtures("books")
def test_submit_continues_packs_compares_and_names_what_is_to_be_filled(tmp_path: Path) -> None:
    _, records, out = submitted(tmp_path)
    standing(records)
    (out / "card.json").unlink()
    first = CliRunner().invoke(app, words(tmp_path))
    assert first.exit_code == 1
    assert "my_idea: profile SMOKE, 1 seed, 13 runs, 0 to make\n" in first.output
    assert "fill authors, licence, bibtex" in " ".join(first.output.split())
    fill(out)
    second = CliRunner().invoke(app, words(tmp_path))
    assert second.exit_code == 0, second.output
    assert "every check holds" in second.output
    assert "| **my\\_idea** |" in second.output
    checked = CliRunner().invoke(app, ["validate", str(out), "--records", str(records)])
    assert checked.exit_code == 0
    assert "✗" not in checked.output
    (out / "my_idea.py").write_text("x = 1\n")
    assert CliRunner().invoke(app, ["validate", str(out), "--markdown"]).exit_code == 1


def test_a_submission_stands_beside_what_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    published = standing(tmp_path / "published")
    publish(monkeypatch, published)
    alone = submissions.standing(tmp_path / "nowhere")
    assert alone
    assert submissions.standing(published) == alone  # and not twice
    assert len(submissions.standing(submitted(tmp_path)[1])) > len(alone)


@pytest.mark.usefixtures("books")
def test_a_failed_certificate_stops_before_any_training(tmp_path: Path) -> None:
    plan = proposal(tmp_path)
    cell = plan.cells[0]
    assert cell.task == CERTIFICATE
    failed = replace(rows(CERTIFICATE)[0], value=0.0)
    write(replace(record(cell), rows=(failed,)), tmp_path / "records")
    assert not submission.holds(cell, tmp_path / "records")
    result = CliRunner().invoke(app, words(tmp_path))
    assert result.exit_code == 1
    assert "the certificate does not hold" in result.output
    assert not (tmp_path / "my_idea").exists()
    assert read(tmp_path / "records" / cell.path, tmp_path / "records").encoding == "my_idea"
    assert submission.missing(plan, tmp_path / "records") == plan.cells[1:]


@pytest.mark.slow
@pytest.mark.usefixtures("books")
def test_submit_from_nothing(tmp_path: Path) -> None:
    proposal(tmp_path)
    first = subprocess.run(
        [PEBENCH, *words(tmp_path)], capture_output=True, text=True, env=os.environ, timeout=280
    )
    assert first.returncode == 1, first.stderr
    assert "no record tells the time" in first.stdout
    assert "fill authors, licence, bibtex" in first.stderr
    fill(tmp_path / "my_idea")
    lines = subprocess.run(
        [PEBENCH, "validate", str(tmp_path / "my_idea")], capture_output=True, text=True, timeout=120
    ).stdout.splitlines()
    wrong = [line for line in lines if line.startswith("✗")]
    # The checkout of the tests may be changed.
    assert wrong in ([], ["✗ run from committed code"]), "\n".join(lines)
