"""Methods of context extension on small models beside the pretrained one."""

import itertools
import re
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from pebench.leaderboard import extension
from pebench.leaderboard.about import EXTENDED
from pebench.leaderboard.app.figures import agreement as figure
from pebench.leaderboard.printing import plain
from pebench.leaderboard.reports import agreement
from pebench.leaderboard.reports.agreement import Side
from pebench.leaderboard.reports.documents import FIRST, board
from pebench.leaderboard.reports.quantities import Quantity, measured
from pebench.leaderboard.reports.vocabulary import BEYOND
from pebench.suite.results.record import Row
from tests.edited_tracks import edited, of_another, tracked


def side(**theirs: float) -> Side:
    ours = {"none": 0.0, "pi": -0.1, "ntk": 0.1, "yarn": 0.2}
    return Side("language", "loss", ours, {"none": 0.0, **theirs}, 1, 2)


@pytest.mark.parametrize(
    ("theirs", "same"),
    [
        ({"ntk": 1.0, "yarn": 2.0}, (3, 3)),
        ({"ntk": 2.0, "yarn": 1.0}, (2, 3)),
        ({"pi": -1.0, "ntk": 0.0}, (2, 2)),  # ntk and none are a tie there
        ({"pi": 1.0, "ntk": -1.0}, (0, 3)),
    ],
)
def test_pairs_in_the_same_order(theirs: dict[str, float], same: tuple[int, int]) -> None:
    assert side(**theirs).agreeing == same


def test_the_smallest_difference_is_between_two_methods() -> None:
    assert side(ntk=1.0, yarn=1.25).smallest == 0.25
    assert side(ntk=-0.5, yarn=1.25).smallest == 0.5


def test_methods_that_one_side_lacks_are_left_out() -> None:
    assert side(ntk=1.0, dual_chunk=3.0).methods == ["none", "ntk"]
    assert sorted(figure(side(ntk=1.0, dual_chunk=3.0)).data[-1].text) == ["none", "ntk"]


def test_pairs_are_of_the_texts_that_all_methods_share() -> None:
    """A method that read one text is compared with others on that text, where these gain another amount."""

    def gaining(gain: float) -> Callable[[Row], float]:
        return lambda row: row.value - gain

    track = tracked(
        *(edited("none", text) for text in (0, 1, 2)),
        edited("ntk", 0, value=gaining(0.9)),
        edited("ntk", 1, value=gaining(0.1)),
        edited("yarn", 1, value=gaining(0.3)),
        edited("yarn", 3, value=gaining(0.3)),
    )
    assert extension.cells(track.lines[0])[0] == "ntk"  # over all its texts
    (one,) = agreement.sides(board(FIRST), track)
    assert one.texts == 1
    assert one.theirs == {"none": 0.0, "ntk": pytest.approx(0.1), "yarn": pytest.approx(0.3)}
    apart = tracked(*(edited("none", text) for text in (0, 1)), edited("ntk", 0), edited("yarn", 1))
    assert agreement.sides(board(FIRST), apart) == []
    assert "on one text, so nothing can be compared" in agreement.told(board(FIRST), apart, [])


def test_the_text_tells_the_factors_the_notes_and_the_model_where_there_are_several() -> None:
    mine = [edited("none"), edited("ntk"), edited("yarn", precision="float32")]
    others = [of_another(r, part, "other", "f" * 64) for r in mine for part in ("model", "corpus")]
    texts = []
    for track in extension.tracks_of([*mine, *others], "EXTEND_QUICK"):
        texts.append(agreement.told(board(FIRST), track, agreement.sides(board(FIRST), track)))
        assert agreement.FACTORS in texts[-1]
        assert plain("unlike none's: yarn.") in texts[-1]
        assert f"Pretrained: {plain(extension.title(track))}, L = " in texts[-1]
    assert len(set(texts)) == 3


def many(theirs: list[float]) -> Side:
    names = ["none", *(f"m{n}" for n in range(len(theirs)))]
    ours = dict(zip(names, [0.0, *range(1, len(names))], strict=True))
    return Side("language", "loss", ours, dict(zip(names, [0.0, *theirs], strict=True)), 1, 2)


def enumerated(side: Side) -> tuple[float, float]:
    """Tau-b and its two-sided p-value by all permutations."""
    ours, theirs = ([part[name] for name in side.methods[1:]] for part in (side.ours, side.theirs))

    def concordance(order: Sequence[float]) -> int:
        pairs = itertools.combinations(range(len(ours)), 2)
        return sum(int(np.sign((ours[a] - ours[b]) * (order[a] - order[b]))) for a, b in pairs)

    every = [concordance(order) for order in itertools.permutations(theirs)]
    seen = concordance(theirs)
    above, below = (np.mean([sign * x >= sign * seen for x in every]) for sign in (1, -1))
    pairs = len(ours) * (len(ours) - 1) / 2
    tied = sum(a == b for a, b in itertools.combinations(theirs, 2))
    return seen / np.sqrt(pairs * (pairs - tied)), min(1.0, 2 * min(above, below))


@pytest.mark.parametrize(
    "theirs",
    [
        [1.0, 2.0, 3.0, 4.0, 5.0],
        [2.0, 1.0, 3.0, 4.0, 5.0],
        [5.0, 4.0, 2.0, 1.0, 3.0],
        [1.0, 1.0, 2.0, 2.0, 3.0, 3.0],
        [3.0, 1.0, 6.0, 2.0, 5.0, 4.0],
    ],
)
def test_the_test_is_that_over_all_permutations(theirs: list[float]) -> None:
    found = agreement.tested(many(theirs))
    assert found is not None
    assert found.exact
    assert (found.value, found.p) == pytest.approx(enumerated(many(theirs)))


def test_many_methods_with_ties_are_tested_on_drawn_permutations() -> None:
    side = many([float(n // 2) for n in range(10)])
    found = agreement.tested(side)
    assert found is not None
    assert not found.exact
    assert found.p < 0.001
    assert "20,000 draws: p = 0.0001)" in agreement.significance(side)


@pytest.mark.parametrize(
    ("theirs", "says"),
    [
        ([1.0, 2.0], "2 extending methods are too few for a test."),
        ([1.0, 2.0, 3.0, 4.0], "4 extending methods are too few for a test."),
        (
            [1.0, 2.0, 3.0, 4.0, 5.0],
            "Kendall's tau over the 5 extending methods is +1.00 (two-sided permutation test, exact: p = 0.017).",
        ),
        ([1.0] * 5, "All methods are equal on one side, so no test is possible."),
    ],
)
def test_a_test_needs_five_methods_that_differ(theirs: list[float], says: str) -> None:
    assert agreement.significance(many(theirs)) == says


def test_no_pair_that_differs_is_told() -> None:
    assert agreement.ordered(many([0.0, 0.0])) == "no pair of methods differs on both sides."
    assert agreement.ordered(many([1.0, 2.0])).startswith("3 of 3 pairs of methods, none among them, have")


def test_methods_of_other_trainings_are_left_out_and_named() -> None:
    one = replace(many([1.0, 2.0]), others=("yarn",))
    assert "Left out, as of another training: `yarn`." in agreement.ordered(one)
    apart = replace(side(ntk=1.0, yarn=2.0), ours={"ntk": 0.1, "yarn": 0.2}, others=("none", "pi"))
    assert agreement.ordered(apart) == (
        "1 of 1 pairs of methods have the same order by the sign of their difference. Left out, as of other trainings: "
        "`none` and `pi`."
    )


def test_the_largest_group_of_one_training_is_compared() -> None:
    """`rope` and `rope@yarn` of STANDARD_2 are of trainings of their own; the other methods read a third one."""
    data = board().ranking.data
    names = ["none", "yarn", "ntk", "pi", "streaming"]
    assert agreement.one_training(data, names) == ["ntk", "pi", "streaming"]
    assert agreement.one_training(data, ["yarn", "none"]) == ["yarn"]
    assert agreement.one_training(data, []) == []
    for one in agreement.sides(board(), extension.make_tracks([EXTENDED], "EXTEND")[0][0]):
        assert not {*one.methods} & {*one.others}
        assert set(one.ours) == set(one.theirs)


def test_the_published_sides_are_the_numbers_of_both_boards() -> None:
    for profile in extension.profiles([EXTENDED]):
        for track in extension.make_tracks([EXTENDED], profile)[0]:
            loss = {line.method: line.loss["beyond"] for line in track.lines}
            shared = agreement.sides(board(FIRST), track)
            assert shared
            for one in shared:
                ours = measured(board(FIRST), Quantity(one.task, BEYOND))
                for method in one.methods[1:]:
                    if one.kind == "loss" and one.texts == loss[method].difference_texts:
                        assert one.theirs[method] == pytest.approx(
                            -(loss[method].difference or 0.0), abs=1e-11
                        )
                    assert one.ours[method] == pytest.approx(
                        ours.difference(f"rope@{method}", "rope"), abs=1e-11
                    )


def test_the_order_is_told_in_short_where_a_test_is_possible() -> None:
    assert (
        agreement.in_short(board(FIRST))
        == "`STANDARD` has too few of these methods for a test of their order."
    )
    assert re.match(
        r"Beside small models, by `language_ends` beyond L \(`STANDARD_2`: .* tau ",
        agreement.in_short(board()),
    )
