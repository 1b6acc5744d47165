"""A hook that breaks the protocol is told in words, before any check runs."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pebench.encodings.base import Columns, Encoding
from pebench.encodings.registry import EncodingError, names, resolve
from pebench.suite.proofs.hooks import RETURNS, demand_hooks, hook_problem

MADE = ["rope+fox", "rope+t5_bias+fox+ssmax", "fox+swan", "alibi+kv_shift", "rope@yarn", "rope+fox@ntk"]


def with_hook(name: str, hook: Callable[..., object]) -> type[Encoding]:
    """An encoding with this hook alone."""
    texts = {key: "none" for key in ("title", "paper", "family", "formula")}
    return type("Made", (Encoding,), {name: hook, "__doc__": "x", **texts})


WRONG: list[tuple[str, Callable[..., object], str]] = [
    ("positions", lambda self, index, tokens, memory: index[:1], "a tensor (1,) of int64"),
    ("positions", lambda self, index, tokens, memory: None, "None"),
    ("embed", lambda self, x, pos: x[:, :1], "a tensor (2, 1, 64)"),
    ("embed", lambda self, x, pos: x.double(), "of float64"),
    ("qk", lambda self, q, k, at: q, "a tensor (2, 4, 8, 16)"),
    ("qk", lambda self, q, k, at: (q, k[..., :4]), "a tuple of 2 (a tensor (2, 4, 8, 16) of float32, a tensor"),
    ("qk", lambda self, q, k, at: (q, k, k), "a tuple of 3"),
    ("columns", lambda self, q, k, at: (q[..., :1], k[..., :1]), "a tuple of 2"),
    ("columns", lambda self, q, k, at: Columns(torch.ones(3, 5), torch.ones(3, 5)), "Columns of a tensor (3, 5)"),
    ("columns", lambda self, q, k, at: Columns(q[..., :1], k[..., :2]), "(2, 4, 8, 1) of float32 and a tensor"),
    ("columns", lambda self, q, k, at: Columns(1.0, 2.0), "a tuple of 2 (float, float)"),
    ("by_distance", lambda self, far, layer: far, "a tensor (8, 8)"),
    ("bias", lambda self, at, keys: torch.zeros(3, 8, 8), "a tensor (3, 8, 8)"),
    ("bias", lambda self, at, keys: 0.5, "a float"),
    ("weights", lambda self, q, k, at, keys: q, "a tensor (2, 4, 8, 16)"),
    ("values", lambda self, v, at: None, "None"),
    ("output", lambda self, y, at: y.transpose(1, 2), "a tensor (2, 8, 4, 16)"),
]  # fmt: skip


@pytest.mark.parametrize(("hook", "method", "found"), WRONG)
def test_what_a_hook_returns_wrongly_is_told_with_the_remedy(
    hook: str, method: Callable[..., object], found: str
) -> None:
    with pytest.raises(EncodingError) as told:
        demand_hooks("mine", with_hook(hook, method))
    assert str(told.value).startswith(f"mine: `{hook}` returns ")
    assert found in str(told.value)
    assert f"return {RETURNS[hook]} (here B = 2" in str(told.value)


def test_other_arguments_are_told() -> None:
    old = with_hook("bias", lambda self, q_pos, k_pos, layer: None)
    assert (
        hook_problem(old)
        == "`bias` is defined with (self, q_pos, k_pos, layer); define it with (self, at, keys)"
    )


def test_a_misspelt_hook_is_told_where_there_is_no_other() -> None:
    def method(self: Encoding, v: Tensor, at: object) -> Tensor:
        return v

    assert "did you mean `values`?" in hook_problem(with_hook("value", method))
    both = type("Both", (with_hook("values", method),), {"value": method})
    assert hook_problem(both) == ""


def test_an_exception_is_left_to_the_certificate() -> None:
    def raises(self: Encoding, v: Tensor, at: object) -> Tensor:
        raise ZeroDivisionError

    assert hook_problem(with_hook("values", raises)) == ""


@pytest.mark.parametrize("spec", [*names(), *MADE])
def test_every_encoding_keeps_the_protocol(spec: str) -> None:
    assert hook_problem(resolve(spec)[1]) == ""
