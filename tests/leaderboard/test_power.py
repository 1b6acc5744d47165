"""What a profile can tell apart: the figures of docs/validity.md."""

from dataclasses import replace

import pytest

from pebench.leaderboard import ranking
from pebench.leaderboard.board import Board, board_of
from pebench.leaderboard.reports import power, published, validity, validity_tables
from pebench.suite.results.record import Record
from tests.made_records import Sweep

SKILLS = {"fox": 9.0, "alibi": 4.0, "rope": 2.0, "nope": 1.0}


def made(records: list[Record]) -> Board:
    return board_of(records, "QUICK", {"QUICK": len(records)}, [])


def valued(records: list[Record], task: str, value: float) -> list[Record]:
    """The records with this value in all scored rows of a task beyond its training length."""

    def changed(r: Record) -> Record:
        rows = tuple(
            replace(row, value=value)
            if row.score is not None and float(row.condition.get("length", 0)) > 64 and row.metric == "exact"
            else row
            for row in r.rows
        )
        return replace(r, rows=rows) if r.task == task else r

    return [changed(r) for r in records]


@pytest.fixture(scope="module")
def records() -> list[Record]:
    return list(Sweep(SKILLS).records())


def test_pairs_that_are_separated_are_pairs_that_are_counted(records: list[Record]) -> None:
    """An encoding without some lengths has a rank, and no place in either count."""
    short = [r for r in records if r.encoding != "nope"]
    short += Sweep({"nope": 1.0}, lengths=(64, 128, 256)).records()
    board = made(short)
    found = power.power(board)
    assert found is not None
    assert (found.ranked, found.pairs) == (3, 3)
    assert board.ranking.separated > found.pairs >= found.separated


def test_dead_weight_is_the_weight_of_conditions_that_nearly_all_runs_fail(records: list[Record]) -> None:
    whole, failed, solved = (
        power.power(made(found))
        for found in (records, valued(records, "copy", 0.0), valued(records, "copy", 1.0))
    )
    assert whole is not None
    assert failed is not None
    assert solved is not None
    data = made(valued(records, "copy", 0.0)).ranking.data
    weight = ranking.weights(data.groups, data.has_cell[0])
    exact = (
        (data.names["task"] == "copy") & (data.names["phase"] == "beyond") & (data.names["metric"] == "exact")
    )
    assert failed.dead - whole.dead == pytest.approx(weight[exact.to_numpy()].sum())
    assert failed.dead > 0.05
    assert solved.ceiling - whole.ceiling == pytest.approx(failed.dead - whole.dead)


def test_more_seeds_make_smaller_differences_visible() -> None:
    two, six = (power.power(made(list(Sweep(SKILLS, seeds=n).records()))) for n in (2, 6))
    assert two is not None
    assert six is not None
    assert (two.seeds, six.seeds) == (2, 6)
    assert six.visible < two.visible
    assert two.pairs == six.pairs == 6


def test_one_ranked_encoding_tells_nothing_apart() -> None:
    assert power.power(made(list(Sweep({"rope": 2.0}).records()))) is None
    assert power.power(made(list(Sweep(SKILLS, seeds=1).records()))) is None


def test_two_versions_stand_beside_each_other(records: list[Record]) -> None:
    tables = published.read()
    board = made(records)
    less = made([r for r in records if r.task != "needle"])
    head, _, *lines = validity_tables.beside(
        validity.validity(board, tables), validity.validity(less, tables)
    ).splitlines()
    assert head.count("`QUICK`: column") == 2
    assert all(line.count("|") == head.count("|") for line in lines if line.startswith("|"))
    needle = next(line for line in lines if line.startswith("| needle beyond L"))
    assert needle.endswith("| - | - | - |")


def test_boards_are_compared_on_the_encodings_and_seeds_of_both(records: list[Record]) -> None:
    """A fifth encoding and a third seed of one board alone do not count."""
    more = [*records, *Sweep({"fire": 3.0}).records()]
    fewer = [replace(r, profile="QUICK_2") for r in records if r.seed < 2]
    boards = [
        board_of(part, name, {name: len(part)}, []) for part, name in ((more, "QUICK"), (fewer, "QUICK_2"))
    ]
    both = [power.power(board) for board in power.alike(boards, [*more, *fewer])]
    assert both[0] == both[1] == power.power(boards[1])
    text = power.to_markdown(boards, [*more, *fewer])
    assert text.count("| `QUICK` |") == text.count("| `QUICK_2` |") == 2
    assert power.to_markdown(boards[:1]).count("| `QUICK` |") == 1


def test_a_seed_that_is_not_there_yet_hides_no_dead_weight(records: list[Record]) -> None:
    failed = valued(records, "copy", 0.0)
    begun = [r for r in failed if not (r.seed == 2 and r.task == "copy")]
    whole, part = power.power(made(failed)), power.power(made(begun))
    assert whole is not None
    assert part is not None
    assert whole.dead == part.dead > 0


def test_a_row_in_part_has_no_time(records: list[Record]) -> None:
    assert "| - |" in power.to_markdown(
        [made([r for r in records if (r.encoding, r.task) != ("rope", "copy")])]
    )
    assert "| - |" not in power.to_markdown([made(records)])
