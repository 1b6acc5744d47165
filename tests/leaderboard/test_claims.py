"""Verdicts on the GRAPE paper's claims and on single changes stand on one quantity, and follow from the records."""

import math
from dataclasses import replace

import pandas as pd
import pytest
from statsmodels.stats.multitest import multipletests

from pebench.encodings import registry
from pebench.leaderboard.app.rows import frame_table
from pebench.leaderboard.board import Board, board_of
from pebench.leaderboard.reports import claims, variants
from pebench.leaderboard.reports.quantities import Quantity, measured, raw_means
from tests.made_records import SKILL, Sweep

# In the law of these records a skill counts beyond L only, so bits per byte at L tell nobody apart.
SKILLS = {**dict.fromkeys(SKILL, 2.0), "alibi": 6.0, "grape_ap": 0.2}


def made(*sweeps: Sweep) -> Board:
    return board_of([record for sweep in sweeps for record in sweep.records()], "QUICK", {"QUICK": 1}, [])


@pytest.fixture(scope="module")
def board() -> Board:
    return made(Sweep(SKILLS))


@pytest.mark.parametrize("pairs", [claims.CLAIMS, variants.VARIANTS], ids=["claims", "variants"])
def test_pairs_are_of_registered_encodings_and_stand_once(pairs) -> None:
    for pair in pairs:
        registry.resolve(pair.first)
        registry.resolve(pair.second)
    assert len({frozenset((pair.first, pair.second)) for pair in pairs}) == len(pairs)


def test_a_lead_beyond_the_training_length_is_no_verdict_on_the_paper(board: Board) -> None:
    frame = claims.judged(board)
    both = frame[(frame["first"] == "alibi") & (frame["second"] == "rope")].set_index("same_quantity")
    assert both.loc[True, ["quantity", "verdict"]].tolist() == ["`language` at L", "not separated"]
    assert both.loc[False, ["quantity", "verdict"]].tolist() == ["all tasks beyond L", claims.OTHER]
    assert both.loc[False, "low"] > 0  # it does lead there
    assert math.isnan(both.loc[False, "p"])
    assert set(frame["paper_quantity"]) == {claims.PAPER}
    assert not frame[~frame["same_quantity"]]["verdict"].isin(["higher", "lower"]).any()


def test_a_lead_at_the_training_length_is_a_verdict(monkeypatch: pytest.MonkeyPatch, board: Board) -> None:
    monkeypatch.setattr(
        claims, "ours", lambda board: Quantity("language", "beyond L")
    )  # where these records differ
    said = {(row.first, row.second): row for row in claims.judged(board).itertuples() if row.same_quantity}
    assert said["alibi", "rope"].verdict == "higher"
    assert said["alibi", "rope"].low > 0
    assert said["grape_ap", "alibi"].verdict == "lower"
    assert said["grape_m_nonctx", "rope"].verdict == "not separated"
    assert ("grape_m_ctx", "grape_m_nonctx") not in said  # no results of one: no verdict


def test_the_papers_figures_are_those_of_its_tables(board: Board) -> None:
    row = next(
        row for row in claims.judged(board).itertuples() if (row.first, row.second) == ("fox", "alibi")
    )
    assert (row.paper_353M, row.paper_770M) == (0.09, -0.14)
    row = next(row for row in claims.judged(board).itertuples() if row.first == "grape_a_qk")
    assert row.paper_353M == 1.21
    assert math.isnan(row.paper_770M)


def test_verdicts_are_corrected_for_their_number(board: Board) -> None:
    quantity = Quantity("", "beyond L")
    frame = claims.compared(board, claims.CLAIMS, quantity)
    alone = [measured(board, quantity).gap(row.first, row.second).p for row in frame.itertuples()]
    assert frame["p"].tolist() == pytest.approx(multipletests(alone, method="holm")[1])
    assert ((frame["p"] < 0.05) == frame["verdict"].isin(["higher", "lower"])).all()


def test_one_seed_is_a_preview_without_interval_or_verdict() -> None:
    board = made(Sweep({"rope": 2.0, "p_rope": 2.0, "nope": 1.0}), Sweep({"hope": 9.0}, seeds=1))
    row = next(row for row in variants.judged(board).to_dict("records") if row["first"] == "hope")
    assert row["seeds"] == 1
    for phase in variants.PHASES:
        assert row[f"{phase}_verdict"] == claims.PREVIEW
        assert all(math.isnan(row[f"{phase}_{number}"]) for number in ("low", "high", "p"))
        assert row[f"{phase}_difference"] == row[f"{phase}_difference"]
    assert "hope | rope | 1 | " in variants.to_markdown(board)


def test_a_single_task_of_one_seed_makes_a_preview_everywhere() -> None:
    """Also on the quantity of a task in which it has three."""
    kept = [
        record
        for record in Sweep({"rope": 2.0, "p_rope": 9.0, "alibi": 9.0, "nope": 1.0}).records()
        if (record.encoding, record.task) not in (("alibi", "copy"), ("p_rope", "copy")) or record.seed == 0
    ]
    board = board_of(kept, "QUICK", {"QUICK": 1}, [])
    gap = measured(board, Quantity("language", "beyond L")).gap("alibi", "rope")
    assert (gap.seeds, gap.p, gap.visible) == (3, None, None)
    (row,) = (row for row in claims.judged(board).itertuples() if row.same_quantity and row.first == "alibi")
    assert (row.verdict, row.seeds) == (claims.PREVIEW, 3)
    assert math.isnan(row.p)
    (change,) = (row for row in variants.judged(board).itertuples() if row.first == "p_rope")
    assert change.at_length_verdict == change.beyond_verdict == claims.PREVIEW
    assert claims.tally(board) == {"higher": 0, "lower": 0, "not separated": 0}


def test_both_sides_of_a_claim_name_quantity_size_and_length(board: Board) -> None:
    frame = claims.judged(board)
    assert set(frame[frame["same_quantity"]]["models"]) == {"L = 64 tokens, 0.13 M parameters"}
    assert "L = 4,096 tokens" in claims.PAPER
    assert {"paper_353M", "paper_770M"} <= set(frame.columns)


def test_a_variant_has_a_verdict_at_L_and_another_beyond_it() -> None:
    skills = {"grape_ap": 1.0, "grape_ap_still": 6.0, "rope": 2.0, "p_rope": 2.0}
    frame = variants.judged(made(Sweep(skills))).set_index("first")
    assert frame.index.tolist() == ["p_rope", "grape_ap_still"]
    row = frame.loc["grape_ap_still"]
    assert (row["second"], row["at_length_verdict"], row["beyond_verdict"]) == (
        "grape_ap",
        "not separated",
        "higher",
    )
    assert frame.loc["p_rope", "beyond_verdict"] == "not separated"


def test_the_variants_are_corrected_for_both_phases() -> None:
    board = made(Sweep({"grape_ap": 1.0, "grape_ap_still": 6.0, "rope": 2.0, "p_rope": 2.0, "nope": 3.0}))
    frame = variants.judged(board)
    alone = [
        measured(board, quantity).gap(row.first, row.second).p
        for quantity in variants.PHASES.values()
        for row in frame.itertuples()
    ]
    found = [*frame["at_length_p"], *frame["beyond_p"]]
    assert found == pytest.approx(multipletests(alone, method="holm")[1])


def test_no_records_no_verdict() -> None:
    board = made(Sweep({"rope": 1.0, "nope": 0.5}))
    assert claims.judged(board).empty
    assert claims.to_markdown(board) == ""
    assert variants.judged(board).empty


def test_a_board_without_the_papers_task_has_no_table() -> None:
    other = [r for r in Sweep(SKILLS).records() if r.task != "language"]
    assert claims.to_markdown(board_of(other, "QUICK", {"QUICK": 1}, [])) == ""


def test_a_figure_beside_a_paired_difference_is_over_the_seeds_of_both() -> None:
    records = [r for r in Sweep({"rope": 1.0, "alibi": 4.0}).records() if (r.encoding, r.seed) != ("rope", 0)]
    mixed = board_of(records, "QUICK", {"QUICK": 1}, [])
    rows = mixed.scores[(mixed.scores["metric"] == "bits_per_byte") & (mixed.scores["length"] == 64)]
    means = rows[rows["seed"] > 0].groupby("encoding", observed=True)["value"].mean()
    told = raw_means(mixed, ("rope", "alibi"), "language", "bits_per_byte", 64)
    assert told == pytest.approx((means["rope"], means["alibi"]))
    assert raw_means(mixed, ("rope", "fox"), "language", "bits_per_byte", 64) is None


def test_the_table_in_markdown_states_both_quantities_and_has_a_line_for_each_claim(board: Board) -> None:
    head, _, *lines = claims.to_markdown(board).splitlines()
    assert claims.PAPER in head
    assert "bits per byte of `language` at L = 64 tokens, 0.13 M parameters" in head
    assert (
        "all tasks beyond L, L = 64 (in units of the task), 0.13 M parameters: not the same quantity" in head
    )
    assert len(lines) == claims.judged(board)["claim"].nunique()
    assert all(line.count("|") == 8 for line in lines)


def test_a_column_of_intervals_that_no_row_has_is_empty() -> None:
    frame = pd.DataFrame({name: [None, None] for name in ("difference", "low", "high")})
    made = frame_table(frame, intervals={"difference": ("low", "high")})
    assert [row["c0-text"] for row in made["rows"]] == [None, None]


def copies(name: str, other: str, seeds: int, moved: float = 0.0) -> Board:
    """A board where `other` scores as `name` at L in its seeds, and otherwise beyond L."""
    records = list(Sweep({name: 2.0, "alibi": 4.0, "nope": 1.0}).records())
    copied = []
    for r in records:
        if r.encoding == name and r.seed < seeds and r.task in ("copy", "needle", "language"):
            rows = tuple(
                replace(row, value=row.value + moved * (row.condition.get("length") == 64))
                if row.score
                else row
                for row in r.rows
            )
            rows = tuple(
                replace(row, value=0.5 * row.value) if row.condition.get("length") == 512 else row
                for row in rows
            )
            copied.append(replace(r, encoding=other, rows=rows))
    return board_of([*records, *copied], "QUICK", {"QUICK": 1}, [])


@pytest.mark.parametrize("seeds", [1, 2])
def test_two_readings_of_one_model_differ_by_nothing_at_L(seeds: int) -> None:
    (row,) = (
        r for r in variants.judged(copies("rope", "rope@yarn", seeds)).itertuples() if r.second == "rope"
    )
    assert row.change == "RoPE, read with YaRN"
    assert row.at_length_difference == 0.0
    assert row.beyond_difference != 0.0
    assert math.isnan(row.beyond_p) == (seeds == 1)
    assert row.seeds == seeds


def test_a_reading_of_another_training_says_so() -> None:
    board = copies("rope", "rope@yarn", 2, moved=0.01)
    (row,) = (r for r in variants.judged(board).itertuples() if r.second == "rope")
    assert row.change == "RoPE, read with YaRN, from another training"
    assert row.at_length_difference != 0.0
    assert [note for note in board.notes if "rope@yarn reads another training of rope" in note]
    assert not [note for note in copies("rope", "rope@yarn", 2).notes if "another training" in note]


@pytest.mark.parametrize("apart", [False, True])
def test_a_pair_of_two_processors_says_so(apart: bool) -> None:
    """One run of both on one processor is enough to say nothing."""
    records = [
        replace(
            r, provenance={**r.provenance, "cpu": "A" if r.encoding == "alibi" and (apart or r.seed) else "B"}
        )
        for r in Sweep({"alibi": 4.0, "rope": 1.0, "rope_500k": 1.2}).records()
    ]
    board = board_of(records, "QUICK", {"QUICK": 1}, [])
    assert (
        "| ALiBi above RoPE: additive above multiplicative, on another processor |"
        in claims.to_markdown(board)
    ) is apart
    for row in variants.judged(board).itertuples():
        assert "processor" not in row.change
