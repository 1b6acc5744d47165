"""What twice the steps change, from trials of known scores."""

import pandas as pd
import pytest

from pebench.leaderboard.reports import rules, steps


def tried(scores: dict[str, float], task: str = "sort", seed: int = 0, times: float = 1.0) -> pd.DataFrame:
    """Trials of a score an encoding, each with two lengths, the second of score 0."""
    lines = [
        (task, name, seed, times, 1.0, 1.0, True, length, value)
        for name, score in scores.items()
        for length, value in ((5.0, score), (6.0, 0.0))
    ]
    return pd.DataFrame(lines, columns=rules.RUNS)


ONCE = {"rope": 0.2, "alibi": 0.8, "t5_bias": 0.4, "fox": 1.0, "nope": 0.6}
MEANS = ["once", "twice"]
TWICE = {"rope": 1.0, "alibi": 0.8, "t5_bias": 0.4, "fox": 0.9, "nope": 0.2}


def test_twice_the_steps_are_held_against_the_mean_over_seeds_and_the_last_trial() -> None:
    trials = pd.concat(
        [
            tried({"rope": 0.9}),
            tried({"rope": 0.2}),
            tried({"rope": 0.6}, seed=1),
            tried({"rope": 1.0}, times=2.0),
        ]
    )
    row = steps.doubled(trials).loc[("sort", "rope")]
    assert row[["seeds once", "seeds twice"]].tolist() == [2, 1]
    assert row[MEANS].tolist() == pytest.approx([0.2, 0.5])


def test_a_seed_that_was_measured_at_some_lengths_alone_moves_no_other_length() -> None:
    trials = pd.concat(
        [tried({"rope": 0.2}), tried({"rope": 0.6}, seed=1)[:1], tried({"rope": 1.0}, times=2.0)]
    )
    assert steps.doubled(trials).loc[("sort", "rope"), MEANS].tolist() == pytest.approx([0.2, 0.5])
    short = pd.concat([tried({"rope": 0.2}), tried({"rope": 1.0}, times=2.0)[:1]])
    assert steps.doubled(short).loc[("sort", "rope"), MEANS].tolist() == pytest.approx([0.2, 1.0])


def test_the_references_means_are_of_tasks_that_have_all_of_them() -> None:
    trials = pd.concat(
        [
            *(tried(ONCE, task) for task in ("sort", "parity", "needle")),
            *(tried(TWICE, task, times=2.0) for task in ("sort", "parity")),
            tried({"rope": 0.0}, "needle", times=2.0),
        ]
    )
    frame = steps.doubled(trials)
    each = steps.of_references(frame)
    assert list(each.index) == ["fox", "alibi", "nope", "t5_bias", "rope"]
    assert set(each["tasks"]) == {2}
    text = steps.to_markdown(frame)
    assert "| rope | 2 | 0.10 | 0.50 | +0.40 |" in text
    assert "the order is `rope`, `fox`, `alibi`, `t5_bias`, `nope`; Kendall's tau" in text
    short = steps.in_short(frame, "standard2.md")
    assert "on validation: `fox` 0.50 to 0.45, `alibi` 0.40 to 0.40, `nope` 0.30 to 0.10, `t5_bias`" in short
    assert "over 2 tasks of `STANDARD_2`, without an interval (3 layers x 96; seeds: 1 with the" in short
    assert "| `sort` | 0.50 to 0.45 | 0.40 to 0.40 |" in text
    assert "| `needle` | - | - | - | - | 0.10 to 0.00 |" in text


def test_other_rates_and_other_encodings_say_nothing_about_steps() -> None:
    other = tried(TWICE, times=2.0).assign(rate=3.0)
    for trials in (tried(ONCE), pd.concat([tried(ONCE), other]), tried({"path": 1.0}), tried({})):
        assert steps.doubled(trials).empty
        assert steps.to_markdown(steps.doubled(trials)).startswith("Fewer than 2 tasks have all references")
        assert steps.in_short(steps.doubled(trials), "standard2.md") == ""
    alone = pd.concat([tried(ONCE), tried(TWICE, times=2.0)])
    both = pd.concat([tried(ONCE, task, times=n) for task in ("sort", "parity") for n in (1.0, 2.0)])
    assert "`fox` 0.50 to 0.50, `alibi` 0.40 to 0.40" in steps.in_short(steps.doubled(both), "x")
    assert steps.to_markdown(steps.doubled(alone)).startswith("Fewer than 2 tasks")
