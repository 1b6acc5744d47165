"""The board against published tables: what is read, what is refused, and what the comparison says."""

import contextlib
import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pebench.encodings import registry
from pebench.leaderboard.board import Board, board_of
from pebench.leaderboard.reports import causes, published, validity, validity_tables, vocabulary
from pebench.leaderboard.reports.published import PublishedError, parse
from pebench.leaderboard.reports.quantities import Quantity, measured
from pebench.leaderboard.reports.vocabulary import KINDS, named
from pebench.suite.results.record import Record, Row
from pebench.tasks import TASKS
from tests.made_records import SKILL, Sweep

HEADER = "source,table,kind,encoding,value,unit,better"
SHORT = "source,table,our_task,phase,better,quantity,encoding,value"
LENGTHS = f"{HEADER},trained_at,read_at"


@pytest.fixture(scope="module")
def board() -> Board:
    """Beyond L fox leads alibi, and alibi leads rope."""
    return made(Sweep({"fox": 9.0, "alibi": 4.0, "rope": 0.3, "nope": 1.5, "fire": 4.0}))


def made(*sweeps: Sweep) -> Board:
    return board_of([record for sweep in sweeps for record in sweep.records()], "QUICK", {"QUICK": 1}, [])


def table(*rows: str, header: str = HEADER) -> str:
    return "\n".join([header, *rows])


def compare(board: Board, *rows: str, header: str = HEADER) -> validity.Validity:
    return validity.validity(board, parse(table(*rows, header=header)))


def copying(source: str, **values: float) -> list[str]:
    return [f"{source},T,copy beyond L,{name},{value},share,higher" for name, value in values.items()]


def test_our_own_transcription_reads_and_has_our_names() -> None:
    rows = published.read().rows
    assert len(rows) > 300
    for name in set(rows["encoding"]):
        assert registry.resolve(name)[0] == name
    assert set(rows["kind"]) <= set(KINDS)
    assert (rows["grade"] != "").all()
    assert not rows.duplicated(
        ["source_id", "table", "kind", "trained_at", "read_at", "size", "encoding"]
    ).any()


def test_a_board_of_newer_tasks_is_asked_for_those() -> None:
    def asked(kind: str, *tasks: str) -> str:
        runs = pd.DataFrame({"task": tasks, "train_length": 8.0})
        return validity.matching(f"{kind} beyond L", SimpleNamespace(runs=runs)).task

    assert asked("copy", "copy_unique", "parity") == "copy_unique"
    assert asked("copy", "copy", "copy_unique") == "copy"
    assert asked("copy", "sort") == "copy"  # named as what is missing
    assert asked("parity", "parity", "flipflop_error") == "parity"
    assert asked("parity", "flipflop") == "flipflop"
    assert asked("indexing", "recall_again") == "recall_again"
    assert asked("indexing", "recall_again", "indexing") == "indexing"
    assert asked("counting", "parity", "flipflop_error") == "parity"
    assert asked("counting", "parity", "flipflop") == "flipflop"
    assert asked("composition", "parity") == ""
    assert {task for tasks in vocabulary.SUCCESSORS.values() for task in tasks} <= set(TASKS)


def test_every_alias_leads_to_an_encoding() -> None:
    for ours in set(vocabulary.ALIASES.values()):
        registry.resolve(ours)


@pytest.mark.parametrize(
    ("name", "ours"),
    [
        ("RoPE", "rope"), ("Rotary", "rope"), ("ALiBi", "alibi"), ("NoPE", "nope"), ("No PE", "nope"),
        ("T5", "t5_bias"),
        ("T5's RPE", "t5_bias"), ("T5 Bias", "t5_bias"), ("FIRE", "fire"), ("KERPLE", "kerple_log"),
        ("Kerple-log", "kerple_log"), ("kerple_power", "kerple_power"), ("FoX", "fox"), ("FoX + RoPE", "rope+fox"),
        ("xPos", "xpos"), ("Sinusoidal", "sinusoidal"), ("YaRN", "rope@yarn"), ("Transformer-XL", "transformer_xl"),
        ("APE", ""), ("Mamba", ""), ("", ""), ("???", ""), ("RPE", ""), ("PE", ""), ("Learned bias", ""),
        ("T5 RPB", "t5_bias"), ("T5 relative position bias", "t5_bias"), ("Rotary PE", "rope"),
        ("Rotary Position Embedding (RoPE)", "rope"), ("RoPE (base 10000)", "rope"), ("RoPE (2048)", ""),
        ("RoPE-500k", "rope_500k"), ("w/o PE", "nope"), ("No positional embeddings", "nope"),
        ("ALiBi (Press et al., 2022)", "alibi"), ("ALiBi [12, 3]", "alibi"), ("Shaw et al. (2018)", "shaw"),
        ("Forgetting Transformer (FoX)", "fox"), ("FoX (Pro)", ""), ("FoX (w/o RoPE)", ""), ("RoPE (ours)", "rope"),
        ("GRAPE-A", "grape_a_qk"), ("GRAPE-A (q)", "grape_a_q"), ("Additive GRAPE", "grape_a_qk"),
        ("NTK-aware RoPE", "rope@ntk"), ("DAPE-Kerple", "dape"), ("Sinusoidal PE", "sinusoidal"),
        ("Relative (T5)", "t5_bias"), ("T5-RPE (log)", "t5_bias"), ("T5 buckets", "t5_bias"),
        ("APE (sinusoidal)", "sinusoidal"), ("Learnable APE", "learned_ape"), ("LAPE", "learned_ape"),
        ("Linear PI", "rope@pi"), ("Dynamic NTK", "rope@ntk_dynamic"), ("NTK-by-parts", "rope@yarn_frequencies"),
        ("FoX w/ RoPE", "rope+fox"), ("SBA", "stick_breaking"), ("Random PE", "randomized"), ("Random", ""),
        ("Relative (Shaw et al., 2018)", "shaw"), ("Relative (Raffel et al., 2020)", "t5_bias"),
        ("Relative (Su et al., 2024)", ""), ("RPE (Shaw et al.)", "shaw"),
        ("Transformer (RoPE)", "rope"), ("Transformer (XL)", "transformer_xl"), ("Sandwich Transformer", ""),
        ("Ours (FoX)", "fox"), ("FoX (Ours)", "fox"), ("Ours (FoX (Pro))", ""), ("Ours", ""),
        ("GRAPE-M (noncontextual)", "grape_m_nonctx"), ("GRAPE-M (contextual)", "grape_m_ctx"),
        ("RNoPE-SWA", "rnope_swa"), ("SWAN-GPT", "swan"), ("RoPE++", "rope_pp"), ("ALiBi+", ""), ("0.75-RoPE", ""),
        ("RoPE (θ=10k)", "rope"), ("RoPE (θ=500k)", "rope_500k"), ("FoX (LLaMA)", "fox"),
    ],
)  # fmt: skip
def test_names_of_papers_are_found(name: str, ours: str) -> None:
    assert named(name, registry.names()) == ours


def test_pairs_agree_contradict_and_are_not_separated(board: Board) -> None:
    v = compare(
        board,
        *copying("A", fox=0.9, rope=0.1),
        *copying("B", rope=0.9, alibi=0.2),
        *copying("C", fire=0.9, alibi=0.1),
    )
    (kind,) = v.kinds
    found = (kind.all.agree, kind.all.contradict, kind.all.not_separated, kind.all.pairs)
    assert found == (1, 1, 1, 3)
    assert kind.ours == "`copy` beyond L"
    assert [(c.source, c.pairs, c.tested) for c in v.contradictions] == [("B", 1, "no")]
    assert "rope above alibi" in v.contradictions[0].examples[0]


def test_the_smallest_difference_is_found_four_times_out_of_five(board: Board) -> None:
    """By simulation: of differences drawn around it with the pair's own error 80 % leave the interval around 0."""
    gap = measured(board, Quantity("copy", "beyond L")).gap("fox", "rope")
    (kind,) = compare(board, *copying("A", fox=0.9, rope=0.1)).kinds
    assert kind.smallest_difference == pytest.approx(gap.visible)
    ours = measured(board, Quantity("copy", "beyond L"))
    at = ours.at["fox"], ours.at["rope"]
    drawn = gap.visible + ours.pairs.error[at] * np.random.default_rng(0).standard_t(
        ours.pairs.df[at], 20_000
    )
    assert (drawn > gap.high - gap.difference).mean() == pytest.approx(0.8, abs=0.02)


@pytest.mark.parametrize(("unit", "values"), [("perplexity", (10, 20)), ("bits", (1, 2))])
def test_lower_is_better_turns_the_order(board: Board, unit: str, values: tuple[int, int]) -> None:
    rows = [
        f"A,T,perplexity beyond L,{n},{x},{unit},lower" for n, x in zip(("fox", "rope"), values, strict=True)
    ]
    assert compare(board, *rows).total.agree == 1
    turned = [
        f"A,T,perplexity beyond L,{n},{x},{unit},lower" for n, x in zip(("rope", "fox"), values, strict=True)
    ]
    assert compare(board, *turned).total.contradict == 1
    errors = ["A,T,copy beyond L,fox,2,percent,lower", "A,T,copy beyond L,rope,90,percent,lower"]
    assert compare(board, *errors).total.agree == 1


def test_values_within_the_margin_are_no_pair(board: Board) -> None:
    v = compare(board, *copying("A", fox=0.90, rope=0.87, alibi=0.87))
    assert v.total.pairs == 0
    assert v.kinds[0].within_margin == 3
    assert v.total.tau is None
    assert any("too close" in note for note in v.notes)


def test_lengths_and_sizes_make_tables_of_their_own(board: Board) -> None:
    rows = [
        f"A,T,perplexity beyond L,{name},{value},perplexity,lower,512,{length}"
        for length, values in ((1024, (10, 20)), (2048, (11, 300)))
        for name, value in zip(("fox", "rope"), values, strict=True)
    ]
    v = compare(board, *rows, header=LENGTHS)
    assert (v.tables, v.total.pairs, v.kinds[0].tables) == (2, 2, 2)


def test_one_source_has_no_interval_and_two_have_one(board: Board) -> None:
    one = compare(board, *copying("A", fox=0.9, rope=0.1, alibi=0.5))
    assert one.total.tau == 1.0
    assert one.total.low is one.total.high is None
    assert all(column.low is None for column in one.columns)
    two = compare(board, *copying("A", fox=0.9, rope=0.1), *copying("B", rope=0.9, fox=0.1))
    assert (two.total.tau, two.total.low, two.total.high) == (0.0, -1.0, 1.0)


def test_sources_of_one_paper_are_one(board: Board) -> None:
    rows = [f"{row},{number}" for row, number in zip(
        [*copying("A", fox=0.9, rope=0.1), *copying("B", fox=0.9, rope=0.1)],
        ["2104.09864", "2104.09864v2", "arXiv:2104.09864", "2104.09864"], strict=True,
    )]  # fmt: skip
    assert compare(board, *rows, header=f"{HEADER},arxiv").sources == 1


def test_the_interval_over_sources_is_wider_than_over_pairs() -> None:
    """Ten sources of twenty equal pairs each know as much as ten pairs."""
    signs = np.repeat(np.where(np.arange(10) < 8, 1.0, -1.0), 20)
    sources = pd.Series(np.repeat(np.arange(10), 20))
    tau, low, high = validity.tau_over_sources(signs, sources)
    assert tau == pytest.approx(0.6)
    binomial = 2 * np.sqrt(0.8 * 0.2 / 10)
    assert high - low == pytest.approx(2 * 1.96 * binomial, rel=0.25)


@pytest.mark.parametrize("sources", [2, 4, 8])
def test_the_interval_over_sources_holds_the_truth(sources: int) -> None:
    """Sources differ in their share and in their number of pairs; a bootstrap would hold 0.2 in 50 to 87 %."""
    rng, held = np.random.default_rng(0), 0
    for _ in range(200):
        share = np.clip(0.2 + 0.5 * rng.uniform(-1, 1, sources), -1, 1)
        pairs = rng.integers(5, 40, sources)
        signs = np.concatenate(
            [np.where(rng.random(n) < (1 + s) / 2, 1.0, -1.0) for s, n in zip(share, pairs, strict=True)]
        )
        _, low, high = validity.tau_over_sources(signs, pd.Series(np.repeat(np.arange(sources), pairs)))
        assert low is not None
        assert high is not None
        held += low <= 0.2 <= high
    assert held / 200 > 0.88


def test_the_column_that_orders_alike_is_first(board: Board) -> None:
    v = compare(board, *copying("A", fox=0.9, alibi=0.6, nope=0.3, rope=0.1))
    assert v.columns[0].tau == 1.0
    assert "beyond L" in v.columns[0].column
    assert [c.tau for c in v.columns] == sorted((c.tau for c in v.columns), reverse=True)
    assert (v.columns[0].pairs, v.columns[0].distinct, v.compared) == (6, 6, 1)


def test_columns_that_predict_equally_well_are_all_named(board: Board) -> None:
    v = compare(board, *copying("A", fox=0.9, rope=0.1), *copying("B", fox=0.9, alibi=0.1))
    one, *others = (replace(column, tau=tau) for column, tau in zip(v.columns, (0.5, 0.2, 0.1), strict=False))
    said = validity_tables.best_columns(replace(v, columns=[one, *others]))
    assert (
        f"{one.column} predicts the published order best: tau +0.50. It has 2 comparisons of 2 pairs" in said
    )
    twins = [one, *(replace(column, tau=0.5) for column in others)]
    names = f"{twins[0].column}, {twins[1].column} and {twins[2].column}"
    assert f"{names} predict the published order best: tau +0.50. The first has 2 comparisons" in (
        validity_tables.best_columns(replace(v, columns=twins))
    )


def test_pairs_of_encodings_count_once_however_many_tables_have_them(board: Board) -> None:
    v = compare(board, *copying("A", fox=0.9, rope=0.1), *copying("B", fox=0.8, rope=0.2))
    assert (v.columns[0].pairs, v.columns[0].distinct, v.compared) == (2, 1, 2)


def test_a_cause_that_was_tested_on_two_encodings_is_given_to_their_order_alone(board: Board) -> None:
    on_top = {("alibi", "rope"): "in part", ("t5_bias", "alibi"): "no"}
    for order, tested in on_top.items():
        cause = causes.cause(board, "language", "any", "perplexity at L", {order})
        assert cause[1] == tested


def test_one_seed_separates_nothing() -> None:
    board = made(Sweep({"fox": 9.0, "alibi": 4.0, "nope": 2.0}), Sweep({"rope": 0.0}, seeds=1))
    total = compare(board, *copying("A", fox=0.9, rope=0.1)).total
    assert (total.agree, total.not_separated, total.preview, total.tau) == (0, 1, 1, None)


def test_a_preview_separates_nothing_in_the_tasks_where_it_has_more_seeds() -> None:
    kept = [
        record
        for record in Sweep({"fox": 9.0, "alibi": 4.0, "rope": 0.0}).records()
        if (record.encoding, record.task) != ("rope", "needle") or record.seed == 0
    ]
    v = compare(board_of(kept, "QUICK", {"QUICK": 1}, []), *copying("A", fox=0.9, rope=0.1, alibi=0.5))
    assert (v.total.pairs, v.total.preview, v.total.contradict) == (3, 2, 0)
    assert v.pairs.set_index(["better", "worse"])["p"].isna().to_dict() == {
        ("fox", "rope"): True, ("fox", "alibi"): False, ("alibi", "rope"): True,
    }  # fmt: skip
    assert all(column.pairs == 1 for column in v.columns)


def test_a_training_failure_is_told_from_one_of_extrapolation(board: Board) -> None:
    """All of these pass the gate, so nothing beyond L is a failure to learn; of records that fail it is."""
    rows = copying("A", rope=0.9, fox=0.1)
    assert compare(board, *rows).contradictions[0].not_learned == 0
    records = []
    for record in Sweep({"fox": 9.0, "alibi": 4.0, "rope": 0.3}).records():
        if (record.encoding, record.task) == ("rope", "copy"):
            record.setup["gate"] = 0.9999
        records.append(record)
    failing = board_of(records, "QUICK", {"QUICK": 1}, [])
    assert compare(failing, *rows).contradictions[0].not_learned == 1


def test_unmatched_names_are_counted_and_absent_ones_named(board: Board) -> None:
    v = compare(board, *copying("A", fox=0.9, rope=0.1, Mamba=0.5, KERPLE=0.3, APE=0.2))
    assert v.unmatched == {"APE": 1, "Mamba": 1}
    assert v.absent == {"kerple_log": 1}
    assert v.total.pairs == 1
    assert any("sinusoidal or learned_ape" in note for note in v.notes)


def test_a_registered_encoding_that_nobody_ran_is_absent_and_not_unmatched(board: Board) -> None:
    rows = parse(table(*copying("A", fox=0.9, Sandwich=0.5)))
    assert validity.validity(board, rows).unmatched == {"Sandwich": 1}
    v = validity.validity(board, rows, registry.names())
    assert (v.unmatched, v.absent) == ({}, {"sandwich": 1})


def test_a_table_of_one_encoding_compares_nothing(board: Board) -> None:
    v = compare(board, *copying("A", fox=0.9))
    assert v.total.pairs == 0
    assert any("1 table of one encoding" in note for note in v.notes)
    json.dumps(validity_tables.to_json(v), allow_nan=False)


def test_a_task_that_the_board_lacks_is_named(board: Board) -> None:
    v = compare(board, "A,T,sort beyond L,fox,0.9,share,higher", "A,T,sort beyond L,rope,0.1,share,higher")
    assert v.total.pairs == 0
    assert v.kinds[0].all.pairs == 0
    assert any("not measured on this board" in note for note in v.notes)


def test_repeated_rows_count_once(board: Board) -> None:
    rows = copying("A", fox=0.9, rope=0.1)
    v = compare(board, *rows, *rows)
    assert v.total.pairs == 1
    assert any("2 rows said twice" in note for note in v.notes)


def test_an_encoding_of_several_values_is_left_out_of_that_table_alone(board: Board) -> None:
    rows = [*copying("A", fox=0.9, rope=0.1, alibi=0.5, FoX=0.8), *copying("B", fox=0.9, rope=0.1)]
    v = compare(board, *rows)
    assert sorted(zip(v.pairs["better"], v.pairs["worse"], strict=True)) == [
        ("alibi", "rope"), ("fox", "rope"),
    ]  # fmt: skip
    assert any("left out there: fox in A, T (lines 2: fox, 5: FoX)." in note for note in v.notes)


@pytest.mark.parametrize("other", ["50,percent,higher", "0.5,share,lower"])
def test_values_of_unlike_units_or_directions_are_not_compared(board: Board, other: str) -> None:
    v = compare(board, *copying("A", fox=0.9, rope=0.1), f"A,T,copy beyond L,alibi,{other}")
    assert v.total.pairs == 1
    assert any("1 table with more than one unit or direction" in note for note in v.notes)


def test_a_bound_has_an_order_where_it_excludes_the_other_value(board: Board) -> None:
    values = {"fox": "20", "alibi": "1500", "rope": ">1000", "nope": "inf", "fire": "∞"}
    rows = [f"A,T,perplexity beyond L,{name},{value},ppl,lower" for name, value in values.items()]
    found = compare(board, *rows).pairs
    ordered = set(zip(found["better"], found["worse"], strict=True))
    below_inf = {(better, worse) for better in ("fox", "alibi") for worse in ("nope", "fire")}
    assert ordered == {("fox", "alibi"), ("fox", "rope"), *below_inf}


def test_the_same_table_in_any_dress_reads_alike() -> None:
    plain = table(
        "A,T,perplexity at L,RoPE,20.5,perplexity,lower", "A,T,perplexity at L,ALiBi,21.25,perplexity,lower"
    )
    rows = parse(plain).rows
    dresses = [
        plain.replace("\n", "\r\n"),
        plain.replace(",", "\t"),
        plain.replace(",", ";").replace("20.5", "20,5").replace("21.25", "21,25"),
        plain.replace("source", " Source ").replace("perplexity at L", "  Perplexity  at l "),
        f"\n\n{plain}\n\n,,,,,,\n",
    ]
    for dress in dresses:
        found = parse(dress).rows
        assert found.drop(columns="line").equals(rows.drop(columns="line")), dress


def test_the_short_form_reads_as_the_long_one() -> None:
    lines = [
        "A,T,language,iid,lower,ppl,rope,20.5",
        "A,U,language,ood,higher,down,rope,41",
        "A,V,,ood,higher,share,rope,0.5",
    ]
    rows = parse(table(*lines, header=SHORT)).rows
    assert rows["kind"].tolist() == ["perplexity at L", "downstream beyond L", "composition beyond L"]
    assert rows["unit"].tolist() == ["perplexity", "percent", "share"]
    long = table("A,T,perplexity at L,rope,20.5,ppl,lower")
    assert parse(long).rows.drop(columns="line").iloc[0].equals(rows.drop(columns="line").iloc[0])


def test_a_byte_order_mark_is_no_part_of_a_name(tmp_path: Path) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(b"\xef\xbb\xbf" + table(*copying("A", fox=0.9)).encode())
    assert published.read(file).rows["source"].tolist() == ["A"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "is empty"),
        ("\n \n", "is empty"),
        (HEADER, "no rows"),
        ("source,table,kind,encoding,value\nA,T,copy at L,rope,1", "lacks the columns unit, better"),
        (table("A,T,copy past L,rope,1,share,higher"), "line 2: kind 'copy past L' says neither 'at L' nor"),
        (table("A,T,zzz,rope,1,share,higher"), "unknown kind 'zzz'. A kind is one of"),
        (table("A,T,copi at L,rope,1,share,higher"), "unknown kind 'copi at L'; did you mean 'copy'?"),
        (table("A,T,copy,rope,1,share,higher,8,", header=LENGTHS), "'copy at L' or 'copy beyond L'"),
        (table("A,T,copy at L,rope,n/a,share,higher"), "line 2: value 'n/a' is not a finite number"),
        (table("A,T,copy at L,rope,nan,share,higher"), "not a finite number"),
        (table("A,T,copy at L,rope,1e999,share,higher"), "not a finite number"),
        (table("A,T,copy at L,rope,1_0,percent,higher"), "not a finite number"),
        (table("A,T,copy at L,rope,,share,higher"), "value is empty"),
        (table("A,T,copy at L,rope,80,share,higher"), "80 is no share"),
        (table("A,T,copy at L,rope,-1,percent,higher"), "-1 is no percent"),
        (table("A,T,perplexity at L,rope,0,perplexity,lower"), "0 is no perplexity"),
        (table("A,T,copy at L,rope,1,score,higher"), "unknown unit 'score'"),
        (table("A,T,copy at L,rope,1,share,sideways"), "better is 'sideways'"),
        (table("A,T,perplexity at L,rope,9,perplexity,higher"), "perplexity is better when lower"),
        (table("A,T,copy at L,rope,inf,share,higher"), "inf is no share"),
        (table("A,T,perplexity at L,rope,50%,ppl,lower"), "'50%' is no perplexity"),
        (table("A,T,copy at L,rope,1,share,higher,x"), "line 2: has 8 fields"),
        (table('A,T,"copy at L,rope,1,share,higher'), "no CSV"),
        (table("A,T,copy at L,rope,1,share,higher,8,16", header=LENGTHS), "trained at 8 and read at 16"),
        (table("A,T,copy beyond L,rope,1,share,higher,8,8", header=LENGTHS), "trained at 8 and read at 8"),
        (table("A,T,copy at L,rope,1,share,higher,-8,", header=LENGTHS), "trained_at '-8'"),
        (table(header=f"{HEADER},value"), "names a column twice: value"),
        (table("A,T,copy,mid,higher,pct,rope,1", header=SHORT), "unknown phase 'mid'"),
        (table("A,T,copy,iid,higher,score,rope,1", header=SHORT), "unknown quantity 'score'"),
        (table("A,T,zzz,iid,higher,pct,rope,1", header=SHORT), "unknown kind 'zzz at L'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_its_line(text: str, said: str) -> None:
    with pytest.raises(PublishedError) as e:
        parse(text)
    assert said in str(e.value)


def test_rows_that_cannot_be_read_are_left_out_with_their_lines(board: Board) -> None:
    """Even those that are no CSV: the next line is read afresh."""
    bad = ["A,T,copy beyond L,nope,OOM,share,higher", 'A,"T,copy beyond L,nope,1,share,higher', "A,T,x"]
    tables = parse(table(*bad, *copying("A", fox=0.9, rope=0.1)))
    assert [one.line for one in tables.left_out] == [2, 3, 4]
    (note,) = tables.notes
    assert note.startswith("3 rows were left out: line 2: value 'OOM' is not a finite number")
    v = validity.validity(board, tables)
    assert v.total.pairs == 1
    assert note in v.notes
    assert [one["line"] for one in validity_tables.to_json(v)["left_out"]] == [2, 3, 4]


def test_many_lines_without_csv_end_the_reading() -> None:
    left_out = parse(table(*copying("A", fox=0.9), *['A,"T"x'] * 2 * published.MOST_BROKEN)).left_out
    assert len(left_out) == published.MOST_BROKEN
    assert left_out[-1].reason.endswith("the last line that was read")


def test_the_kinds_are_listed_once_whatever_many_rows_have_an_unknown_one() -> None:
    rows = [f"A,T,{kind} at L,rope,0.5,share,higher" for kind in ("sorcery", "alchemy", "divination")]
    (note,) = parse(table(*rows, *copying("A", fox=0.9))).notes
    assert note.count("A kind is one of") == 1
    assert note.endswith("then 'at L' or 'beyond L'")


def row(kind: str, value: str, unit: str, better: str) -> pd.Series:
    return parse(table(f'A,T,{kind},rope,"{value}",{unit},{better}')).rows.iloc[0]


@pytest.mark.parametrize(
    ("kind", "read"),
    [
        ("passkey at L", "needle at L"), ("NIAH beyond L", "needle beyond L"), ("retrieval OOD", "needle beyond L"),
        ("needle-in-a-haystack at L", "needle at L"), ("needle_text at L", "needle at L"),
        ("Accuracy (at L)", "downstream at L"), ("acc iid", "downstream at L"),
        ("language_ends beyond L", "downstream beyond L"), ("copy_unique beyond L", "copy beyond L"),
        ("copy_repeat at L", "copy at L"), ("recall_again at L", "recall at L"), ("sort beyond L", "sort beyond L"),
        ("flipflop_error at L", "flipflop at L"), ("parity at L", "parity at L"), ("indexing at L", "indexing at L"),
        ("S-NIAH-1 beyond L", "needle beyond L"), ("S-NIAH at L", "needle at L"), ("MQAR at L", "recall at L"),
        ("average accuracy at L", "downstream at L"), ("Avg. acc at L", "downstream at L"),
    ],
)  # fmt: skip
def test_kinds_have_other_names(kind: str, read: str) -> None:
    assert row(kind, "0.5", "share", "higher")["kind"] == read


@pytest.mark.parametrize(
    ("kind", "unit", "read"),
    [
        ("ppl at L", "ppl", ("perplexity at L", "perplexity")),
        ("loss at L", "nats/token", ("perplexity at L", "nats")),
        ("NLL at L", "loss", ("perplexity at L", "nats")), ("bpb at L", "bpb", ("bits at L", "bits")),
        ("bpc at L", "bpc", ("bits at L", "bits")), ("language at L", "bits", ("bits at L", "bits")),
        ("val loss at L", "nats", ("perplexity at L", "nats")), ("validation loss at L", "bits", ("bits at L", "bits")),
        ("validation perplexity at L", "ppl", ("perplexity at L", "perplexity")),
    ],
)  # fmt: skip
def test_language_is_read_by_its_unit(kind: str, unit: str, read: tuple[str, str]) -> None:
    assert tuple(row(kind, "2.5", unit, "↓")[["kind", "unit"]]) == read


@pytest.mark.parametrize(
    ("task", "quantity", "read"),
    [
        ("copy_unique", "acc", ("copy beyond L", "share")),
        ("language_ends", "pct", ("downstream beyond L", "percent")),
        ("parity", "share", ("parity beyond L", "share")), ("language", "loss", ("perplexity beyond L", "nats")),
        ("language", "bpb", ("bits beyond L", "bits")), ("recall_again", "%", ("recall beyond L", "percent")),
    ],
)  # fmt: skip
def test_the_short_form_has_other_names_too(task: str, quantity: str, read: tuple[str, str]) -> None:
    better = "lower" if read[1] in ("nats", "bits") else "higher"
    (found,) = parse(table(f"A,T,{task},ood,{better},{quantity},rope,1", header=SHORT)).rows.itertuples()
    assert (found.kind, found.unit) == read


@pytest.mark.parametrize(
    ("better", "words"),
    [("higher", "higher up max High larger ↑"), ("lower", "lower down min low smaller ↓")],
)
def test_directions_have_other_names(better: str, words: str) -> None:
    assert {row("copy at L", "1", "share", word)["better"] for word in words.split()} == {better}


@pytest.mark.parametrize(
    ("value", "unit", "read"),
    [
        ("50.1%", "pct", (50.1, "percent")), ("50.1 %", "share", (0.501, "share")), ("50.1%", "acc", (50.1, "percent")),
        ("50.1±0.3", "%", (50.1, "percent")), ("50.1 (0.3)", "%", (50.1, "percent")),
        ("50.1% ± 0.3%", "%", (50.1, "percent")), ("**50.1**", "%", (50.1, "percent")),
        ("50.1", "accuracy", (50.1, "percent")), ("0.501", "accuracy", (0.501, "share")),
        ("1,234.5", "ppl", (1234.5, "perplexity")), ("1,234", "ppl", (1234.0, "perplexity")),
    ],
)  # fmt: skip
def test_values_are_read_as_papers_print_them(value: str, unit: str, read: tuple[float, str]) -> None:
    kind, better = ("perplexity at L", "lower") if unit == "ppl" else ("copy at L", "higher")
    found = row(kind, value, unit, better)
    assert (found["value"], found["unit"]) == (pytest.approx(read[0]), read[1])
    assert found["low"] == found["high"] == found["value"]


def test_an_accuracy_is_a_percentage_where_its_table_has_one() -> None:
    rows = [
        f"A,{t},copy at L,{n},{x},acc,up"
        for t, n, x in (("T", "fox", 80), ("T", "rope", 0.5), ("U", "fox", 0.5))
    ]
    assert parse(table(*rows)).rows["unit"].tolist() == ["percent", "percent", "share"]


@pytest.mark.parametrize(
    ("length", "read"), [("4k", 4096), ("16K", 16384), ("4,096", 4096), ("1M", 2**20), ("512 tokens", 512)]
)
def test_lengths_are_read_as_papers_print_them(length: str, read: int) -> None:
    (found,) = parse(table(f'A,T,copy,rope,1,share,up,"{length}",2M', header=LENGTHS)).rows.itertuples()
    assert (found.trained_at, found.read_at) == (read, 2**21)
    assert found.kind == "copy beyond L"  # the lengths tell


@pytest.mark.parametrize(
    "cells",
    [
        "https://arxiv.org/abs/2512.07805v2,", "GRAPE (arXiv:2512.07805),", "A,https://arxiv.org/pdf/2512.07805v1.pdf",
        "A,arXiv: 2512.07805", "2512.07805,",
    ],
)  # fmt: skip
def test_a_source_is_known_by_its_arxiv_number(cells: str) -> None:
    source, arxiv = cells.split(",")
    text = table(f"{source},T,copy at L,rope,1,share,higher,{arxiv}", header=f"{HEADER},arxiv")
    assert parse(text).rows["source_id"].tolist() == ["2512.07805"]


@pytest.mark.parametrize(
    ("column", "cell", "said"),
    [
        ("grade", "E", "grade 'E' is none of A, B, C, M"),
        ("arxiv", "doi:10/x", "arxiv 'doi:10/x' is no number"),
    ],
)
def test_what_decides_nothing_is_not_read(column: str, cell: str, said: str) -> None:
    tables = parse(table(f"A,T,copy at L,rope,1,share,higher,{cell}", header=f"{HEADER},{column}"))
    assert tables.rows[column].tolist() == [""]
    assert tables.notes == [f"{said}{tables.notes[0].removeprefix(said)}"]
    assert tables.notes[0].endswith("is not read (1 row)")


def test_a_kind_that_may_mean_another_is_told() -> None:
    assert parse(table("A,T,acc at L,rope,1,share,up")).notes == [
        "kind 'acc at L' is read as 'downstream' (1 row)"
    ]


@given(st.text(max_size=200))
def test_any_text_reads_or_says_why_not(text: str) -> None:
    for whole in (text, f"{HEADER}\n{text}"):
        with contextlib.suppress(PublishedError):
            assert len(parse(whole).rows)


@pytest.mark.parametrize("data", [b"\xff\xfe\x00", "source;é".encode("latin-1")])
def test_other_bytes_are_refused_with_the_remedy(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "t.csv"
    file.write_bytes(data)
    with pytest.raises(PublishedError, match="save it as CSV in UTF-8"):
        published.read(file)


def test_json_has_null_for_what_is_unknown_and_the_counts_add_up(board: Board) -> None:
    data = validity_tables.to_json(compare(board, *copying("A", fox=0.9, rope=0.1, alibi=0.5)))
    assert json.loads(json.dumps(data, allow_nan=False)) == data
    (kind,) = data["kinds"]
    assert kind["low"] is None
    assert kind["pairs"] == kind["agree"] + kind["contradict"] + kind["not_separated"] == 3
    assert {"kinds", "columns", "contradictions", "unmatched", "total"} <= data.keys()


def test_the_page_in_markdown_has_every_kind_and_escapes_what_is_not_ours(board: Board) -> None:
    text = validity_tables.to_markdown(
        compare(board, *copying("**B** | x", rope=0.9, fox=0.1), *copying("A", fox=0.9, nope=0.1))
    )
    assert "| copy beyond L | `copy` beyond L | 2 |" in text
    assert "**B**" not in text


def test_the_made_board_has_all_made_encodings() -> None:
    assert set(made(Sweep(SKILL)).ranking.data.encodings) == set(SKILL)


def only_beyond(gates: dict[str, float]) -> Board:
    """A board that scores copy beyond L alone, as STANDARD_2 does; an encoding's gates are around the given value."""
    records = []
    for record in Sweep({"fox": 9.0, "alibi": 4.0, "rope": 0.3}).records():
        if record.task == "copy":
            length = record.setup["train_length"]
            gate = min(gates[record.encoding] + 0.01 * record.seed, 1.0)
            rows = [r for r in record.rows if r.metric != "gate" and r.condition.get("length") != length]
            record = replace(record, rows=(Row("gate", gate, 256), *rows))
        records.append(record)
    return board_of(records, "QUICK", {"QUICK": 1}, [])


def test_a_task_without_a_score_at_l_is_judged_there_by_its_gate() -> None:
    board = only_beyond({"fox": 0.2, "alibi": 0.9, "rope": 0.9})
    rows = [
        f"A,T,copy at L,{name},{value},share,higher"
        for name, value in (("rope", 0.9), ("fox", 0.1), ("alibi", 0.5))
    ]
    v = compare(board, *rows)
    (kind,) = v.kinds
    assert kind.ours == "`copy` at L by the gate"
    assert (kind.all.agree, kind.all.contradict, kind.all.not_separated) == (2, 0, 1)
    gap = v.pairs.set_index(["better", "worse"])["difference"]
    assert gap["rope", "fox"] == pytest.approx(0.7)
    assert compare(board, *copying("A", fox=0.9, rope=0.1)).kinds[0].ours == "`copy` beyond L"


def test_equal_gates_separate_nothing() -> None:
    board = only_beyond({"fox": 1.0, "alibi": 1.0, "rope": 1.0})
    rows = [f"A,T,copy at L,{name},{value},share,higher" for name, value in (("rope", 0.9), ("fox", 0.1))]
    total = compare(board, *rows).total
    assert (total.not_separated, total.preview, total.tau) == (1, 0, 0.0)


def test_the_sizes_of_a_cause_are_of_language_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever other tasks the larger profile has."""
    asked = {}

    def trend(profiles: dict[str, list[Record]], of: str) -> None:
        asked.update(profiles)
        raise causes.trend.TrendError("enough")

    monkeypatch.setattr(causes.trend, "trend", trend)
    assert causes._sizes_of_rope_and_alibi.__wrapped__() == ""
    assert list(asked) == list(causes.rules.SIZES)
    assert {record.task for records in asked.values() for record in records} == {"language_ends"}


def test_the_last_lines_of_two_boards_are_of_the_pairs_of_both(board: Board) -> None:
    rows = parse(table(*copying("A", fox=0.9, rope=0.1, alibi=0.5), *copying("B", alibi=0.9, nope=0.1)))
    less = made(Sweep({"fox": 9.0, "rope": 0.3, "nope": 1.0}))
    lines = validity_tables.beside(validity.validity(board, rows), validity.validity(less, rows)).splitlines()
    both, inside = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines[-4:-2])
    assert both == ["of both", "", "1", "+1.00", "", "1", "+1.00"]
    assert inside == ["of both, inside one class", "", "0", "-", "", "0", "-"]
    assert lines[-1].startswith("With one source there is no interval, so neither is known to agree better")


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            (0.2, 0.6),
            (0.4, 0.8),
            "The intervals overlap (tau +0.40 and +0.60 on the pairs of both), so neither",
        ),
        ((-0.2, 0.2), (0.4, 0.8), "The newer one agrees better"),
        ((0.4, 0.8), (-0.2, 0.2), "The older one agrees better"),
    ],
)
def test_two_boards_agree_unlike_where_their_intervals_lie_apart(
    board: Board, before: tuple[float, float], after: tuple[float, float], said: str
) -> None:
    one = compare(board, *copying("A", fox=0.9, rope=0.1)).total
    sides = (replace(one, tau=(low + high) / 2, low=low, high=high) for low, high in (before, after))
    assert validity_tables.nearer(*sides).startswith(said)
