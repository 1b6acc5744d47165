"""Methods of context extension on small models beside the pretrained one."""

import pytest

from pebench.leaderboard.about import EXTENDED
from pebench.leaderboard.app.figures import agreement as figure
from pebench.leaderboard.reports import agreement, extension
from pebench.leaderboard.reports.agreement import Side
from pebench.leaderboard.reports.documents import board
from pebench.leaderboard.reports.published import BEYOND
from pebench.leaderboard.reports.quantities import Quantity, measured


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
    assert list(figure(side(ntk=1.0, dual_chunk=3.0)).data[0].text) == ["none", "ntk"]


def test_the_published_sides_are_the_numbers_of_both_boards() -> None:
    for profile in extension.profiles([EXTENDED]):
        for track in extension.make_tracks([EXTENDED], profile)[0]:
            loss = {line.method: line.loss["beyond"] for line in track.lines}
            for one in agreement.sides(board(), track):
                ours = measured(board(), Quantity(one.task, BEYOND))
                for method in one.methods[1:]:
                    if one.kind == "loss":
                        assert one.theirs[method] == -(loss[method].difference or 0.0)
                    assert one.ours[method] == ours.difference(f"rope@{method}", "rope")
                assert f"{len(one.methods)} methods are too few" in agreement.paragraph(board(), track, one)
