import pytest
import torch

from pebench.encodings.registry import names, resolve
from pebench.suite.lm.flops import flops_per_token
from pebench.suite.lm.model import LM, Size

SIZE = Size(layers=2, width=32, heads=2, vocab=64)
LENGTH = 16


def counted(name: str, length: int = LENGTH) -> int:
    return flops_per_token(LM(SIZE, resolve(name)[1], LENGTH, 0).eval(), length)


@pytest.mark.parametrize("length", [8, 16])
def test_the_count_is_that_of_the_matrix_products(length: int) -> None:
    d, block = SIZE.width, 4 * SIZE.width**2 + 3 * SIZE.width * SIZE.hidden
    attention = 2 * length * d  # q k and weights v
    assert counted("rope", length) == 2 * (SIZE.layers * (block + attention) + SIZE.vocab * d)


@pytest.mark.parametrize("name", names())
def test_no_encoding_computes_less_than_none(name: str) -> None:
    assert counted(name) >= counted("nope")


def test_what_costs_more_counts_more() -> None:
    assert counted("nope") == counted("rope") < counted("alibi") < counted("transformer_xl")


def test_counting_changes_nothing() -> None:
    lm = LM(SIZE, resolve("fox")[1], LENGTH, 0).eval()
    tokens = torch.arange(LENGTH)[None]
    with torch.no_grad():
        before = lm(tokens)
        flops_per_token(lm, LENGTH)
        assert torch.equal(lm(tokens), before)
