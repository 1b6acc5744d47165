import contextlib
import copy
import math
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pebench.encodings.base import At, Encoding
from pebench.encodings.extension import METHODS, extended
from pebench.encodings.nope import NoPE
from pebench.encodings.registry import names, resolve
from pebench.suite.experiment import training
from pebench.suite.experiment.measure import examine
from pebench.suite.experiment.profiles import PROFILES, Plan
from pebench.suite.experiment.resume import Resume
from pebench.suite.experiment.speed import Timed
from pebench.suite.experiment.training import AdamW, Diverged, Recipe, batch, loss, rate, train
from pebench.suite.lm import precision
from pebench.suite.lm.model import LM, Size
from pebench.suite.results.record import Row
from pebench.tasks.base import Batch, Score, Task
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


def test_every_encoding_trains_on_the_same_batches_also_after_a_restart(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []

    def watched(task: Task, recipe: Recipe, seed: int, step: int) -> Batch:
        data = batch(task, recipe, seed, step)
        seen.append(torch.cat([data.tokens, data.targets]))
        return data

    def batches(encoding: str, restart: bool) -> list[torch.Tensor]:
        seen.clear()
        cls, path = resolve(encoding)[1], tmp_path / f"{encoding}.state"
        if restart:
            interrupted(cls, path)
            del seen[6:]  # the batch at which it was stopped comes again
        train(LM(SIZE, cls, 9, 0), Copy(), RECIPE, 0, resume=Resume(path, "this") if restart else None)
        return [*seen]

    monkeypatch.setattr(training, "batch", watched)
    first = batches("nope", restart=False)
    assert len(first) == RECIPE.steps
    for encoding in ("fox", "randomized"):  # the second draws positions while it trains
        for restart in (False, True):
            others = batches(encoding, restart)
            assert all(torch.equal(a, b) for a, b in zip(first, others, strict=True))


def test_what_an_encoding_draws_depends_on_seed_and_step_alone() -> None:
    cls = resolve("randomized")[1]
    lm = LM(SIZE, cls, 9, 0)
    before = torch.random.get_rng_state()
    result = train(lm, Copy(), RECIPE, 0)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.rand(5)
    assert trained(cls)[1].final_loss == result.final_loss


class Killed(Exception):
    pass


def interrupted(encoding: type[Encoding], path: Path, run: str = "this", step: int = 6) -> None:
    """Train with a state after every step, and stop after one of them."""

    def tick(done: int) -> None:
        if done == step:
            raise Killed

    with pytest.raises(Killed):
        train(LM(SIZE, encoding, 9, 0), Copy(), RECIPE, 0, tick, Resume(path, run, every=0.0))


@pytest.mark.parametrize("name", ["rope", "fox", "randomized", "grape_m_basis"])
def test_a_training_that_was_stopped_goes_on_to_the_same_bits(name: str, tmp_path: Path) -> None:
    cls, path, steps = resolve(name)[1], tmp_path / "x.state", []
    whole, expected = trained(cls)
    interrupted(cls, path)
    lm = LM(SIZE, cls, 9, 0)
    result = train(lm, Copy(), RECIPE, 0, steps.append, Resume(path, "this"))
    assert steps == list(range(6, RECIPE.steps))
    assert (result.final_loss, result.tokens) == (expected.final_loss, expected.tokens)
    for name, p in whole.state_dict().items():
        assert torch.equal(p, lm.state_dict()[name])


def test_a_state_that_is_torn_or_of_another_run_is_not_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "x.state"
    interrupted(NoPE, path, run="another")
    foreign = path.read_bytes()
    for data in (foreign, foreign[:-50], foreign[:500], b"", b"text"):
        path.write_bytes(data)
        steps: list[int] = []
        train(LM(SIZE, NoPE, 9, 0), Copy(), RECIPE, 0, steps.append, Resume(path, "this"))
        assert steps == list(range(RECIPE.steps))
        assert "is not used, the training starts anew" in capsys.readouterr().err


def test_a_state_that_cannot_be_saved_stops_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    resume = Resume(tmp_path / "file" / "x.state", "this", every=0.0)
    result = train(LM(SIZE, NoPE, 9, 0), Copy(), RECIPE, 0, resume=resume)
    assert result.final_loss == trained()[1].final_loss
    assert "cannot be saved" in capsys.readouterr().err


def test_states_are_saved_by_the_clock_that_nobody_sets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    resume = Resume(tmp_path / "x", "this")
    monkeypatch.setattr(time, "time", lambda: 1e12)
    assert not resume.due()
    monkeypatch.setattr(time, "monotonic", lambda: resume.saved + 61)
    assert resume.due()


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
    opt = AdamW(lm, RECIPE)
    inside = {id(p) for p in lm.encoding.parameters()}
    assert [id(p) for p in opt.parameters] == [id(p) for p in lm.parameters()]
    for p, decay in zip(opt.parameters, opt.decays, strict=True):
        assert decay == (RECIPE.weight_decay if p.dim() == 2 and id(p) not in inside else 0.0)


def test_our_adamw_is_torchs_bit_for_bit() -> None:
    lm, twin = (LM(SIZE, resolve("fox")[1], 9, 0) for _ in range(2))
    ours = AdamW(lm, RECIPE)
    rates = zip(twin.parameters(), ours.decays, strict=True)
    theirs = torch.optim.AdamW(
        [{"params": [p], "weight_decay": decay} for p, decay in rates],
        betas=(0.9, 0.95),
        eps=1e-8,
        fused=True,
    )
    tokens = torch.arange(16).view(2, 8)
    for step in range(5):
        for model in (lm, twin):
            model.norm.weight.requires_grad_(step != 2)  # a parameter without a gradient waits
            loss(model, Batch(tokens, tokens)).backward()
        ours.step(0.01 * (step + 1))
        for group in theirs.param_groups:
            group["lr"] = 0.01 * (step + 1)
        theirs.step()
        theirs.zero_grad()
        if step == 3:  # a training that goes on
            state, ours = copy.deepcopy(ours.state_dict()), AdamW(lm, RECIPE)
            ours.load_state_dict(state)
        assert all(map(torch.equal, lm.parameters(), twin.parameters()))
        assert all(p.grad is None for p in lm.parameters())


def test_training_does_without_the_compiler() -> None:
    code = (
        "import sys\n"
        "from pebench.encodings.registry import resolve\n"
        "from pebench.suite.experiment.training import Recipe, train\n"
        "from pebench.suite.lm.model import LM, Size\n"
        "from pebench.suite.runs import worker\n"
        "from pebench.tasks import make\n"
        "task = make('copy')\n"
        "train(LM(Size(1, 16, 2, task.vocab), resolve('fox')[1], 9, 0), task, Recipe(4, 2, 64), 0)\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-P", "-c", code], check=True)


def test_the_rate_warms_up_and_falls_to_a_tenth() -> None:
    recipe = Recipe(length=4, steps=200)
    rates = [rate(step, recipe) for step in range(200)]
    assert max(rates) == 1.0
    assert rates.index(1.0) == 9
    assert rates[-1] == pytest.approx(0.1)
    assert rates[10:] == sorted(rates[10:], reverse=True)


@pytest.mark.parametrize("kind", ["float16", "bfloat16"])
def test_training_with_narrow_products_ends_near_that_with_float32(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, steps=60, tokens=256, learning_rate=1e-2)
    losses = []
    if kind == "float16" and not precision.fast_fp16():
        pytest.skip("this processor does not multiply in half precision")
    for fast in ("", kind):
        monkeypatch.setattr(precision, "fast_bf16", lambda device, fast=fast: fast == "bfloat16")
        monkeypatch.setattr(precision, "fast_fp16", lambda fast=fast: fast == "float16")
        losses.append(train(LM(SIZE, resolve("alibi")[1], 9, 0), Copy(), recipe, 0).final_loss)
    assert losses[0] != losses[1]
    assert losses[0] == pytest.approx(losses[1], abs=0.03)


class Outputs(Copy):
    """Scores the sum of all logits, so that no change of a bit goes unseen."""

    def measure(self, lm, condition, n, rng, split="test"):
        logits = lm(self.examples(condition, n, rng, split).tokens)
        return [Score("per_token", logits.double().sum().item(), n, condition, 0.0, 1.0)]


def test_a_grid_without_the_training_length_leaves_it_to_the_gate() -> None:
    lm, cpu = LM(SIZE, resolve("rope")[1], 9, 0), torch.device("cpu")

    def rows(*multiples: float) -> list[Row]:
        plan = Plan(1, 16, 2, RECIPE, multiples, 8)
        return examine(lm, Outputs(), plan, cpu, lambda done, total: None)[0]

    whole, longer = rows(1, 2), rows(2)
    assert longer == [whole[0], whole[2]]
    assert [row.metric for row in longer] == ["gate", "per_token"]


@pytest.mark.parametrize("name", ["rope", "grape_m_nonctx"])
def test_an_extension_follows_the_length_and_leaves_the_training_length_alone(name: str) -> None:
    lm = LM(SIZE, resolve(name)[1], 9, 0)
    train(lm, Copy(), RECIPE, 0)
    task, plan, cpu = Outputs(), Plan(1, 16, 2, RECIPE, (0.5, 1, 2, 4), 8), torch.device("cpu")

    def values(extension: str = "") -> list[float]:
        return [row.value for row in examine(lm, task, plan, cpu, lambda done, total: None, extension)[0]]

    def fixed(method: str, factor: float) -> list[float]:
        own, lm.encoding = lm.encoding, extended(lm.encoding, method, factor)
        found, lm.encoding = values(), own
        return found

    plain = values()
    for method in sorted(
        METHODS.keys() - {"longrope2_searched"}
    ):  # which needs a search on a pretrained model
        double, fourfold = fixed(method, 2.0), fixed(method, 4.0)
        assert values(method) == [*plain[:3], double[3], fourfold[4]]
        assert double[3] != plain[3]
    assert values() == plain


@pytest.mark.parametrize("steps", [1, 12, 100, 1250])
def test_the_rate_falls_to_the_floor(steps: int) -> None:
    """The default is the schedule of all published records, bit for bit; the last step has the floor."""
    recipe = Recipe(length=8, steps=steps)
    warm = max(1, round(0.05 * steps))
    for step in range(warm, steps):
        done = (step - warm + 1) / (steps - warm)
        assert rate(step, recipe) == 0.1 + 0.45 * (1 + math.cos(math.pi * done))
    for floor in (0.0, 0.03, 1.0):
        assert rate(steps - 1, replace(recipe, floor=floor)) == pytest.approx(floor if steps > 1 else 1.0)


def test_a_stepper_of_ones_own_takes_every_step_of_a_training() -> None:
    taken: list[float] = []

    @contextlib.contextmanager
    def counting(lm: LM, opt: AdamW, clip: float) -> Iterator[training.Step]:
        with training.stepper(lm, opt, clip) as step:

            def take(data: Batch, rate: float) -> tuple[float, float]:
                taken.append(rate)
                return step(data, rate)

            yield take

    usual, _ = trained()
    other = LM(SIZE, NoPE, 9, 0)
    train(other, Copy(), RECIPE, 0, stepper=counting)
    assert taken == [RECIPE.learning_rate * rate(step, RECIPE) for step in range(RECIPE.steps)]
    for name, p in usual.state_dict().items():
        assert torch.equal(p, other.state_dict()[name])


@pytest.mark.parametrize(("name", "columns"), [("rope", 0), ("alibi", 0), ("grape_ap", 1)])
def test_the_cache_of_a_timed_model_counts_columns(name, columns):
    """Of encodings with their own weights they lie beside the keys; else they widen them."""
    plan = PROFILES["SMOKE"].plans["throughput"]
    timed = Timed(resolve(name)[1], plan, torch.device("cpu"))
    found = timed.cache_bytes(16)
    with torch.no_grad():
        timed.lm(timed.bytes(1, 16), cache := timed.lm.cache())
    sides = [[x for x in (layer.k, layer.v, layer.columns) if x is not None] for layer in cache.layers]
    assert all(len(side) == 2 + columns for side in sides)
    assert found == sum(x[0, :, 0].numel() * x.element_size() for side in sides for x in side)
