"""The verdicts on the GRAPE paper's claims, and on single changes of an encoding, follow from the records."""

import pytest
from statsmodels.stats.multitest import multipletests

from pebench.encodings import registry
from pebench.leaderboard.board import Board, board_of
from pebench.leaderboard.reports import claims, variants
from tests.made_records import SKILL, Sweep


def made(sweep: Sweep) -> Board:
    return board_of(sweep.records(), "QUICK", {"QUICK": 1}, [])


@pytest.mark.parametrize("pairs", [claims.CLAIMS, variants.VARIANTS], ids=["claims", "variants"])
def test_pairs_are_of_registered_encodings_and_stand_once(pairs) -> None:
    for pair in pairs:
        registry.resolve(pair.first)
        registry.resolve(pair.second)
    assert len({frozenset((pair.first, pair.second)) for pair in pairs}) == len(pairs)


def test_a_variant_is_judged_against_what_it_varies() -> None:
    board = made(Sweep({"grape_ap": 1.0, "grape_ap_still": 6.0, "rope": 2.0, "p_rope": 2.0, "hope": 2.0}))
    frame = variants.judged(board).set_index("first")
    assert frame.index.tolist() == ["p_rope", "hope", "grape_ap_still"]
    assert frame.loc["grape_ap_still", ["second", "verdict"]].tolist() == ["grape_ap", "higher"]
    assert frame.loc["hope", "verdict"] == "not separated"
    assert "| GRAPE-AP: paths without rotation | grape_ap_still | grape_ap | +" in variants.to_markdown(board)


def test_a_verdict_says_who_is_ahead_and_how_surely() -> None:
    skills = {**dict.fromkeys(SKILL, 2.0), "alibi": 6.0, "grape_ap": 0.2}
    frame = claims.judged(made(Sweep(skills)))
    said = {(row.first, row.second): row for row in frame.itertuples()}
    assert said["alibi", "rope"].verdict == "higher"
    assert said["alibi", "rope"].low > 0
    assert said["grape_ap", "alibi"].verdict == "lower"
    assert said["grape_m_nonctx", "rope"].verdict == "not separated"
    assert ("grape_m_ctx", "grape_m_nonctx") not in said  # no results of one: no verdict


def test_verdicts_are_corrected_for_their_number() -> None:
    board = made(Sweep({**dict.fromkeys(SKILL, 2.0), "alibi": 6.0, "grape_ap": 0.2}))
    frame, r = claims.judged(board), board.ranking
    at = r.data.encodings.index
    alone = [r.pairs.p[at(row.first), at(row.second)] for row in frame.itertuples()]
    assert frame["p"].tolist() == pytest.approx(multipletests(alone, method="holm")[1])
    assert ((frame["p"] < 0.05) == frame["verdict"].isin(["higher", "lower"])).all()


def test_no_records_no_verdict() -> None:
    board = made(Sweep({"rope": 1.0, "nope": 0.5}))
    assert claims.judged(board).empty
    assert claims.to_markdown(board).count("\n") == 1


def test_the_table_in_markdown_has_a_line_for_each_verdict() -> None:
    board = made(Sweep(SKILL))
    lines = claims.to_markdown(board).splitlines()
    assert len(lines) == 2 + len(claims.judged(board))
    assert all(line.count("|") == 6 for line in lines)
