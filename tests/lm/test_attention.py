import math
import os
import subprocess
import sys

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from pebench.encodings.base import At, Encoding, Keys, Shape, distance, visible
from pebench.encodings.registry import names, resolve
from pebench.encodings.streams import build
from pebench.suite.lm import attention
from pebench.suite.lm.attention import attend, fused, layer, queries
from pebench.suite.lm.native import ops

SHAPE = Shape(layers=2, heads=4, head_dim=8, train_length=32)


def prepared(name: str, length: int) -> tuple[Encoding, Tensor, Tensor, Tensor, At, Keys]:
    """The encoding, q and k as it returns them, v, and where queries and keys are."""
    e = build(resolve(name)[1], SHAPE).eval()
    rng = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, SHAPE.heads, length, SHAPE.head_dim, generator=rng)
    x = torch.randn(2, length, SHAPE.width, generator=rng)
    index = torch.arange(length)
    at = At.whole(1, x, v, e.positions(index, index[None], {}))
    columns, keys = e.columns(q, k, at), Keys(at.order, at.pos)
    q, k = e.qk(q, k, at)
    if columns is not None:
        sides = (side.expand(2, SHAPE.heads, length, -1) for side in columns)
        at, keys = at._replace(columns=next(sides)), keys._replace(columns=next(sides))
    return e, q, k, v, at, keys


@pytest.mark.parametrize("elements", [1, 1000])
@pytest.mark.parametrize("name", names())
def test_query_blocks_change_nothing(name: str, elements: int, monkeypatch: pytest.MonkeyPatch) -> None:
    e, q, k, v, at, keys = prepared(name, 24)
    with torch.no_grad():
        whole = attend(e, at, q, k, v, keys)
        monkeypatch.setattr(attention, "BLOCK_ELEMENTS", elements)
        blocks = attend(e, at, q, k, v, keys)
    torch.testing.assert_close(blocks, whole, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("elements", [1, 2**25])
@pytest.mark.parametrize("new", [1, 5, 23])
@pytest.mark.parametrize("name", names())
def test_the_last_queries_alone_see_what_they_see_among_all(
    name: str, new: int, elements: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    e, q, k, v, at, keys = prepared(name, 24)
    with torch.no_grad():
        whole = attend(e, at, q, k, v, keys)
        monkeypatch.setattr(attention, "BLOCK_ELEMENTS", elements)
        last = attend(e, queries(at, slice(-new, None)), q[:, :, -new:], k, v, keys)
    torch.testing.assert_close(last, whole[:, :, -new:], rtol=1e-5, atol=1e-5)


def test_blocks_are_as_large_as_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []

    def block(q: Tensor, at: At, seen: int) -> Tensor:
        sizes.append(q.shape[-2])
        return q

    q = torch.zeros(2, 4, 10, 8)
    at = At.whole(0, q[:, 0], q, torch.arange(10))
    monkeypatch.setattr(attention, "BLOCK_ELEMENTS", 2 * 4 * 100 * 3)
    with torch.no_grad():
        assert attention.in_blocks(block, q, at, keys=100).shape == q.shape
    assert sizes == [3, 3, 3, 1]


class Remembers(Encoding):
    """Rows that depend on those of the queries before, through the memory, with a parameter and a bias of positions."""

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.strength = nn.Parameter(torch.linspace(0.1, 1, shape.heads)[:, None, None])

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
        seen = visible(at, keys)
        logits = (q @ k.mT) * self.strength - 0.1 * distance(at.pos, keys.pos)
        before = at.memory.get("total", torch.zeros(1, 1, 1, 0))
        total = pad(before, (0, len(keys.order) - before.shape[-1])) + logits.sigmoid().masked_fill(
            ~seen, 0.0
        ).cumsum(2)
        at.memory["total"] = total[:, :, -1:]
        return (logits - 0.3 * total).masked_fill(~seen, -torch.inf).softmax(-1)


BLOCKED = [
    *(n for n in names() if resolve(n)[1].kernel() != "fused"),
    "t5_bias+fire",
    "rope+t5_bias+fox",
    "shaw+ssmax",
]


@pytest.mark.parametrize("spec", ["remembers", *BLOCKED])
def test_blocks_that_are_computed_again_learn_the_same(spec: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cls = Remembers if spec == "remembers" else resolve(spec)[1]
    e, length = build(cls, SHAPE), 24
    rng = torch.Generator().manual_seed(0)
    q, k, v = torch.randn(3, 2, SHAPE.heads, length, SHAPE.head_dim, generator=rng)
    x = torch.randn(2, length, SHAPE.width, generator=rng)
    index = torch.arange(length)
    pos = e.eval().positions(index, index[None], {})
    weight = torch.randn(v.shape, generator=rng)

    def learned() -> tuple[Tensor, ...]:
        leaves = [t.clone().requires_grad_() for t in (q, k, v, x)]
        windowed = spec in ("irope", "rnope_swa")  # whose last layer sees all, and so has no bias
        at = At.whole(0 if windowed else 1, leaves[3], leaves[2], pos)
        y = layer(e, at, *leaves[:3])
        by = [*leaves, *e.parameters()]
        return y, *torch.autograd.grad(y, by, weight, allow_unused=True, materialize_grads=True)

    with ops.definitions():
        whole = learned()
        monkeypatch.setattr(attention, "LEARNING_ELEMENTS", 1)
        monkeypatch.setattr(attention, "LEARNING_BLOCK", 2 * SHAPE.heads * 60)
        runs = counted(monkeypatch)
        blocks = learned()
    assert sum(runs) == length
    assert len(runs) > 5
    for again, once in zip(blocks, whole, strict=True):
        torch.testing.assert_close(again, once, rtol=1e-4, atol=1e-5)


def counted(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of queries of each block that is computed again."""
    sizes, recomputed = [], attention.recomputed

    def seen(block: attention.Block, q: Tensor, at: At, keys: int) -> Tensor | None:
        y = recomputed(block, q, at, keys)
        sizes.extend([q.shape[-2]] * (y is not None))  # none where it turns out that there is no bias
        return y

    monkeypatch.setattr(attention, "recomputed", seen)
    return sizes


@pytest.mark.slow
@pytest.mark.parametrize("name", names())
def test_4096_tokens_are_learned_in_less_than_a_gigabyte_for_each_layer(name: str) -> None:
    code = f"""if True:
        import torch
        from pebench.encodings.registry import resolve
        from pebench.suite.lm.model import LM, Size
        from pebench.suite.runs.machine import peak_memory
        torch.set_num_threads(1)
        lm = LM(Size(layers=1, width=64, heads=4, vocab=64), resolve({name!r})[1], 4096, 0)
        lm(torch.zeros(1, 4096, dtype=torch.long)).square().mean().backward()
        print(peak_memory(torch.device("cpu")))
    """
    environment = {**os.environ, "PEBENCH_NATIVE": "0"}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert int(done.stdout) < 2**30


@pytest.mark.parametrize(
    ("name", "kernel"), [("nope", "fused"), ("fox", "fused"), ("t5_bias", "masked"), ("cope", "own")]
)
def test_the_kernel_follows_from_the_hooks(name: str, kernel: str) -> None:
    assert resolve(name)[1].kernel() == kernel


@pytest.mark.parametrize("width", [5, 8, 11, 16])
@pytest.mark.parametrize("value_width", [5, 8])
def test_padding_of_odd_widths_is_invisible(width: int, value_width: int) -> None:
    q, k = torch.randn(2, 1, 2, 9, width, requires_grad=True)
    v = torch.randn(1, 2, 9, value_width, requires_grad=True)
    future = torch.ones(9, 9, dtype=torch.bool).triu(1)
    slow = (0.3 * q @ k.mT).masked_fill(future, -math.inf).softmax(-1) @ v
    fast = fused(q, k, v, 0.3, None, causal=True)
    torch.testing.assert_close(fast, slow)
    cotangent = torch.randn(slow.shape)
    got, want = (torch.autograd.grad(y, (q, k, v), cotangent) for y in (fast, slow))
    torch.testing.assert_close(got, want)


def test_one_token_over_wider_keys_needs_no_padding(monkeypatch: pytest.MonkeyPatch) -> None:
    q, k, v = torch.randn(1, 2, 1, 9), torch.randn(1, 2, 20, 9), torch.randn(1, 2, 20, 8)
    near = torch.arange(20) > 12
    monkeypatch.setattr(attention, "pad", None)
    plain, masked = fused(q, k, v, 0.3, None), fused(q, k, v, 0.3, near)
    torch.testing.assert_close(plain, (0.3 * q @ k.mT).softmax(-1) @ v)
    torch.testing.assert_close(masked, fused(q, k[:, :, 13:], v[:, :, 13:], 0.3, None))
    bias = torch.zeros(20).masked_fill(~near, -torch.inf)
    torch.testing.assert_close(fused(q, k, v, 0.3, bias), masked)


class Window(Encoding):
    """Hides keys that lie more than three tokens back, through infinite biases."""

    def bias(self, at: At, keys: Keys) -> Tensor:
        far = (at.pos[:, None] - keys.pos)[None].expand(self.shape.heads, -1, -1)
        return torch.zeros(far.shape).masked_fill(far > 3, -torch.inf)


def test_a_bias_may_hide_keys() -> None:
    e = build(Window, SHAPE)
    q, k, v = torch.randn(3, 1, 4, 12, 8, requires_grad=True)
    y = layer(e, At.whole(0, v[:, 0], v, torch.arange(12)), q, k, v)
    (by_v,) = torch.autograd.grad(y[:, :, 10].sum(), v)
    assert (by_v[:, :, [6, 11]] == 0).all()
    assert (by_v[:, :, 7:11] > 0).all()


class Plain(Encoding):
    """Says in every layer that there is no bias."""

    def bias(self, at: At, keys: Keys) -> None:
        return None


def test_no_bias_in_a_layer_is_plain_causal_attention() -> None:
    e, q, k, v, at, keys = prepared("nope", 12)
    torch.testing.assert_close(attend(build(Plain, SHAPE), at, q, k, v, keys), attend(e, at, q, k, v, keys))
