import json
import os
from pathlib import Path

import pytest

from pebench.encodings.registry import FOLDER
from pebench.leaderboard.submissions.report import Report
from pebench.suite.commands import submissions
from pebench.suite.results.record import read_all
from pebench.suite.submissions import accept as accepting
from pebench.suite.submissions.accept import AcceptError, accept
from tests.in_process import exit_code
from tests.made_submission import FILLED, fill, submitted


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    root = tmp_path / "checkout"
    (root / "encodings").mkdir(parents=True)
    (root / ".git").mkdir()
    return root


@pytest.fixture
def report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """A submission that passes. Its class is registered for `accept` alone, as every test defines it anew."""
    _, records, out = submitted(tmp_path)
    found = submissions.judged(out, read_all(records)[0])
    assert found.passed, found.checks
    monkeypatch.setattr(accepting, "registered_names", lambda tree: {"my_idea"})
    return found


def files(folder: Path) -> dict[str, bytes]:
    return {os.fspath(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_everything_moves_into_its_place(report: Report, checkout: Path, tmp_path: Path) -> None:
    before = files(tmp_path / "my_idea")
    new = accept(tmp_path / "my_idea", report.records, checkout)
    after = files(checkout)
    assert set(after) == set(new)
    assert after["encodings/my_idea.py"] == before["my_idea.py"]
    assert after["leaderboard/cards/my_idea.json"] == before["card.json"]
    assert FILLED["bibtex"] in after["leaderboard/citations.bib"].decode()
    assert {f"leaderboard/{name}" for name in before if name.startswith("records/")} == {
        name for name in after if name.startswith("leaderboard/records/")
    }
    moved, unreadable = read_all(checkout / "leaderboard/records")
    assert unreadable == []
    assert len(moved) == len(report.records)
    assert not (tmp_path / "my_idea").exists()


@pytest.mark.parametrize("place", ["encodings/my_idea.py", "leaderboard/cards/my_idea.json", "a record"])
def test_nothing_is_overwritten(place: str, report: Report, checkout: Path, tmp_path: Path) -> None:
    there = checkout / (
        place if place != "a record" else f"leaderboard/records/{report.records[-1].path.as_posix()}"
    )
    there.parent.mkdir(parents=True, exist_ok=True)
    there.write_text("something else")
    before, standing = files(tmp_path / "my_idea"), files(checkout)
    with pytest.raises(AcceptError, match="exists and differs; nothing was moved"):
        accept(tmp_path / "my_idea", report.records, checkout)
    assert files(tmp_path / "my_idea") == before
    assert files(checkout) == standing


def test_a_call_that_was_cut_off_is_continued(
    report: Report, checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, written = accepting.write_whole, list[Path]()

    def full(path: Path, data: bytes) -> None:
        if len(written) == 3:
            raise OSError("No space left on device")
        written.append(path)
        whole(path, data)

    before = files(tmp_path / "my_idea")
    monkeypatch.setattr(accepting, "write_whole", full)
    with pytest.raises(OSError, match="No space"):
        accept(tmp_path / "my_idea", report.records, checkout)
    assert files(tmp_path / "my_idea") == before
    monkeypatch.setattr(accepting, "write_whole", whole)
    accept(tmp_path / "my_idea", report.records, checkout)
    assert files(checkout)["encodings/my_idea.py"] == before["my_idea.py"]


def test_several_cards_make_one_bibliography(report: Report, checkout: Path, tmp_path: Path) -> None:
    other = checkout / "leaderboard/cards/aaa.json"
    other.parent.mkdir(parents=True)
    other.write_text(json.dumps({"name": "aaa", "title": "First", "bibtex": "@misc{a,\n title={A}}"}))
    accept(tmp_path / "my_idea", report.records, checkout)
    text = (checkout / "leaderboard/citations.bib").read_text()
    assert text.index("@misc{a,") < text.index("@misc{my_idea,")


def test_an_installed_package_is_no_checkout(report: Report, tmp_path: Path) -> None:
    with pytest.raises(AcceptError, match="pip install -e"):
        accept(tmp_path / "my_idea", report.records, tmp_path)


def test_a_class_that_would_not_be_found_is_told_by_validate_and_refused(
    tmp_path: Path, checkout: Path
) -> None:
    _, records, out = submitted(tmp_path)
    found = submissions.judged(out, read_all(records)[0])
    assert any('@register("my_idea")' in note for note in found.notes)
    with pytest.raises(AcceptError, match=r'@register\("my_idea"\)'):
        accept(out, found.records, checkout)


def test_what_does_not_validate_stays_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, out = submitted(tmp_path)
    fill(out)
    next((out / "records").rglob("*.json")).unlink()
    before = files(out)
    assert exit_code(monkeypatch, "accept", str(out)) == 1
    said = capsys.readouterr().err
    assert "no record of" in said
    assert "stays as it is" in said
    assert files(out) == before
    assert not (FOLDER / "my_idea.py").exists()


def test_documents_are_written_before_the_submission_is_removed(
    report: Report, checkout: Path, tmp_path: Path
) -> None:
    def cut() -> list[str]:
        raise KeyboardInterrupt

    before = files(tmp_path / "my_idea")
    with pytest.raises(KeyboardInterrupt):
        accept(tmp_path / "my_idea", report.records, checkout, cut)
    assert files(tmp_path / "my_idea") == before
    assert "docs.md" in accept(tmp_path / "my_idea", report.records, checkout, lambda: ["docs.md"])
    assert not (tmp_path / "my_idea").exists()
