"""The rules of docs/standard2.md on made records and trials: each is broken once."""

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pebench.leaderboard import about
from pebench.leaderboard.about import PUBLISHED
from pebench.leaderboard.reports import rules
from pebench.leaderboard.reports.rules import REFERENCES, Verdict
from pebench.suite.results.record import Record, Row, newest, read_all, write

Score = Callable[[str, int], float]  # of an encoding at a length


def made(score: Score, gate: float = 0.95, seeds: int = 3, steps: int = 100) -> list[Record]:
    """Records of the references in one task at the lengths 8 and 16; seeds differ by 0.02."""
    setup = {"gate": 0.9, "steps": steps, "learning_rate": 1e-3, "task_family": "copying", "train_length": 8}
    return [
        Record(
            *(name, "copy", "STANDARD_2", seed, "ab" * 8),
            rows=(
                Row("gate", gate, 64),
                *(
                    Row("exact", max(0.0, score(name, n) + 0.02 * (seed - 1)), 64, {"length": n}, 0.0, 1.0)
                    for n in (8, 16)
                ),
            ),
            setup=setup,
        )
        for name in REFERENCES
        for seed in range(seeds)
    ]


def even(name: str, length: int) -> float:
    return 0.9 - 0.1 * REFERENCES.index(name) - 0.02 * length


def of(rule: str, found: list[Verdict], task: str = "") -> Verdict:
    """The verdict of a rule: of this task, else of its only one; one for all tasks counts where there is no other."""
    of_rule = [v for v in found if v.rule == rule]
    (verdict,) = [v for v in of_rule if v.task == (task or v.task) != "all"] or of_rule
    return verdict


def test_rules_a_b_e_are_met_where_they_hold() -> None:
    found = rules.verdicts(made(even))
    assert [of(rule, found).met for rule in "abe"] == [True, True, True]


def failing(name: str) -> Verdict:
    """Rule (a) where this reference fails the gate with one of its seeds."""
    bad = Row("gate", 0.5, 64)
    records = [
        replace(r, rows=(bad, *r.rows[1:])) if (r.encoding, r.seed) == (name, 2) else r for r in made(even)
    ]
    return of("a", rules.verdicts(records))


def test_one_failed_gate_breaks_a_unless_it_is_of_nope() -> None:
    assert failing("fox").met is False
    assert "fox passes with 2 of 3" in failing("fox").detail
    assert failing("nope").met is False
    assert "nope alone fails, without a reason on the page" in failing("nope").detail


def test_nope_may_fail_where_the_page_has_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rules, "REASONED", ("copy",))
    assert failing("nope").met is True
    assert failing("nope").detail.endswith("nope alone fails")
    assert failing("fox").met is False


def test_two_seeds_or_a_missing_reference_leave_a_and_b_unknown() -> None:
    without = [r for r in made(even) if r.encoding != "fox"]
    for rule in "ab":
        assert of(rule, rules.verdicts(made(even, seeds=2))).met is None
        verdict = of(rule, rules.verdicts(without))
        assert verdict.met is None
        assert "fox" in verdict.detail


def test_a_profile_of_two_seeds_asks_for_two() -> None:
    records = [replace(r, profile="LARGE", task="parity") for r in made(even, seeds=2)]
    found = rules.verdicts(records, None, "LARGE")
    assert [of(rule, found, "parity").met for rule in "ab"] == [True, True]


def test_one_family_alone_has_no_share() -> None:
    verdict = of("f", rules.verdicts(made(even)))
    assert verdict.met is None
    assert verdict.detail == "copying alone: no share can be too large"


def test_a_task_without_runs_is_unknown_and_has_its_lines() -> None:
    records = [replace(r, task="parity") for r in made(even)]
    found = rules.verdicts(records, None, "STANDARD_2")
    for rule in "abd":
        by_task = {v.task: v.met for v in found if v.rule == rule}
        assert {plan.name for plan in about.tasks("STANDARD_2") if plan.context} == set(by_task)
        assert by_task["sort"] is None
    assert of("a", found, "parity").met is of("b", found, "parity").met is True


def test_one_encoding_alone_is_no_equal_effort() -> None:
    alone = [r for r in made(even) if r.encoding == "rope"]
    assert of("e", rules.verdicts(alone)).met is None
    records = made(even)
    for part, value in (("floor", 0.0), ("corpus", {"name": "mine"})):
        other = replace(records[0], setup={**records[0].setup, part: value})
        assert of("e", rules.verdicts([other, *records[1:]])).met is False


@pytest.mark.parametrize(("value", "said"), [(0.01, "0.01"), (0.97, "0.97")])
def test_a_median_at_floor_or_ceiling_breaks_b(value: float, said: str) -> None:
    verdict = of("b", rules.verdicts(made(lambda name, n: value if n == 16 else 0.5)))
    assert verdict.met is False
    assert f"median {said} at 16" in verdict.detail


def line(name: str = "rope", seed: int = 0, times: float = 1, rate: float = 1, **more: object) -> str:
    """A trial of `parity` as STANDARD_2 trains it, with so many times its steps and its rate."""
    plan = about.task("STANDARD_2", "parity")
    assert plan is not None
    size = {"layers": plan.layers, "width": plan.width, "heads": plan.heads, "tokens": plan.tokens}
    recipe = {
        "length": plan.trained,
        "steps": round(times * plan.steps),
        "rate": float(f"{rate * plan.rate:.2g}"),
    }
    run = {
        "task": "parity",
        "encoding": name,
        "seed": seed,
        "gate": 0.95,
        "learned": True,
        "scores": {"12": 0.5},
    }
    return json.dumps(size | recipe | run | more)


def tried(*lines: str) -> list[Verdict]:
    return rules.verdicts([], rules.of_trials("\n".join(lines), "STANDARD_2"), "STANDARD_2")


def whole(rule: str, found: list[Verdict]) -> Verdict:
    (verdict,) = (v for v in found if v.rule == rule and v.task == "all")
    return verdict


@pytest.mark.parametrize(("gap", "met"), [(0.03, True), (0.06, False)])
def test_twice_the_steps_may_move_a_reference_by_two_deviations(gap: float, met: bool) -> None:
    once = [line(n, seed, scores={"12": 0.5 + 0.02 * (seed - 1)}) for n in REFERENCES for seed in range(3)]
    twice = [line(n, times=2, scores={"12": 0.5 + gap * (n == "rope")}) for n in REFERENCES]
    verdict = of("d", tried(*once, *twice), "parity")
    assert verdict.met is met
    assert (
        f"1 of 10 move, by chance up to 2.3; 1 of them move up; rope by {gap:+.2f} at 12" in verdict.detail
    ) is not met


def test_twice_the_steps_may_not_move_the_gate_either() -> None:
    once = [line(n, seed) for n in REFERENCES for seed in range(3)]
    verdict = of("d", tried(*once, *(line(n, times=2, gate=1.0) for n in REFERENCES)), "parity")
    assert verdict.met is False
    assert (
        "5 of 10 move, by chance up to 2.3; 5 of them move up; alibi by +0.05 in the gate" in verdict.detail
    )


def test_without_a_doubling_or_seeds_d_is_unknown() -> None:
    assert of("d", rules.verdicts(made(even))).met is None
    assert (
        of("d", tried(*(line(n, times=times) for n in REFERENCES for times in (1, 2))), "parity").met is None
    )


def test_d_counts_a_seed_once_and_no_record() -> None:
    twice = [line(n, times=2, scores={"12": 0.9}) for n in REFERENCES]
    again = [line(n) for n in REFERENCES for _ in range(2)]
    assert of("d", tried(*again, *twice), "parity").met is None
    records = [replace(r, task="parity") for r in made(even)]
    trials = rules.of_trials("\n".join([*again, *twice]), "STANDARD_2")
    assert of("d", rules.verdicts(records, trials, "STANDARD_2"), "parity").met is None


def test_a_third_and_three_times_the_rate_are_tried_by_a_sample_in_each_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = [*REFERENCES, "grape_a_qk"]
    lines = [line(n, rate=rate) for n in names for rate in (1 / 3, 1, 3)]
    verdict = whole("e", tried(*lines))
    assert verdict.met is None
    assert "parity 6, " in verdict.detail
    assert "sort 0" in verdict.detail
    parity = about.task("STANDARD_2", "parity")
    monkeypatch.setattr(about, "tasks", lambda name: [parity])
    assert whole("e", tried(*lines)).met is True
    assert whole("e", tried(*lines[1:])).met is None
    bad = line("rope", gate=0.1, learned=False)
    verdict = whole("e", tried(*(bad if text == line("rope") else text for text in lines)))
    assert "another rate passes rope in parity" in verdict.detail


def test_c_asks_for_contexts_heads_and_equal_lengths(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = about.task("STANDARD_2", "parity")
    assert plan is not None
    small = replace(plan, trained=127, context=128, width=96, heads=4)
    large = replace(small, width=192, heads=6)

    def judged(profile: str, small: about.TaskFacts, large: about.TaskFacts) -> Verdict:
        facts = {"STANDARD_2": small, "LARGE": large}
        monkeypatch.setattr(about, "tasks", lambda name: [facts[name]])
        monkeypatch.setattr(about, "task", lambda name, task: facts[name])
        (verdict,) = rules.trained_at(profile)
        return verdict

    assert judged("STANDARD_2", small, large).met is True
    assert judged("LARGE", small, large).met is True
    assert judged("STANDARD_2", replace(small, context=127), large).met is False
    assert "L 64 in LARGE" in judged("STANDARD_2", small, replace(large, trained=64)).detail
    assert "heads of width 24" in judged("LARGE", small, replace(large, heads=8)).detail


def test_two_recipes_in_a_task_break_e() -> None:
    records = made(even)
    faster = replace(records[0], setup={**records[0].setup, "learning_rate": 3e-3})
    assert of("e", rules.verdicts([faster, *records[1:]])).met is False


def test_a_family_with_all_the_variance_breaks_f() -> None:
    def both(spread: float) -> list[Record]:
        flat = made(lambda name, n: 0.5 + spread * REFERENCES.index(name))
        families = ("sorting", "recall", "needle")
        others = [
            replace(r, task=family, setup={**r.setup, "task_family": family})
            for family in families
            for r in flat
        ]
        return [*made(even), *others]

    assert of("f", rules.verdicts(both(0.0))).met is False
    assert of("f", rules.verdicts(both(-0.1))).met is True


def test_trials_are_judged_as_records_are() -> None:
    found = tried(*(line(name, seed) for name in [*REFERENCES, "path"] for seed in range(3)))
    assert [of(rule, found, "parity").met for rule in "abd"] == [True, True, None]
    with pytest.raises(ValueError, match="line 2 is no trial"):
        rules.of_trials(line() + "\n{}", "STANDARD_2")


CITED = [
    ("indexing", "rope", 64, 1000, 0.00, 4.77),
    ("copy_repeat", "t5_bias", 12, 1000, 0.63, None),
    ("language_ends", "nope", 256, 1000, 0.24, None),
    ("recall_again", "alibi", 4, 1800, 0.81, None),
    ("flipflop_error", "nope", 16, 1600, None, 0.067),
    ("flipflop_error", "nope", 24, 1600, None, 0.024),
    ("flipflop_error", "t5_bias", 24, 1600, None, 0.001),
    ("flipflop_error", "nope", 24, 3200, None, 0.002),
    ("flipflop_error", "nope", 24, 6400, 0.84, None),
    ("needle", "fox", 48, 2400, 0.74, None),
    ("needle", "nope", 48, 2400, 0.81, None),
    ("needle", "t5_bias", 48, 2400, 0.83, None),
    ("needle", "rope", 48, 2400, 0.84, None),
    ("needle", "alibi", 48, 2400, 0.97, None),
    ("needle", "fox", 64, 2400, 0.09, None),
    ("recall_again", "nope", 4, 4800, 0.07, 1.03),
    ("indexing", "rope", 12, 2200, 0.0, 2.22),
    ("copy_repeat", "t5_bias", 12, 2200, 1.0, None),
]


@pytest.mark.parametrize(("task", "encoding", "length", "steps", "gate", "loss"), CITED)
def test_the_page_cites_what_the_trials_found(
    task: str, encoding: str, length: int, steps: int, gate: float | None, loss: float | None
) -> None:
    rate = 6e-3 if task == "flipflop_error" else 4e-3  # of the profile; the first trial with it is cited
    every = map(json.loads, rules.TRIALS.read_text(encoding="utf-8").splitlines())
    trials = (t for t in every if t["rate"] == rate and t["width"] == 96)
    run = (task, encoding, length, steps, 0)
    t = next(t for t in trials if (t["task"], t["encoding"], t["length"], t["steps"], t["seed"]) == run)
    page = (rules.TRIALS.resolve().parents[1] / "docs" / "standard2.md").read_text(encoding="utf-8")
    prose = page.partition("## The trend")[0]
    for cited, found in ((gate, t["gate"]), (loss, t["loss"])):
        if cited is not None:
            assert cited == pytest.approx(found, abs=0.006)
            assert f"{cited:g}" in prose


def test_the_page_cites_the_reference_that_more_steps_do_not_help() -> None:
    gates = {
        (t["steps"], t["seed"]): t["gate"]
        for t in map(json.loads, rules.TRIALS.read_text(encoding="utf-8").splitlines())
        if (t["task"], t["encoding"], t["rate"], t["width"]) == ("recall_again", "rope", 4e-3, 96)
    }
    page = (rules.TRIALS.resolve().parents[1] / "docs" / "standard2.md").read_text(encoding="utf-8")
    once, twice = ([f"{gates[steps, seed]:.2f}" for seed in (0, 1)] for steps in (2400, 4800))
    assert once == ["0.99"] * 2
    cited = f"seeds 0 and 1 (0.99 both), and fails it after 4,800 ({' and '.join(twice)})"
    assert cited in " ".join(page.split())


def test_the_page_cites_the_gates_of_nope_in_language() -> None:
    of_nope = [
        r for r in read_all(PUBLISHED)[0]
        if (r.profile, r.task, r.encoding) == ("STANDARD_2", "language_ends", "nope")
    ]  # fmt: skip
    gates = {r.seed: row.value for r in newest(of_nope) for row in r.rows if row.metric == "gate"}
    first, second, third = (f"{gates[seed]:.3f}" for seed in sorted(gates))
    page = (rules.TRIALS.resolve().parents[1] / "docs" / "standard2.md").read_text(encoding="utf-8")
    assert f"gates of {first}, {second} and {third} with seeds 0, 1 and 2" in " ".join(page.split())
    assert max(gates.values()) < 0.25


def test_the_page_cites_the_trials_of_the_rate() -> None:
    trials = map(json.loads, rules.TRIALS.read_text(encoding="utf-8").splitlines())
    at_length: dict[float, list[float]] = {0.002: [], 0.004: [], 0.008: []}
    for t in trials:
        if (t["task"], t["encoding"], t["width"], t.get("precision")) == (
            "language_ends",
            "rope",
            96,
            "float16",
        ):
            at_length[t["rate"]].append(t["scores"]["256"])
    low, own, high = (f"{sum(found) / 2:.3f}" for found in at_length.values())
    page = (rules.TRIALS.resolve().parents[1] / "docs" / "standard2.md").read_text(encoding="utf-8")
    assert f"of {low}, {own} and {high} at 2e-3, 4e-3 and 8e-3" in " ".join(page.split())


def test_the_page_cites_the_trials_of_another_encoding_at_the_rate_of_the_large_profile() -> None:
    trials = map(json.loads, rules.TRIALS.read_text(encoding="utf-8").splitlines())
    at_rate = {
        t["rate"]: t["scores"]["256"]
        for t in trials
        if (t["task"], t["encoding"], t["width"], t["seed"]) == ("language_ends", "t5_bias", 192, 0)
    }
    page = (rules.TRIALS.resolve().parents[1] / "docs" / "standard2.md").read_text(encoding="utf-8")
    first, second, third, last = (f"{at_rate[rate]:.3f}" for rate in sorted(at_rate))
    cited = f"of {first}, {second}, {third} and {last} at 5e-4, 1e-3, 2e-3 and 4e-3"
    assert sorted(at_rate) == [5e-4, 1e-3, 2e-3, 4e-3]
    assert max(at_rate, key=lambda rate: at_rate[rate]) == 4e-3
    assert cited in " ".join(page.split())


@pytest.mark.parametrize("other", [{"width": 8}, {"length": 999}, {"tokens": 1}, {"task": "copy"}])
def test_a_trial_of_another_size_length_or_task_does_not_count(other: dict[str, object]) -> None:
    assert rules.of_trials(line(**other), "STANDARD_2").empty


def test_the_time_of_a_row_is_of_rope_seed_by_seed() -> None:
    records = [
        replace(r, provenance={"seconds": 10.0 + r.seed, "cpu": "Z80", "precision": "float32"})
        for r in made(even)
    ]
    assert rules.row_time(records).startswith(
        "A row of `rope` by the clock: 10 s with seed 0 in 1 run (Z80, float32), 11 s with seed 1 in 1 run (Z80, "
    )
    costs = [replace(r, task="throughput", rows=r.rows[1:]) for r in records]
    assert rules.row_time([*records, *costs]) == rules.row_time(records)
    assert rules.row_time(r for r in records if r.encoding != "rope") == ""


def test_the_time_of_rows_is_of_those_with_every_task() -> None:
    tasks = [plan.name for plan in about.tasks("STANDARD_2") if plan.context is not None]
    records = [
        replace(r, task=task, provenance={"seconds": 60.0 * (1 + r.seed)})
        for r in made(even)
        for task in tasks
    ]
    n = len(tasks)
    assert f": {n} to {3 * n} minutes, the median {2 * n} (15 rows, " in rules.row_times(
        records, "STANDARD_2"
    )
    lone = [r for r in records if (r.task, r.seed) != (tasks[0], 2)]
    assert f": {n} to {2 * n} minutes" in rules.row_times(lone, "STANDARD_2")
    assert rules.row_times([r for r in records if r.task != tasks[0]], "STANDARD_2") == ""
    assert rules.row_times(records, "NO_SUCH") == ""


def test_without_an_effect_a_move_is_as_probable_as_in_draws() -> None:
    rng = np.random.default_rng(0)
    for once, twice in ((2, 1), (3, 1), (2, 2)):
        few, many = rng.normal(size=(20_000, once)), rng.normal(size=(20_000, twice))
        moved = np.abs(many.mean(1) - few.mean(1)) > rules.DEVIATIONS * few.std(1, ddof=1)
        assert moved.mean() == pytest.approx(rules.by_chance(once, twice), abs=0.015)


def test_the_page_cites_the_time_of_twice_the_steps() -> None:
    seconds = {}
    for t in map(json.loads, rules.TRIALS.read_text(encoding="utf-8").splitlines()):
        plan = about.task("STANDARD_2", t["task"])
        size = (t["encoding"], t["seed"], t["layers"], t["width"], t["length"], t["steps"])
        if plan and size == ("rope", 0, plan.layers, plan.width, plan.trained, 2 * plan.steps):
            seconds[t["task"]] = t["seconds"]
    assert set(seconds) == {plan.name for plan in about.tasks("STANDARD_2") if plan.context is not None}
    page = (rules.TRIALS.resolve().parents[1] / "docs" / "standard2.md").read_text(encoding="utf-8")
    assert f"took {sum(seconds.values()):,} processor seconds together" in " ".join(page.split())


def test_the_page_cites_the_trials_of_the_rate_of_the_large_profile() -> None:
    at_rate = {
        t["rate"]: t["scores"]["256"]
        for t in map(json.loads, rules.TRIALS.read_text(encoding="utf-8").splitlines())
        if (t["task"], t["encoding"], t["width"], t["seed"]) == ("language_ends", "rope", 192, 0)
    }
    page = (rules.TRIALS.resolve().parents[1] / "docs" / "standard2.md").read_text(encoding="utf-8")
    low, own, high = (f"{at_rate[rate]:.3f}" for rate in (5e-4, 1e-3, 2e-3))
    assert f"at L: {low}, {own} and {high}, one seed each" in " ".join(page.split())
    assert max(at_rate, key=lambda rate: at_rate[rate]) == 1e-3


def test_the_command_says_whether_all_rules_are_met(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pebench.leaderboard.reports.rules", "--records", str(tmp_path)]
    nothing = subprocess.run(command, capture_output=True, text=True)
    assert nothing.returncode == 2
    assert "pebench run --profile STANDARD_2" in nothing.stderr
    for record in made(even):
        write(record, tmp_path)
    some = subprocess.run(command, capture_output=True, text=True)
    assert some.returncode == 1
    assert "| (a) | `copy` | met |" in some.stdout
    assert "| (d) | `copy` | unknown |" in some.stdout
