"""KV shift: what it mixes, that the cache carries it, and that it leaves the rest alone."""

import pytest
import torch

from pebench.encodings.registry import resolve
from pebench.suite.lm.kv_shift import ShiftedLM
from pebench.suite.lm.model import LM, Size

SIZE = Size(layers=2, width=32, heads=2, vocab=16)
TOKENS = torch.randint(16, (2, 12), generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("name", ["nope", "rope", "fox", "t5_bias", "grape_ap"])
def test_without_a_share_of_the_token_before_it_is_the_standard_lm(name: str) -> None:
    cls = resolve(name)[1]
    lm = ShiftedLM(SIZE, cls, 12, seed=0)
    for block in lm.blocks:
        block.attention.mix.data.copy_(torch.tensor([0.0, 1.0]).expand(2, 2, 2))
    with torch.no_grad():
        assert torch.allclose(lm(TOKENS), LM(SIZE, cls, 12, seed=0)(TOKENS), atol=1e-5)


@pytest.mark.parametrize("name", ["nope", "rope", "fox", "path"])
@pytest.mark.parametrize("sizes", [(1,) * 12, (5, 1, 6)])
def test_through_the_cache_it_is_one_forward_pass(name: str, sizes: tuple[int, ...]) -> None:
    lm = ShiftedLM(SIZE, resolve(name)[1], 12, seed=0)
    cache = lm.cache()
    with torch.no_grad():
        parts = [lm(part, cache) for part in TOKENS.split(sizes, dim=1)]
        assert torch.allclose(torch.cat(parts, dim=1), lm(TOKENS), atol=1e-4)


def test_one_layer_reads_the_token_before_a_key() -> None:
    """NoPE knows no order; shifted, one layer tells a b from b a by what stands before each key."""
    size = Size(layers=1, width=32, heads=2, vocab=16)
    one, other = torch.tensor([[1, 2, 3]]), torch.tensor([[2, 1, 3]])
    cls = resolve("nope")[1]
    with torch.no_grad():
        plain = LM(size, cls, 3, seed=0)
        assert torch.allclose(plain(one)[:, -1], plain(other)[:, -1], atol=1e-6)
        shifted = ShiftedLM(size, cls, 3, seed=0)
        assert not torch.allclose(shifted(one)[:, -1], shifted(other)[:, -1], atol=1e-4)


def test_the_mix_learns_and_starts_as_documented() -> None:
    lm = ShiftedLM(SIZE, resolve("rope")[1], 12, seed=0)
    lm(TOKENS).square().sum().backward()
    for block in lm.blocks:
        mix = block.attention.mix
        assert torch.allclose(mix.sum(-1), torch.ones(2, 2))
        assert ((mix > 0) & (mix < 1)).all()
        assert mix.grad is not None
        assert mix.grad.abs().min() > 0
