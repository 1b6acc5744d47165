"""The PAPER profiles: their numbers, as docs/scale.md states them, and what a run costs."""

import re
from pathlib import Path

import pytest

from pebench.encodings.nope import NoPE
from pebench.suite.experiment.profiles import PAPER_LARGE, PAPER_MEDIUM, PAPER_SMOKE, Profile
from pebench.suite.experiment.training import AdamW, rate
from pebench.suite.lm.flops import flops_per_token
from pebench.suite.lm.model import LM, Size
from pebench.tasks.language_tokens import TokenTask

PAGE = (Path(__file__).parents[2] / "docs" / "scale.md").read_text(encoding="utf-8")
BOTH = (PAPER_MEDIUM, PAPER_LARGE)


def parameters(size: Size) -> int:
    layer = 4 * size.width**2 + 3 * size.width * size.hidden + 2 * size.width + size.heads
    return size.vocab * size.width + size.layers * layer + size.width


def operations(size: Size, length: int, seen: float = 0.5) -> float:
    """Of a forward pass, for each token; `seen` is the share of the square that attention computes."""
    matrices = size.layers * (4 * size.width**2 + 3 * size.width * size.hidden) + size.vocab * size.width
    return 2 * matrices + size.layers * 4 * seen * length * size.width


def test_the_counts_are_those_of_a_real_model() -> None:
    size = Size(2, 96, 3, 500)
    lm = LM(size, NoPE, 32, 0)
    assert sum(p.numel() for p in lm.parameters()) == parameters(size)
    assert flops_per_token(lm, 32) == operations(size, 32, seen=1.0)


def row(name: str) -> list[str]:
    (line,) = [line for line in PAGE.splitlines() if line.startswith(f"| {name} |")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_the_page_states_what_the_profiles_do() -> None:
    for profile, column in zip(BOTH, (1, 2), strict=True):
        plan = profile.plans["language_tokens"]
        recipe = plan.recipe
        stated = {
            "layers": plan.layers,
            "heads": plan.heads,
            "width": plan.width,
            "width of a head": plan.width // plan.heads,
            "vocabulary": TokenTask.vocab,
            "context in training": recipe.length,
            "sequences in a batch": recipe.tokens // recipe.length,
            "steps": recipe.steps,
            "peak of the learning rate": recipe.learning_rate,
            "steps of warm-up": round(recipe.warmup * recipe.steps),
            "least learning rate": recipe.learning_rate * rate(recipe.steps - 1, recipe),
            "weight decay": recipe.weight_decay,
            "largest norm of the gradients": recipe.clip,
        }
        for name, value in stated.items():
            assert float(row(name)[column].replace(",", "")) == pytest.approx(value), name
        assert row("AdamW's β")[column] == ", ".join(map(str, AdamW.betas))
    assert f"{recipe.steps * recipe.tokens / 1e9:.1f} G tokens" in row("steps")[3]


def cost(profile: Profile) -> str:
    """The row of a profile in the table of costs."""
    plan = profile.plans["language_tokens"]
    size, recipe = plan.size(TokenTask.vocab), plan.recipe
    work = 3 * operations(size, recipe.length) * recipe.tokens * recipe.steps
    hours = {speed: work / (speed * 1e12) / 3600 for speed in (200, 400)}
    return (
        f"| `{profile.name}` | {parameters(size) / 1e6:.1f} M | {work:.2e} | {hours[200]:.0f} | {hours[400]:.0f} "
        f"| {hours[400] / 8 / 24:.1f} |"
    )


def test_the_page_states_what_a_run_costs() -> None:
    (table,) = re.findall(r"<!-- cost -->\n(.*?)\n<!-- /cost -->", PAGE, re.DOTALL)
    assert table.splitlines()[2:] == [cost(profile) for profile in BOTH]
    for profile, millions in zip(BOTH, (353, 770), strict=True):
        size = profile.plans["language_tokens"].size(TokenTask.vocab)
        assert parameters(size) / 1e6 == pytest.approx(millions, rel=0.01)  # the paper's names


def test_the_small_profile_differs_in_size_alone() -> None:
    assert set(PAPER_SMOKE.plans) == set(PAPER_MEDIUM.plans) == set(PAPER_LARGE.plans)
    small, medium = (p.plans["language_tokens"].recipe for p in (PAPER_SMOKE, PAPER_MEDIUM))
    for name in ("learning_rate", "warmup", "weight_decay", "clip", "floor"):
        assert getattr(small, name) == getattr(medium, name)
