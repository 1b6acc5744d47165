"""The native training step against the model in PyTorch: gradients, optimiser, and where it must not serve."""

import copy
import math
import shutil
from collections.abc import Callable, Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from pebench.encodings import registry
from pebench.encodings.alibi import ALiBi
from pebench.encodings.base import At, Columns, Encoding, Shape
from pebench.encodings.drope import DroPE
from pebench.encodings.fox import FoX
from pebench.encodings.grape_a import GrapeAQK
from pebench.encodings.grape_ap import GrapeAP
from pebench.encodings.nope import NoPE
from pebench.encodings.rope import RoPE
from pebench.encodings.t5_bias import T5Bias
from pebench.encodings.turning import Turning
from pebench.suite.experiment.training import AdamW, Recipe, loss, plain_step, stepper, train
from pebench.suite.lm import precision, step
from pebench.suite.lm.middle import Middle
from pebench.suite.lm.model import LM, LengthError, Size
from pebench.suite.lm.native import build, declared, ops
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


# Without CoPE, whose gradient jumps where a count is a whole number: float32 may fall on the other side than float64.
SHAPED = [
    "nope",
    "sinusoidal",
    "alibi",
    "t5_bias",
    "fox",
    "grape_a_q",
    "grape_a_k",
    "grape_a_qk",
    "grape_a_qk_free",
]
SHAPED += ["rope_pp", "grape_m_per_head", "grape_m_ctx", "selective_rope", "carope", "darope", "repo", "bipe"]
SHAPED += ["grape_ap", "grape_ap_both", "grape_ap_still", "stick_breaking", "grape_a_phase"]


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(SHAPED),
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
@pytest.mark.parametrize("name", ["alibi", "fox", "grape_a_qk", "grape_ap"])
def test_odd_widths_learn_as_defined(name: str, head_width: int) -> None:
    for heads in (1, 3):
        size = Size(1, heads * head_width, heads, 7)
        lm, batch = drawn(name, size), data(size, 4, 6)
        assert_alike(gradients(lm, batch), defined(lm, batch), 1e-4)


@pytest.mark.parametrize("shape", [(37, 11), (5, 100)])
@pytest.mark.parametrize("name", ["rope", "t5_bias", "fox", "grape_a_qk", "grape_ap", "drope"])
def test_a_batch_in_pieces_learns_as_defined(
    name: str, shape: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    size = Size(2, 32, 2, 19)
    monkeypatch.setattr(step, "CACHE", 2 * step.TILE * step.KEPT * size.layers * size.width)
    lm, batch = drawn(name, size), data(size, *shape)
    batch.targets[-20:] = batch.targets[-20:].where(
        batch.targets[-20:] == 0, IGNORE
    )  # few in the last pieces
    batch.targets[0, 0] = 0
    native = step.NativeStep(mine := copy.deepcopy(lm), AdamW(mine, RECIPE), 1.0)
    assert (len(native.pieces(*shape)) > 1) == (name != "drope")  # its angles are computed in PyTorch
    assert_alike(gradients(lm, batch), defined(lm, batch), 1e-4)


DECLARED: dict[type[declared.Declarer], list[str]] = {
    declared.Slopes: ["alibi", "alibi_scaled", "nape"],
    declared.Table: ["t5_bias", "t5_bias_scaled"],
    declared.Gates: ["fox", "fox_scaled"],
    declared.Gated: ["grape_a_k", "grape_a_q", "grape_a_qk", "grape_a_qk_free"],
    declared.Paths: ["grape_ap", "grape_ap_both", "grape_ap_still"],
    declared.Pairs: ["rope_pp"],
    declared.Turns: [
        "bipe",
        "carope",
        "darope",
        "drope",
        "grape_m_ctx",
        "grape_m_ctx_per_head",
        "grape_m_ctx_softplus",
        "grape_m_nonctx",
        "grape_m_per_head",
        "repo",
        "selective_rope",
    ],
}


def test_which_encodings_declare_inside_the_step() -> None:
    size = Size(1, 16, 2, 7)
    found = {name: Middle(LM(size, registry.resolve(name)[1], 9, 0)).declarer for name in registry.names()}
    assert {kind: [name for name in found if found[name] is kind] for kind in DECLARED} == DECLARED


@pytest.mark.parametrize("progress", [0.5, 1.0])
@pytest.mark.parametrize("tokens", [11, 70])  # up to the training length of 64 tokens, and beyond it
def test_a_schedule_turns_and_sharpens_inside_the_step(progress: float, tokens: int) -> None:
    size = Size(2, 32, 2, 19)
    lm, batch = LM(size, registry.resolve("drope")[1], 64, 0), data(size, 3, tokens)
    lm.progress.fill_(progress)
    assert_alike(gradients(lm, batch), defined(lm, batch), 1e-4)


class LearnedSlopes(ALiBi):
    def __init__(self, shape: Shape):
        super().__init__(shape)
        slopes = self.slopes
        del self.slopes
        self.slopes = nn.Parameter(slopes)


class SlowerGates(FoX):
    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns:
        ones, column = super().columns(q, k, at)
        return Columns(ones, column / 2)


class SharedGates(FoX):
    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.gate_bias = nn.Parameter(torch.zeros(shape.layers, 1))


class Doubled(T5Bias):
    def by_distance(self, far: Tensor, layer: int) -> Tensor:
        return 2 * super().by_distance(far, layer)


class Values(GrapeAQK):
    def values(self, v: Tensor, at: At) -> Tensor:
        return 2 * v


class Turned(GrapeAQK):
    def gated_slope(self, x: Tensor, gate: Tensor, layer: int) -> Tensor:
        return 2 * super().gated_slope(x, gate, layer)


class Halved(GrapeAP):
    def feature(self, q: Tensor, k: Tensor, at: At) -> Tensor:
        return super().feature(q, k, at) / 2


class Wider(ALiBi):
    """q and k, wider than v, by its own `qk`."""

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return torch.cat([q, q], dim=-1), torch.cat([k, k / 2], dim=-1)


class WideValues(NoPE):
    """Values wider than q, narrowed after they were read."""

    def values(self, v: Tensor, at: At) -> Tensor:
        return torch.cat([v, 2 * v], dim=-1)

    def output(self, y: Tensor, at: At) -> Tensor:
        return y[..., : y.shape[-1] // 2] + y[..., y.shape[-1] // 2 :]


class Read(NoPE):
    """What was read plus the values themselves: their gradient comes by two ways."""

    def output(self, y: Tensor, at: At) -> Tensor:
        return y + at.v * at.x.mean()


class LearnedFrequencies(RoPE):
    def __init__(self, shape: Shape):
        super().__init__(shape)
        frequencies = self.frequencies
        del self.frequencies
        self.frequencies = nn.Parameter(frequencies)


class OwnFrequencies(RoPE):
    """A spectrum for each head."""

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.frequencies = self.frequencies * torch.arange(1.0, shape.heads + 1)[:, None, None]


class OwnFactor(DroPE):
    """Sharpened at all lengths, by a learned factor."""

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.sharpness = nn.Parameter(torch.tensor(1.5))

    def factor(self, at: At) -> Tensor:
        return self.sharpness * torch.ones(len(at.order), 1)


@pytest.mark.parametrize(
    "kind",
    [
        *(LearnedSlopes, SlowerGates, SharedGates, Doubled, Values, Turned, Halved, Wider, WideValues, Read),
        *(LearnedFrequencies, OwnFrequencies, OwnFactor),
    ],
    ids=lambda kind: kind.__name__,
)
def test_an_encoding_that_changes_a_hook_or_a_shape_goes_by_its_hooks(kind: type[Encoding]) -> None:
    size = Size(2, 32, 2, 19)
    lm, batch = LM(size, kind, 64, 0), data(size, 3, 11)
    assert Middle(lm).by_hooks
    assert_alike(gradients(lm, batch), defined(lm, batch), 1e-4)


class OneAngle(Turning):
    """A learned angle that is the same at all places; PyTorch spreads it over them."""

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.turn = nn.Parameter(torch.linspace(0.1, 1.0, shape.head_dim // 2)[None])

    def angle(self, at: At) -> Tensor:
        return self.turn


class AngleOfValues(Turning):
    """Each token turns as far as its values say."""

    def angle(self, at: At) -> Tensor:
        return at.v.mean(dim=1, keepdim=True)[..., : at.v.shape[-1] // 2].cumsum(-2)


@pytest.mark.parametrize("kind", [OneAngle, AngleOfValues], ids=lambda kind: kind.__name__)
def test_angles_of_any_kind_are_turned_by_in_the_step(kind: type[Encoding]) -> None:
    size = Size(2, 32, 2, 19)
    lm, batch = LM(size, kind, 64, 0), data(size, 3, 11)
    assert isinstance(Middle(lm).declarer, type(declared.Turns))
    assert_alike(gradients(lm, batch), defined(lm, batch), 1e-4)


def test_a_hook_that_was_replaced_on_the_instance_runs() -> None:
    lm = drawn("alibi", Size(1, 16, 2, 7))
    lm.encoding.columns = lambda q, k, at: None
    assert Middle(lm).by_hooks


def test_batches_of_different_shapes_take_turns() -> None:
    """They share memory: nothing of one step may be read in the next."""
    size = Size(2, 32, 2, 19)
    for name in ("alibi", "t5_bias", "fox", "grape_a_qk", "grape_ap", "cope"):
        lm = drawn(name, size)
        native = step.NativeStep(mine := copy.deepcopy(lm), AdamW(mine, RECIPE), 1.0)
        for shape in ((3, 11), (2, 70), (3, 11), (9, 5), (2, 70)):
            batch = data(size, *shape)
            native.gradients(*batch, False)
            again = gradients(lm, batch)
            assert all(
                torch.equal(p.grad, again[n]) for n, p in mine.named_parameters() if p.grad is not None
            )


@pytest.mark.skipif(not HALF, reason="this processor does not multiply in half precision")
@pytest.mark.parametrize("name", ["rope", "alibi", "grape_ap", "cope"])
@pytest.mark.parametrize("size", [Size(2, 64, 4, 32), Size(2, 48, 3, 70), Size(1, 144, 2, 300)])
def test_half_precision_is_near(name: str, size: Size) -> None:
    lm, batch = drawn(name, size), data(size, 7, 25)
    assert_alike(gradients(lm, batch, half=True), defined(lm, batch), 2e-2)


@pytest.mark.skipif(not HALF, reason="this processor does not multiply in half precision")
def test_what_cancels_in_the_head_is_no_coarser_in_half_precision() -> None:
    """The gradients of a token's logits sum to 0: what all tokens' embeddings have in common cancels."""
    size = Size(2, 64, 4, 256)
    lm, batch = drawn("alibi", size), data(size, 7, 25)
    with torch.no_grad():
        lm.embedding.weight += 0.3 * torch.randn(64, generator=torch.Generator().manual_seed(3))
    assert_alike(gradients(lm, batch, half=True), defined(lm, batch), 5e-3)


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


@pytest.mark.parametrize(
    "register",
    [
        nn.modules.module.register_module_forward_hook,
        nn.modules.module.register_module_forward_pre_hook,
        nn.modules.module.register_module_full_backward_hook,
        nn.modules.module.register_module_full_backward_pre_hook,
    ],
)
def test_hooks_of_all_modules_are_heeded(register: Callable[..., RemovableHandle]) -> None:
    lm = LM(Size(1, 16, 2, 7), NoPE, 9, 0)
    handle = register(lambda *arguments: None)
    assert not step.serves(lm)
    handle.remove()
    assert step.serves(lm)


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


@pytest.mark.skipif(not HALF, reason="this processor does not multiply in half precision")
def test_the_kind_of_products_is_told_as_the_step_takes_it(monkeypatch: pytest.MonkeyPatch) -> None:
    lm, cpu = LM(Size(1, 16, 2, 7), NoPE, 9, 0), torch.device("cpu")
    assert step.multiplies_in(cpu, lm) == step.multiplies_in(cpu) == "float32"
    monkeypatch.setattr(precision, "fast_bf16", lambda device: True)
    assert step.multiplies_in(cpu, lm) == step.multiplies_in(cpu) == "bfloat16"
    monkeypatch.setattr(precision, "fast_fp16", lambda: True)
    assert step.multiplies_in(cpu, lm) == step.multiplies_in(cpu) == "float16"
    assert step.multiplies_in(torch.device("cuda"), lm) == "bfloat16"
    assert step.multiplies_in(cpu, changed(lm, "hook")) == "bfloat16"  # it trains in PyTorch
    monkeypatch.setattr(step, "library", lambda: None)
    assert step.multiplies_in(cpu) == "bfloat16"


def test_the_loss_of_the_definition_is_that_of_training() -> None:
    lm = LM(Size(1, 16, 2, 7), NoPE, 9, 0)
    batch = data(lm.size, 3, 5)
    assert float(defined(lm, batch)["loss"]) == pytest.approx(loss(lm, batch).item(), rel=1e-5)
