"""The suite on a GPU: skipped where there is none."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.functional import cross_entropy
from typer.testing import CliRunner

from pebench.encodings.registry import names, resolve
from pebench.suite.cli import app
from pebench.suite.experiment import graphs
from pebench.suite.experiment.training import AdamW, Recipe, batch, stepper, train
from pebench.suite.lm.model import LM, Size
from pebench.suite.results.record import read_all
from pebench.tasks import make
from pebench.tasks.base import Batch

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="there is no CUDA device: nothing on a GPU is tested or measured here",
)

SIZE = Size(layers=2, width=64, heads=4, vocab=40)
ALL = (*names(), "rope+fox", "rope+grape_ap+ssmax")


def made(name: str) -> LM:
    """A model whose encoding is away from its initial values, where many encodings do nothing."""
    lm = LM(SIZE, resolve(name)[1], train_length=32, seed=0).eval()
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in lm.encoding.parameters():
            p += 0.05 * torch.randn(p.shape, generator=rng)
    return lm


def tokens(length: int = 33) -> torch.Tensor:
    return torch.randint(40, (3, length), generator=torch.Generator().manual_seed(0))


def learned(lm: LM, text: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Logits and gradients, on the CPU."""
    logits = lm(text[:, :-1])
    cross_entropy(logits.flatten(0, 1), text[:, 1:].flatten()).backward()
    return logits.detach().cpu(), {n: p.grad.cpu() for n, p in lm.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("name", ALL)
def test_values_and_gradients_are_those_of_the_processor(name: str) -> None:
    near, near_grads = learned(made(name), tokens())
    far, far_grads = learned(made(name).cuda(), tokens().cuda())
    torch.testing.assert_close(far, near, rtol=1e-4, atol=1e-4)
    assert far_grads.keys() == near_grads.keys()
    size = max(g.abs().max().item() for g in near_grads.values())
    for key, g in near_grads.items():
        torch.testing.assert_close(
            far_grads[key], g, rtol=1e-3, atol=5e-4 * size, msg=lambda m, k=key: f"{k}: {m}"
        )


@pytest.mark.parametrize("name", ALL)
@torch.no_grad()
def test_decoding_gives_what_reading_gives(name: str) -> None:
    lm, text = made(name).cuda(), tokens(20).cuda()
    cache = lm.cache()
    steps = [lm(text[:, i : i + 1], cache) for i in range(20)]
    torch.testing.assert_close(torch.cat(steps, dim=1), lm(text), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ALL)
def test_training_in_bfloat16_stays_finite_and_is_the_same_bits_again(name: str) -> None:
    def weights() -> dict[str, torch.Tensor]:
        lm = LM(SIZE, resolve(name)[1], train_length=16, seed=0).cuda()
        train(lm, make("copy"), Recipe(length=6, steps=5, tokens=256), seed=0)
        return lm.state_dict()

    first, again = weights(), weights()
    assert all(p.isfinite().all() for p in first.values())
    assert all(torch.equal(first[key], again[key]) for key in first)


@pytest.mark.parametrize("name", ["rope", "grape_ap", "randomized"])
def test_steps_of_a_graph_are_steps_without_one(name: str) -> None:
    """Several batches of one shape: what a graph reads must be copied into it each time."""
    task, recipe = make("copy"), Recipe(length=6, steps=12, tokens=256)

    def weights(way: Callable[..., Any]) -> tuple[dict[str, torch.Tensor], int]:
        lm = LM(SIZE, resolve(name)[1], train_length=16, seed=0).cuda()
        opt, recorded = AdamW(lm, recipe), 0
        with way(lm, opt, recipe.clip) as take:
            for step in range(recipe.steps):
                torch.manual_seed(step)
                take(
                    Batch(*(x.cuda() for x in batch(task, recipe, 0, step))),
                    0.003 * (step + 1) / recipe.steps,
                )
            owner = getattr(take, "__self__", None)
            if isinstance(owner, graphs.Graphs):
                recorded = sum(each is not None for each in owner.recorded.values())
        return lm.state_dict(), recorded

    (mine, recorded), (plain, _) = weights(graphs.stepper), weights(stepper)
    assert (recorded > 0) is (name != "randomized")  # which draws random numbers
    for key, p in plain.items():
        torch.testing.assert_close(mine[key], p, rtol=1e-3, atol=1e-4)


def test_a_sweep(tmp_path: Path, books: None) -> None:
    command = ["run", "--profile", "SMOKE", "--device", "cuda", "-e", "rope,grape_ap", "--jobs", "2"]
    done = CliRunner().invoke(app, [*command, "--records", str(tmp_path)])
    assert done.exit_code == 0, done.output
    records, unreadable = read_all(tmp_path)
    assert not unreadable
    assert {r.outcome for r in records} == {"measured"}
    assert all(r.provenance["device"] == torch.cuda.get_device_name() for r in records)
