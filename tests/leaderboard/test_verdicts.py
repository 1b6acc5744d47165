"""A verdict on two encodings: what the board's tests say, and nothing where they say nothing."""

import itertools
from dataclasses import replace

import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests

from pebench.leaderboard.board import Board, board_of
from pebench.leaderboard.ranking import LEVEL, Pairs
from pebench.leaderboard.reports.verdicts import verdict
from tests.made_records import SKILL, Sweep

ALIKE = {**SKILL, "twin": SKILL["fox"]}


def made(skills: dict[str, float] = ALIKE, **more: int) -> Board:
    return board_of(Sweep(skills, **more).records(), "QUICK", {"QUICK": 1}, [])


@pytest.fixture(scope="module")
def board() -> Board:
    return made()


@pytest.mark.walks
def test_the_verdict_is_the_tests_of_the_ranking(board: Board) -> None:
    """For every pair of ranked encodings; whichever is named first."""
    r = board.ranking
    ranked = [name for name, placed in zip(r.data.encodings, r.ranked, strict=True) if placed]
    kinds = set()
    for first, second in itertools.combinations(ranked, 2):
        a, b = (r.data.encodings.index(name) for name in (first, second))
        said = verdict(board, first, second)
        assert said == verdict(board, second, first)
        better, worse = (first, second) if r.pairs.difference[a, b] > 0 else (second, first)
        sure = r.p[a, b] < LEVEL
        kinds.add(bool(sure))
        opening = f"{better} is better than {worse}" if sure else f"No test separates {better} from {worse}"
        assert said[0].startswith(f"{opening} over 3 tasks")
        assert f"higher by {abs(r.pairs.difference[a, b]):.3f} " in said[1]
        assert "3 seeds" in said[1]
        families_are_told(r.by_family, a, b, (first, second), said)
    assert kinds == {True, False}


def families_are_told(
    by_family: dict[str, Pairs], a: int, b: int, names: tuple[str, str], said: list[str]
) -> None:
    """Each family once: on the side that is better by Holm's test of the families, or among those not separated."""
    kinds = list(by_family)
    raw = [2 * stats.t.sf(abs(p.difference[a, b]) / p.error[a, b], p.df[a, b]) for p in by_family.values()]
    separated = multipletests(raw, LEVEL, method="holm")[0]
    text = {line.split(" in ")[0]: line for line in said if " in " in line}
    for family, sure in zip(kinds, separated, strict=True):
        ahead = names[0] if by_family[family].difference[a, b] > 0 else names[1]
        assert family in text[f"{ahead} is better" if sure else "No test separates them"]
        assert sum(family in line for line in text.values()) == 1


def test_a_verdict_falls_with_its_data() -> None:
    assert verdict(made({**SKILL, "rope": SKILL["fox"]}), "fox", "rope")[0].startswith("No test separates")
    assert verdict(made(SKILL), "rope", "fox")[0].startswith("fox is better than rope")


def test_a_preview_and_what_has_no_rank_get_no_verdict() -> None:
    (said,) = verdict(made({"rope": 1.0, "fox": 6.0}, seeds=1), "fox", "rope")
    assert said.startswith("No verdict: fox is a preview: fewer than two seeds in every task; rope is")
    records = [r for r in Sweep(SKILL).records() if (r.encoding, r.task) != ("rope", "language")]
    (said,) = verdict(board_of(records, "QUICK", {"QUICK": 1}, []), "fox", "rope")
    assert said == "No verdict: rope has no rank (no result yet in language)."


def test_encodings_that_share_no_seed_are_not_compared() -> None:
    records = Sweep({"rope": 1.0, "fox": 6.0}, tasks=["copy"]).records()
    apart = [replace(r, seed=r.seed + 10 * (r.encoding == "fox")) for r in records]
    (said,) = verdict(board_of(apart, "QUICK", {"QUICK": 1}, []), "fox", "rope")
    assert said.startswith("No verdict: ")


def test_one_family_alone_is_told_once() -> None:
    records = Sweep({"rope": 1.0, "fox": 6.0, "alibi": 4.0}, tasks=["copy"]).records()
    said = verdict(board_of(records, "QUICK", {"QUICK": 1}, []), "fox", "rope")
    assert said[0] == "fox is better than rope over 1 task at and beyond L."
    assert not any("copying" in sentence for sentence in said)


def test_equal_scores_are_no_lead() -> None:
    records = list(Sweep({"fox": 6.0, "nope": 1.0}).records())
    board = board_of(
        [*records, *(replace(r, encoding="twin") for r in records if r.encoding == "fox")],
        "QUICK",
        {"QUICK": 1},
        [],
    )
    (said, *_) = verdict(board, "fox", "twin")
    assert "have the same score over 3 tasks" in said
