"""The step that a CUDA graph records, on the CPU: the graph itself needs a GPU (tests/test_cuda.py)."""

import pytest
import torch

from pebench.encodings.registry import resolve
from pebench.suite.experiment import graphs
from pebench.suite.experiment.training import AdamW, Recipe, batch, plain_step
from pebench.suite.lm.model import LM, Size
from pebench.suite.runs import machine
from pebench.tasks import make
from pebench.tasks.base import Batch

RECIPE = Recipe(length=6, steps=4, tokens=64)


def made(name: str) -> tuple[LM, AdamW, list[Batch]]:
    lm = LM(Size(1, 16, 2, make("copy").vocab), resolve(name)[1], 16, seed=0)
    return lm, AdamW(lm, RECIPE), [batch(make("copy"), RECIPE, 0, step) for step in range(3)]


def test_a_whole_step_is_a_plain_step() -> None:
    (lm, opt, batches), (other, other_opt, _) = made("fox"), made("fox")
    for data in batches:
        value, norm = graphs.whole_step(lm, opt, 1.0, data.tokens, data.targets, torch.tensor(0.003))
        true = plain_step(other, other_opt, 1.0, data, 0.003)
        torch.testing.assert_close((value.item(), norm.item()), true, rtol=1e-5, atol=1e-6)
    for p, q in zip(lm.parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(p, q, rtol=1e-4, atol=1e-6)


def test_a_step_that_is_not_finite_changes_nothing() -> None:
    lm, opt, (data, *_) = made("rope")
    lm.register_forward_hook(lambda module, args, y: y * torch.inf)
    before = {name: x.clone() for name, x in lm.state_dict().items()}
    value, _ = graphs.whole_step(lm, opt, 1.0, data.tokens, data.targets, torch.tensor(0.003))
    assert not value.isfinite()
    assert all(torch.equal(x, before[name]) for name, x in lm.state_dict().items())
    assert not any(step.item() for step in opt.steps)


def test_what_draws_random_numbers_is_not_recorded() -> None:
    for name, drawn in (("rope", False), ("randomized", True)):
        lm, _, (data, *_) = made(name)
        before = torch.get_rng_state()
        assert graphs.repeats(lm.train(), data) is not drawn
        assert torch.equal(torch.get_rng_state(), before)  # a resumed training draws the same numbers


def test_a_step_without_a_graph_is_the_whole_step_too() -> None:
    """Which shapes have a graph depends on where a training was resumed."""
    (lm, opt, batches), (other, other_opt, _) = made("randomized"), made("randomized")
    steps = graphs.Graphs(lm.train(), opt, 1.0)
    other.train()
    for n, data in enumerate(batches):
        torch.manual_seed(n)
        found = steps.step(data, 0.003)
        torch.manual_seed(n)
        value, norm = graphs.whole_step(other, other_opt, 1.0, data.tokens, data.targets, torch.tensor(0.003))
        assert found == (value.item(), norm.item())
    assert set(steps.recorded.values()) == {None}
    for p, q in zip(lm.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)


def test_runs_at_a_time_follow_from_a_gpus_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 16)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (70 * 2**30, 80 * 2**30))
    assert machine.runs_at_once("cpu") == 16
    assert machine.runs_at_once("cuda") == 16
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (9 * 2**30, 80 * 2**30))
    assert machine.runs_at_once("cuda:1") == 2
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (2**20, 80 * 2**30))
    assert machine.runs_at_once("cuda") == 1


def test_runs_at_a_time_follow_from_memory_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cores", lambda: 64)
    monkeypatch.setattr(machine, "memory", lambda root=None: 4 * 2**30)
    assert machine.runs_at_once("cpu") == 7
    monkeypatch.setattr(machine, "memory", lambda root=None: 2**28)
    assert machine.runs_at_once("cpu") == 1
