"""Where native kernels serve: never with other values or gradients than their definitions, whatever surrounds them."""

import contextlib
import copy
import io
import pickle
import shutil
import threading
from collections.abc import Callable, Iterator
from functools import partial

import pytest
import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.autograd import forward_ad
from torch.autograd.graph import save_on_cpu, saved_tensors_hooks
from torch.fx.experimental.proxy_tensor import make_fx
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.checkpoint import checkpoint
from torch.utils.flop_counter import FlopCounterMode

from pebench.encodings import registry
from pebench.encodings.base import NOTHING, At, Counted, Keys, Path, Reflected
from pebench.suite.lm import layers
from pebench.suite.lm.model import LM, Size
from pebench.suite.lm.native import build, ops
from tests.walks import some

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")

# Rotated, lifted columns, a table by distance, a bias, a path, counted, reflected, broken.
FORMS = ("rope", "alibi", "t5_bias", "fire", "grape_ap", "cope", "path", "stick_breaking")
TOKENS = torch.randint(64, (2, 20), generator=torch.Generator().manual_seed(1))
OTHER = torch.randint(64, (2, 20), generator=torch.Generator().manual_seed(2))


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert build.library() is not None
    yield
    torch.set_num_threads(threads)


def model(name: str) -> LM:
    """A model whose encoding is away from its initial values, where many encodings do nothing."""
    lm = LM(Size(2, 32, 2, 64), registry.resolve(name)[1], 32, seed=0)
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in lm.encoding.parameters():
            p += 0.1 * torch.randn(p.shape, generator=rng)
    return lm


def learned(
    lm: LM, forward: Callable[[LM], Tensor], around: contextlib.AbstractContextManager
) -> list[Tensor]:
    """Logits and every gradient; what `around` does lasts over both passes."""
    lm.zero_grad()
    with around:
        y = forward(lm)
        y.square().sum().backward()
    return [y.detach().clone(), *(p.grad.clone() for p in lm.parameters() if p.grad is not None)]


def assert_equal(found: list[Tensor], true: list[Tensor]) -> None:
    assert len(found) == len(true)
    whole = float(torch.cat([b.detach().flatten() for b in true[1:]]).norm()) if len(true) > 1 else 0.0
    for n, (a, b) in enumerate(zip(found, true, strict=True)):
        rest = 1e-5 * whole if n else 0.0  # what other gradients leave in rounding
        assert float((a - b).detach().norm()) <= 1e-3 * float(b.detach().norm()) + rest, n


def on_disk(x: Tensor) -> io.BytesIO:
    file = io.BytesIO()
    torch.save(x.detach(), file)
    return file


def other_strides(x: Tensor) -> Tensor:
    """The same values, with the last axis spread over memory."""
    return x.mT.contiguous().mT if x.dim() > 1 else torch.stack([x, x], -1)[..., 0]


PLAIN = contextlib.nullcontext


def whole(lm: LM) -> Tensor:
    return lm(TOKENS)


def in_blocks(lm: LM, reentrant: bool) -> Tensor:
    """Each block checkpointed, as long contexts need it."""
    index = torch.arange(TOKENS.shape[1])
    x = lm.encoding.embed(lm.embedding(TOKENS), index)
    for n, block in enumerate(lm.blocks):
        at = At(n, NOTHING, NOTHING, index, index, {})
        x = checkpoint(block, x, lm.encoding, at, Keys(at.order, at.pos), None, use_reentrant=reentrant)
    return layers.norm_linear(x, lm.norm.weight, lm.embedding.weight)[1]


AROUND: dict[str, tuple[Callable[[LM], Tensor], Callable[[], contextlib.AbstractContextManager]]] = {
    "checkpoint": (lambda lm: checkpoint(lm, TOKENS, use_reentrant=False), PLAIN),
    "each block": (partial(in_blocks, reentrant=False), PLAIN),
    "each block, reentrant": (partial(in_blocks, reentrant=True), PLAIN),
    "clones": (whole, lambda: saved_tensors_hooks(torch.clone, torch.clone)),
    "other strides": (whole, lambda: saved_tensors_hooks(torch.clone, other_strides)),
    "on disk": (whole, lambda: saved_tensors_hooks(on_disk, lambda f: f.seek(0) or torch.load(f))),
    "save_on_cpu": (whole, save_on_cpu),
    "hooks on hooks": (
        lambda lm: checkpoint(lm, TOKENS, use_reentrant=False),
        lambda: saved_tensors_hooks(torch.clone, other_strides),
    ),
    "counted operations": (whole, lambda: FlopCounterMode(display=False)),
    "default device": (whole, lambda: torch.device("cpu")),
}


@pytest.mark.parametrize("way", AROUND)
@pytest.mark.parametrize("name", FORMS)
def test_gradients_are_right_however_saved_tensors_come_back(name: str, way: str) -> None:
    lm, (forward, around) = model(name), AROUND[way]
    with ops.definitions():
        true = learned(lm, whole, PLAIN())
    assert_equal(learned(lm, forward, around()), true)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore::torch.jit.TracerWarning")
@pytest.mark.parametrize("name", some(FORMS, "rope", "t5_bias", "path"))
def test_traces_hold_for_other_inputs(name: str) -> None:
    lm = model(name).eval()
    true = lm(OTHER).detach()
    with torch.no_grad():
        traced = torch.jit.trace(lm, TOKENS, check_trace=False)
        found = [traced(OTHER), make_fx(lambda x: lm(x))(TOKENS)(OTHER)]
        found += [torch.export.export(lm, (TOKENS,)).module()(OTHER)]
    for y in found:
        assert torch.allclose(y, true, atol=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_tensors_without_memory_have_shapes(name: str) -> None:
    with FakeTensorMode():
        lm = model(name)
        y = lm(torch.zeros(2, 20, dtype=torch.long))
        y.sum().backward()
    assert y.shape == (2, 20, 64)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning", "ignore:There is a performance drop")
@pytest.mark.parametrize("name", FORMS)
def test_functional_transforms_find_the_definitions(name: str) -> None:
    lm = model(name).eval()
    values = dict(lm.named_parameters())

    def mean(values: dict[str, Tensor], tokens: Tensor) -> Tensor:
        return torch.func.functional_call(lm, values, (tokens,)).square().mean()

    lm.zero_grad()
    mean(values, TOKENS).backward()
    true = {n: p.grad for n, p in lm.named_parameters() if p.grad is not None}
    found = torch.func.grad(mean)(values, TOKENS)
    along = {n: torch.ones_like(p) for n, p in values.items()}
    with sdpa_kernel(SDPBackend.MATH):  # PyTorch's fused kernel has no forward derivative
        _, slope = torch.func.jvp(lambda p: mean(p, TOKENS), (values,), (along,))
    with sdpa_kernel(SDPBackend.MATH), forward_ad.dual_level():
        dual = {n: forward_ad.make_dual(p, along[n]) for n, p in values.items()}
        _, same = forward_ad.unpack_dual(mean(dual, TOKENS))
    several = torch.vmap(lambda t: lm(t[None])[0])(TOKENS)
    assert_equal([found[n] for n in true], list(true.values()))
    assert torch.allclose(slope, sum(g.sum() for g in true.values()), rtol=1e-3, atol=1e-5)
    assert torch.allclose(same, slope, rtol=1e-3, atol=1e-5)
    assert torch.allclose(several, lm(TOKENS), atol=1e-5)


@pytest.mark.parametrize("name", FORMS)
def test_a_subclass_meets_only_operators_that_it_can_catch(name: str) -> None:
    seen = set()

    class Watched(Tensor):
        @classmethod
        def __torch_function__(cls, func, types, args=(), kwargs=None):
            seen.add(getattr(func, "__name__", str(func)))
            return super().__torch_function__(func, types, args, kwargs or {})

    lm = model(name).eval()
    true = lm(TOKENS).detach()
    lm.embedding.weight = nn.Parameter(lm.embedding.weight.detach().as_subclass(Watched))
    y = lm(TOKENS)
    assert isinstance(y, Watched)
    assert "linear" in seen
    assert torch.allclose(y.as_subclass(Tensor), true, atol=1e-5)


def test_a_second_derivative_is_right_or_an_error_in_words() -> None:
    lm = model("rope")
    weight = lm.blocks[0].attention.qkv.weight

    def penalty() -> Tensor:  # linear in the logits: the gradient that comes in requires none itself
        (g,) = torch.autograd.grad(lm(TOKENS).sum(), weight, create_graph=True)
        return g.square().sum()

    with pytest.raises(RuntimeError, match=r"second derivative.*definitions\(\)"):
        penalty()
    with ops.definitions(), sdpa_kernel(SDPBackend.MATH):
        assert torch.autograd.grad(penalty(), weight)[0].any()


def test_a_mode_around_the_backward_pass_alone_is_told() -> None:
    y = model("alibi")(TOKENS).sum()
    with FlopCounterMode(display=False), pytest.raises(RuntimeError, match=r"watched.*definitions\(\)"):
        y.backward()


def test_batched_gradients_are_told() -> None:
    q, k, v = torch.randn(3, 1, 2, 5, 4, requires_grad=True)
    y = ops.attention(q, k, v, 0.5)
    with pytest.raises(TypeError, match=r"ordinary.*definitions\(\)"):
        torch.autograd.grad(y, q, torch.ones(3, *y.shape), is_grads_batched=True)


def test_a_hook_that_gives_back_another_precision_is_told() -> None:
    with saved_tensors_hooks(torch.clone, lambda x: x.bfloat16() if x.is_floating_point() else x):
        y = model("alibi")(TOKENS)
        with pytest.raises((ValueError, RuntimeError)):
            y.sum().backward()


def test_what_changes_in_place_between_the_passes_is_told() -> None:
    q, k, v = torch.randn(3, 1, 2, 5, 4, requires_grad=True)
    for changed in (0, 1, 2, 3):
        inputs = [x.detach().clone().requires_grad_() for x in (q, k, v)]
        y = ops.attention(*inputs, 0.5)
        with torch.no_grad():
            [*inputs, y][changed].mul_(2)
        with pytest.raises(RuntimeError, match=r"modified (by an )?inplace"):
            y.sum().backward()
    lm = model("rope")
    for weight in (
        lm.norm.weight,
        lm.embedding.weight,
        lm.blocks[0].mlp.down.weight,
        lm.blocks[0].attention.temperature,
    ):
        y = lm(TOKENS)
        with torch.no_grad():
            weight.mul_(2)
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            y.sum().backward()


@pytest.mark.parametrize("name", ["rope", "grape_ap"])
def test_threads_at_once(name: str) -> None:
    models, found = [model(name) for _ in range(4)], {}
    true = learned(models[0], whole, PLAIN())

    def work(n: int) -> None:
        for _ in range(5):
            with ops.definitions() if n == 3 else PLAIN():
                found[n] = learned(models[n], whole, PLAIN())

    threads = [threading.Thread(target=work, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for n in range(4):
        assert_equal(found[n], true)


def test_definitions_in_one_thread_leave_the_others_alone() -> None:
    entered, leave, x = threading.Event(), threading.Event(), torch.zeros(1)

    def hold() -> None:
        with ops.definitions():
            entered.set()
            leave.wait(10)

    thread = threading.Thread(target=hold)
    with ops.definitions():
        thread.start()
        entered.wait(10)
    assert ops.usable(x)
    leave.set()
    thread.join()
    assert ops.usable(x)


@pytest.mark.parametrize("twin", [copy.deepcopy, lambda lm: pickle.loads(pickle.dumps(lm))])
def test_copies_of_a_model_that_has_learned_learn_alike(twin: Callable[[LM], LM]) -> None:
    lm = model("grape_ap")
    true = learned(lm, whole, PLAIN())
    assert_equal(learned(twin(lm), whole, PLAIN()), true)


def test_hooks_on_tensors_see_and_change_gradients() -> None:
    def run() -> list[Tensor]:
        q, v = torch.randn(2, 1, 2, 5, 4, generator=torch.Generator().manual_seed(0)).unbind()
        seen: list[Tensor] = []
        leaf = q.requires_grad_()
        inner = leaf * 1
        inner.register_hook(lambda g: seen.append(g.clone()) or 2 * g)
        layers_out = layers.add_linear(inner.flatten(2), v.flatten(2), torch.eye(20))
        layers_out.square().sum().backward()
        assert leaf.grad is not None
        return [*seen, leaf.grad]

    with ops.definitions():
        true = run()
    assert_equal(run(), true)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_in_one_pass_or_both(dtype: torch.dtype) -> None:
    for forward, backward in ((True, False), (True, True), (False, True)):
        found = []
        for around in (PLAIN, ops.definitions):
            lm = model("alibi")
            with around():
                with torch.autocast("cpu", dtype, enabled=forward):
                    y = lm(TOKENS).float().square().mean()
                with torch.autocast("cpu", dtype, enabled=backward):
                    y.backward()
            found.append([p.grad for p in lm.parameters() if p.grad is not None])
        for a, b in zip(*found, strict=True):
            assert (a - b).abs().max() <= 0.05 * b.abs().max() + 1e-6


def test_odd_layouts_are_read_as_they_are() -> None:
    rng = torch.Generator().manual_seed(0)
    x = torch.randn(2, 1, 33, generator=rng)[..., 1:].expand(-1, 6, -1)  # repeated, at an odd address
    gain = torch.randn(64, generator=rng)[::2]
    temperature = torch.tensor([1.5]).view(1, 1, 1).expand(4, 1, 1)
    weight, gate_up, down = (torch.randn(n, 96, generator=rng).T.contiguous().T[:, ::3] for n in (96, 64, 32))

    def run() -> list[Tensor]:
        qkv = layers.norm_linear(x, gain, weight)[1]
        return [
            qkv,
            *layers.split_qkv(qkv.mT.contiguous().mT, temperature),
            layers.add_linear(x, x, down),
            layers.feed_forward(x, gain, gate_up, down),
        ]

    with ops.definitions():
        true = run()
    assert_equal(run(), true)


def test_a_negation_that_is_still_to_be_computed_counts() -> None:
    lazy = torch.randn(3, 4, 16, dtype=torch.complex64).conj().imag
    assert lazy.is_neg()
    done, gain, weight = lazy.resolve_neg(), torch.ones(16), torch.eye(16)
    assert_equal(list(layers.norm_linear(lazy, gain, weight)), list(layers.norm_linear(done, gain, weight)))


def test_parts_of_a_form_are_broadcast_or_refused() -> None:
    rng = torch.Generator().manual_seed(0)
    b, h, t, d = 3, 2, 9, 8
    q, k, v = torch.randn(3, b, h, t, d, generator=rng)
    w, beta = torch.randn(1, 1, t, d, generator=rng), torch.rand(1, h, 1, 1, generator=rng)
    e = torch.randn(1, h, 1, 5, generator=rng)
    whole = Reflected(q, k, w.expand(b, h, -1, -1).contiguous(), beta.expand(b, h, t, 1).contiguous())
    assert torch.equal(
        ops.attention(q, k, v, 0.3, form=Reflected(q, k, w, beta)), ops.attention(q, k, v, 0.3, form=whole)
    )
    counted = ops.attention(q, k, v, 0.3, form=Counted(q, k, e.expand(b, h, t, 5).contiguous()))
    assert torch.equal(ops.attention(q, k, v, 0.3, form=Counted(q, k, e)), counted)
    for wrong in (
        {"bias": torch.zeros(h, t - 1, t - 1)},
        {"bias": torch.zeros(h, t, t + 1)},
        {"table": torch.zeros(h, t - 1)},
        {"table": torch.zeros(h + 1, t)},
        {"form": Reflected(q, k, w[..., :-1], beta)},
        {"form": Path(q, k, q[..., :4], k[..., :3], torch.ones(h))},
        {"form": Path(q, k, q, k, torch.ones(h + 1))},
    ):
        with pytest.raises(RuntimeError, match=r"expanded size|must match"):
            ops.attention(q, k, v, 0.3, **wrong)
    with pytest.raises(RuntimeError, match=r"expanded size|must match"):
        ops.attention(q, k[..., :-1], v, 0.3)
    with pytest.raises((ValueError, RuntimeError)):
        layers.norm_linear(v, torch.ones(d - 1), torch.eye(d))


def test_learned_slopes_of_a_path_get_their_gradient() -> None:
    class Learned(registry.resolve("grape_ap")[1]):  # type: ignore[misc]
        def __init__(self, shape):
            super().__init__(shape)
            self.slopes = nn.Parameter(self._buffers.pop("slopes"))

    lm = LM(Size(2, 32, 2, 64), Learned, 32, seed=0)
    with ops.definitions():
        true = learned(lm, whole, PLAIN())
    assert lm.encoding.slopes.grad is not None
    assert lm.encoding.slopes.grad.any()
    assert_equal(learned(lm, whole, PLAIN()), true)


@pytest.mark.parametrize("name", FORMS)
def test_no_tokens_and_no_texts(name: str) -> None:
    lm = model(name).eval()
    assert lm(TOKENS[:, :0]).shape == (2, 0, 64)
    assert lm(TOKENS[:0]).shape == (0, 20, 64)
    assert lm(TOKENS, asked=torch.zeros_like(TOKENS, dtype=torch.bool)).shape == (0, 64)
    lm(TOKENS[:0]).sum().backward()
    with torch.no_grad():
        cache = lm.cache()
        parts = [lm(part, cache) for part in TOKENS.split([0, 7, 0, 13], dim=1)]
        assert torch.allclose(torch.cat(parts, 1), lm(TOKENS), atol=1e-5)
        with pytest.raises(ValueError, match=r"cache holds 2 texts.*1"):
            lm(TOKENS[:1], cache)


def test_frozen_parts_stay_frozen_and_the_others_learn_the_same() -> None:
    found = []
    for around in (PLAIN, ops.definitions):
        lm = model("grape_ap")
        for n, p in lm.named_parameters():
            p.requires_grad_("gate_up" in n or "encoding" in n)
        with around():
            found.append(learned(lm, whole, PLAIN()))
    assert_equal(*found)


def test_tensors_of_inference_mode() -> None:
    lm = model("rope")
    with torch.inference_mode():
        lm(TOKENS)
        x = torch.randn(2, 5, 32)
    block = lm.blocks[0]
    with pytest.raises(RuntimeError, match="Inference tensors"):
        layers.norm_linear(x, block.norm1.weight, block.attention.qkv.weight)
    with torch.no_grad():
        found = layers.norm_linear(x, block.norm1.weight, block.attention.qkv.weight)
        with ops.definitions():
            assert_equal(
                list(found), list(layers.norm_linear(x, block.norm1.weight, block.attention.qkv.weight))
            )


@pytest.mark.parametrize("name", ["rope", "grape_ap_q", "selective_rope", "sinusoidal"])
def test_an_odd_width_is_refused_in_words_where_pairs_are_turned(name: str) -> None:
    with pytest.raises(ValueError, match=r"pairs of channels.*5 is odd"):
        LM(Size(1, 5, 1, 16), registry.resolve(name)[1], 16, seed=0)(TOKENS % 16)
    assert LM(Size(1, 5, 1, 16), registry.resolve("alibi")[1], 16, seed=0)(TOKENS % 16).isfinite().all()
    with pytest.raises(ValueError, match="shared among 3 heads"):
        Size(1, 16, 3, 16)
