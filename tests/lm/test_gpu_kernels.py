"""The kernels of a GPU under Triton's interpreter, against the definitions: values, gradients, bits."""

import contextlib
import os
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pebench.encodings.base import At, Columns, Encoding, Keys, Shape, alibi_slopes, sum_after
from pebench.encodings.registry import names, resolve
from pebench.encodings.streams import build
from pebench.encodings.t5_bias import T5Bias
from pebench.suite.lm.attention import layer
from pebench.suite.lm.gpu import choice, paths
from pebench.suite.lm.gpu.bias import BROKEN, COUNTED, PATH, WHOLE, Bias
from pebench.suite.lm.gpu.tiles import Plan, Tile
from pebench.suite.lm.model import LM, Size
from pebench.suite.lm.native import ops
from pebench.suite.proofs.walks import kernels_equal_their_definition

pytestmark = pytest.mark.engines  # minutes: `make test-engines`, after `make engines`
WITHOUT = choice.why_not_interpreted()
NEEDS = pytest.mark.skipif(
    bool(WITHOUT) and "CI" not in os.environ, reason=WITHOUT or "-"
)  # never skipped in CI
SHAPE = Shape(layers=4, heads=2, head_dim=16, train_length=32)
SUMS = ("rope+fox", "rope+grape_ap", "alibi+ssmax", "alibi+swan", "t5_bias+fox", "rope+cable")
WALKED = [name for name in (*names(), *SUMS) if paths.walked(resolve(name)[1])]
ONE_EACH = ("grape_a_qk", "t5_bias", "swan", "alibi+swan", "grape_ap", "cope", "stick_breaking")


def made(name: str) -> Encoding:
    """The encoding, away from its initial values."""
    encoding, rng = build(resolve(name)[1], SHAPE), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in encoding.parameters():
            p += 0.2 * torch.randn(p.shape, generator=rng)
    return encoding


def learned(name: str, number: int, length: int = 20, batch: int = 1) -> tuple[Tensor, ...]:
    """A layer's output, and the gradients of q, k, v, x and every parameter."""
    encoding, rng = made(name), torch.Generator().manual_seed(0)
    q, k, v = (x.requires_grad_() for x in torch.randn(3, batch, 2, length, 16, generator=rng))
    x = torch.randn(batch, length, SHAPE.width, generator=rng).requires_grad_()
    weight = torch.randn(v.shape, generator=rng)
    index = torch.arange(length)
    pos = encoding.positions(index, torch.zeros(batch, length, dtype=torch.long), {})
    y = layer(encoding, At(number, x, v, index, pos, {}), q, k, v)
    by = [q, k, v, x, *encoding.parameters()]
    return y.detach(), *torch.autograd.grad(y, by, weight, allow_unused=True, materialize_grads=True)


def assert_near(found: tuple[Tensor, ...], true: tuple[Tensor, ...], limit: float = 1e-5) -> None:
    assert len(found) == len(true)
    for ours, theirs in zip(found, true, strict=True):
        assert ours.shape == theirs.shape
        assert (ours - theirs).abs().max() <= limit * (1 + theirs.abs().max())


@contextlib.contextmanager
def counted_walks(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Bias]]:
    """Under the interpreter, the biases that were walked."""
    seen, walk = list[Bias](), choice.walk()
    for name in ("whole", "over_cache"):

        def watched(*given: object, run: object = getattr(walk, name)) -> Tensor:
            seen.append(given[-1])  # type: ignore[arg-type]
            return run(*given)  # type: ignore[operator]

        monkeypatch.setattr(walk, name, watched)
    with choice.interpreted():
        yield seen


@NEEDS
@pytest.mark.parametrize("name", WALKED)
def test_every_encoding_that_is_walked_learns_as_its_definition_does(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = paths.walked(resolve(name)[1])[0]
    # One tile, for an interpreter's seconds: what crosses tiles depends on the source of bias alone, tested below.
    monkeypatch.setattr(choice.walk(), "INTERPRETED", Plan(*[Tile(32, 32)] * 4))
    with counted_walks(monkeypatch) as walks:
        found = learned(name, number)
    assert len(walks) == 1
    with ops.definitions():
        true = learned(name, number)
    assert_near(found, true)


@NEEDS
@pytest.mark.parametrize("name", ONE_EACH)
def test_two_runs_give_the_same_bits(name: str) -> None:
    number = paths.walked(resolve(name)[1])[0]
    with choice.interpreted():
        first, again = (learned(name, number) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@NEEDS
@torch.no_grad()
@pytest.mark.parametrize("name", ["rope", *ONE_EACH])
def test_a_text_read_in_chunks_and_token_by_token_is_read_whole(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lm = LM(Size(layers=2, width=32, heads=2, vocab=11), resolve(name)[1], 16, seed=0)
    for p in lm.encoding.parameters():
        p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(1))
    text = torch.randint(11, (2, 30), generator=torch.Generator().manual_seed(0))
    with ops.definitions():
        true = lm(text)
    with counted_walks(monkeypatch) as walks:
        cache = lm.cache()
        found = [lm(part, cache) for part in text.split([17, 1, 9, 1, 2], dim=1)]
    assert_near((torch.cat(found, 1),), (true,))
    assert walks
    assert all(x.k is not None and x.k.shape[-1] == 16 for x in cache.layers)  # no columns beside the keys


def dense(q: Tensor, k: Tensor, v: Tensor, scale: float, bias: Bias) -> Tensor:
    """What a walk is to compute, with all logits formed; the queries are the last of the keys."""
    far = torch.arange(q.shape[2])[:, None] + k.shape[2] - q.shape[2] - torch.arange(k.shape[2])
    seen = (far >= (bias.kind == BROKEN)) & (far < bias.window)
    x = q @ k.mT * scale
    if bias.qc is not None and bias.kc is not None:
        x = x + bias.qc @ bias.kc.mT
    if bias.table is not None:
        x = x + bias.table[:, far.clamp(min=0)]
    if bias.kind == BROKEN:
        left = sum_after(logsigmoid(-x).masked_fill(~seen, 0.0))
        return (logsigmoid(x) + left).masked_fill(~seen, -torch.inf).exp() @ v
    if bias.kind == PATH:
        assert bias.p is not None
        assert bias.r is not None
        assert bias.slopes is not None
        step = logsigmoid(bias.p @ bias.r.mT / bias.p.shape[-1]) * bias.slopes[:, None, None]
        x = x + sum_after(step.masked_fill(~seen, 0.0))
    if bias.kind == COUNTED:
        assert bias.e is not None
        gate = x.sigmoid().masked_fill(~seen, 0.0)
        count = (sum_after(gate) + gate).clamp(max=bias.e.shape[-1] - 1)
        low, high = (bias.e.gather(-1, n.long()) for n in (count.floor(), count.ceil()))
        x = x + low * (1 - count + count.floor()) + high * (count - count.floor())
    return x.masked_fill(~seen, -torch.inf).softmax(-1) @ v


def drawn(
    kind: int, columns: int, table: bool, queries: int, keys: int, width: int, value: int
) -> list[Tensor]:
    """q, k, v and the tensors of a bias, float64, in the order of `Bias.tensors`; none is an empty tensor."""
    rng = torch.Generator().manual_seed(queries * 7919 + width)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    none = torch.empty(0, dtype=torch.float64)
    b, h, f = 2 if queries < 6 else 1, 2, 5  # of many tokens one text: the interpreter takes seconds
    return [
        draw(b, h, queries, width), draw(b, h, keys, width), draw(b, h, keys, value),
        draw(b, h, queries, columns) if columns else none, draw(b, h, keys, columns) if columns else none,
        draw(h, keys) if table else none,
        draw(b, h, queries, f) if kind == PATH else none, draw(b, h, keys, f) if kind == PATH else none,
        draw(b, h, queries, 6) if kind == COUNTED else none,
    ]  # fmt: skip


CASES = {
    "nothing": (WHOLE, 0, False, 2**30),
    "window": (WHOLE, 0, False, 19),
    "one column": (WHOLE, 1, False, 2**30),
    "four columns, window": (WHOLE, 4, False, 1),
    "table": (WHOLE, 0, True, 2**30),
    "table, columns": (WHOLE, 2, True, 2**30),
    "path": (PATH, 0, False, 2**30),
    "counts": (COUNTED, 0, False, 2**30),
    "stick": (BROKEN, 0, False, 2**30),
}


def run(case: str, exact: list[Tensor], dtype: torch.dtype) -> tuple[Tensor, ...]:
    """Values and gradients, float64 by the definition, else by the kernels."""
    kind, _, _, window = CASES[case]
    leaves = [x.to(dtype).requires_grad_() for x in exact]
    q, k, v, *rest = leaves
    if dtype == torch.bfloat16:
        rest = [x.float() for x in rest]
    given = [x if x.numel() else None for x in rest]
    bias = Bias(kind, window, *given, alibi_slopes(2).to(rest[0].dtype))  # type: ignore[arg-type]
    if dtype == torch.float64:
        y = dense(q, k, v, 0.3, bias)
    else:
        with choice.interpreted():
            y = choice.walk().whole(q, k, v, 0.3, bias)
    weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
    used = [x for x in leaves if x.numel()]
    return y.detach(), *torch.autograd.grad(y, used, weight)


@NEEDS
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("tokens", "width", "value"), [(1, 16, 16), (35, 20, 33)])
def test_a_walk_is_its_definition(case: str, tokens: int, width: int, value: int) -> None:
    kind, columns, table, _ = CASES[case]
    exact = drawn(kind, columns, table, tokens, tokens, width, value)
    found, true = run(case, exact, torch.float32), run(case, exact, torch.float64)
    assert_near(tuple(x.double() for x in found), true)


@NEEDS
@pytest.mark.parametrize("width", [64, 128])
def test_wide_heads(width: int) -> None:
    exact = drawn(PATH, 0, False, 18, 18, width, width)
    found, true = run("path", exact, torch.float32), run("path", exact, torch.float64)
    assert_near(tuple(x.double() for x in found), true)


@NEEDS
@pytest.mark.parametrize("case", ["one column", "table", "path", "counts", "stick"])
def test_in_bfloat16_only_products_are_rounded(case: str) -> None:
    kind, columns, table, _ = CASES[case]
    exact = [x.bfloat16().double() for x in drawn(kind, columns, table, 35, 35, 16, 16)]
    found, true = run(case, exact, torch.bfloat16), run(case, exact, torch.float64)
    assert found[0].dtype == torch.bfloat16
    assert_near(tuple(x.double() for x in found), true, limit=0.01)


@NEEDS
@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("queries", [1, 5])
def test_few_queries_over_the_first_rows_of_a_longer_cache(case: str, queries: int) -> None:
    kind, columns, table, window = CASES[case]
    exact = [x.float() for x in drawn(kind, columns, table, queries, 70, 16, 16)]
    longer = [torch.cat([x, torch.full_like(x, torch.nan)], 2)[:, :, : x.shape[2]] for x in exact[:3]]
    slopes = alibi_slopes(2)
    bias = Bias(kind, window, *(x if x.numel() else None for x in exact[3:]), slopes)  # type: ignore[arg-type]
    with choice.interpreted():
        found = choice.walk().over_cache(exact[0], *longer[1:], 0.3, bias)
    assert_near((found,), (dense(*exact[:3], 0.3, bias),))


@NEEDS
def test_a_table_may_hide_keys() -> None:
    q, k, v = torch.randn(3, 1, 2, 40, 16, generator=torch.Generator().manual_seed(0))
    table = torch.zeros(2, 40).masked_fill(torch.arange(40) >= 7, -torch.inf)
    with choice.interpreted():
        hidden, window = (
            choice.walk().whole(q, k, v, 0.3, bias) for bias in (Bias(table=table), Bias(window=7))
        )
    assert torch.equal(hidden, window)


@NEEDS
def test_a_second_derivative_and_batched_gradients_are_told() -> None:
    q, k, v = torch.randn(3, 1, 2, 5, 16, requires_grad=True)
    with choice.interpreted():
        y = choice.walk().whole(q, k, v, 0.3, Bias(window=3))
    with pytest.raises(RuntimeError, match=r"second derivative.*definitions\(\)"):
        torch.autograd.grad(y.sum(), q, create_graph=True)
    with choice.interpreted():
        y = choice.walk().whole(q, k, v, 0.3, Bias(window=3))
    with pytest.raises(RuntimeError, match=r"batched"):
        torch.autograd.grad(y, q, torch.ones(3, *y.shape), is_grads_batched=True)


@NEEDS
def test_the_kernels_serve_where_they_may_and_nowhere_else() -> None:
    x = torch.zeros(1, 1, 1, 16)
    assert not choice.serves(x)
    seen = []
    with choice.interpreted():
        assert choice.serves(x)
        assert not choice.serves(x.double())
        assert not choice.serves(x.as_subclass(type("Watched", (Tensor,), {})))
        with ops.definitions():
            assert not choice.serves(x)
        torch.vmap(lambda y: seen.append(choice.serves(y)) or y)(x)
        torch.compile(lambda y: y + choice.serves(y), backend="eager", fullgraph=True)(x)
    assert seen == [False]
    assert not choice.serves(x)


@NEEDS
def test_learned_slopes_of_a_path_and_far_too_many_columns_are_not_walked() -> None:
    encoding = made("grape_ap")
    encoding.slopes = torch.nn.Buffer(encoding.slopes, persistent=False)
    q, k, v = torch.randn(3, 1, 2, 9, 16)
    at = At.whole(0, torch.randn(1, 9, 32), v, torch.arange(9))
    columns = encoding.columns(q, k, at)
    assert columns is not None
    at, keys = at._replace(columns=columns.q), Keys(at.order, at.pos, columns.k)
    assert choice.pick(encoding, at, q, k, v, keys, None) is not None
    encoding.slopes.requires_grad_()
    assert choice.pick(encoding, at, q, k, v, keys, None) is None
    fox, wide = made("fox"), torch.zeros(1, 2, 9, 5)
    assert choice.beside(fox, at, q, k, keys, Columns(wide, wide)) is None
    assert choice.beside(fox, at, q, k, keys, Columns(wide[..., 1:], wide[..., 1:])) is not None


class Misdeclared(T5Bias):
    """Its table is not its bias."""

    def sight(self, layer: int) -> int:
        return 3


@NEEDS
def test_the_certificate_tells_a_kernel_that_computes_something_else() -> None:
    right, wrong = kernels_equal_their_definition(T5Bias), kernels_equal_their_definition(Misdeclared)
    assert right is not None
    assert wrong is not None
    assert right.passed
    assert not wrong.passed
    assert kernels_equal_their_definition(resolve("rope")[1]) is None


def test_what_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choice, "installed", lambda: False)
    with pytest.raises(RuntimeError, match=r"pip install 'pebench\[gpu\]'"), choice.interpreted():
        pass
