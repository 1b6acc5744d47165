"""A score of two positions: by flex attention, in blocks, and as its definition."""

import contextlib
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn.attention import flex_attention as torch_flex

from pebench.encodings.base import At, Encoding, Keys, Shape, alibi_slopes
from pebench.encodings.scores import Scored
from pebench.encodings.streams import build
from pebench.suite.lm.attention import LayerCache, layer
from pebench.suite.lm.gpu import choice, flex, paths

SHAPE = Shape(layers=2, heads=2, head_dim=16, train_length=32)


class Root(Scored):
    """A slope of the root of the distance, and a window in the second layer."""

    title, paper, formula = "root", "a test", "-"

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.register_buffer("slopes", alibi_slopes(shape.heads), persistent=False)

    def score(self, layer: int, head: Tensor, i: Tensor, j: Tensor) -> Tensor:
        near = -self.slopes[head] * (i - j).sqrt()
        return torch.where(i - j < 9, near, -torch.inf) if layer == 1 else near


class Learned(Root):
    """The same with slopes that learn."""

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.slopes = nn.Parameter(self._buffers.pop("slopes"))


class Rebiased(Root):
    """A subclass that changes the bias and inherits a score that no longer tells it."""

    def bias(self, at: At, keys: Keys) -> Tensor:
        return super().bias(at, keys) * 2


@contextlib.contextmanager
def flexed(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """On the CPU, as on a GPU: flex attention serves, its calls are counted, and its ban on gradients is lifted."""
    calls, run = list[int](), flex.attention

    def seen(encoding: Scored, at: At, *given: object) -> Tensor:
        calls.append(at.layer)
        return run(encoding, at, *given)  # type: ignore[arg-type]

    monkeypatch.setattr(flex, "attention", seen)
    monkeypatch.setattr(torch_flex, "_validate_device", lambda *tensors: None)
    before = choice._on_cpu.set(True)
    try:
        yield calls
    finally:
        choice._on_cpu.reset(before)


def learned(encoding: Encoding, number: int, pos: Tensor) -> tuple[Tensor, ...]:
    """A layer's output and its gradients, over 20 tokens of two texts."""
    rng = torch.Generator().manual_seed(0)
    q, k, v = (x.requires_grad_() for x in torch.randn(3, 2, 2, 20, 16, generator=rng))
    at = At(number, torch.zeros(2, 20, SHAPE.width), v, torch.arange(20), pos, {})
    y = layer(encoding, at, q, k, v)
    weight = torch.linspace(-1, 1, y.numel()).view(y.shape)
    return y.detach(), *torch.autograd.grad(y, [q, k, v, *encoding.parameters()], weight)


def assert_near(found: tuple[Tensor, ...], true: tuple[Tensor, ...]) -> None:
    for ours, theirs in zip(found, true, strict=True):
        assert (ours - theirs).abs().max() <= 1e-5 * (1 + theirs.abs().max())


@pytest.mark.parametrize(
    ("number", "pos"),
    [(0, torch.arange(20)), (1, torch.stack([torch.arange(20), torch.arange(20) * 3]))],
    ids=["one position", "positions of each text, window"],
)
def test_a_score_is_learned_by_flex_attention_as_by_its_definition(
    number: int, pos: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoding = build(Root, SHAPE)
    true = learned(encoding, number, pos)
    with flexed(monkeypatch) as calls:
        assert_near(learned(encoding, number, pos), true)
    assert calls == [number]


def test_the_path_of_a_score_is_named() -> None:
    assert paths.paths(Root)[0] == paths.FLEX
    assert paths.paths(Rebiased)[0] == paths.BLOCKS


def test_learned_scores_and_another_bias_go_by_the_definition(monkeypatch: pytest.MonkeyPatch) -> None:
    for cls in (Learned, Rebiased):
        encoding = build(cls, SHAPE)
        true = learned(encoding, 0, torch.arange(20))
        with flexed(monkeypatch) as calls:
            found = learned(encoding, 0, torch.arange(20))
        assert not calls
        assert_near(found, true)


@torch.no_grad()
def test_a_text_in_chunks_and_token_by_token_is_read_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    encoding = build(Learned, SHAPE)
    q, k, v = torch.randn(3, 1, 2, 20, 16, generator=torch.Generator().manual_seed(0))
    index, x = torch.arange(20), torch.zeros(1, 20, SHAPE.width)
    true = layer(encoding, At(1, x, v, index, index, {}), q, k, v)
    cache, parts = LayerCache(), []
    with flexed(monkeypatch) as calls:
        for here in (slice(0, 13), slice(13, 14), slice(14, 20)):
            at = At(1, x[:, here], v[:, :, here], index[here], index[here], cache.memory)
            keys = Keys(index[: here.stop], index[: here.stop])
            parts.append(layer(encoding, at, q[:, :, here], k[:, :, here], v[:, :, here], keys, cache))
    assert len(calls) == 3
    assert_near((torch.cat(parts, 2),), (true,))
