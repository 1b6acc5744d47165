import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pebench.encodings.base import At, Encoding
from pebench.encodings.nope import NoPE
from pebench.encodings.registry import names, resolve
from pebench.suite import training
from pebench.suite.model import LM, Size
from pebench.suite.training import Diverged, Recipe, batch, fast_bf16, optimiser, rate, train
from pebench.tasks.copy import Copy

SIZE = Size(1, 16, 2, Copy.vocab)
RECIPE = Recipe(length=4, steps=12, tokens=128)


def trained(encoding: type[Encoding] = NoPE, seed: int = 0) -> tuple[LM, training.Trained]:
    lm = LM(SIZE, encoding, 9, seed)
    return lm, train(lm, Copy(), RECIPE, seed)


def test_the_same_seed_gives_the_same_bits() -> None:
    (one, a), (two, b) = trained(), trained()
    assert a.final_loss == b.final_loss
    for name, p in one.state_dict().items():
        assert torch.equal(p, two.state_dict()[name])
    _, c = trained(seed=1)
    assert c.final_loss != a.final_loss


def test_batches_depend_on_seed_and_step_alone() -> None:
    first = batch(Copy(), RECIPE, seed=0, step=3)
    trained(resolve("fox")[1])
    assert torch.equal(batch(Copy(), RECIPE, 0, 3).tokens, first.tokens)
    others = [batch(Copy(), replace(RECIPE, length=30), 0, step).tokens for step in range(9)]
    assert len({t.shape for t in others}) > 1


def test_training_learns() -> None:
    lm = LM(SIZE, resolve("alibi")[1], 9, 0)
    result = train(lm, Copy(), replace(RECIPE, steps=150, tokens=512, learning_rate=1e-2), 0)
    assert result.final_loss < 0.9 * math.log(30)
    assert result.tokens > 100 * 150


def test_a_loss_that_is_no_number_ends_the_run() -> None:
    class Explodes(NoPE):
        def embed(self, x: torch.Tensor, pos: torch.Tensor) -> torch.Tensor:
            return x * torch.inf

    with pytest.raises(Diverged, match="at step 1 of 12"):
        trained(Explodes)


def test_a_gradient_that_is_no_number_ends_the_run() -> None:
    class Sharp(NoPE):
        def qk(self, q: torch.Tensor, k: torch.Tensor, at: At) -> tuple[torch.Tensor, torch.Tensor]:
            return q + (q - q).abs().sqrt(), k  # the value is finite, the slope at 0 is not

    with pytest.raises(Diverged, match="gradient norm nan"):
        trained(Sharp)


@pytest.mark.parametrize("name", names())
def test_positional_parameters_are_never_decayed(name: str) -> None:
    lm = LM(Size(2, 32, 2, 16), resolve(name)[1], 16, 0)
    decayed, exempt = optimiser(lm, RECIPE).param_groups
    inside = {id(p) for p in lm.encoding.parameters()}
    assert decayed["weight_decay"] > 0 == exempt["weight_decay"]
    assert inside <= {id(p) for p in exempt["params"]}
    assert len(decayed["params"]) + len(exempt["params"]) == len(list(lm.parameters()))
    assert all(p.dim() == 2 for p in decayed["params"])


def test_the_rate_warms_up_and_falls_to_a_tenth() -> None:
    recipe = Recipe(length=4, steps=200)
    rates = [rate(step, recipe) for step in range(200)]
    assert max(rates) == 1.0
    assert rates.index(1.0) == 9
    assert rates[-1] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)


def test_bf16_is_used_only_where_the_processor_is_fast_at_it(monkeypatch: pytest.MonkeyPatch) -> None:
    for flags, fast in (("avx2 amx_bf16", True), ("avx512_bf16", False)):
        monkeypatch.setattr(Path, "exists", lambda self: True)
        monkeypatch.setattr(Path, "read_text", lambda self, flags=flags: f"flags : {flags}")
        assert fast_bf16(torch.device("cpu")) is fast


def test_training_under_bf16_ends_near_that_of_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = replace(RECIPE, steps=60, tokens=256, learning_rate=1e-2)
    losses = []
    for fast in (False, True):
        monkeypatch.setattr(training, "fast_bf16", lambda device, fast=fast: fast)
        losses.append(train(LM(SIZE, resolve("alibi")[1], 9, 0), Copy(), recipe, 0).final_loss)
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], abs=0.03)
