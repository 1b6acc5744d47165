"""Every encoding against its definition, and the identities that tie encodings to one another."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pebench.encodings.base import (
    At,
    Columns,
    Encoding,
    Keys,
    Memory,
    Shape,
    alibi_slopes,
    distance,
    rope_frequencies,
    rotate,
    running_sum,
    sum_after,
    visible,
)
from pebench.encodings.registry import names, resolve
from pebench.encodings.streams import build
from pebench.encodings.t5_bias import bucket
from pebench.encodings.wrapper import Wrapper
from pebench.suite.lm.attention import layer, lifted
from pebench.suite.lm.model import LM, Size
from tests.references import DEFINITIONS, Inputs, attention

Gradients = dict[str, Tensor]


def made(name: str, heads: int = 2, head_dim: int = 8) -> Encoding:
    """An encoding that is not at its initial values."""
    e = build(resolve(name)[1], Shape(2, heads, head_dim, 32), seed=1)
    rng = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for p in e.parameters():
            noise = torch.randn(p.shape, generator=rng)
            p.add_(noise, alpha=0.5 / math.sqrt(p.shape[-1] if p.dim() else 1))
    return e


def inputs(e: Encoding, length: int, dtype: torch.dtype = torch.float32, first: int = 7) -> Inputs:
    """Leaves that need gradients; x is float32 or finer, as the norm before attention leaves it."""
    rng = torch.Generator().manual_seed(length)
    heads, d = e.shape.heads, e.shape.head_dim
    x = torch.randn(2, length, e.shape.width, generator=rng)
    q, k, v = torch.randn(3, 2, heads, length, d, generator=rng).to(dtype)
    return leaves(Inputs(1, x, q, k, v, first + torch.arange(length)))


def leaves(at: Inputs, dtype: torch.dtype | None = None) -> Inputs:
    x, q, k, v = (t.detach().to(dtype or t.dtype).requires_grad_() for t in (at.x, at.q, at.k, at.v))
    return Inputs(at.layer, x, q, k, v, at.pos)


def fast(e: Encoding, at: Inputs) -> Tensor:
    return layer(e, At.whole(at.layer, at.x, at.v, at.pos), at.q, at.k, at.v)


def values_and_gradients(
    attended: Callable[[Encoding, Inputs], Tensor], e: Encoding, at: Inputs
) -> Gradients:
    """The output, and its gradients by every input and parameter for a fixed random cotangent."""
    y = attended(e, at)
    cotangent = torch.randn(y.shape, generator=torch.Generator().manual_seed(3)).to(y.dtype)
    by = {"x": at.x, "q": at.q, "k": at.k, "v": at.v, **dict(e.named_parameters())}
    gradients = torch.autograd.grad(
        y, list(by.values()), cotangent, materialize_grads=True, allow_unused=True
    )
    return {"y": y, **dict(zip(by, gradients, strict=True))}


def errors(got: Gradients, want: Gradients) -> dict[str, float]:
    """Error of each, relative to its own size; where it should vanish, relative to the gradient by v."""
    floor = 1e-3 * want["v"].norm()
    return {n: ((got[n] - want[n]).norm() / want[n].norm().clamp(min=floor)).item() for n in want}


CONTENT = ("y", "q", "k", "v")


def telling(exact: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without what a softmax ignores, as FIRE's last bias: of its gradient, 0, only rounding is computed."""
    return {name: x for name, x in exact.items() if x.norm() > 1e-9 * exact["v"].norm()}


@pytest.mark.parametrize("heads", [2, 6])
@pytest.mark.parametrize("length", [17, 40])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_fast_path_is_the_definition(name: str, length: int, heads: int) -> None:
    e = made(name, heads)
    at = inputs(e, length)
    want = telling(values_and_gradients(DEFINITIONS[name], e, leaves(at, torch.float64)))
    lost = errors(values_and_gradients(fast, e, at), want)
    assert max(lost[name] for name in CONTENT) < 1e-5
    # The gradient of a gate is a sum over a row in which most cancels.
    assert max(lost.values()) < 1e-4


@pytest.mark.parametrize("heads", [2, 6])
@pytest.mark.parametrize("length", [17, 40])
@pytest.mark.parametrize("name", DEFINITIONS)
def test_the_fast_path_loses_in_bf16_what_attention_loses(name: str, length: int, heads: int) -> None:
    def lost(name: str) -> dict[str, float]:
        e = made(name, heads)
        at = inputs(e, length, torch.bfloat16)
        want = telling(values_and_gradients(DEFINITIONS[name], e, leaves(at, torch.float64)))
        return errors(values_and_gradients(fast, e, at), want)

    plain, own = lost("nope"), lost(name)
    for part in CONTENT:
        assert own[part] < 4 * plain[part], part
    # A frequency's gradient is a sum over positions in which most cancels, so more of it is rounding.
    assert max(own.values()) < 0.1


def test_every_encoding_that_declares_columns_has_a_definition() -> None:
    classes = {name: resolve(name)[1] for name in names()}
    declared = [n for n, cls in classes.items() if cls.defines("columns") and not issubclass(cls, Wrapper)]
    assert {"alibi", "fox", "grape_a_qk"} <= set(declared)
    assert sorted(set(declared) - set(DEFINITIONS)) == []


def attended(name: str, at: Inputs, **values: Tensor | float) -> Tensor:
    """Attention of the named encoding, with these parameters or buffers set."""
    e = made(name, at.heads, at.q.shape[-1])
    tensors = dict(e.named_parameters()) | dict(e.named_buffers())
    with torch.no_grad():
        for parameter, value in values.items():
            tensors[parameter].copy_(torch.as_tensor(value))
        return fast(e, at)


@pytest.fixture
def at() -> Inputs:
    return inputs(made("nope", 8), 17)


def close(a: Tensor, b: Tensor) -> None:
    torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("rope", {"frequencies": 0.0}),
        ("grape_m_nonctx", {"slow_log_frequencies": -1600.0}),
        ("alibi", {"slopes": 0.0}),
        ("fox", {"weight": 0.0, "gate_bias": 100.0}),
        ("grape_a_qk", {"log_slope": -100.0}),
        ("t5_bias", {"table": 0.0}),
        ("t5_bias", {"table": 3.0}),
        ("cope", {"table": 0.0}),
        ("grape_ap", {"slopes": 0.0}),
    ],
)
def test_without_its_effect_an_encoding_is_nope(name: str, values: dict[str, float], at: Inputs) -> None:
    close(attended(name, at, **values), attended("nope", at))


def test_nope_cannot_tell_positions_of_equal_tokens_apart() -> None:
    e = made("nope")
    q, k, v = torch.randn(3, 1, 2, 1, 8).expand(3, 1, 2, 9, 8)
    close(layer(e, At.whole(0, v[:, 0], v, torch.arange(9)), q, k, v), v)


def test_learned_frequencies_start_as_rope(at: Inputs) -> None:
    start = 16 * rope_frequencies(8).log()
    for name in ("grape_m_nonctx", "grape_m_per_head"):
        close(attended(name, at, slow_log_frequencies=start), attended("rope", at))


@pytest.mark.parametrize("bias", [-6.907, 0.0, 20.0])
def test_a_steady_clock_is_rope_with_scaled_frequencies(bias: float, at: Inputs) -> None:
    step = torch.sigmoid(torch.tensor(bias / 16))
    ctx = attended("grape_m_ctx", at, weight=0.0, step_bias=bias, log_frequencies=rope_frequencies(8).log())
    close(ctx, attended("rope", at, frequencies=step * rope_frequencies(8)))


def test_alibi_is_fox_that_forgets_at_a_fixed_rate(at: Inputs) -> None:
    forget = torch.special.logit((-alibi_slopes(8)).exp())
    close(attended("fox", at, weight=0.0, gate_bias=forget), attended("alibi", at))


def test_closed_gates_make_grape_a_an_alibi_with_slopes_times_log_2(at: Inputs) -> None:
    slopes = math.log(2) * alibi_slopes(8)
    unit = math.log(math.e - 1)  # softplus^-1(1)
    alibi = attended("alibi", at, slopes=slopes)
    close(attended("grape_a_q", at, query_gate=0.0, log_slope=unit), alibi)
    close(attended("grape_a_k", at, key_gate=0.0, log_slope=unit), alibi)
    both = attended("grape_a_qk", at, query_gate=0.0, key_gate=0.0, log_slope=unit)
    close(both, attended("alibi", at, slopes=2 * slopes))


def test_a_path_of_equal_costs_is_alibi(at: Inputs) -> None:
    close(attended("grape_ap", at, weight=0.0), attended("alibi", at, slopes=math.log(2) * alibi_slopes(8)))


def test_the_first_token_s_gate_never_matters() -> None:
    e = made("fox")
    at = inputs(e, 17, first=0)
    (gradient,) = torch.autograd.grad(fast(e, at).square().sum(), at.x)
    assert gradient[:, 0].norm() < 1e-5 * gradient.norm()
    assert gradient[:, 1].norm() > 1e-3 * gradient.norm()


def test_stick_breaking_without_content_halves_the_rest_each_time() -> None:
    e, pos = made("stick_breaking"), torch.arange(17)
    q, k = torch.zeros(2, 1, 2, 17, 8)
    far = (pos[:, None] - pos).double()
    at = At.whole(0, q[:, 0], q, pos)
    weights = e.weights(q, k, at, Keys(pos, pos))
    assert weights is not None
    want = torch.where(far > 0, 2**-far, 0.0).float().expand_as(weights)
    close(weights, want)


def test_broken_sticks_and_what_is_left_make_one(at: Inputs) -> None:
    weights = made("stick_breaking", 8).weights(
        at.q, at.k, At.whole(0, at.x, at.v, at.pos), Keys(torch.arange(17), at.pos)
    )
    assert weights is not None
    left = (1 - at.scores.sigmoid()).tril(-1) + torch.ones(17, 17).triu()
    close(weights.sum(-1) + left.prod(-1), torch.ones(2, 8, 17))


def test_a_gain_after_the_rotation_destroys_the_relative_law(at: Inputs) -> None:
    def scores(shift: int, gain: Tensor) -> Tensor:
        angle = (at.pos + shift)[:, None] * rope_frequencies(8)
        return (gain * rotate(at.q, angle)) @ (gain * rotate(at.k, angle)).mT

    gain = torch.linspace(0.5, 1.5, 8)
    assert (scores(100, gain) - scores(0, gain)).abs().max() > 0.5
    planes = torch.linspace(0.5, 1.5, 4).repeat(2)  # one gain for both channels of a plane is harmless
    torch.testing.assert_close(scores(100, planes), scores(0, planes), rtol=1e-4, atol=1e-4)


def test_half_split_and_interleaved_planes_are_one_function_of_permuted_channels(at: Inputs) -> None:
    angle = at.pos[:, None] * rope_frequencies(8)
    order = torch.arange(8).view(2, 4).T.flatten()  # 0 4 1 5 2 6 3 7
    pairs = torch.view_as_complex(at.q[..., order].unflatten(-1, (4, 2)).contiguous())
    interleaved = torch.view_as_real(pairs * torch.polar(torch.ones_like(angle), angle)).flatten(-2)
    close(rotate(at.q, angle)[..., order], interleaved)


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2000), st.integers(0, 2000))
def test_rotations_compose_and_keep_norms(n: int, m: int) -> None:
    x, frequencies = torch.randn(3, 1, 8), rope_frequencies(8)
    torch.testing.assert_close(
        rotate(rotate(x, n * frequencies), m * frequencies),
        rotate(x, (n + m) * frequencies),
        rtol=0,
        atol=2e-3,
    )
    close(rotate(x, n * frequencies).norm(dim=-1), x.norm(dim=-1))


def test_rotation_golden_values() -> None:
    turned = rotate(torch.tensor([[1.0, 2.0, 3.0, 4.0]]), 3 * rope_frequencies(4)[None])
    close(turned, torch.tensor([[-1.413353, 1.879118, -2.828857, 4.058191]]))


@pytest.mark.parametrize(
    ("heads", "more"),
    [
        (4, [0.25, 0.0625, 0.015625, 0.00390625]),
        (6, [0.25, 0.0625, 0.015625, 0.00390625, 0.5, 0.125]),
        (8, [2.0**-h for h in range(1, 9)]),
        (10, [*(2.0**-h for h in range(1, 9)), 0.707107, 0.353553]),
        (12, [*(2.0**-h for h in range(1, 9)), 0.707107, 0.353553, 0.176777, 0.088388]),
        (16, [2 ** (-h / 2) for h in range(1, 17)]),
    ],
)
def test_alibi_slopes_golden_values(heads: int, more: list[float]) -> None:
    close(alibi_slopes(heads), torch.tensor(more))


def test_t5_buckets_begin_where_t5_begins_them() -> None:
    buckets = bucket(torch.arange(5000.0), 32, 128).tolist()
    firsts = [buckets.index(n) for n in range(32)]
    assert firsts == [*range(16), 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]
    assert buckets[-1] == 31


def test_contextual_grape_m_starts_at_the_step_of_the_reference_code() -> None:
    e = build(resolve("grape_m_ctx")[1], Shape(1, 2, 8, 32))
    step = torch.sigmoid(e.get_parameter("step_bias") / 16)
    close(step, torch.full_like(step, 0.393720))


def test_gates_of_grape_a_are_bounded_by_a_factor() -> None:
    e = build(resolve("grape_a_q")[1], Shape(1, 4, 16, 32), seed=5)
    at = inputs(e, 40)
    q = torch.nn.functional.rms_norm(at.q, (16,))
    columns = e.columns(q, q, At.whole(0, at.x, at.v, at.pos))
    assert columns is not None
    gates = columns.q[..., 0] / alibi_slopes(4)[:, None]
    assert 0.313261 <= gates.min() < gates.max() <= 1.313263


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_widened_products_are_float32_in_any_dtype(dtype: torch.dtype) -> None:
    q = k = torch.zeros(1, 1, 2000, 8, dtype=dtype)
    column = 0.37 * torch.arange(2000.0)[:, None]
    wide_q, wide_k = lifted(q, k, Columns(torch.full_like(column, 1.7), column), scale=0.25)
    got = (wide_q.double() @ wide_k.double().mT)[0, 0, 0] * 0.25
    torch.testing.assert_close(got, 1.7 * column[:, 0].double(), rtol=1e-6, atol=1e-5)


def test_a_running_sum_goes_on_where_the_cache_stopped() -> None:
    x = torch.randn(2, 3, 11)
    memory: Memory = {}
    parts = [running_sum(part, memory, "sum") for part in x.split([1, 4, 6], dim=-1)]
    close(torch.cat(parts, -1), x.cumsum(-1))
    close(memory["sum"], x.sum(-1, keepdim=True))


def test_sums_after_are_exclusive() -> None:
    x = torch.randn(2, 9)
    close(sum_after(x), torch.stack([x[:, j + 1 :].sum(-1) for j in range(9)], dim=-1))


def test_distance_follows_positions_and_visibility_follows_places() -> None:
    q_pos, k_pos = torch.tensor([10, 20]), torch.tensor([30, 10, 20])
    assert distance(q_pos, k_pos).tolist() == [[0, 0, 0], [0, 10, 0]]
    assert distance(q_pos.repeat(4, 1), k_pos.repeat(4, 1)).shape == (4, 2, 3)
    at = At.whole(0, torch.zeros(1, 3, 8), torch.zeros(1, 1, 3, 8), k_pos)
    seen = visible(at._replace(order=torch.tensor([1, 2])), Keys(at.order, k_pos))
    assert seen.tolist() == [[True, True, False], [True, True, True]]


UNLIKE_THEMSELVES = (
    "stick_breaking",
    "shaw",
    "kv_shift",
    "canon",
    "output_gate",
    "rope_pp",
    "tra",
)  # or of nothing


@pytest.mark.parametrize("name", names())
def test_one_token_attends_to_itself_or_to_nothing(name: str) -> None:
    e = made(name)
    pos = e.positions(torch.arange(1), torch.zeros(2, 1, dtype=torch.long), {})
    at = replace(inputs(e, 1), pos=pos)
    y = fast(e, at)
    assert y.shape == at.v.shape
    assert torch.allclose(y, at.v, atol=1e-5) or name in UNLIKE_THEMSELVES


@pytest.mark.parametrize("name", names())
def test_a_card_says_what_a_reader_needs(name: str) -> None:
    card = resolve(name)[1].card()
    assert set(card) >= {"title", "family", "paper", "kernel", "formula", "about"}
    assert card["paper"].startswith("arXiv:") or " " in card["paper"]
    assert card["formula"].count("{") == card["formula"].count("}")
    assert not card["title"].endswith(".")


def test_attention_is_causal_by_definition() -> None:
    v = torch.eye(4)[None, None]
    assert torch.equal(attention(torch.zeros(1, 1, 4, 4), v)[0, 0].triu(1), torch.zeros(4, 4))


def test_drope_is_rope_until_it_drops_its_rotation() -> None:
    tokens = torch.arange(12)[None]
    size = Size(2, 32, 2, 16)
    rope, drope, nope = (LM(size, resolve(name)[1], 16, 0) for name in ("rope", "drope", "nope"))
    with torch.no_grad():
        assert torch.allclose(drope(tokens), nope(tokens), atol=1e-5)
        drope.progress.fill_(0.87)
        assert torch.equal(drope(tokens), rope(tokens))
