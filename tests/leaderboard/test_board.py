import hashlib
import io
import json
import math
import os
import statistics
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from rich.console import Console

from pebench.leaderboard.app import figures, views
from pebench.leaderboard.app.rows import board_table
from pebench.leaderboard.board import Board, board_of, make_board, newest_version
from pebench.leaderboard.columns import columns
from pebench.leaderboard.printing import (
    ordered,
    plain,
    print_board,
    safe_csv,
    to_csv,
    to_json,
    to_markdown,
)
from pebench.leaderboard.reading import BoardError, folder_named, stamp
from pebench.suite.results.record import VERIFIED, Record, Row, read, read_all, write
from pebench.suite.results.record import to_json as record_text
from tests.made_records import (
    DEPTHS,
    KINDS,
    LENGTHS,
    SKILL,
    Sweep,
    checks,
    facts,
    write_failure,
    write_sweep,
)

HOSTILE = "<script>alert(1)</script> [x](javascript:alert(1)) ![i](http://evil.example/i.png) **b** | `c` $x$"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sweep(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="module")
def board(folder: Path) -> Board:
    return make_board(folder)


def printed(board: Board, width: int = 80) -> str:
    text = io.StringIO()
    print_board(board, Console(file=text, width=width))
    return text.getvalue()


def entry(board: Board, name: str):
    return next(e for e in board.entries if e.name == name)


def test_the_best_is_first_and_says_how_sure_it_is(board):
    data = to_json(board)
    assert data["profile"] == "QUICK"
    assert data["seeds"] == [0, 1, 2]
    first = data["encodings"][0]
    assert {first["name"], data["encodings"][1]["name"], data["encodings"][2]["name"]} == {
        *("grape_a_qk", "grape_ap", "fox"),
    }
    assert first["rank"] == first["tier"] == 1
    assert first["low"] < first["score"] < first["high"]
    assert set(first["families"]) == {"copying", "needle", "language"}
    assert set(first["families"]["copying"]) == {"score", "low", "high"}
    assert len(data["encodings"]) == len(SKILL)
    assert sum(e["p_best"] for e in data["encodings"] if e["p_best"]) == pytest.approx(1)
    json.dumps(data, allow_nan=False)


def test_costs_are_ratios_beside_the_score(board):
    assert entry(board, "rope").costs["train_ratio"] == pytest.approx(1.0)
    assert entry(board, "grape_ap").costs["train_ratio"] == pytest.approx(1.9)
    assert "throughput" not in set(board.ranking.data.names["task"])
    assert "cost" not in board.task_families


def test_rope_costs_1_and_a_note_says_what_its_clock_measured(folder):
    measured = {"train_ratio": 1.25, "prefill_ratio": 0.9, "decode_ratio": 1.0}
    records = [
        replace(r, rows=tuple(replace(row, value=measured.get(row.metric, row.value)) for row in r.rows))
        if (r.encoding, r.task) == ("rope", "throughput")
        else r
        for r in (read(file, folder) for file in sorted(folder.rglob("*.json")))
    ]
    found = board_of(records, "QUICK", {"QUICK": len(records)}, [])
    assert [entry(found, "rope").costs[ratio] for ratio in measured] == [1, 1, 1]
    assert [note for note in found.notes if "RoPE over itself was measured as 0.90 to 1.25" in note]


def test_what_lies_beyond_max_length_is_missing_and_shown_as_coverage(board):
    ape = entry(board, "learned_ape")
    assert ape.coverage == pytest.approx(0.5)
    assert ape.partial
    assert any("some conditions are missing" in note and "learned_ape" in note for note in board.notes)
    rows = board.scores[(board.scores["encoding"] == "learned_ape") & board.scores["score"].notna()]
    assert rows["length"].max() == 128


@pytest.fixture(scope="module")
def one_seed(tmp_path_factory: pytest.TempPathFactory) -> Board:
    return make_board(write_sweep(tmp_path_factory.mktemp("one"), seeds=1))


@pytest.mark.parametrize("width", [40, 80, 200])
@pytest.mark.parametrize("seeds", [1, 3])
def test_the_table_fits_its_width_and_loses_no_encoding(board, one_seed, seeds, width):
    text = printed(one_seed if seeds == 1 else board, width)
    assert max(len(line) for line in text.splitlines()) <= width
    if width >= 80:
        assert all(name in text for name in SKILL)
        assert "\x1b" not in text


def test_one_seed_has_no_tier_no_interval_and_says_why(one_seed):
    assert "One seed only" in one_seed.notes[0]
    assert "95 %" not in printed(one_seed, 200)
    for e in to_json(one_seed)["encodings"]:
        assert e["preview"]
        assert [e[key] for key in ("rank", "tier", "low", "high", "p_best")] == [None] * 5
        assert e["score"] is not None
        assert e["at_length"]["score"] is not None
        assert e["at_length"]["low"] is None
    assert "| preview |" in to_markdown(one_seed)


def test_the_score_at_the_training_length_and_beyond_are_columns_everywhere(board):
    data = {e["name"]: e for e in to_json(board)["encodings"]}
    assert data["rope"]["at_length"]["score"] > data["rope"]["score"] > data["rope"]["beyond"]["score"]
    assert data["learned_ape"]["beyond"] is None  # it lacks the longest lengths
    table = pd.read_csv(io.StringIO(to_csv(board))).set_index("name")
    for quantity in ("at_length", "beyond"):
        found = {name: (e[quantity] or {}).get("low") for name, e in data.items()}
        assert table[f"{quantity}_low"].dropna().to_dict() == pytest.approx(
            {name: low for name, low in found.items() if low is not None}
        )
    assert "| at L | beyond |" in to_markdown(board)
    assert "at L" in printed(board)
    assert "beyond" in printed(board)


def test_a_preview_is_listed_below_with_a_score_and_no_place():
    sweeps = [Sweep({"rope": 1.0, "alibi": 4.0}, seeds=2), Sweep({"fox": 9.0}, seeds=1)]
    mixed = board_of([r for s in sweeps for r in s.records()], "QUICK", {"QUICK": 1}, [])
    last = mixed.entries[-1]
    assert (last.name, last.preview, last.rank, last.tier, last.p_best, last.places) == (
        *("fox", True, None, None, None, {}),
    )
    assert last.score > mixed.entries[0].score
    text = printed(mixed, 200)
    assert "Preview, a score without a place" in text
    assert "no rank: fox" not in text
    frame = pd.read_csv(io.StringIO(to_csv(mixed)))
    assert frame["preview"].tolist() == [False, False, True]
    assert frame["rank"].isna().tolist() == [False, False, True]


def test_without_a_rank_no_quantity_has_a_chance_to_be_the_best(tmp_path):
    """Of a failed certificate, and where the profile is not measured whole."""
    records = Sweep({"rope": 1.0, "alibi": 4.0, "fox": 9.0}).records()
    for n, record in enumerate(records):
        if (record.encoding, record.task) == ("fox", "certificate"):
            records[n] = replace(record, rows=(replace(record.rows[0], value=0.0), *record.rows[1:]))
    failing = board_of(records, "QUICK", {"QUICK": 1}, [])
    alone = write_sweep(tmp_path, {"rope": 1.0, "alibi": 4.0}, profile="STANDARD")
    for made, unranked in ((failing, {"fox"}), (make_board(alone), {"rope", "alibi"})):
        for e in made.entries:
            parts = (e.at_length, e.beyond, e.learns, e.keeps)
            assert (e.rank is None) == (e.name in unranked)
            assert all((part.p_best is None) == (e.rank is None) for part in (e, *parts))
    ranked = [e for e in failing.entries if e.rank]
    assert sum(e.beyond.p_best for e in ranked) == pytest.approx(1)


def test_a_failed_seed_is_no_second_seed(tmp_path):
    write_sweep(tmp_path, {"rope": 1.0, "fox": 6.0}, seeds=2)
    gone = next((tmp_path / "QUICK" / "copy" / "fox").glob("1-*.json"))
    gone.unlink()
    failed = Record("fox", "copy", "QUICK", 1, "cd" * 8, (), "diverged", "NaN", **facts("fox", "copy", 1))
    write(failed, tmp_path)
    fox = entry(make_board(tmp_path), "fox")
    assert (fox.preview, fox.rank, fox.reason) == (True, None, "preview: fewer than two seeds in copy")


def test_the_rows_can_stand_in_another_order(board):
    with pytest.raises(BoardError, match="mean, standardised, median-rank"):
        ordered(board, "alphabet")
    assert ordered(board, "mean") is board
    for order in ("standardised", "median-rank"):
        turned = ordered(board, order)
        assert {e.name for e in turned.entries} == {e.name for e in board.entries}
        places = [e.places[order] for e in turned.entries if order in e.places]
        assert places == sorted(places)
        assert turned.notes[0].startswith("Order of the rows")
        assert to_json(turned)["order"] == order
        assert "place" in printed(turned).splitlines()[1]
        standings = [e.standings[order] for e in turned.entries if order in e.places]
        sign = 1 if order == "median-rank" else -1
        assert [sign * s.value for s in standings] == sorted(sign * s.value for s in standings)
        assert all(s.low <= s.value <= s.high for s in standings)
        assert sum(s.p_best for s in standings) == pytest.approx(1)
        first = to_json(turned)["encodings"][0]["standings"][order]
        assert f"{first['value']:.2f} ({first['low']:.2f} to {first['high']:.2f})" in to_markdown(
            turned
        ).replace("\\", "")


def test_a_task_without_records_is_told(tmp_path):
    folder = write_sweep(tmp_path, {"rope": 1.0, "fox": 2.0})
    with pytest.raises(BoardError, match="no records of the task 'copyy' in QUICK; did you mean 'copy'"):
        make_board(folder, tasks=["needle", "copyy"])


@pytest.mark.parametrize("order", ["learns", "at-L", "beyond", "keeps"])
def test_the_rows_can_stand_in_the_order_of_a_column(board, order):
    turned = ordered(board, order.upper())
    assert turned.order == order
    placed = [e for e in turned.entries if order in e.places]
    values = [
        {"learns": e.learns, "keeps": e.keeps}[order].value if order in ("learns", "keeps")
        else {"at-L": e.at_length, "beyond": e.beyond}[order].score
        for e in placed
    ]  # fmt: skip
    assert values == sorted(values, reverse=True)
    assert values
    assert [e.places[order] for e in placed] == [1 + sum(v > value for v in values) for value in values]
    assert f"by {order}" in printed(turned).splitlines()[1]


def test_a_row_that_lacks_a_column_in_some_task_has_no_place_in_its_order():
    records = [
        replace(r, rows=(replace(r.rows[0], value=0.0), *r.rows[1:])) if (r.encoding, r.task) == ("fox", "copy") else r
        for r in Sweep({"rope": 1.0, "fox": 9.0, "alibi": 4.0}).records()
    ]  # fmt: skip
    turned = ordered(board_of(records, "QUICK", {"QUICK": 1}, []), "keeps")
    assert [("keeps" in e.places) for e in turned.entries] == [True, True, False]
    assert turned.entries[-1].name == "fox"
    assert "has no place in this order" in turned.notes[0]


def test_the_title_tells_the_fewest_and_the_most_seeds():
    three, one = (list(Sweep({name: 1.0}, seeds=n).records()) for name, n in (("rope", 3), ("fox", 1)))
    mixed, alike = (board_of(records, "QUICK", {"QUICK": 1}, []) for records in ([*three, *one], three))
    assert (mixed.size, alike.size) == ("2 encodings, 1 to 3 seeds", "1 encoding, 3 seeds")
    header, _, *rows = to_markdown(mixed).splitlines()[:4]
    place = header.split(" | ").index("seeds")
    assert {row.split(" | ")[1]: row.split(" | ")[place] for row in rows} == {"fox": "1", "rope": "3"}
    assert "seeds" not in to_markdown(alike).splitlines()[0]


def test_a_failed_certificate_blocks_the_rank_and_not_the_listing(tmp_path):
    write_sweep(tmp_path, {"rope": 1.0, "fox": 6.0})
    sweep = Sweep({"fox": 6.0})
    write(sweep.record("fox", "certificate", 0, tuple(checks(failed="the future is hidden"))), tmp_path)
    board = make_board(tmp_path)
    fox = entry(board, "fox")
    assert fox.rank is None
    assert fox.tier is None
    assert fox.reason == "certificate failed: the future is hidden"
    assert fox.score is not None
    assert board.entries[-1] is fox
    assert entry(board, "rope").rank == 1
    assert "no rank: fox" in printed(board)


def test_a_failed_run_is_shown_and_blocks_its_family(tmp_path):
    write_sweep(tmp_path, {"rope": 1.0})
    for task in ("copy", "language"):
        write_failure(tmp_path, "fox", task, "diverged", "loss is NaN at step 12")
    write_failure(tmp_path, "alibi", "copy", "undefined", "length 512 is beyond max_length")
    board = make_board(tmp_path)
    fox = entry(board, "fox")
    assert fox.score is None
    assert fox.failed_runs == ["copy, seed 0: diverged", "language, seed 0: diverged"]
    assert entry(board, "alibi").failed_runs == []
    json.dumps(to_json(board), allow_nan=False)
    assert "diverged" in printed(board)


def test_profiles_are_never_mixed(tmp_path):
    write_sweep(tmp_path, {"rope": 1.0}, profile="SMOKE", seeds=1)
    write_sweep(tmp_path, {"rope": 1.0, "fox": 6.0}, profile="QUICK", seeds=2)
    board = make_board(tmp_path)
    assert board.profile == "QUICK"
    assert any("SMOKE" in note for note in board.notes)
    smoke = make_board(tmp_path, "SMOKE")
    assert [e.name for e in smoke.entries] == ["rope"]
    with pytest.raises(BoardError, match="QUICK, SMOKE"):
        make_board(tmp_path, "STANDARD")


@pytest.mark.parametrize(
    ("part", "mine", "others", "told"),
    [
        ("provenance", {"task_fingerprint": "a" * 64}, {"task_fingerprint": "b" * 64}, "different versions"),
        ("setup", {"steps": 300}, {"steps": 600}, "different versions"),
        ("provenance", {"precision": "bfloat16"}, {"precision": "float32"}, "bfloat16 or float32"),
        ("provenance", {"precision": "bfloat16"}, {"precision": "float16"}, "bfloat16 or float16"),
    ],
)
def test_runs_that_were_not_made_alike_are_told(part, mine, others, told):
    def notes(*about):
        records = [
            replace(r, **{part: {**getattr(r, part), **facts}}) if r.task == "copy" else r
            for name, facts in zip(("rope", "fox"), about, strict=True)
            for r in Sweep({name: 1.0}, seeds=1).records()
        ]
        return [note for note in board_of(records, "QUICK", {"QUICK": 1}, []).notes if told in note]

    assert notes(mine, mine) == notes(mine, {}) == []  # an older record that does not tell is not another
    (note,) = notes(mine, others)
    assert "copy" in note


def test_only_the_newest_record_of_a_run_counts(tmp_path):
    write_sweep(tmp_path, {"rope": 1.0})
    old = Record(
        *("rope", "copy", "QUICK", 0, "ef" * 8),
        (Row("exact", 0.0, 256, {"length": 64}, 0.0, 1.0),),
        **facts("rope", "copy", 0) | {"provenance": {"started": "2020-01-01T00:00:00+00:00"}},
    )
    before = entry(make_board(tmp_path), "rope")
    write(old, tmp_path)
    assert entry(make_board(tmp_path), "rope") == before


def test_seeds_of_different_code_are_called_stale(tmp_path):
    write_sweep(tmp_path, {"rope": 1.0, "fox": 6.0})
    seed = Sweep({"rope": 1.0}).records()[0]
    newer = {**seed.provenance, "started": "2027-01-01T00:00:00+00:00"}
    write(Record(**{**vars(seed), "fingerprint": "12" * 8, "provenance": newer}), tmp_path)
    board = make_board(tmp_path)
    assert entry(board, "rope").stale
    assert not entry(board, "fox").stale
    assert any(note.startswith("Stale") and "rope" in note for note in board.notes)


def test_nothing_to_show_is_one_sentence_with_the_remedy(tmp_path):
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(BoardError, match="pebench run --profile QUICK"):
            make_board(folder)


def test_an_unreadable_record_is_named_and_the_rest_shown(tmp_path):
    write_sweep(tmp_path, {"rope": 1.0})
    broken = tmp_path / "QUICK" / "copy" / "rope" / "9-0000.json"
    broken.write_text("{", encoding="utf-8")
    board = make_board(tmp_path)
    assert [u.path for u in board.unreadable] == [broken]
    assert "9-0000.json" in printed(board).replace("\n", "")
    assert to_json(board)["unreadable"][0]["path"] == str(broken)


def test_only_certificates_is_a_board_without_scores(tmp_path):
    sweep = Sweep({"rope": 1.0})
    write(sweep.record("rope", "certificate", 0, tuple(checks())), tmp_path)
    board = make_board(tmp_path)
    rope = entry(board, "rope")
    assert (rope.rank, rope.score, rope.certificate) == (None, None, "passed")
    assert "rope" in printed(board)
    assert "rope" in to_csv(board)


def hostile(folder: Path) -> Path:
    """A record whose every free text tries something, and whose facts have the wrong types."""
    known = facts("evil", "copy", 0)
    card = {key: HOSTILE for key in known["card"]} | {"relative": HOSTILE, "formula": f"$$\n{HOSTILE}"}
    setup = {"task_family": HOSTILE, "gate": "high", "train_length": [1], "corpus": 3}
    provenance = {
        "started": 7,
        "parameters": [1],
        "command": HOSTILE,
        "versions": HOSTILE,
        "seconds": 10**400,
    }
    rows = (
        Row("margin", 1e308, 1, {"length": "long"}, 0.0, 1e-3),
        Row("bits_at", 1.0, 1, {HOSTILE: HOSTILE, "length": 64, "position": -5}),
        Row("exact", 0.5, 3, {"length": 64, "depth": 0.5}, 0.0, 1.0),
    )
    write(
        Record("evil", "copy", "QUICK", 0, "aa" * 8, rows, card=card, setup=setup, provenance=provenance),
        folder,
    )
    check = (Row("pass", 0.0, 1, {"check": HOSTILE, "detail": HOSTILE}),)
    write(Record("evil", "certificate", "QUICK", 0, "aa" * 8, check, card=card), folder)
    return folder


def test_hostile_text_and_wrong_types_are_data(tmp_path):
    calm = make_board(write_sweep(tmp_path, {"rope": 1.0, "fox": 6.0}))
    board = make_board(hostile(tmp_path))
    assert entry(board, "evil").rank is None
    for name in ("rope", "fox"):  # invented tasks and conditions move nobody else
        assert entry(board, name) == entry(calm, name)
    assert "no rank: evil" in printed(board, 200)
    markdown = to_markdown(board)
    assert "<script>" not in markdown
    assert "](http" not in markdown
    for line in markdown.splitlines():
        if line.startswith("| "):
            assert line.replace(r"\|", "").count("|") == markdown.splitlines()[0].replace(r"\|", "").count(
                "|"
            )
    json.dumps(to_json(board), allow_nan=False)
    assert len(to_csv(board).splitlines()) == 1 + len(board.entries)


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**30)  # 1 GiB that takes no room on the disk


SPOILERS = {
    "a huge file": (sparse, "larger than 64 MB"),
    "a pipe": (os.mkfifo, "no regular file"),
    "a folder": (Path.mkdir, "no regular file"),
    "a link to a device": (lambda path: path.symlink_to("/dev/zero"), "no regular file"),
    "a link to nowhere": (lambda path: path.symlink_to("/nowhere/x"), "No such file"),
    "deep JSON": (lambda path: path.write_text("[" * 200_000), "not JSON"),
    "deep objects": (lambda path: path.write_text('{"a":' * 200_000), "not JSON"),
    "digits": (lambda path: path.write_text('{"schema": ' + "9" * 100_000 + "}"), "not JSON"),
    "no UTF-8": (lambda path: path.write_bytes(b'{"schema": "\xff"}'), "utf-8"),
}


@pytest.mark.parametrize("what", SPOILERS)
def test_a_strange_file_is_named_and_stops_nothing(tmp_path, what):
    spoil, says = SPOILERS[what]
    write_sweep(tmp_path, {"rope": 1.0}, seeds=1)
    spoil(tmp_path / "QUICK" / "copy" / "rope" / "9-0000.json")
    begin = time.process_time()
    board = make_board(tmp_path)
    assert time.process_time() - begin < 10
    [file] = board.unreadable
    assert says in file.reason
    assert entry(board, "rope").score is not None


def test_rich_markup_in_records_is_not_run(tmp_path):
    write_sweep(tmp_path, {"rope": 1.0})
    write_failure(tmp_path, "fox", "certificate", "failed", "[red]oh[/red] [/nothing]")
    assert "[red]oh[/red] [/nothing]" in printed(make_board(tmp_path), 200)


def test_csv_text_is_no_formula():
    frame = pd.DataFrame({"name": ["=cmd()", "rope", "-x"], "score": [-1.0, 2.0, 3.0]})
    assert safe_csv(frame).splitlines() == ["name,score", "'=cmd(),-1.0", "rope,2.0", "'-x,3.0"]
    assert safe_csv(frame.astype({"name": "category"})) == safe_csv(frame)


def test_markdown_is_escaped_and_a_table_row_stays_one():
    assert plain("a|b\n\n# c") == r"a\|b \# c"


def test_the_csv_has_a_row_for_each_encoding(board):
    frame = pd.read_csv(io.StringIO(to_csv(board)))
    assert list(frame["name"]) == [e.name for e in board.entries]
    assert {"tier", "score", "low", "high", "coverage", "copying", "train_ratio"} <= set(frame.columns)


def test_the_stamp_changes_with_the_folder(tmp_path):
    write_sweep(tmp_path, {"rope": 1.0}, seeds=1)
    before = stamp(tmp_path)
    assert stamp(tmp_path) == before
    write_failure(tmp_path, "fox", "copy", "failed", "x")
    assert stamp(tmp_path) != before


def test_a_length_curve_leaves_out_what_was_not_learned(tmp_path):
    write_sweep(tmp_path, {"rope": 1.0})
    low = (Row("exact", 0.1, 9, {"length": 64}, 0.0, 1.0), Row("gate", 0.2, 9))
    write(Sweep({"fox": 1.0}).record("fox", "copy", 0, low), tmp_path)
    board = make_board(tmp_path)
    assert set(views.by_length(board, "copy", "exact", ["rope", "fox"])["encoding"]) == {"rope"}
    everyone = views.by_length(board, "copy", "exact", ["rope", "fox"], learned_only=False)
    assert set(everyone["encoding"]) == {"rope", "fox"}
    assert entry(board, "fox").gates == {"copy": 0.0}


def test_the_effective_length_is_the_longest_unbroken_one(tmp_path):
    def row(length: int, value: float) -> Row:
        return Row("exact", value, 100, {"length": length}, 0.0, 1.0)

    sweep = Sweep({"rope": 1.0})
    rows = (row(32, 0.9), row(64, 0.6), row(128, 0.4), row(256, 0.8))
    write(sweep.record("rope", "copy", 0, rows), tmp_path)
    write(sweep.record("fox", "copy", 0, (row(32, 0.1), row(64, 0.9))), tmp_path)
    table = views.effective_lengths(make_board(tmp_path)).set_index("encoding")["copy"]
    assert table.to_dict() == {"rope": 64, "fox": 0}


def test_the_pareto_front_holds_what_nothing_beats_in_both(board):
    frame = views.cost_quality(board, "train_ratio")
    whole = frame[frame["encoding"] != "learned_ape"]
    for row in whole.itertuples():
        beaten = (
            ((whole["cost"] <= row.cost) & (whole["score"] > row.score))
            | ((whole["cost"] < row.cost) & (whole["score"] >= row.score))
        ).any()
        assert row.front == (not beaten), row.encoding


def test_needles_are_shown_by_depth_and_then_by_what_is_asked_of_several(board):
    frame = views.by_depth(board, "needle", "exact", ["fox", "rope"])
    places = [*(f"depth {depth:g}" for depth in DEPTHS), *KINDS]
    assert list(dict.fromkeys(frame["place"])) == places
    assert len(frame) == 2 * len(LENGTHS) * len(places)
    one = board.scores.query("encoding == 'fox' and metric == 'exact' and length == 64 and depth == 0.5")
    shown = frame.query("encoding == 'fox' and length == 64 and place == 'depth 0.5'")["value"]
    assert shown.item() == pytest.approx(one["value"].mean())
    (map_,) = figures.heat_map(frame[frame["encoding"] == "fox"], "fox").data
    assert list(map_.y) == places


def test_the_figure_of_scores_has_a_band_for_each_second_tier(board):
    frame = views.overview(board, views.Filter())
    figure = figures.scores(frame)
    tiers = frame["tier"].max()
    assert [a.text for a in figure.layout.annotations] == [f"tier {n}" for n in range(1, tiers + 1)]
    assert len(figure.layout.shapes) == (tiers + 1) // 2
    assert figure.layout.shapes[0].y1 == len(frame) - 0.5  # the best is on top


def test_compared_encodings_lie_side_by_side_within_a_task(board):
    looks = figures.Looks(SKILL)
    lines = figures.differences(views.compare(board, "fox", ["rope", "alibi"]), "fox", looks).data
    assert [(line.orientation, line.offsetgroup) for line in lines] == [("h", "rope"), ("h", "alibi")]


def test_the_cost_figure_names_its_front_and_rope(board):
    frame = views.cost_quality(board, "train_ratio")
    told = str(figures.cost_quality(frame, "cost").to_dict())
    assert frame["front"].any()
    for name in {"rope", *frame.loc[frame["front"], "encoding"]}:
        assert name in told


def test_filters_narrow_the_overview(board):
    def names(**chosen) -> set[str]:
        return set(views.overview(board, views.Filter(**chosen))["name"])

    assert names() == set(SKILL)
    assert names(search="GRAPE qk") == {"grape_a_qk"}
    assert names(families=["path-integral"]) == {"grape_ap"}
    assert names(kernels=["own"], families=["contextual"]) == {"stick_breaking"}
    assert names(seeds=4) == set()
    assert names(certified=True) == set(SKILL)
    assert names(content=["yes"]) == {"grape_ap", "stick_breaking"}
    assert names(content=["no"], kernels=["masked"]) == {"t5_bias"}
    assert names(parameters=["no"]) == {"nope", "rope", "alibi"}
    assert names(parameters=["yes", "no"]) == set(SKILL)
    assert names(verified=True) == set()


def marked(folder: Path, path: Path, **other: object) -> Path:
    """A mark of a record, as `pebench reproduce --mark` writes it."""
    digest = hashlib.sha256((folder / path).read_bytes()).hexdigest()
    mark = {"record": path.as_posix(), "sha256": digest, "verdict": "equal", **other}
    (folder / VERIFIED).write_text(json.dumps({"schema": 1, "verified": {path.as_posix(): mark}}))
    return folder


def test_a_mark_is_shown_for_the_bytes_that_were_run_again(tmp_path):
    write_sweep(tmp_path, {"rope": 1.0, "fox": 6.0}, seeds=1)
    record = next(r for r in Sweep({"fox": 6.0}, seeds=1).records() if r.task == "copy")
    board = make_board(marked(tmp_path, record.path))
    assert board.unreadable == []
    assert entry(board, "rope").verified == 0
    assert entry(board, "fox").verified == pytest.approx(1 / 5)
    runs = board.runs.set_index("file")["verified"]
    assert runs[record.path.as_posix()] == "equal"
    assert (runs != "").sum() == 1
    assert set(views.overview(board, views.Filter(verified=True))["name"]) == {"fox"}
    (tmp_path / record.path).write_text(record_text(replace(record, card={**record.card, "title": "Better"})))
    assert entry(make_board(tmp_path), "fox").verified == 0


@pytest.mark.parametrize(
    "other", [{"sha256": "0" * 64}, {"verdict": "different"}, {"verdict": "<b>equal</b>"}, {"sha256": [1]}]
)
def test_a_false_mark_verifies_nothing(tmp_path, other):
    write_sweep(tmp_path, {"rope": 1.0}, seeds=1)
    path = Sweep({"rope": 1.0}, seeds=1).records()[0].path
    assert entry(make_board(marked(tmp_path, path, **other)), "rope").verified == 0


def test_a_mark_of_one_folder_is_none_of_another_folders_record(tmp_path):
    """Of two records of one path the newer one is shown, which nobody ran again."""
    for name, started in (("a", "2026-11-28T00:00:00"), ("b", "2099-01-01T00:00:00")):
        for r in Sweep({"rope": 1.0}, seeds=1).records():
            write(replace(r, provenance={**r.provenance, "started": started}), tmp_path / name)
    path = next((tmp_path / "a/QUICK/copy/rope").glob("*.json")).relative_to(tmp_path / "a")
    folder = marked(tmp_path / "a", path)
    assert set(make_board(folder).runs["verified"]) == {"", "equal"}
    assert set(make_board([folder, tmp_path / "b"]).runs["verified"]) == {""}


@pytest.mark.parametrize(
    "text", ["{", "[]", "{}", '{"verified": 3}', "[" * 99_999, '{"verified": {"PATH": 1}}']
)
def test_a_broken_file_of_marks_is_named(tmp_path, text):
    write_sweep(tmp_path, {"rope": 1.0}, seeds=1)
    path = Sweep({"rope": 1.0}, seeds=1).records()[0].path
    (tmp_path / VERIFIED).write_text(text.replace("PATH", path.as_posix()))
    board = make_board(tmp_path)
    assert [file.path.name for file in board.unreadable] == [VERIFIED]
    assert entry(board, "rope").score is not None


@pytest.mark.parametrize("what", ["a huge file", "a pipe", "a folder", "a link to a device"])
def test_a_strange_file_of_marks_is_named_and_stops_nothing(tmp_path, what):
    write_sweep(tmp_path, {"rope": 1.0}, seeds=1)
    SPOILERS[what][0](tmp_path / VERIFIED)
    (file,) = make_board(tmp_path).unreadable
    assert file.path.name == VERIFIED
    assert "no file of marks" in file.reason


def test_marks_of_files_elsewhere_are_never_looked_at(tmp_path):
    write_sweep(tmp_path / "records", {"rope": 1.0}, seeds=1)
    (tmp_path / "secret").write_text("x")
    board = make_board(marked(tmp_path / "records", Path("../secret")))
    assert board.unreadable == []
    assert entry(board, "rope").verified == 0


def test_a_pair_that_says_the_opposite_of_the_order_is_told(tmp_path):
    # Up to the middle length, and beyond it: nope fails at the lengths that fox was measured at.
    scores = {"fox": (0.60, None), "rope": (0.65, 0.65), "nope": (0.1, 0.6)}
    records = []
    for r in Sweep(dict.fromkeys(scores, 1.0), tasks=("copy",)).records():
        if r.task == "copy":
            length = [row.condition.get("length", 0) for row in r.rows]
            value = [scores[r.encoding][at > statistics.median(length)] for at in length]
            rows = [replace(row, value=v) for row, v in zip(r.rows, value, strict=True) if v is not None]
            records.append(replace(r, rows=tuple(rows)))
    first, _ = views.how_sure(board_of(records, "QUICK", {"QUICK": 3}, []))
    assert first.startswith(
        "fox is ahead of rope in the mean over all pairs, and behind it by 0.050 in their own"
    )


def test_how_sure_the_order_is_stands_in_words(tmp_path):
    skills = {"fox": 6.0, "alibi": 5.8, "rope": 0.2}
    near, far = views.how_sure(make_board(write_sweep(tmp_path / "three", skills)))
    leader, second = ("fox", "alibi") if far.startswith("fox") else ("alibi", "fox")
    assert near.startswith(
        (f"Not even 1000 seeds would separate {leader} from {second}", f"{leader} is ahead of")
    )
    assert "more would do" in near or "1000" in near
    assert far.startswith(f"{leader} is ahead of rope")
    assert ": separated (p < 0.001)" in far
    one = make_board(write_sweep(tmp_path / "one", {"fox": 6.0, "alibi": 5.9}, seeds=1))
    assert views.how_sure(one) == []


def test_without_any_score_costs_and_lengths_are_empty_tables():
    records = [
        r
        if r.task in ("certificate", "throughput")
        else replace(r, rows=(), outcome="diverged", reason="NaN")
        for r in Sweep({"rope": 1.0, "fox": 6.0}).records()
    ]
    failed = board_of(records, "QUICK", {"QUICK": 1}, [])
    assert views.cost_metrics(failed)
    assert views.cost_quality(failed, "train_ratio").empty
    assert views.effective_lengths(failed).empty


def test_mean_ranks_say_what_they_do_not_separate(board):
    means = views.mean_ranks(board)
    assert means.ranks.is_monotonic_increasing
    assert means.cliques[0][0] == 0
    for i, j in means.cliques:
        assert means.ranks.iloc[j] - means.ranks.iloc[i] <= means.distance
    assert 0 < means.friedman < 0.05


def asked(seed: int, accuracy: float, bits: float, length: int = 64) -> Record:
    """A record of the task `harness`."""
    condition = {"length": length, "task": "passages"}
    rows = (
        Row("accuracy", accuracy, 500, condition, 0.25, 1.0),
        Row("accuracy_per_character", accuracy, 500, condition),
        Row("bits_per_byte", bits, 32_000, condition, 4.4, 0.0),
    )
    return Sweep({"rope": 1.0}).record("rope", "harness", seed, rows)


def test_an_accuracy_at_chance_is_called_so(tmp_path):
    write_sweep(tmp_path, {"rope": 1.0, "fox": 6.0}, seeds=2)
    for record in (
        asked(0, 0.27, 2.0),
        asked(1, 0.28, 2.2),
        asked(0, 0.31, 2.0, 128),
        asked(1, 0.3, 2.0, 128),
    ):
        path = tmp_path / record.path
        if path.exists():  # both reaches are rows of one record
            record = replace(record, rows=(*read(path, tmp_path).rows, *record.rows))
        write(record, tmp_path)
    near, far = views.forced_choice(make_board(tmp_path)).to_dict("records")
    assert (near["questions"], near["length"], near["asked"], near["seeds"]) == ("passages", 64, 500, 2)
    assert (near["accuracy"], near["chance"], near["verdict"]) == (
        pytest.approx(0.275),
        0.25,
        "not above chance",
    )
    assert near["bits_per_byte"] == pytest.approx(2.1)
    assert (far["length"], far["verdict"]) == (128, "above chance")


def test_one_seed_or_no_known_chance_gets_no_verdict_of_an_accuracy(tmp_path):
    write_sweep(tmp_path, {"rope": 1.0, "fox": 6.0}, seeds=2)
    write(asked(0, 0.9, 2.0), tmp_path)
    (row,) = views.forced_choice(make_board(tmp_path)).to_dict("records")
    assert (row["seeds"], row["verdict"]) == (1, "")
    for seed in (0, 1):
        record = asked(seed, 0.9, 2.0)
        write(
            replace(record, rows=tuple(replace(row, floor=None, ceiling=None) for row in record.rows)),
            tmp_path,
        )
    (row,) = views.forced_choice(make_board(tmp_path)).to_dict("records")
    assert (row["seeds"], row["verdict"]) == (2, "")


def test_previews_of_a_users_own_leave_the_tasks_of_the_others(tmp_path):
    theirs, own = tmp_path / "theirs", tmp_path / "own"
    write_sweep(theirs, {"rope": 1.0, "fox": 6.0, "alibi": 4.0}, seeds=2)
    write_sweep(own, {f"own{n}": 2.0 for n in range(12)}, seeds=1, tasks=("copy",))
    alone, beside = make_board(theirs), make_board([theirs, own])
    assert beside.ranking.data.tasks == alone.ranking.data.tasks
    ranks = [{e.name: e.rank for e in board.entries if e.rank} for board in (alone, beside)]
    assert ranks[0] == ranks[1]


def test_rows_just_begun_leave_the_tasks_of_the_others():
    """Two seeds of one task each, of more encodings than are measured whole."""
    whole = Sweep({"rope": 1.0, "fox": 6.0, "alibi": 4.0}, seeds=2).records()
    begun = Sweep({f"own{n}": 2.0 for n in range(12)}, seeds=2, tasks=("copy",)).records()
    alone, beside = (board_of(r, "QUICK", {"QUICK": 1}, []) for r in (whole, [*whole, *begun]))
    assert beside.ranking.data.tasks == alone.ranking.data.tasks
    ranked = {e.name for e in beside.entries if e.rank}
    assert ranked == {"rope", "fox", "alibi"}


def test_one_record_of_each_missing_task_makes_no_rank(tmp_path):
    """A task that one encoding alone has does not count, so the others are not measured whole."""
    write_sweep(tmp_path, {"rope": 1.0, "fox": 6.0, "alibi": 4.0}, seeds=2, tasks=("copy",))
    before = make_board(tmp_path)
    write_sweep(tmp_path, {"rope": 1.0}, seeds=1)
    after = make_board(tmp_path)
    for made in (before, after):
        assert not any(e.rank for e in made.entries)
        assert all(e.reason.startswith("not counted yet of QUICK: ") for e in made.entries if not e.preview)


def test_what_the_longest_length_bounds_is_marked_and_so_are_missing_tasks(tmp_path):
    write_sweep(tmp_path, {"rope": 0.1, "fox": 60.0, "alibi": 60.0}, seeds=2)
    for record in (tmp_path / "QUICK" / "language" / "alibi").glob("*.json"):
        record.unlink()
    there = board_of(read_all(tmp_path)[0], "QUICK", {"QUICK": 1}, [])
    marks = {e.name: (e.keeps.marks, e.learns.marks) for e in there.entries if e.keeps}
    assert marks == {"rope": ("", ""), "fox": ("+", ""), "alibi": ("+*", "*")}
    rows = {row["name"]: row for row in board_table(there, str)["rows"]}
    assert rows["fox"]["keeps-text"].endswith("+")
    assert rows["alibi"]["learns-text"].endswith("%*")
    assert "learns-text" not in rows["fox"]
    fox = entry(there, "fox")
    assert rows["fox"]["beyond-ends"] == f"{fox.beyond.low:.2f}–{fox.beyond.high:.2f}"
    assert rows["fox"]["keeps-ends"] == f"{fox.keeps.low:.1f}–{fox.keeps.high:.1f}"
    assert rows["alibi"]["at_length-ends"] is None  # a family is missing
    wider = write_sweep(tmp_path / "wider", {"rope": 0.1, "fox": 60.0}, seeds=2, profile="STANDARD")
    fox = entry(make_board(wider), "fox")  # the profile has tasks that this folder has not
    assert (fox.keeps.marks, fox.learns.marks) == ("+*", "*")


def test_without_questions_there_is_no_forced_choice(board):
    assert views.forced_choice(board).empty


def test_a_large_folder_is_read_in_seconds(tmp_path):
    """A second on a free machine; the app caches what it made of a folder."""
    skills = {f"e{n}": n / 4 for n in range(20)}
    depths = [n / 80 for n in range(80)]
    write_sweep(tmp_path, skills, seeds=3, depths=depths)
    begin = time.process_time()
    board = make_board(tmp_path)
    seconds = time.process_time() - begin
    assert len(board.scores) > 20_000
    assert seconds < 10


def test_the_leaderboard_imports_no_torch():
    code = "import sys, pebench.leaderboard.app.app; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env=os.environ, check=False).returncode == 0


def test_made_records_are_valid_and_the_same_every_time():
    first, second = ([record_text(r) for r in Sweep({"fox": 6.0}).records()] for _ in range(2))
    assert first == second
    assert all(math.isfinite(row.value) for r in Sweep(SKILL).records() for row in r.rows)


@pytest.mark.parametrize(
    ("part", "first", "second", "told"),
    [
        ("card", {"source": "a = 1"}, {"source": "a = 2"}, "two or more versions of one encoding"),
        ("card", {"source": "a = 1"}, {"source": "a = 1"}, ""),
        ("encoding_code", "a" * 64, "b" * 64, "two or more versions of one encoding"),
        ("encoding_code", "a" * 64, "a" * 64, ""),
        ("encoding_code", "a" * 64, None, "1 of 2 runs have fingerprints of revision 1"),
    ],
)
def test_two_sources_of_one_name_are_told_across_tasks(part, first, second, told, tmp_path):
    """One file in task copy, another or the same, edited, in task needle: one row, which says so."""
    row = Row("exact", 0.5, 8, {"length": 64}, 0.0, 1.0)
    for task, what in (("copy", first), ("needle", second)):
        write(Record("idea", task, "QUICK", 0, "ab" * 8, (row,), **{part: what}), tmp_path)
    notes = [note for note in make_board(tmp_path).notes if "versions of one" in note or "revision 1" in note]
    assert told in notes[0] if told else notes == [], notes


@pytest.mark.parametrize("other", ["b" * 64, "a" * 64, None])
def test_rows_of_other_common_code_are_told(other, tmp_path):
    row = Row("exact", 0.5, 8, {"length": 64}, 0.0, 1.0)
    for name, shared in (("rope", "a" * 64), ("fox", other)):
        write(Record(name, "copy", "QUICK", 0, "ab" * 8, (row,), shared_code=shared), tmp_path)
    notes = [note for note in make_board(tmp_path).notes if "different versions of the task" in note]
    assert len(notes) == (other == "b" * 64)


def test_a_newer_version_opens_first_once_it_can_answer():
    def opened(left_out: str = "", **sweep: Any) -> str:
        newer = Sweep(
            **({"skills": SKILL, "seeds": 2, "tasks": ["copy", "language"]} | sweep), profile="QUICK_2"
        )
        records = [record for record in newer.records() if record.task != left_out]
        return newest_version("QUICK", columns(records))

    assert opened() == "QUICK_2"
    assert opened(skills=dict(list(SKILL.items())[:9])) == "QUICK"  # fewer encodings than ten
    assert opened(seeds=1) == "QUICK"
    assert opened(tasks=["copy"]) == "QUICK"
    assert opened(left_out="throughput") == "QUICK"
    assert newest_version("QUICK", columns([])) == "QUICK"


@pytest.mark.parametrize("text", ["~there-is-no-such-user/x", "a\0b"])
def test_a_name_that_is_no_path_is_told(text: str) -> None:
    with pytest.raises(BoardError, match="is no folder"):
        folder_named(text)


def test_costs_of_fewer_lengths_than_ropes_are_told(tmp_path):
    records = Sweep({"rope": 1.0, "alibi": 2.0, "learned_ape": 3.0}, lengths=(64, 256)).records()

    def only(record: Record) -> Record:
        rows = tuple(row for row in record.rows if row.condition.get("length") == 64)
        short = record.task == "throughput" and record.encoding == "learned_ape"
        return replace(record, rows=rows) if short else record

    (note,) = [
        n
        for n in board_of(list(map(only, records)), "QUICK", {"QUICK": 1}, []).notes
        if n.startswith("A cost is the mean")
    ]
    assert note.endswith("Some have costs of fewer, at 64 tokens alone: learned_ape.")
    assert not [
        n for n in board_of(records, "QUICK", {"QUICK": 1}, []).notes if n.startswith("A cost is the mean")
    ]


def test_the_other_orders_agreement_with_the_mean_is_told(tmp_path):
    skills = {"rope": 1.0, "fox": 3.0, "alibi": 9.0}
    (note,) = [n for n in make_board(write_sweep(tmp_path, skills)).notes if "Kendall's tau" in n]
    assert note == (
        "Order by the mean, 3 encodings with every task: Kendall's tau is +1.00 with the order by standardised scores "
        "and +1.00 with the order by median rank."
    )
    pair = make_board(write_sweep(tmp_path / "two", dict(list(skills.items())[:2])))
    assert not [n for n in pair.notes if "Kendall's tau" in n]
