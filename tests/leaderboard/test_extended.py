"""The board of the track EXTEND: its order, its notes and its intervals, on edited records."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from pebench.leaderboard import extension
from pebench.leaderboard.reports import expected
from pebench.suite.results.record import Record, Row, write
from tests.edited_tracks import COST, LOSS, RETRIEVAL, edited, line_of, of_another, tracked


def plus(change: float) -> Callable[[Row], float]:
    """Every loss higher by this."""
    return lambda row: row.value + change


def whole(method: str, texts: int = 2, **provenance: Any) -> list[Record]:
    """All records of a method."""
    read = [edited(method, text, task, **provenance) for text in range(texts) for task in (LOSS, RETRIEVAL)]
    return [*read, edited(method, 0, COST, **provenance)]


def noted(track: extension.Track, start: str) -> str:
    """The only note that begins so; empty where there is none."""
    found = [note for note in track.notes if note.startswith(start)]
    assert len(found) < 2
    return found[0] if found else ""


def test_rows_of_different_texts_are_ordered_by_their_paired_differences():
    hard = 2.0
    track = tracked(
        edited("none", 0),
        edited("none", 1, value=plus(hard)),
        edited("ntk", 0, value=plus(-0.1)),
        edited("ntk", 1, value=plus(hard - 0.1)),
        edited("yarn", 1, value=plus(hard - 0.5)),  # a high level: it read the hard text alone
        edited("pi", 0, value=plus(0.2)),  # a low level, and worse than none
    )
    assert [line.method for line in track.lines] == ["yarn", "ntk", "none", "pi"]
    levels = {line.method: line.loss["beyond"].value for line in track.lines}
    assert levels["pi"] < levels["none"] < levels["yarn"]
    assert noted(track, "Not comparable in level").startswith(
        "Not comparable in level, as they lack texts that others have: pi, yarn."
    )


def test_rows_without_a_difference_stand_last_by_their_level():
    track = tracked(
        edited("none", 0),
        edited("ntk", 0, value=plus(0.1)),
        edited("yarn", 5, value=plus(-1.0)),
        edited("pi", 5, value=plus(-2.0)),
    )
    assert [line.method for line in track.lines] == ["none", "ntk", "pi", "yarn"]
    alone = tracked(edited("yarn", 0, value=plus(-1.0)), edited("pi", 0, value=plus(-2.0)))
    assert [line.method for line in alone.lines] == ["pi", "yarn"]
    assert not noted(alone, "Not comparable")


@pytest.mark.parametrize(
    ("task", "change", "says"),
    [
        (LOSS, {"start": None}, "has start None, no number"),
        (LOSS, {"length": "far"}, "has length 'far', no number"),
        (RETRIEVAL, {"kind": None}, "has kind None, no text"),
        (RETRIEVAL, {"depth": "deep"}, "has depth 'deep', no number"),
    ],
)
def test_a_damaged_record_is_named_and_shown_nowhere(task, change, says, tmp_path):
    whole = edited("ntk", 0, task)
    rows = []
    for row in whole.rows:
        condition = {k: v for k, v in (row.condition | change).items() if v is not None}
        rows.append(replace(row, condition=condition))
    damaged = replace(whole, rows=tuple(rows))
    write(edited("none", 0), tmp_path)
    write(damaged, tmp_path)
    (track,), unreadable = extension.make_tracks([tmp_path], whole.profile)
    assert [line.method for line in track.lines] == ["none"]
    assert says in unreadable[0].reason
    assert extension.tracks_of([damaged], whole.profile) == []


@pytest.mark.parametrize("trained", [None, "2048", 0, True])
def test_a_record_without_a_training_length_is_named(trained, tmp_path):
    whole = edited("ntk", 0)
    damaged = replace(whole, setup={**whole.setup, "train_length": trained})
    write(edited("none", 0), tmp_path)
    write(damaged, tmp_path)
    (track,), unreadable = extension.make_tracks([tmp_path], whole.profile)
    assert [line.method for line in track.lines] == ["none"]
    assert "no number of tokens" in unreadable[0].reason


def test_a_difference_tells_its_texts():
    track = tracked(*(edited("none", text) for text in (0, 1)), *(edited("ntk", text) for text in (1, 2, 3)))
    ntk, none = (line_of(track, method) for method in ("ntk", "none"))
    assert (ntk.loss["beyond"].texts, ntk.loss["beyond"].difference_texts) == (3, 1)
    assert (none.loss["beyond"].texts, none.loss["beyond"].difference_texts) == (2, 0)
    assert extension.cells(ntk)[-1] == "3 (1 paired), 0"
    assert extension.cells(none)[-1] == "2, 0"
    assert "ntk" in noted(track, "One text")
    assert "none" not in noted(track, "One text")


def test_two_searches_of_a_method_are_told():
    def searched(*divisors: float) -> dict[str, Any]:
        return {"searched": {"divisors": list(divisors)}}

    method = "longrope2_searched"
    one = [edited(method, text, card=searched(1.0, 2.0)) for text in (0, 1)]
    assert not noted(tracked(*one), "Records of more than one search")
    two = tracked(one[0], edited(method, 1, card=searched(1.0, 3.0)), edited("ntk"))
    said = "Records of more than one search of a method: longrope2_searched; run the older ones again."
    assert noted(two, "Records of more than one search") == said


@pytest.mark.parametrize(
    ("fact", "name", "kinds"),
    [
        ({"precision": "float32"}, "precision", "bfloat16, float32"),
        ({"versions": {"torch": "9.9"}}, "torch version", "2.13.0+cpu, 9.9"),
        ({"cpu": "Another"}, "processor", "Another, Intel(R) Xeon(R) Processor"),
    ],
)
def test_methods_on_another_machine_than_the_unextended_model_are_named(fact, name, kinds):
    base = {"precision": "bfloat16", "versions": {"torch": "2.13.0+cpu"}, "cpu": "Intel(R) Xeon(R) Processor"}
    start = f"Records of more than one {name}"
    same = [edited(method, text, **base) for method in ("none", "ntk") for text in (0, 1)]
    assert not noted(tracked(*same), start)
    other = edited("yarn", 1, **{**base, **fact})
    assert noted(tracked(*same, other), start) == f"{start}: {kinds}; unlike none's: yarn."
    pairs = [edited(method, 1, **{**base, **fact}) for method in ("none", "ntk")]
    assert noted(tracked(*same[::2], *pairs), start) == f"{start}: {kinds}."


def test_threads_count_for_costs_alone():
    start = "Records of more than one number of threads"
    losses = [edited("none"), edited("ntk", threads=8)]
    assert not noted(tracked(*losses), start)
    costs = [edited("none", task=COST, threads=1), edited("ntk", task=COST, threads=8)]
    assert noted(tracked(*losses, *costs), start) == f"{start}: 1, 8; unlike none's: ntk."


def test_what_is_lacking_is_held_against_the_profile():
    methods = extension.PLANS["EXTEND_QUICK"].methods
    full = tracked(*(r for method in methods for r in whole(method)))
    assert not any(noted(full, start) for start in ("Measured in part", "Not measured", "One text"))
    one = tracked(*(r for method in methods[:2] for r in whole(method, texts=1)))
    assert noted(one, "Measured in part") == "Measured in part: none, ntk."
    assert noted(one, "Not measured") == "Not measured: yarn, dual_chunk."
    assert "none, ntk" in noted(one, "One text")
    priceless = tracked(*(r for r in whole("none") if r.task != COST), *whole("ntk"))
    assert noted(priceless, "Measured in part") == "Measured in part: none."
    assert noted(tracked(*whole("none"), profile="EXTEND"), "Measured in part") == "Measured in part: none."


@pytest.mark.parametrize("wrong", [0, 1])
def test_intervals_of_shares_stay_within_what_shares_can_be(wrong):
    """Nearly all right, or nearly all wrong: half of the interval reaches beyond."""

    def answered(method: str, text: int, usual: float) -> Record:
        odd = next(row for row in edited("none", 0, RETRIEVAL).rows if row.condition["length"] == 16384)
        return edited(
            method,
            text,
            RETRIEVAL,
            lambda row: 1 - usual if text == 0 and row.condition == odd.condition else usual,
        )

    track = tracked(
        *(
            answered(method, text, usual)
            for text in (0, 1)
            for method, usual in (("none", wrong), ("ntk", 1 - wrong))
        )
    )
    for method in ("none", "ntk"):
        found = line_of(track, method).retrieval["beyond"]
        assert found.low is not None
        assert found.high is not None
        assert 0.0 <= found.low < found.high <= 1.0
        assert 0.0 in (found.low, 1 - found.high)
    ntk = line_of(track, "ntk").retrieval["beyond"]
    assert -1.0 <= ntk.difference_low < ntk.difference_high <= 1.0
    assert 1.0 in (-ntk.difference_low, ntk.difference_high)


def test_models_of_one_name_are_told_apart_by_their_hash():
    mine = [edited("none"), edited("ntk")]
    name = mine[0].setup["model"]["name"]
    others = [of_another(r, "model", name, "f" * 64) for r in mine]
    tracks = extension.tracks_of([*mine, *others], "EXTEND_QUICK")
    assert f"{name} ffffffff, trained" in extension.heading(tracks[1])
    assert len({extension.heading(each) for each in tracks}) == 2
    frame = extension.to_frame(tracks)
    assert set(frame["sha256"]) == {mine[0].setup["model"]["sha256"], "f" * 64}
    (alone,) = extension.tracks_of(mine, "EXTEND_QUICK")
    assert f": {name}, trained" in extension.heading(alone)


def test_boards_of_corpora_of_one_name_have_labels_of_their_own():
    mine = edited("none")
    name = mine.setup["corpus"]["name"]
    tracks = extension.tracks_of([mine, of_another(mine, "corpus", name, "f" * 64)], "EXTEND_QUICK")
    assert len({extension.label(each) for each in tracks}) == 2
    assert f" on {name} ffffffff, trained" in extension.heading(tracks[1])


def test_a_record_without_its_model_has_no_board_and_harms_none():
    broken = replace(edited("ntk"), setup={"task_family": "extension"})
    assert [line.method for line in tracked(edited("none"), broken).lines] == ["none"]
    assert len(extension.latest([edited("none"), broken])) == 2


def right_at(method: str, text: int, *lengths: int) -> Record:
    """Answers that are right at these lengths and wrong at others."""
    return edited(method, text, RETRIEVAL, lambda row: float(row.condition["length"] in lengths))


def test_what_is_found_is_told_by_length():
    track = tracked(
        *(right_at("none", text, 2048) for text in (0, 1)),
        right_at("yarn", 0, 2048, 8192, 16384),
        right_at("yarn", 1, 2048, 8192),
        edited("ntk", 0),
    )
    found = extension.found_by_length(track).set_index("method")
    assert list(found) == ["2,048", "8,192", "16,384"]
    assert list(found.loc["none"]) == ["1.00", "0.00", "0.00"]  # equal values show no interval
    assert list(found.loc["yarn"]) == ["1.00", "1.00", "0.50 (0.00 to 1.00)"]
    assert list(found.loc["ntk"]) == ["-", "-", "-"]
    assert "| yarn | 1.00 | 1.00 | 0.50 (0.00 to 1.00) |" in extension.to_markdown([track])
    alone = tracked(edited("ntk", 0))
    assert list(extension.found_by_length(alone)) == ["method"]
    assert extension.FOUND not in extension.to_markdown([alone])


def test_what_questions_tell_apart_is_told_by_length_and_of_far_pairs():
    assert extension.telling(tracked(edited("none", 0), edited("ntk", 0))) is None
    one = tracked(right_at("none", 0, 2048), right_at("yarn", 0, 2048, 8192))
    assert extension.told_apart(one) == []  # one text has no interval
    wrong = [right_at(method, text, 2048) for method in ("none", "ntk") for text in (0, 1)]
    yarn = [right_at("yarn", 0, 8192), right_at("yarn", 1)]  # right on one text of two: any share is possible
    told = extension.telling(tracked(*wrong, *yarn))
    assert told is not None
    assert list(told.halves) == [8192]  # at 2,048 all differences are equal
    assert told.halves[8192] > 0.5
    assert (told.pairs, told.far, told.told) == (2, 4, 0)
    first, second = extension.told_apart(tracked(*wrong, *yarn))
    assert f"{told.halves[8192]:.2f} at 8,192. " in first
    assert "2 pairs in all, of at most 2 texts with 22 questions" in first
    assert second.startswith("Of 4 pairs at least 0.15 apart at one length, 0 are told apart")


def depth_below(limit: float, method: str, text: int) -> Record:
    """Single needles are found at these depths, and all margins are above 0 at them."""

    def value(row: Row) -> float:
        right = float(row.condition["kind"] == "single" and row.condition["depth"] < limit)
        return right - 0.5 if row.metric == "margin" else right

    return edited(method, text, RETRIEVAL, value)


def test_methods_that_agree_on_their_texts_are_told_apart():
    few = [depth_below(0.3, "none", text) for text in (0, 1)]
    track = tracked(*few, *(depth_below(0.9, "yarn", text) for text in (0, 1)))
    told = extension.telling(track)
    assert told is not None
    assert (told.far, told.told) == (3, 3)
    assert "Of 3 pairs at least 0.15 apart at one length, 3 are told apart" in extension.to_markdown([track])


def test_every_kind_of_question_stands_beside_its_margin():
    track = tracked(*(depth_below(0.3, "none", text) for text in (0, 1)), edited("ntk", 0))
    rows = {(r.kind, r.phase, r.metric): r for r in extension.by_kind(track).itertuples()}
    single = rows["single", "beyond", "choice"]
    assert single.value == 5 / 16
    assert single.low < single.value < single.high
    assert rows["all", "beyond", "choice"].value == 5 / 20  # 16 singles and 4 keys
    assert ("multi_value", "beyond", "choice") not in rows
    assert rows["multi_value", "beyond", "exact"].value == 0
    text = extension.to_markdown([track])
    assert f"**{extension.BY_KIND}**" in text
    assert "| none | 0.31 / 0.31 / 0.31 | 0.31 / 0.31 / 0.31 | 0.00 / 0.00 / 0.00 |" in text
    assert "No answer to multi_key or multi_query or multi_value has every number right." in text
    frame = extension.to_frame([track]).set_index("method")
    assert frame.loc["none", "single_choice_beyond"] == 5 / 16
    assert extension.to_json([track], [])["models"][0]["kinds"]


def test_costs_are_over_the_unextended_model_and_tell_their_noise():
    twice = edited("dual_chunk", 0, COST, lambda row: row.value * (1 + (row.metric == "cache_bytes")))
    slower = edited("ntk", 0, COST, lambda row: row.value * 1.1)
    slower = replace(
        slower,
        rows=tuple(
            replace(row, value=row.value / 1.1) if row.metric == "cache_bytes" else row for row in slower.rows
        ),
    )
    track = tracked(
        edited("none"), edited("none", 0, COST), edited("ntk"), slower, edited("dual_chunk"), twice
    )
    assert [extension.cells(line_of(track, name))[-2] for name in ("none", "dual_chunk")] == ["1.0x", "2.0x"]
    base, ntk = (line_of(track, name).costs for name in ("none", "ntk"))
    _, noise = extension.on_costs(track)
    assert f"{base['prefill_ratio']:.2f}x and {base['decode_ratio']:.2f}x" in noise
    assert noise.endswith(f"the noise: {ntk['decode_ratio']:.2f}x to {ntk['prefill_ratio']:.2f}x.")
    alone = tracked(edited("ntk"), edited("ntk", 0, COST))
    assert extension.cells(line_of(alone, "ntk"))[-2] == "23,040"
    assert extension.on_costs(alone) == []


def test_the_leaders_of_a_board_follow_its_numbers():
    track = tracked(
        *(edited("none", text) for text in (0, 1)),
        *(edited("ntk", text, value=plus(-0.1 - 0.01 * text)) for text in (0, 1)),
        edited("yarn", 0, value=plus(0.1)),
        *(right_at("none", text) for text in (0, 1)),
        *(right_at(method, 0, 16384) for method in ("ntk", "yarn")),
    )
    said = extension.best(track)
    assert (
        "3 methods. Intervals of 95 %. Largest fall of the loss, in nats a token, beyond L: "
        "`ntk`, -0.105 (-0.169 to -0.041)" in said
    )
    assert "`ntk` and `yarn`, +1.00 against the unextended model (1 text, so no interval)." in said


def test_the_numbers_of_a_board_are_those_of_its_words():
    track = tracked(*(r for method in ("none", "ntk") for r in whole(method)))
    numbers = extension.numbers(track).set_index("method")
    assert list(numbers.index) == [line.method for line in track.lines]
    ntk = line_of(track, "ntk")
    assert numbers.loc["ntk", "loss beyond L"] == ntk.loss["beyond"].value
    assert numbers.loc["ntk", "minus none's, beyond L"] == ntk.loss["beyond"].difference
    assert numbers.loc["ntk", "found up to L, low"] == ntk.retrieval["at_length"].low
    assert numbers.loc["ntk", "prefill"] == ntk.costs["prefill_ratio"]
    assert numbers["minus none's, beyond L"].isna()["none"]
    assert set(numbers.columns) == {
        *extension.COLUMNS[1:],
        *(e for ends in extension.ENDS.values() for e in ends),
    }


def test_what_papers_say_is_judged_by_paired_intervals():
    def losses(method: str, *values: float) -> list[Record]:
        return [edited(method, text, value=lambda row, v=v: v) for text, v in enumerate(values)]

    track = tracked(
        *losses("none", 5.0, 6.0, 7.0),
        *losses("yarn", 3.0, 4.1, 5.0),
        *losses("ntk", 2.9, 4.0, 4.95),
        *losses("rerope", 4.0, 7.0, 6.9),
        *losses("streaming", 1.0),
    )
    found = {(j.order.better, j.order.worse): j for j in expected.orders(track)}
    assert found["yarn", "none"].verdict == expected.HOLDS
    assert found["yarn", "none"].gap == pytest.approx((2.0 + 1.9 + 2.0) / 3)
    assert found["yarn", "ntk"].verdict == expected.CONTRADICTED
    assert found["rerope", "none"].verdict == expected.OPEN
    assert ("streaming", "none") not in found  # one text
    assert ("ntk", "pi") not in found
    assert (
        "| yarn before ntk | loss beyond L | -0.083 (-0.155 to -0.012) | 3 | contradicted | not known |"
        in expected.to_markdown(track)
    )
    assert expected.to_markdown(tracked(*losses("none", 5.0))) == ""


def test_a_contradicted_order_has_a_likely_cause():
    values = {"self_extend": (3.0, 3.1, 3.2), "streaming": (2.9, 3.0, 3.11), "none": (5.0, 5.1, 5.3)}
    track = tracked(
        *(
            edited(name, text, value=lambda row, v=v: v)
            for name, each in values.items()
            for text, v in enumerate(each)
        )
    )
    found = {(j.order.better, j.order.worse): j for j in expected.orders(track)}
    assert found["self_extend", "streaming"].cause == f"likely: {expected.SHORT}"
    assert found["self_extend", "none"].cause == ""
    assert f"| contradicted | likely: {expected.SHORT} |" in expected.to_markdown(track)


def test_every_method_of_the_profile_is_in_an_order():
    named = {name for order in expected.ORDERS for name in (order.better, order.worse)}
    assert named == set(extension.PLANS["EXTEND"].methods)


def test_found_numbers_of_two_methods_are_paired_by_question():
    track = tracked(
        *(right_at("self_extend", text, 16384) for text in (0, 1)),
        *(right_at(method, text) for method in ("none", "streaming") for text in (0, 1)),
    )
    found = [j for j in expected.orders(track) if j.order.better == "self_extend"]
    (first, second) = [j for j in found if j.order.quantity == expected.FOUND]
    assert (first.gap, first.verdict) == (1.0, expected.OPEN)  # equal differences show no variance
    assert second.gap == 1.0
