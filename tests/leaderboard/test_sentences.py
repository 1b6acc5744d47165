"""A sentence is printed while the records carry it, and falls when they do not."""

import re

import pytest

from pebench.leaderboard.about import PUBLISHED
from pebench.leaderboard.board import Board, board_of, make_board
from pebench.leaderboard.reports import documents, notes, sentences, trials
from pebench.suite.results.record import Record, Row
from tests.made_records import SKILL, Sweep

KEEPING = {
    "grape_a_qk": 6.3,
    "kerple_log": 5.0,
    "fox": 6.0,
    "alibi": 4.0,
    "grape_ap": 6.0,
    "nape": 9.0,
    "nope": 3.0,
}
LOSING = {"rope": 0.3, "p_rope": 0.3, "grape_m_nonctx": 0.3, "rope+fox": 1.0}


def made(skills: dict[str, float], **sizes: int) -> Board:
    return board_of(Sweep(skills, **sizes).records(), "QUICK", {"QUICK": 1}, [])


@pytest.fixture(scope="module")
def board() -> Board:
    return made(KEEPING | LOSING)


def test_what_holds_is_said_with_lengths_and_seeds(board: Board) -> None:
    said = sentences.decays_score_higher(board)
    assert said.startswith("Beyond L, averaged over all tasks")
    assert "12 pairs" in said
    assert "3 seeds" in said
    assert re.search(r"`alibi` 0\.\d\d", said)


def test_a_sentence_falls_with_its_data(board: Board) -> None:
    assert (
        sentences.decays_score_higher(made(KEEPING | LOSING | {"p_rope": 9.0})) == ""
    )  # one rotation keeps all
    rest = {n: s for n, s in (KEEPING | LOSING).items() if n != "fox"}
    assert "`fox`" not in sentences.decays_score_higher(made(rest))
    lone = {n: s for n, s in rest.items() if n not in ("rope", "p_rope")}
    assert sentences.decays_score_higher(made(lone)) == ""  # of one rotation alone nothing is said
    assert sentences.half_without_positions(board)
    assert sentences.half_without_positions(made(KEEPING | LOSING | {"nape": 4.0})) == ""
    assert "lower beyond L" in sentences.rotation_beside_decay(board)
    assert sentences.rotation_beside_decay(made(KEEPING | LOSING | {"rope+fox": 6.0})) == ""


def test_one_seed_carries_no_sentence() -> None:
    board = made(KEEPING | LOSING, seeds=1)
    said = sentences.in_short(board)
    assert len(said) <= 1
    assert all(text.startswith("Measured:") for text in said)
    assert "0 encodings" in said[0]


@pytest.mark.walks
def test_each_sentence_names_its_lengths_and_seeds() -> None:
    for text in sentences.in_short(documents.board()) + sentences.in_short(documents.board(documents.FIRST)):
        assert re.search(r"\bL\b", text), text
        assert re.search(r"seeds?\b|sources?\b", text), text


def gates_of(name: str, *gates: float) -> Board:
    """A board on which an encoding has these gates on copy, by seed."""
    records = []
    for r in Sweep(SKILL).records():
        if (r.encoding, r.task) == (name, "copy"):
            rows = tuple(Row("gate", gates[r.seed], 256) if row.metric == "gate" else row for row in r.rows)
            r = Record(r.encoding, r.task, r.profile, r.seed, r.fingerprint, rows, card=r.card, setup=r.setup,
                       provenance=r.provenance)  # fmt: skip
        records.append(r)
    return board_of(records, "QUICK", {"QUICK": 1}, [])


def test_nope_that_learns_copy_is_no_training_failure() -> None:
    said = sentences.nope_does_not_learn(gates_of("nope", 0.6, 0.39, 0.21))
    assert "0.60, 0.39, 0.21" in said
    assert "nothing about extrapolation" in said
    assert sentences.nope_does_not_learn(gates_of("nope", 0.6, 0.39, 0.95)) == ""


@pytest.mark.parametrize("profile", ["LARGE", "QUICK_2", "STANDARD_2"])
def test_each_published_profile_has_sentences(profile: str) -> None:
    said = sentences.in_short(make_board(PUBLISHED, profile))
    assert said[0].startswith("Measured: ")


def test_one_task_is_measured_too() -> None:
    assert "Scored at L: 1 task. Scored beyond L: 1 task" in sentences.scope(
        made({"fox": 9.0, "rope": 1.0}, tasks=("copy",))
    )


def test_two_sources_say_nothing_of_published_orders(monkeypatch: pytest.MonkeyPatch) -> None:
    board = documents.board(documents.FIRST)
    full = sentences.published_orders(board)
    monkeypatch.setattr(sentences, "SOURCES", 99)
    assert "as published" not in sentences.published_orders(board)
    assert sentences.published_orders(board) in full


def test_the_trials_have_what_is_cited() -> None:
    table = trials.table()
    assert set(table["task"]) == {"copy", "language"}
    assert table["value"].between(0, 1).all()
    assert trials.value("copy", "alibi", 4, 128, 32, 64) == 0.91
    assert trials.gate("copy", "nope", 4, 128, 32) == 0.523
    assert trials.value("copy", "alibi", 4, 128, 32, 65) is None


def test_a_task_that_few_have_beyond_l_is_named() -> None:
    said = notes.on_tasks(documents.board(documents.FIRST))
    assert any(text.startswith("`permutation` beyond L") and "`path`" in text for text in said)
    assert not any(text.startswith("`copy` beyond L") for text in said)


def test_the_short_table_has_no_preview_and_tells_at_L_from_beyond() -> None:
    records = [
        *Sweep({"fox": 9.0, "alibi": 4.0, "nope": 2.0}).records(),
        *Sweep({"rope": 9.9}, seeds=1).records(),
    ]
    head, _, *rows = documents.top(board_of(records, "QUICK", {"QUICK": 1}, [])).splitlines()
    assert "all tasks at L | all tasks beyond L" in head
    assert [row.split(" | ")[1] for row in rows] == ["fox", "alibi", "nope"]
    for row in rows:
        at, beyond = map(float, row.split(" | ")[2:4])
        assert at > beyond
    *table, _, below = documents.top(documents.board(documents.FIRST)).splitlines()
    assert len(table) == documents.TOP + 2
    assert re.fullmatch(rf"The first {documents.TOP} of \d+ ranked encodings\.", below)


def test_a_document_is_written_where_its_marks_are(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.md").write_text("before\n<!-- x -->\nold\n<!-- /x -->\nafter\n")
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    monkeypatch.setattr(documents, "PARTS", {"x": ("a.md", lambda: "new \\1 text")})
    assert documents.write() == ["a.md"]
    assert (tmp_path / "a.md").read_text() == "before\n<!-- x -->\n\nnew \\1 text\n\n<!-- /x -->\nafter\n"
    assert documents.write() == []
