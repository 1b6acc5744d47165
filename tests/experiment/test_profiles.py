"""Rule (c) and the budgets of docs/standard2.md, as far as sizes alone decide them."""

from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from benchmarks.trial import main, scaled
from pebench.encodings.registry import resolve
from pebench.leaderboard.ranking import FEWEST
from pebench.suite.experiment.profiles import LARGE, PROFILES, QUICK, QUICK_2, STANDARD_2, Profile
from pebench.suite.lm.model import LM
from pebench.tasks import make
from pebench.tasks.base import Task


def parameters(profile: Profile) -> dict[str, int]:
    """Of a model with rope, by task."""
    rope, found = resolve("rope")[1], {}
    for name, plan in profile.plans.items():
        task = make(name)
        if isinstance(task, Task):
            lm = LM(plan.size(task.vocab), rope, task.context(plan.recipe.length), seed=0)
            found[name] = sum(p.numel() for p in lm.parameters())
    return found


def test_large_trains_at_the_lengths_of_standard_2_with_the_same_tokens_and_grids() -> None:
    def fixed(profile: Profile) -> dict[str, tuple[object, ...]]:
        return {
            name: (plan.recipe.length, plan.recipe.steps, plan.recipe.tokens, plan.multiples, plan.examples)
            for name, plan in profile.plans.items()
        }

    assert fixed(LARGE) == fixed(STANDARD_2)


def test_sizes_are_within_the_bounds() -> None:
    small, large = parameters(STANDARD_2), parameters(LARGE)
    assert all(100_000 <= count <= 600_000 for count in small.values())
    assert all(4 <= large[name] / count <= 8 for name, count in small.items())
    assert all(plan.width // plan.heads >= 32 for plan in LARGE.plans.values())


def test_large_is_a_draft_and_both_are_current() -> None:
    assert LARGE.about.startswith("draft")
    assert not STANDARD_2.about.startswith("draft")
    assert STANDARD_2.current
    assert LARGE.current
    for profile in (STANDARD_2, LARGE):
        assert PROFILES[profile.name] is profile


def test_only_graded_scores_count_at_the_training_length() -> None:
    trained = {name: plan for name, plan in STANDARD_2.plans.items() if plan.recipe.steps}
    assert [name for name, plan in trained.items() if min(plan.multiples) == 1] == ["needle", "language_ends"]


def test_a_trial_with_twice_the_steps_at_a_third_of_the_rate_changes_nothing_else() -> None:
    plan = STANDARD_2.plans["parity"]
    trial = scaled(plan, 2, 1 / 3)
    assert (trial.recipe.steps, trial.recipe.learning_rate) == (
        2 * plan.recipe.steps,
        plan.recipe.learning_rate / 3,
    )
    assert scaled(trial, 0.5, 3) == plan


def test_the_quick_board_has_the_two_seeds_that_a_tier_needs_and_costs_no_more_than_before() -> None:
    def tokens(profile: Profile) -> int:
        once = sum(plan.recipe.steps * plan.recipe.tokens for plan in profile.plans.values())
        return once * len(profile.encodings) * profile.seeds

    assert QUICK_2.seeds >= FEWEST
    assert tokens(QUICK_2) < tokens(QUICK)
    assert "--profile QUICK_2" in (Path(__file__).parents[2] / "Makefile").read_text()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("throughput", "rope"), "no task that trains"),
        (("copy", "rop"), "did you mean 'rope'"),
        (("copy", "rope", "--profile", "STANDARD_2"), "no task of STANDARD_2 'copy'"),
        (("copy", "rope", "--multiples", "1,x"), "'x'"),
        (("copy", "rope", "--json", "none/of/these.jsonl"), "No such file"),
    ],
)
def test_a_trial_refuses_what_it_cannot_do_before_it_trains(words: tuple[str, ...], said: str) -> None:
    app = typer.Typer()
    app.command()(main)
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 2
    assert said in " ".join(result.stderr.replace("│", " ").split())
