"""The best of three learning rates is chosen by the gate, and only where all three were trained."""

from dataclasses import replace

from pebench.leaderboard.reports import rates
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
