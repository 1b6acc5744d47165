import math

import pytest
import torch

from pebench.encodings.registry import names, resolve
from pebench.suite.lm.model import LM, LengthError, Size

SIZE = Size(layers=2, width=32, heads=2, vocab=40)


def made(name: str, seed: int = 0) -> LM:
    return LM(SIZE, resolve(name)[1], train_length=16, seed=seed).eval()


def outside(lm: LM) -> dict[str, torch.Tensor]:
    return {name: p for name, p in lm.named_parameters() if not name.startswith("encoding.")}


@pytest.mark.parametrize("name", names())
def test_weights_outside_the_encoding_are_the_same_bits_for_all(name: str) -> None:
    own, plain = outside(made(name)), outside(made("nope"))
    assert own.keys() == plain.keys()
    assert all(torch.equal(own[key], plain[key]) for key in plain)


def test_seeds_and_names_draw_different_weights() -> None:
    first, other = outside(made("rope", 0)), outside(made("rope", 1))
    matrices = [key for key, p in first.items() if p.dim() == 2]
    assert not any(torch.equal(first[key], other[key]) for key in matrices)
    assert not torch.equal(first["blocks.0.attention.qkv.weight"], first["blocks.1.attention.qkv.weight"])


def test_weights_do_not_depend_on_the_global_stream() -> None:
    torch.manual_seed(1)
    first = made("fox").state_dict()
    torch.manual_seed(2)
    again = made("fox").state_dict()
    assert all(torch.equal(first[key], again[key]) for key in first)


def test_a_smaller_model_shares_the_weights_of_a_larger_one() -> None:
    deeper = LM(Size(3, 32, 2, 40), resolve("rope")[1], train_length=64, seed=0)
    key = "blocks.1.attention.qkv.weight"
    assert torch.equal(deeper.get_parameter(key), made("rope").get_parameter(key))


def test_gains_and_temperatures_start_at_one() -> None:
    for name, p in outside(made("rope")).items():
        assert p.dim() == 2 or (p == 1).all(), name


def test_a_fresh_model_knows_nothing() -> None:
    tokens = torch.randint(40, (8, 16), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        logits = made("rope")(tokens)
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())
    assert abs(loss.item() - math.log(40)) < 0.25


def test_embeddings_are_tied() -> None:
    lm = made("nope")
    assert not any("head" in name or "unembed" in name for name, _ in lm.named_parameters())
    lm(torch.zeros(1, 2, dtype=torch.long))[0, 0, 7].backward()
    gradient = lm.embedding.weight.grad
    assert gradient is not None
    assert set(gradient.abs().sum(-1).nonzero().flatten().tolist()) == {0, 7}


@pytest.mark.parametrize("norm", ["q", "k"])
def test_the_size_of_q_and_k_before_their_norm_is_forgotten(norm: str) -> None:
    lm, tokens = made("rope"), torch.arange(10)[None]
    with torch.no_grad():
        before = lm(tokens)
        part = 0 if norm == "q" else 1
        for layer in range(SIZE.layers):
            lm.get_parameter(f"blocks.{layer}.attention.qkv.weight")[part * 32 : (part + 1) * 32] *= 7.0
        torch.testing.assert_close(lm(tokens), before, rtol=1e-4, atol=1e-4)


def test_the_temperature_is_not_forgotten() -> None:
    lm, tokens = made("rope"), torch.arange(10)[None]
    with torch.no_grad():
        before = lm(tokens)
        lm.get_parameter("blocks.0.attention.temperature").mul_(3.0)
        assert (lm(tokens) - before).abs().max() > 1e-4


def test_the_shape_says_what_an_encoding_may_know() -> None:
    shape = SIZE.shape(16)
    assert (shape.layers, shape.heads, shape.head_dim, shape.train_length) == (2, 2, 16, 16)
    assert (shape.width, shape.scale) == (32, 0.25)
    assert Size(2, 64, 4, 64).hidden == 192
    assert SIZE.hidden % 32 == 0


def test_more_tokens_than_max_length_are_an_error_that_says_so() -> None:
    lm = made("learned_ape")
    with pytest.raises(LengthError, match="17 tokens, but this encoding is defined up to 16"):
        lm(torch.zeros(1, 17, dtype=torch.long))
    assert issubclass(LengthError, ValueError)


def test_a_cache_counts_towards_max_length() -> None:
    lm, cache = made("learned_ape"), made("learned_ape").cache()
    with torch.no_grad():
        lm(torch.zeros(1, 16, dtype=torch.long), cache)
        with pytest.raises(LengthError, match="17 tokens"):
            lm(torch.zeros(1, 1, dtype=torch.long), cache)


def test_a_cache_outgrows_its_buffers_without_a_loss() -> None:
    lm = made("alibi")
    tokens = torch.randint(40, (2, 300), generator=torch.Generator().manual_seed(0))
    cache = lm.cache()
    with torch.no_grad():
        parts = [lm(part, cache) for part in tokens.split(37, dim=1)]
        torch.testing.assert_close(torch.cat(parts, 1), lm(tokens), rtol=1e-4, atol=1e-4)
    assert cache.length == 300
    assert cache.pos is not None
    assert cache.pos.tolist() == list(range(300))


def test_two_caches_are_two_texts() -> None:
    lm = made("fox")
    one, two = torch.tensor([[1, 2, 3, 4]]), torch.tensor([[5, 6, 7, 8]])
    a, b = lm.cache(), lm.cache()
    with torch.no_grad():
        lm(one[:, :3], a)
        lm(two[:, :3], b)
        torch.testing.assert_close(lm(one[:, 3:], a), lm(one)[:, 3:])
        torch.testing.assert_close(lm(two[:, 3:], b), lm(two)[:, 3:])


def test_positions_go_through_the_encoding() -> None:
    class Doubled(resolve("rope")[1]):  # type: ignore[misc]
        def positions(self, index: torch.Tensor, *_: object) -> torch.Tensor:
            return 2 * index

    lm = LM(SIZE, Doubled, 16, 0)
    cache = lm.cache()
    with torch.no_grad():
        lm(torch.zeros(1, 3, dtype=torch.long), cache)
        lm(torch.zeros(1, 2, dtype=torch.long), cache)
    assert cache.pos is not None
    assert cache.pos.tolist() == [0, 2, 4, 6, 8]
