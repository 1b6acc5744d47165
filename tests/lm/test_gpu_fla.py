"""flash-linear-attention: its references against our definitions, and the operator that reads PaTH on a GPU."""

import importlib.util
import os
import warnings

import pytest
import torch
from torch import Tensor

from pebench.encodings.base import At, Encoding, Keys, Reflected, Shape
from pebench.encodings.registry import resolve
from pebench.encodings.streams import build
from pebench.suite.lm.attention import layer
from pebench.suite.lm.gpu import choice, fla, paths

pytestmark = pytest.mark.engines  # it imports Triton: `make test-engines`, after `make engines`
NEEDS = pytest.mark.skipif(
    importlib.util.find_spec("fla") is None and "CI" not in os.environ, reason="fla-core is not installed"
)  # never skipped in CI
SHAPE, TOKENS = Shape(layers=2, heads=2, head_dim=16, train_length=32), 70  # more than a chunk of 64


@pytest.fixture(scope="module", autouse=True)
def imported() -> None:
    """What fla warns of while it is imported (no driver, deprecations inside it) is no fault of ours."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if importlib.util.find_spec("fla") is not None:
            importlib.import_module("fla.ops.path_attn.naive")
            importlib.import_module("fla.ops.forgetting_attn.naive")


def made(name: str) -> tuple[Encoding, At, Tensor, Tensor, Tensor]:
    """The encoding away from its initial values, a place, and q, k and v (2, H, T, d)."""
    encoding, rng = build(resolve(name)[1], SHAPE), torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in encoding.parameters():
            p += 0.3 * torch.randn(p.shape, generator=rng)
    q, k, v = torch.randn(3, 2, SHAPE.heads, TOKENS, SHAPE.head_dim, generator=rng)
    x = torch.randn(2, TOKENS, SHAPE.width, generator=rng)
    return encoding, At.whole(1, x, v, torch.arange(TOKENS)), q, k, v


def log_gates(encoding: Encoding, at: At) -> Tensor:
    """FoX's log forget gates (B, T, H), out of the running sum that it declares."""
    none = torch.zeros(2, SHAPE.heads, TOKENS, 0)
    columns = encoding.columns(none, none, at._replace(memory={}))
    assert columns is not None
    total = -columns.k[..., 0]
    return torch.diff(total, dim=-1, prepend=torch.zeros_like(total[..., :1])).transpose(1, 2)


@NEEDS
@torch.no_grad()
def test_fox_is_their_reference() -> None:
    from fla.ops.forgetting_attn.naive import naive_forgetting_attn

    encoding, at, q, k, v = made("fox")
    theirs = naive_forgetting_attn(*(x.transpose(1, 2) for x in (q, k, v)), log_gates(encoding, at))
    torch.testing.assert_close(layer(encoding, at, q, k, v), theirs.transpose(1, 2), rtol=1e-5, atol=1e-5)


@NEEDS
@pytest.mark.parametrize("name", ["path", "path_fox"])
@torch.no_grad()
def test_reflections_are_their_reference(name: str) -> None:
    from fla.ops.path_attn.naive import naive_path_attn

    encoding, at, q, k, v = made(name)
    w, beta = encoding.planes(at._replace(memory={})).tensor_split([SHAPE.head_dim], dim=-1)  # type: ignore[operator]
    gates = torch.zeros(2, TOKENS, SHAPE.heads)
    if name == "path_fox":  # they scale the gates too
        gates = log_gates(encoding.fox, at) / SHAPE.scale  # type: ignore[arg-type]
    given = [x.transpose(1, 2) for x in (q, k, v, w, beta[..., 0])]
    theirs = naive_path_attn(*given, gates, SHAPE.scale)
    torch.testing.assert_close(layer(encoding, at, q, k, v), theirs.transpose(1, 2), rtol=1e-4, atol=1e-4)


@NEEDS
@torch.no_grad()
def test_the_operator_is_given_what_the_definition_means(monkeypatch: pytest.MonkeyPatch) -> None:
    """Their kernels need a GPU's driver, so here their reference stands in the place of the operator."""
    from fla.ops import path_attn
    from fla.ops.path_attn.naive import naive_path_attn

    def stands_in(
        q: Tensor, k: Tensor, v: Tensor, w: Tensor, beta: Tensor, scale: float
    ) -> tuple[Tensor, None]:
        assert all(x.is_contiguous() for x in (q, k, v, w, beta))
        assert w.dtype == beta.dtype == torch.float32
        return naive_path_attn(q, k, v, w, beta, torch.zeros(beta.shape), scale), None

    monkeypatch.setattr(path_attn, "parallel_path_attn", stands_in)
    encoding, at, q, k, v = made("path")
    true = layer(encoding, at._replace(memory={}), q, k, v)
    columns = encoding.columns(q, k, at)
    assert columns is not None
    keys = Keys(at.order, at.pos, columns.k)
    form = choice.reflected(encoding, at._replace(columns=columns.q), q.bfloat16(), k, keys)
    assert form is not None
    y = fla.attention(form, v.bfloat16(), SHAPE.scale)
    assert y.dtype == torch.bfloat16
    torch.testing.assert_close(y.float(), true, rtol=0.05, atol=0.05)


@NEEDS
def test_it_serves_bfloat16_of_its_widths_while_nothing_learns() -> None:
    def form(width: int, dtype: torch.dtype = torch.bfloat16) -> tuple[Reflected, Tensor]:
        x = torch.zeros(1, 2, 5, width, dtype=dtype)
        return Reflected(x, x, x.float(), x[..., :1].float()), x

    assert not fla.takes(*form(16))
    with torch.no_grad():
        assert fla.takes(*form(16))
        assert fla.takes(*form(128))
        assert not fla.takes(*form(24))
        assert not fla.takes(*form(16, torch.float32))
        assert not fla.takes(form(16)[0], form(24)[1])


def test_reflections_alone_are_read_so() -> None:
    assert paths.paths(resolve("path")[1]) == [paths.FLA] * 4
    assert paths.paths(resolve("path_fox")[1]) == [paths.BLOCKS] * 4
