"""The best of three learning rates is chosen by the gate, and only where all three were trained."""

from dataclasses import replace

import pandas as pd
import pytest

from pebench.leaderboard.reports import rates, rules
from pebench.suite.results.record import Record, Row
from tests.made_records import Sweep


def made(gates: dict[str, dict[str, float]]) -> list[Record]:
    """Records of `copy` and `language` with these gates, by profile and encoding; scores are made up."""
    return [
        replace(record, rows=(*(row for row in record.rows if row.metric != "gate"), Row("gate", gate, 256)))
        for profile, each in gates.items()
        for record in Sweep(dict.fromkeys(each, 1.0), seeds=2, profile=profile).records()
        if record.task in ("copy", "language")
        for gate in [each[record.encoding]]
    ]


def test_the_best_gate_chooses_and_of_equal_ones_the_board_s_rate() -> None:
    gates = {
        "STANDARD": {"rope": 0.5, "alibi": 0.9, "fox": 0.7},
        "RATE_THIRD": {"rope": 0.3, "alibi": 0.9, "fox": 0.8},
        "RATE_TRIPLE": {"rope": 0.6, "alibi": 0.9, "fox": 0.1},
    }
    frame = rates.sensitivity(made(gates))
    assert dict(frame["chosen", ""]["copy"]) == {"rope": 3.0, "alibi": 1.0, "fox": 1 / 3}
    for profile, rate in rates.RATES.items():
        assert dict(frame["gate", rate]["language"]) == gates[profile]
    lines = rates.to_markdown(made(gates)).splitlines()
    assert len(lines) == 2 + 2 * 3
    assert "| `copy` | rope | 0.30, 0.50, 0.60 | 3 |" in lines[4]


def test_what_lacks_a_rate_is_left_out() -> None:
    gates = {"STANDARD": {"rope": 0.5, "alibi": 0.9}, "RATE_THIRD": {"rope": 0.5}}
    assert rates.sensitivity(made(gates)).empty
    frame = rates.sensitivity(made({**gates, "RATE_TRIPLE": {"rope": 0.5}}))
    assert list(frame.index) == [("copy", "rope"), ("language", "rope")]
    assert rates.to_markdown([]).count("\n") == 1


def tried(*runs: tuple[str, str, float, float, float], seed: int = 0, times: float = 1.0) -> pd.DataFrame:
    """Trials of (task, encoding, rate, gate, score), each with two lengths, the second of score 0."""
    lines = [
        (task, encoding, seed, times, rate, gate, True, length, value)
        for task, encoding, rate, gate, score in runs
        for length, value in ((10.0, score), (12.0, 0.0))
    ]
    return pd.DataFrame(lines, columns=rules.RUNS)


GAINS = (
    *(("sort", "rope", 1 / 3, 0.7, 0.2), ("sort", "rope", 1.0, 0.8, 0.8), ("sort", "rope", 3.0, 0.9, 0.4)),
    *(("sort", "fox", 1 / 3, 0.9, 0.6), ("sort", "fox", 1.0, 0.8, 0.2), ("sort", "fox", 3.0, 0.7, 1.0)),
)


def test_one_rate_costs_an_encoding_the_score_at_the_rate_of_its_best_gate() -> None:
    frame = rates.of_trials(tried(*GAINS))
    assert dict(frame["chosen", ""]["sort"]) == {"rope": 3.0, "fox": 1 / 3}
    each = rates.effort(frame)
    assert list(each.index) == ["rope", "fox"]
    assert each.loc["rope", ["own", "best", "gained"]].tolist() == pytest.approx([0.4, 0.2, -0.2])
    assert each.loc["fox", ["own", "best", "gained"]].tolist() == pytest.approx([0.1, 0.3, 0.2])
    text = rates.effort_to_markdown(frame)
    assert "| rope | 1 | 0.40 | 0.20 | -0.20 |" in text
    assert "the order is `fox`, `rope`; Kendall's tau between the two is -1.00" in text
    assert "| `sort` | fox | 0.90, 0.80, 0.70 | 1/3 |" in text


def test_effort_compares_equal_tasks_and_the_last_trial_of_a_rate() -> None:
    again = ("sort", "rope", 3.0, 0.8, 0.4)
    frame = rates.of_trials(pd.concat([tried(*GAINS), tried(again)]))
    assert frame["chosen", ""]["sort", "rope"] == 1.0
    more = tried(*(("parity", *run[1:]) for run in GAINS if run[1] == "rope"))
    assert list(rates.effort(rates.of_trials(pd.concat([tried(*GAINS), more]))).index) == ["rope"]
    assert "The order of the two columns is the same." in rates.effort_to_markdown(
        frame.loc[[("sort", "rope")]]
    )


def test_other_seeds_and_twice_the_steps_say_nothing_about_rates() -> None:
    for trials in (tried(*GAINS, seed=1), tried(*GAINS, times=2.0), tried(*GAINS[:2]), tried()):
        assert rates.of_trials(trials).empty
        assert (
            rates.effort_to_markdown(rates.of_trials(trials)) == "No encoding has trials at all three rates."
        )
