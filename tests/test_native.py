"""The native kernels against their definitions, values and gradients, and what happens where they cannot be had."""

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import logsigmoid

from pebench.encodings import registry
from pebench.encodings.base import sum_after
from pebench.suite.model import LM, Size
from pebench.suite.native import build, ops
from pebench.suite.training import loss
from pebench.tasks.base import Batch

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert build.library() is not None
    yield
    torch.set_num_threads(threads)


def defined(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, path: list[Tensor], scale: float) -> Tensor:
    """What `ops.attention` is to compute, with all logits formed."""
    seen = torch.ones(q.shape[2], q.shape[2], dtype=torch.bool).tril()
    logits = q @ k.mT * scale
    if bias is not None:
        logits = logits + bias
    if path:
        p, r, slopes = path
        step = logsigmoid(p @ r.mT / p.shape[-1]) * slopes[:, None, None]
        logits = logits + sum_after(step.masked_fill(~seen, 0.0))
    return logits.masked_fill(~seen, -torch.inf).softmax(-1) @ v


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 12),
    st.sampled_from([(), ("bias",), ("path",), ("bias", "path")]),
)
def test_attention_is_its_definition(
    tokens: int, width: int, value_width: int, features: int, modes: tuple[str, ...]
) -> None:
    rng = torch.Generator().manual_seed(tokens * 7919 + width)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    shape = (2, 3, tokens)
    exact = [draw(*shape, width), draw(*shape, width), draw(*shape, value_width)]
    if "bias" in modes:
        exact.append(draw(3, tokens, tokens))
    if "path" in modes:
        exact += [draw(*shape, features), draw(*shape, features), draw(3).abs()]
    rough = [x.float() for x in exact]
    leaves = len(exact) - ("path" in modes)  # all but the slopes, which are constants

    def run(values: list[Tensor], native: bool) -> tuple[Tensor, ...]:
        values = [x.requires_grad_(n < leaves) for n, x in enumerate(values)]
        q, k, v, *rest = values
        bias = rest.pop(0) if "bias" in modes else None
        path = (rest[0], rest[1], rest[2]) if rest else None
        y = ops.attention(q, k, v, 0.3, bias, path) if native else defined(q, k, v, bias, rest, 0.3)
        weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
        return y.detach(), *torch.autograd.grad(y, values[:leaves], weight)

    for ours, true in zip(run(rough, True), run(exact, False), strict=True):
        assert ours.shape == true.shape
        assert (ours - true).abs().max() <= 2e-5 * (1 + true.abs().max())


@pytest.mark.parametrize("width", [16, 32, 48, 20])
def test_norm_split_and_gate_are_their_definitions(width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> list[Tensor]:
        rng = torch.Generator().manual_seed(0)
        x = torch.randn(3, 7, width, generator=rng).requires_grad_()
        gain = torch.randn(width, generator=rng).requires_grad_()
        qkv = torch.randn(3, 7, 3 * 4 * width, generator=rng).requires_grad_()
        temperature = torch.randn(4, 1, 1, generator=rng).requires_grad_()
        up = torch.randn(3, 7, 64, generator=rng).requires_grad_()
        out = [ops.norm(x, gain), *ops.split_qkv(qkv, temperature), ops.swiglu(up)]
        total = sum((y * torch.linspace(-1, 1, y.numel()).view(y.shape)).sum() for y in out)
        assert isinstance(total, Tensor)
        return [*out, *torch.autograd.grad(total, [x, gain, qkv, temperature, up])]

    native = run()
    monkeypatch.setattr(ops, "library", lambda: None)
    for ours, true in zip(native, run(), strict=True):
        assert torch.allclose(ours, true, atol=2e-5)


@pytest.mark.parametrize("name", registry.names())
def test_a_model_learns_the_same_with_and_without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> dict[str, Tensor]:
        lm = LM(Size(2, 64, 4, 64), registry.resolve(name)[1], 24, seed=0).eval()
        tokens = torch.randint(64, (2, 25), generator=torch.Generator().manual_seed(1))
        value = loss(lm, Batch(tokens[:, :-1], tokens[:, 1:]))
        value.backward()
        return {n: p.grad for n, p in lm.named_parameters() if p.grad is not None} | {"loss": value.detach()}

    native = run()
    monkeypatch.setattr(ops, "library", lambda: None)
    plain = run()
    assert native.keys() == plain.keys()
    for key, true in plain.items():
        assert torch.allclose(native[key], true, rtol=1e-3, atol=1e-5 * (1 + float(true.abs().max()))), key


def test_compiled_models_do_without() -> None:
    lm = LM(Size(1, 32, 2, 16), registry.resolve("alibi")[1], 8, seed=0)
    tokens = torch.arange(8)[None]
    compiled = torch.compile(lm, fullgraph=True, backend="eager")
    with torch.no_grad():
        assert torch.allclose(compiled(tokens), lm(tokens), atol=1e-5)


def test_same_bits_twice() -> None:
    q, k, v = torch.randn(3, 2, 4, 33, 16, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ops.attention(q, k, v, 0.25), ops.attention(q, k, v, 0.25))


def test_used_only_where_it_may_be(monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.zeros(1)
    assert ops.usable(x)
    assert not ops.usable(x, x.bfloat16())
    torch.set_num_threads(2)
    assert not ops.usable(x)
    torch.set_num_threads(1)
    monkeypatch.setattr(ops, "library", lambda: None)
    assert not ops.usable(x)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.setattr(build, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(build, "library", build.library.__wrapped__)
    return tmp_path


def test_built_once(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build.library() is not None
    monkeypatch.setattr(build, "compile_to", lambda *a: pytest.fail("compiled again"))
    assert build.library() is not None
    assert [path.suffix for path in (fresh / "native").iterdir()] == [".so"]


def test_without_a_compiler_one_line_says_so(
    fresh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert build.library() is None
    said = capsys.readouterr().err
    assert "no C compiler" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    "error", [subprocess.CalledProcessError(1, "cc", stderr="boom\nand more"), OSError("disk full")]
)
def test_a_failed_build_one_line_says_so(
    error: Exception, fresh: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(build, "compile_to", fail)
    assert build.library() is None
    assert capsys.readouterr().err.count("\n") == 1


def test_can_be_turned_off(fresh: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEBENCH_NATIVE", "0")
    assert build.library() is None
