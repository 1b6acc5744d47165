"""The native training step against the model in PyTorch: gradients, optimiser, and where it must not serve."""

import copy
import math
import shutil
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from pebench.encodings import registry
from pebench.encodings.base import At
from pebench.encodings.nope import NoPE
from pebench.suite.experiment.training import AdamW, Recipe, loss, plain_step, stepper, train
from pebench.suite.lm import precision, step
from pebench.suite.lm.model import LM, LengthError, Size
from pebench.suite.lm.native import build, ops
from pebench.tasks.base import IGNORE, Batch
from pebench.tasks.copy import Copy

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
RECIPE = Recipe(length=4, steps=8, tokens=128)
HALF = precision.fast_fp16()


@pytest.fixture(autouse=True)
def float32(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """One thread and float32 products, unless a test asks for others."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert build.library() is not None
    monkeypatch.setattr(precision, "fast_fp16", lambda: False)
    monkeypatch.setattr(precision, "fast_bf16", lambda device: False)
    yield
    torch.set_num_threads(threads)


def data(size: Size, batches: int, tokens: int) -> Batch:
    """Random tokens; about a third of them have no target."""
    rng = torch.Generator().manual_seed(batches * 101 + tokens)
    texts = torch.randint(size.vocab, (2, batches, tokens), generator=rng)
    targets = texts[1].masked_fill(torch.rand(batches, tokens, generator=rng) < 0.3, IGNORE)
    targets[0, 0] = 0
    return Batch(texts[0], targets)


def drawn(name: str, size: Size) -> LM:
    """A model whose encoding is not silent: many are, at their initial values."""
    lm = LM(size, registry.resolve(name)[1], 64, 0)
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in lm.encoding.parameters():
            p += 0.1 * torch.randn(p.shape, generator=rng)
    return lm


def gradients(lm: LM, batch: Batch, half: bool = False) -> dict[str, Tensor]:
    """Loss and gradients of the native step."""
    lm = copy.deepcopy(lm)
    torch.manual_seed(1)
    native = step.NativeStep(lm, AdamW(lm, RECIPE), 1.0)
    value, scale = native.gradients(*batch, half)
    return {n: p.grad / scale for n, p in lm.named_parameters()} | {"loss": torch.tensor(value)}


def defined(lm: LM, batch: Batch) -> dict[str, Tensor]:
    """Loss and gradients of the model in PyTorch, in float64 but for what an encoding keeps in float32."""
    lm = copy.deepcopy(lm).double()
    torch.manual_seed(1)
    with ops.definitions():
        asked = batch.targets != IGNORE
        value = nn.functional.cross_entropy(lm(batch.tokens, asked=asked), batch.targets[asked])
        value.backward()
    zero = {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in lm.named_parameters()}
    return {n: g.detach() for n, g in zero.items()} | {"loss": value.detach()}


def assert_alike(found: dict[str, Tensor], true: dict[str, Tensor], tolerance: float) -> None:
    assert found.keys() == true.keys()
    whole = math.sqrt(sum(float(x.square().sum()) for n, x in true.items() if n != "loss"))
    for name, x in true.items():
        error = float((found[name].double() - x).norm())
        assert error <= tolerance * (float(x.norm()) + 1e-2 * whole), (name, error, float(x.norm()))


@pytest.mark.parametrize("name", registry.names())
def test_every_encoding_learns_as_defined(name: str) -> None:
    size = Size(2, 32, 2, 19)
    for batches, tokens in ((9, 11), (1, 70)):  # the second is longer than what short.c computes
        lm = drawn(name, size)
        assert step.serves(lm)
        if lm.encoding.max_length is not None and tokens > lm.encoding.max_length:
            continue
        batch = data(size, batches, tokens)
        assert_alike(gradients(lm, batch), defined(lm, batch), 1e-4)


@settings(max_examples=25, deadline=None)
@given(
    st.sampled_from(["nope", "alibi", "fox", "t5_bias", "grape_a_qk", "cope", "sinusoidal"]),
    st.integers(1, 3),
    st.integers(1, 4),
    st.integers(2, 21),
    st.integers(2, 140),
    st.integers(1, 9),
    st.integers(1, 40),
)
def test_any_shape_learns_as_defined(
    name: str, layers: int, heads: int, head_width: int, vocab: int, batches: int, tokens: int
) -> None:
    size = Size(layers, 2 * heads * head_width, heads, vocab)
    lm, batch = drawn(name, size), data(size, batches, tokens)
    assert_alike(gradients(lm, batch), defined(lm, batch), 1e-4)


@pytest.mark.parametrize("head_width", [1, 5, 35])
def test_odd_widths_learn_as_defined(head_width: int) -> None:
    for heads in (1, 3):
        size = Size(1, heads * head_width, heads, 7)
        lm, batch = drawn("alibi", size), data(size, 4, 6)
        assert_alike(gradients(lm, batch), defined(lm, batch), 1e-4)


@pytest.mark.skipif(not HALF, reason="this processor does not multiply in half precision")
@pytest.mark.parametrize("name", ["rope", "alibi", "grape_ap", "cope"])
@pytest.mark.parametrize("size", [Size(2, 64, 4, 32), Size(2, 48, 3, 70), Size(1, 144, 2, 300)])
def test_half_precision_is_near(name: str, size: Size) -> None:
    lm, batch = drawn(name, size), data(size, 7, 25)
    assert_alike(gradients(lm, batch, half=True), defined(lm, batch), 2e-2)


@pytest.mark.skipif(not HALF, reason="this processor does not multiply in half precision")
def test_a_step_that_overflows_in_half_precision_is_taken_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    size = Size(1, 32, 2, 19)
    large = drawn("randomized", size)
    with torch.no_grad():
        large.blocks[0].norm2.weight.fill_(1e6)  # h2 is beyond 65504
    results = []
    for half in (False, True):
        monkeypatch.setattr(precision, "fast_fp16", lambda half=half: half)
        lm = copy.deepcopy(large)
        torch.manual_seed(3)
        with stepper(lm, AdamW(lm, RECIPE), 1.0) as take:
            results.append((take(data(size, 4, 9), 1e-2), lm.state_dict()))
    (exact, first), (again, second) = results
    assert exact == again
    assert all(torch.equal(x, second[name]) for name, x in first.items())


def stepped(lm: LM, native: bool, steps: int = 6) -> tuple[list[tuple[float, float]], AdamW]:
    opt = AdamW(lm, RECIPE)
    lm.train()
    found = []
    with stepper(lm, opt, 1.0) if native else ops.definitions() as take:
        for n in range(steps):
            torch.manual_seed(n)
            batch, rate = data(lm.size, 5, 5 + n), 1e-2 / (n + 1)
            found.append(take(batch, rate) if native else plain_step(lm, opt, 1.0, batch, rate))
    return found, opt


@pytest.mark.parametrize("name", ["rope", "fox", "randomized"])
def test_steps_and_moments_are_the_optimisers(name: str) -> None:
    size = Size(2, 32, 2, 19)
    one, two = drawn(name, size), drawn(name, size)
    (native, opt), (plain, other) = stepped(one, True), stepped(two, False)
    assert torch.allclose(torch.tensor(native), torch.tensor(plain), rtol=1e-4)
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        assert torch.allclose(p, q, rtol=1e-3, atol=1e-4)
        assert p.grad is None
        assert p.untyped_storage().nbytes() == 4 * p.numel()  # its own memory again
    for kind, state in opt.state_dict().items():
        for mine, true in zip(state, other.state_dict()[kind], strict=True):
            assert torch.allclose(mine, true, rtol=1e-2, atol=1e-6)


def test_a_training_ends_where_that_in_pytorch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, ends = Recipe(length=4, steps=60, tokens=256, learning_rate=1e-2), []
    for native in (True, False):
        monkeypatch.setattr(step, "serves", lambda lm, native=native: native)
        ends.append(train(LM(Size(1, 16, 2, Copy.vocab), NoPE, 9, 0), Copy(), recipe, 0).final_loss)
    assert ends[0] == pytest.approx(ends[1], rel=2e-3)


def test_a_loss_that_is_not_finite_changes_nothing() -> None:
    class Explodes(NoPE):
        def values(self, v: Tensor, at: At) -> Tensor:
            return v * torch.inf

    lm = LM(Size(1, 16, 2, 7), Explodes, 9, 0)
    before = copy.deepcopy(lm.state_dict())
    with stepper(lm, AdamW(lm, RECIPE), 1.0) as take:
        value, norm = take(data(lm.size, 2, 5), 1e-2)
    assert not math.isfinite(value + norm)
    assert all(torch.equal(x, before[name]) for name, x in lm.state_dict().items())


def test_a_step_whose_parameters_were_moved_refuses() -> None:
    lm = LM(Size(1, 16, 2, 7), NoPE, 9, 0)
    with stepper(lm, AdamW(lm, RECIPE), 1.0) as take:
        take(data(lm.size, 2, 5), 1e-2)
        lm.zero_grad()
        with pytest.raises(RuntimeError, match="make a new step"):
            take(data(lm.size, 2, 5), 1e-2)
    with pytest.raises(RuntimeError, match="make a new step"):  # released
        take(data(lm.size, 3, 5), 1e-2)


@pytest.mark.parametrize("bad", [-1, 7])
def test_tokens_beyond_the_vocabulary_are_refused(bad: int) -> None:
    lm = LM(Size(1, 16, 2, 7), NoPE, 9, 0)
    for part in range(2):
        batch = data(lm.size, 2, 5)
        batch[part][1, 3] = bad
        with stepper(lm, AdamW(lm, RECIPE), 1.0) as take, pytest.raises(IndexError, match="0 to 6"):
            take(batch, 1e-2)


def test_more_tokens_than_an_encoding_is_defined_for_are_refused() -> None:
    lm = LM(Size(1, 16, 2, 7), registry.resolve("learned_ape")[1], 4, 0)
    with stepper(lm, AdamW(lm, RECIPE), 1.0) as take, pytest.raises(LengthError):
        take(data(lm.size, 2, 50), 1e-2)


def changed(lm: LM, how: str) -> LM:
    block = lm.blocks[0]
    if how == "hook":
        block.register_forward_hook(lambda *args: None)
    elif how == "own forward":
        block.mlp.forward = lambda x: x
    elif how == "another module":
        block.mlp.down = nn.utils.parametrizations.weight_norm(block.mlp.down)
    elif how == "frozen":
        block.norm1.weight.requires_grad_(False)
    elif how == "double":
        lm.double()
    elif how == "subclass":
        lm.__class__ = type("Other", (LM,), {})
    return lm


@pytest.mark.parametrize("how", ["hook", "own forward", "another module", "frozen", "double", "subclass"])
def test_a_model_that_is_not_the_standard_one_trains_in_pytorch(how: str) -> None:
    lm = LM(Size(1, 16, 2, 7), NoPE, 9, 0)
    assert step.serves(lm)
    assert not step.serves(changed(lm, how))


def test_it_serves_only_where_kernels_may(monkeypatch: pytest.MonkeyPatch) -> None:
    lm = LM(Size(1, 16, 2, 7), NoPE, 9, 0)
    with ops.definitions():
        assert not step.serves(lm)
    torch.set_num_threads(2)
    assert not step.serves(lm)
    torch.set_num_threads(1)
    monkeypatch.setattr(precision, "fast_bf16", lambda device: True)
    assert not step.serves(lm)  # PyTorch's bfloat16 products serve there
    monkeypatch.setattr(ops, "library", lambda: None)
    assert not step.serves(lm)


def test_the_loss_of_the_definition_is_that_of_training() -> None:
    lm = LM(Size(1, 16, 2, 7), NoPE, 9, 0)
    batch = data(lm.size, 3, 5)
    assert float(defined(lm, batch)["loss"]) == pytest.approx(loss(lm, batch).item(), rel=1e-5)
