"""The trial of recipes: its tables, and the optimiser that they compare with AdamW."""

import json
from dataclasses import replace

import pytest
import torch

from benchmarks import recipes as trial
from pebench.encodings.registry import resolve
from pebench.leaderboard.reports import recipes
from pebench.suite.experiment.profiles import QUICK
from pebench.suite.experiment.training import Recipe, batch, loss
from pebench.suite.lm.model import LM
from pebench.suite.lm.step import serves
from pebench.tasks import make


def line(encoding, seed, optimiser="muon", passed=500, factor=1.0, kept=(0.9, 0.5, 0.1), steps=1000):
    what = {"task": "copy", "encoding": encoding, "optimiser": optimiser, "tokens": 512, "factor": factor}
    what |= {"schedule": "cosine", "steps": steps, "seed": seed}
    came = {"gate": kept[0], "passed": passed, "seconds": 9.0, "to_gate": passed and passed / 100}
    return json.dumps([what, came | {"kept": dict(zip(("12", "24", "96"), kept, strict=True))}])


def test_chosen_recipes_have_rows(tmp_path):
    file = tmp_path / "recipes.jsonl"
    lines = [
        line(name, seed, passed=None if name == "nope" else 500)
        for name in ("rope", "nope")
        for seed in range(3)
    ]
    lines += [line("rope", 0, factor=2.0), *(line("rope", seed, "adamw") for seed in range(3))]
    file.write_text("\n".join(lines))
    over, lacking, _, each = recipes.to_markdown(file).split("\n\n")
    # AdamW was trained on one of two encodings: no mean is shown. A rate that was only tried has no row.
    assert over.splitlines()[2:] == [
        "| copy | muon | 512 | 1000 | 1 cosine | 3 of 6 | 500 | 5 | 0.90 | 0.30 |"
    ]
    assert lacking == (
        "Not complete: batch 512 (`copy` with adamw); batch 1024 (all); batch 512 and twice the steps (all). "
        "Rows beyond these stages stand in the last table alone."
    )
    assert each.splitlines()[2:] == [
        "| copy | nope | muon | 512 | 1000 | 0.90 | 0 of 3 | - | - | 12: 0.90, 24: 0.50, 96: 0.10 |",
        "| copy | rope | adamw | 512 | 1000 | 0.90 | 3 of 3 | 500 | 5 | 12: 0.90, 24: 0.50, 96: 0.10 |",
        "| copy | rope | muon | 512 | 1000 | 0.90 | 3 of 3 | 500 | 5 | 12: 0.90, 24: 0.50, 96: 0.10 |",
    ]


def test_an_encoding_moves_where_more_steps_change_it_more_than_two_deviations_of_seeds(tmp_path):
    """Per seed, rope gains 0.1 at L and loses 0.2 beyond it with deviations of 0.01 and 0.2; nope stays."""
    file = tmp_path / "recipes.jsonl"
    lines = [line("nope", seed, steps=steps) for seed in range(3) for steps in (1000, 2000)]
    for seed, (at, beyond) in enumerate([(0.79, 0.6), (0.8, 0.4), (0.81, 0.2)]):
        lines.append(line("rope", seed, kept=(at, beyond, beyond)))
        lines.append(line("rope", seed, kept=(at + 0.1, beyond - 0.2, beyond - 0.2), steps=2000))
    file.write_text("\n".join(lines))
    assert recipes.to_markdown(file).split("\n\n")[2].splitlines()[2:] == [
        "| copy | muon | 512 | +0.05 | -0.10 | rope | - |"
    ]


@pytest.mark.parametrize("shape", [(64, 64), (3, 40, 64), (64, 24)])
def test_the_update_is_nearly_orthogonal(shape):
    g = torch.randn(*shape, generator=torch.Generator().manual_seed(0))
    got, (u, _, v) = trial.orthogonal(g), torch.linalg.svd(g, full_matrices=False)
    singular = torch.linalg.svdvals(got)
    assert singular.quantile(0.1) > 0.6  # the smallest of a random square matrix is nearly 0, and stays small
    assert singular.max() < 1.3
    assert torch.nn.functional.cosine_similarity(got.flatten(), (u @ v).flatten(), dim=0) > 0.95


def test_muon_on_the_native_step_is_muon_on_autograd(monkeypatch):
    """Two steps: each matrix of a block moves by its orthogonalised momentum, all else by AdamW."""
    monkeypatch.setattr(trial, "multiplies_half", lambda: False)
    task, plan = make("copy"), QUICK.plans["copy"]
    recipe = replace(plan.recipe, tokens=256)
    made = [LM(plan.size(task.vocab), resolve("rope")[1], task.context(recipe.length), 0) for _ in range(2)]
    if not serves(made[0]):
        pytest.skip("no native step here")
    native, plain = trial.Muon(made[0], recipe, 0.5), made[1]
    others, momenta, rate = trial.AdamW(plain, recipe), {}, 0.01
    for step in range(2):
        data = batch(task, recipe, 0, step)
        native(data, rate)
        loss(plain, data).backward()
        torch.nn.utils.clip_grad_norm_(plain.parameters(), recipe.clip)
        moved(plain, momenta, recipe, rate)
        others.step(rate * 0.5)
    for (name, a), b in zip(made[0].named_parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=2e-4, msg=lambda said, name=name: f"{name}: {said}")


@torch.no_grad()
def moved(lm: LM, momenta: dict, recipe: Recipe, rate: float) -> None:
    """Muon as its definition has it, matrix by matrix."""
    for name, p in lm.named_parameters():
        if p.dim() != 2 or not name.startswith("blocks."):
            continue
        parts = 3 if "qkv" in name else 2 if "gate_up" in name else 1
        momentum = momenta[name] = 0.95 * momenta.get(name, torch.zeros_like(p)) + p.grad
        update = [
            trial.orthogonal(m) * 0.2 * max(m.shape) ** 0.5 for m in (p.grad + 0.95 * momentum).chunk(parts)
        ]
        p.mul_(1 - rate * recipe.weight_decay).sub_(rate * torch.cat(update))
        p.grad = None
