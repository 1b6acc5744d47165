"""Attention over a stretch of keys on AMX tiles, against its definition in float64 and PyTorch's operator."""

import pytest
import torch

from pebench.suite.extend import attention
from pebench.suite.extend.attention import Part, attend, flash
from pebench.suite.lm.native import stretch as module
from pebench.suite.lm.native.stretch import FEWEST, kernels, serves, stretch

needs_tiles = pytest.mark.skipif(kernels() is None, reason="no AMX tiles, or no compiler, here")


def drawn(*shape, seed=0, size=1.5):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).mul(size).bfloat16()


def defined(q, k, v, scale):
    scores = scale * q.double() @ k.double().mT
    return scores.softmax(-1) @ v.double(), scores.logsumexp(-1)


@needs_tiles
@pytest.mark.parametrize(
    ("heads", "rows", "keys", "width", "value_width"),
    [
        (3, 96, 512, 64, 64),
        (1, 64, 1, 32, 32),
        (2, 65, 257, 64, 96),
        (1, 127, 255, 128, 64),
        (2, 200, 1000, 32, 160),
    ],
)
def test_a_stretch_is_as_defined(heads, rows, keys, width, value_width):
    q, k = drawn(1, heads, rows, width), drawn(1, heads, keys, width, seed=1)
    v, scale = drawn(1, heads, keys, value_width, seed=2), width**-0.5
    assert serves(q, k, v)
    y, lse = stretch(q, k, v, scale)
    expected, log = defined(q, k, v, scale)
    torch.testing.assert_close(lse.double(), log, rtol=0, atol=1e-4)
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=2**-7 * float(v.abs().max()))
    if value_width == width and keys > 1:
        theirs = flash(q, k, v, scale=scale)[0].double()
        assert (y.double() - expected).square().mean() <= (theirs - expected).square().mean()


@needs_tiles
def test_scores_may_be_large_and_all_weight_on_one_key():
    q, k, v = (
        drawn(1, 1, 64, 64, size=20.0),
        drawn(1, 1, 600, 64, seed=1, size=20.0),
        drawn(1, 1, 600, 64, seed=2),
    )
    y, lse = stretch(q, k, v, 1.0)
    expected, log = defined(q, k, v, 1.0)
    torch.testing.assert_close(y.double(), expected, rtol=0, atol=0.05)
    torch.testing.assert_close(lse.double(), log, rtol=1e-5, atol=1e-4)


@needs_tiles
def test_views_are_read_where_they_lie():
    """As the cache has them: a beginning of a longer buffer, one of two views side by side, tokens before heads."""
    q = drawn(1, 80, 2, 64).transpose(1, 2)
    k, v = drawn(1, 2, 900, 128, seed=1)[..., :700, 64:], drawn(1, 2, 900, 64, seed=2)[..., 100:800, :]
    assert serves(q, k, v)
    for mine, whole in zip(
        stretch(q, k, v, 0.1), stretch(*(x.contiguous() for x in (q, k, v)), 0.1), strict=True
    ):
        assert torch.equal(mine, whole)


@needs_tiles
def test_others_keep_their_tiles():
    """oneDNN sets up tiles too, and may look at what it set up before."""
    a, b = drawn(96, 64), drawn(64, 48, seed=1)
    before = a @ b
    stretch(drawn(1, 1, 64, 32), drawn(1, 1, 40, 32, seed=1), drawn(1, 1, 40, 32, seed=2), 1.0)
    assert torch.equal(a @ b, before)


@needs_tiles
@pytest.mark.parametrize("groups", [1, 3])
def test_attention_in_parts_takes_it(groups, monkeypatch):
    tokens, keys = FEWEST, 300
    q, k, v = drawn(1, 2 * groups, tokens, 64), drawn(1, 2, keys, 64, seed=1), drawn(1, 2, keys, 64, seed=2)
    parts, scale = [Part(0, 0, keys - tokens), Part(0, keys - tokens, keys, causal=True)], 0.125
    calls = []
    monkeypatch.setattr(attention, "stretch", lambda *args: calls.append(args) or stretch(*args))
    fast = attend(q, k, v, parts, 1, scale)
    assert len(calls) == 1
    monkeypatch.setattr(attention, "serves", lambda *args: False)
    torch.testing.assert_close(fast, attend(q, k, v, parts, 1, scale), rtol=0, atol=0.03)


def test_other_numbers_few_queries_and_odd_widths_are_left_to_pytorch(monkeypatch):
    q, k = drawn(1, 1, 64, 32), drawn(1, 1, 10, 32)
    assert not serves(q.float(), k.float(), k.float())
    assert not serves(q[:, :, : FEWEST - 1], k, k)
    assert not serves(q[..., :24], k[..., :24], k)
    assert not serves(q, k[:, :, :0], k[:, :, :0])
    assert not serves(q, k.mT.contiguous().mT, k)
    monkeypatch.setattr(module, "kernels", lambda: None)
    assert not serves(q, k, k)
