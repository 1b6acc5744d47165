import math

import pytest
import torch
from torch import Tensor

from pebench.encodings.base import At, Encoding, Keys, Shape
from pebench.encodings.registry import names, resolve
from pebench.encodings.streams import build
from pebench.suite.lm import attention
from pebench.suite.lm.attention import attend, fused, layer, queries

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

    def block(q: Tensor, at: At) -> Tensor:
        sizes.append(q.shape[-2])
        return q

    q = torch.zeros(2, 4, 10, 8)
    at = At.whole(0, q[:, 0], q, torch.arange(10))
    monkeypatch.setattr(attention, "BLOCK_ELEMENTS", 2 * 4 * 100 * 3)
    with torch.no_grad():
        assert attention.in_blocks(block, q, at, keys=100).shape == q.shape
    assert sizes == [3, 3, 3, 1]


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
