"""The native kernels against their definitions, values and gradients, and what happens where they cannot be had."""

import ctypes
import functools
import os
import pathlib
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from pebench.encodings import registry
from pebench.encodings.base import Broken, Counted, Form, Path, Reflected, sum_after
from pebench.suite.experiment.training import loss
from pebench.suite.lm import layers
from pebench.suite.lm.model import LM, Size
from pebench.suite.lm.native import build, ops
from pebench.tasks.base import Batch

pytestmark = pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    assert build.library() is not None
    yield
    torch.set_num_threads(threads)


def defined(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    scale: float,
    bias: Tensor | None = None,
    table: Tensor | None = None,
    form: Form | None = None,
) -> Tensor:
    """What `ops.attention` is to compute, with all logits formed."""
    tokens = q.shape[2]
    seen = torch.ones(tokens, tokens, dtype=torch.bool).tril()
    logits = q @ k.mT * scale
    if isinstance(form, Broken):
        before = seen.tril(-1)
        left = sum_after(logsigmoid(-logits).masked_fill(~before, 0.0))
        return (logsigmoid(logits) + left).exp().masked_fill(~before, 0.0) @ v
    if isinstance(form, Reflected):
        logits = torch.stack([walked(form, i) for i in range(tokens)], dim=2) * scale
    if isinstance(form, Path):
        step = logsigmoid(form.p @ form.r.mT / form.p.shape[-1]) * form.slopes[:, None, None]
        logits = logits + sum_after(step.masked_fill(~seen, 0.0))
    if isinstance(form, Counted):
        gate = logits.sigmoid().masked_fill(~seen, 0.0)
        count = (sum_after(gate) + gate).clamp(max=form.e.shape[-1] - 1)
        share = count - count.floor()
        low, high = (form.e.gather(-1, n.long()) for n in (count.floor(), count.ceil()))
        logits = logits + low * (1 - share) + high * share
    if table is not None:
        place = torch.arange(tokens)
        bias = table[:, (place[:, None] - place).clamp(min=0)]
    if bias is not None:
        logits = logits + bias
    return logits.masked_fill(~seen, -torch.inf).softmax(-1) @ v


def walked(form: Reflected, i: int) -> Tensor:
    """The unscaled logits (B, H, T) of query i, which walks back and is reflected at every token."""
    x, met = form.q[:, :, i], [torch.zeros_like(form.q[:, :, i, 0])] * form.q.shape[2]
    for j in range(i, -1, -1):
        met[j] = (x * form.k[:, :, j]).sum(-1)
        x = x - form.beta[:, :, j] * (form.w[:, :, j] * x).sum(-1, keepdim=True) * form.w[:, :, j]
    return torch.stack(met, dim=-1)


@settings(max_examples=80, deadline=None)
@given(
    st.integers(1, 70),
    st.integers(1, 40),
    st.integers(1, 40),
    st.integers(1, 12),
    st.sampled_from([None, "bias", "table"]),
    st.sampled_from([None, Path, Counted, Reflected, Broken]),
)
def test_attention_is_its_definition(
    tokens: int, width: int, value_width: int, features: int, added: str | None, kind: type[Form] | None
) -> None:
    rng = torch.Generator().manual_seed(tokens * 7919 + width)

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    shape = (2, 3, tokens)
    added = added if kind in (None, Path) else None
    exact = [draw(*shape, width), draw(*shape, width), draw(*shape, value_width)]
    if kind is Path:
        exact += [draw(*shape, features), draw(*shape, features)]
    if kind is Counted:
        exact.append(draw(*shape, features))
    if kind is Reflected:
        exact += [normalize(draw(*shape, width), dim=-1), 2 * draw(*shape, 1).sigmoid()]
    if added:
        exact.append(draw(3, tokens, tokens) if added == "bias" else draw(3, tokens))
    slopes = draw(3).abs()

    def run(values: list[Tensor], native: bool) -> tuple[Tensor, ...]:
        values = [x.requires_grad_() for x in values]
        q, k, v, *rest = values
        extra = {added: rest.pop()} if added else {}
        form = None
        if kind is Path:
            form = Path(q, k, *rest, slopes.to(q.dtype))
        elif kind is not None:
            form = kind(q, k, *rest)
        y = (ops.attention if native else defined)(q, k, v, scale=0.3, form=form, **extra)
        weight = torch.linspace(-1, 1, y.numel(), dtype=y.dtype).view(y.shape)
        return y.detach(), *torch.autograd.grad(y, values, weight, materialize_grads=True)

    for ours, true in zip(run([x.float() for x in exact], True), run(exact, False), strict=True):
        assert ours.shape == true.shape
        assert (ours - true).abs().max() <= 2e-5 * (1 + true.abs().max())


@pytest.mark.parametrize("added", ["bias", "table"])
def test_what_is_added_may_be_one_for_all_heads_and_of_any_dtype(added: str) -> None:
    q, k, v = torch.randn(3, 2, 3, 20, 8)
    one = torch.randn((1, 20, 20) if added == "bias" else (1, 20), dtype=torch.float64, requires_grad=True)
    values = []
    for attend, x in ((ops.attention, one), (defined, one.float().expand(3, *one.shape[1:]))):
        y = attend(q, k, v, scale=0.3, **{added: x})
        values.append((y, *torch.autograd.grad(y.square().sum(), one)))
    for ours, true in zip(*values, strict=True):
        assert ours.dtype == true.dtype
        assert (ours - true).abs().max() <= 2e-5 * (1 + true.abs().max())


@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_what_is_not_finite_is_not_hidden(bad: float) -> None:
    q, k, v = torch.randn(3, 1, 2, 20, 8, generator=torch.Generator().manual_seed(0))
    k[0, 0, 3, 2] = bad
    ours, true = ops.attention(q, k, v, 0.3), defined(q, k, v, 0.3)
    assert torch.equal(ours.isfinite(), true.isfinite())
    assert not ours.isfinite().all()


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 70), st.integers(1, 150), st.integers(1, 150), st.booleans())
def test_one_token_over_a_cache_is_its_definition(
    keys: int, width: int, value_width: int, biased: bool
) -> None:
    rng = torch.Generator().manual_seed(keys * 7919 + width)
    q = torch.randn(2, 3, 1, width, generator=rng)
    k = torch.randn(2, 3, 2 * keys, width, generator=rng)[:, :, :keys]  # the beginning of a longer buffer
    v = torch.randn(2, 3, 2 * keys, value_width, generator=rng)[:, :, :keys]
    bias = torch.randn(3, 1, keys, generator=rng) if biased else None
    logits = q.double() @ k.double().mT * 0.3
    if bias is not None:
        bias[..., : keys - 1 : 2] = -torch.inf
        logits = logits + bias
    true = logits.softmax(-1) @ v.double()
    ours = ops.attention_step(q, k, v, 0.3, bias)
    assert ours.shape == true.shape
    assert (ours - true).abs().max() <= 2e-5 * (1 + true.abs().max())


@pytest.mark.parametrize(("width", "out"), [(384, 1152), (40, 7), (5, 1)])
def test_the_product_for_one_token_is_that_for_many(width: int, out: int) -> None:
    x, weight = torch.randn(2, width), torch.randn(out, width)
    assert torch.allclose(ops.product(x[:1], weight), ops.product(x, weight)[:1], atol=1e-4)


def test_values_are_the_same_with_and_without_gradients() -> None:
    lm = LM(Size(2, 32, 2, 16), registry.resolve("grape_ap")[1], 8, seed=0)
    tokens = torch.arange(8)[None]
    learned = lm(tokens)
    with torch.no_grad():
        assert torch.equal(lm(tokens), learned)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("width", [16, 32, 48, 20])
def test_what_lies_between_products_is_its_definition(
    width: int, autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run() -> list[Tensor]:
        rng = torch.Generator().manual_seed(0)

        def draw(*shape: int) -> Tensor:
            return torch.randn(shape, generator=rng).requires_grad_()

        x, y, gain = draw(3, 7, width), draw(3, 7, width), draw(width)
        qkv, temperature = draw(3, 7, 3 * 4 * width), draw(4, 1, 1)
        weight, gate_up, down = draw(12, width), draw(64, width), draw(width, 32)
        out_weight = draw(width, width)
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            seen = qkv.bfloat16() if autocast else qkv
            out = [
                *layers.norm_linear(x, gain, weight),
                layers.add_linear(x, y, out_weight),
                layers.feed_forward(x, gain, gate_up, down),
                *layers.split_qkv(seen, temperature),
            ]
        total = sum((z * torch.linspace(-1, 1, z.numel()).view(z.shape)).sum() for z in out)
        assert isinstance(total, Tensor)
        leaves = [x, y, gain, qkv, temperature, weight, gate_up, down, out_weight]
        return [z.float() for z in (*out, *torch.autograd.grad(total, leaves))]

    native = run()
    monkeypatch.setattr(ops, "library", lambda: None)
    for ours, true in zip(native, run(), strict=True):
        assert (ours - true).abs().max() <= (0.02 if autocast else 2e-6) * (1 + true.abs().max())


def test_rounding_to_bfloat16_is_torchs() -> None:
    odd = [0.0, -0.0, 1.0, 1.00390625, 1.01171875, torch.inf, -torch.inf, torch.nan, 3.3e38, 1e-40]
    x = torch.cat([torch.tensor(odd), torch.randn(990, generator=torch.Generator().manual_seed(0)) * 1e3])
    ones = torch.ones(1000)
    y, inverse = torch.empty(1, 1000, dtype=torch.bfloat16), torch.empty(1)
    finite = x.where(x.isfinite() & (x.abs() < 1e30), 0.0)
    ops.run("norm_forward", finite, ones, y, inverse, 1, 1000, 1, 1e-6)
    assert torch.equal(y[0], (finite * inverse).bfloat16())
    for bad in (torch.inf, torch.nan):  # x / rms(x) is NaN then, and must stay one
        ops.run("norm_forward", torch.full((1000,), bad), ones, y, inverse, 1, 1000, 1, 1e-6)
        assert y.isnan().all()


def learned(name: str) -> dict[str, Tensor]:
    """A model's loss and gradients."""
    lm = LM(Size(2, 64, 4, 64), registry.resolve(name)[1], 24, seed=0).eval()
    tokens = torch.randint(64, (2, 25), generator=torch.Generator().manual_seed(1))
    value = loss(lm, Batch(tokens[:, :-1], tokens[:, 1:]))
    value.backward()
    return {n: p.grad for n, p in lm.named_parameters() if p.grad is not None} | {"loss": value.detach()}


def assert_learned_alike(found: dict[str, Tensor], true: dict[str, Tensor]) -> None:
    assert found.keys() == true.keys()
    for key, x in true.items():
        assert torch.allclose(found[key], x, rtol=1e-3, atol=1e-5 * (1 + float(x.abs().max()))), key


@pytest.mark.parametrize("name", registry.names())
def test_a_model_learns_the_same_with_and_without(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    native = learned(name)
    monkeypatch.setattr(ops, "library", lambda: None)
    assert_learned_alike(native, learned(name))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="other processors have one width of vectors")
@pytest.mark.parametrize(
    ("without", "lanes"), [("avx512f", 8), pytest.param("avx", 4, marks=pytest.mark.walks)]
)
def test_narrower_vectors_compute_the_same(
    without: str,
    lanes: int,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    def forget() -> None:
        ops.kernel.cache_clear()
        ops.lanes.cache_clear()

    request.addfinalizer(forget)  # or the tests that follow would run on narrow vectors

    def run() -> list[dict[str, Tensor]]:
        forget()
        kinds = ("alibi", "fire", "t5_bias", "grape_ap", "cope", "path", "stick_breaking")
        return [learned(name) for name in kinds]  # plain, and each form

    wide = run()
    monkeypatch.setattr(build, "FLAGS", ("-O1", *build.FLAGS[1:], f"-mno-{without}"))  # a quarter of the time
    path = build.compiled("cc", tmp_path, "narrow")
    with monkeypatch.context() as narrow:
        library = ctypes.CDLL(str(path))
        narrow.setattr(ops, "library", lambda: library)
        found = run()
        assert ops.lanes() <= lanes
    for one, other in zip(found, wide, strict=True):
        assert_learned_alike(one, other)


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


QUICK = ("-O0", *build.FLAGS[1:])  # compiled in a fraction of the time, where only the building matters


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> pathlib.Path:
    monkeypatch.setattr(build, "cache_folder", lambda: tmp_path)
    monkeypatch.setattr(build, "temporary_folder", lambda: tmp_path / "temporary")
    monkeypatch.setattr(build, "FLAGS", QUICK)
    small = tmp_path / "small.c"  # when a library is built does not depend on its source
    small.write_text("int one(void) { return 1; }\n")
    monkeypatch.setattr(build, "SOURCES", [small])
    again(monkeypatch)
    return tmp_path


def made(folder: pathlib.Path) -> pathlib.Path:
    """The one library in a cache folder."""
    (path,) = (folder / "native").iterdir()
    return path


def again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "found", functools.cache(build.found.__wrapped__))


def test_built_once(fresh: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build.served() == {}
    assert build.library() is not None
    assert build.served() == {"kernels": "native"}
    monkeypatch.setattr(build, "compiled", lambda *a: pytest.fail("compiled again"))
    again(monkeypatch)
    assert build.library() is not None
    assert made(fresh).suffix == ".so"


def test_a_damaged_library_is_built_again(fresh: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert build.library() is not None
    path = made(fresh)
    data = path.read_bytes()
    for damaged in (data[: len(data) // 2], b"", data[:-1] + b"?"):
        path.unlink()  # not written over: this process has it in memory
        path.write_bytes(damaged)
        again(monkeypatch)
        assert build.library() is not None
        assert made(fresh).read_bytes() == data


def test_a_whole_library_that_does_not_load_is_built_again(
    fresh: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, name = fresh / "native", build.key(shutil.which("cc") or "")
    folder.mkdir()
    (folder / "text").write_text("of another machine")
    (folder / "text").rename(folder / f"{name}-{build.digest(folder / 'text')}.so")
    assert build.library() is not None


def test_a_cache_that_cannot_be_written_is_passed_over(
    fresh: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (fresh / "native").write_text("a file in its place")  # as root, a folder's mode would not stop us
    assert build.library() is not None
    assert made(fresh / "temporary").suffix == ".so"
    assert capsys.readouterr().err == ""


def test_without_a_compiler_one_line_says_so(
    fresh: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "")
    assert build.library() is None
    said = capsys.readouterr().err
    assert "no C compiler" in said
    assert said.count("\n") == 1
    why = "no C compiler (cc, gcc or clang) was found"
    assert build.served() == {"kernels": "pytorch", "kernels_reason": why}


@pytest.mark.parametrize(
    "error",
    [
        subprocess.CalledProcessError(1, "cc", stderr="/home/me/x.c:3: boom\nand more"),
        OSError("disk full"),
        PermissionError(13, "Permission denied", "/home/me/.cache"),
    ],
)
def test_a_failed_build_one_line_says_so(
    error: Exception, fresh: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*args: object) -> None:
        raise error

    monkeypatch.setattr(build, "compiled", fail)
    assert build.library() is None
    assert capsys.readouterr().err.count("\n") == 1
    assert "/" not in build.served()["kernels_reason"]


def test_can_be_turned_off(fresh: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEBENCH_NATIVE", "0")
    assert build.library() is None


def test_two_processes_that_build_at_once(tmp_path: pathlib.Path) -> None:
    code = (
        f"import os; from pebench.suite.lm.native import build; build.FLAGS = {QUICK}; child = os.fork(); "
        "print(build.library()._name, flush=True); child and os.waitpid(child, 0)"
    )
    env = {**os.environ, "PEBENCH_CACHE": str(tmp_path)}
    done = subprocess.run([sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout.split() == [str(made(tmp_path))] * 2


def test_a_user_without_a_home_checks_an_encoding(tmp_path: pathlib.Path) -> None:
    code = f"""
import pwd, sys

def unknown(uid):
    raise KeyError(uid)

pwd.getpwuid = unknown
import torch
from pebench.encodings.registry import resolve
from pebench.suite.lm.native import build
from pebench.suite.proofs.certificate import decodes_as_it_reads, run_check

torch.set_num_threads(1)
build.FLAGS = {QUICK}
print(run_check(decodes_as_it_reads, "rope", resolve("rope")[1], 0).passed, build.served())
"""
    env = {k: v for k, v in os.environ.items() if k not in ("HOME", "PEBENCH_CACHE", "XDG_CACHE_HOME")}
    env["TMPDIR"] = str(tmp_path)
    done = subprocess.run([sys.executable, "-P", "-c", code], env=env, capture_output=True, text=True)
    assert done.stdout == "True {'kernels': 'native'}\n", done.stderr
    assert made(tmp_path / f"pebench-{os.getuid()}").suffix == ".so"
