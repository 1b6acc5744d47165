"""Longer contexts at evaluation time."""

import itertools

import pytest
import torch

from pebench.encodings import registry
from pebench.encodings.base import At, Shape, rope_frequencies, rotate
from pebench.encodings.darope import DaRoPE
from pebench.encodings.extension import (
    CLAIMS,
    METHODS,
    Regrouped,
    Retuned,
    Sharpened,
    claims,
    extended,
    load_method,
    longrope2,
    methods,
    ntk,
    sharpening,
    yarn,
)
from pebench.encodings.longrope2_searched import Fitted
from pebench.encodings.p_rope import PRoPE
from pebench.encodings.registry import EncodingError, UnknownName, resolve
from pebench.encodings.streams import build
from pebench.suite.lm.attention import attended
from pebench.suite.lm.model import LM, Size
from pebench.suite.proofs.certificate import compiles_whole
from pebench.suite.proofs.claims import make

SIZE = Size(layers=2, width=32, heads=2, vocab=16)


@pytest.mark.parametrize(
    ("factor", "base"), [(2, 20_221.26), (4, 40_889.94), (8, 82_684.62), (16, 167_198.74)]
)
def test_ntk_has_the_known_bases(factor, base):
    torch.testing.assert_close(ntk(rope_frequencies(128), factor, 1024), rope_frequencies(128, base))


@pytest.mark.parametrize(("head_dim", "length", "low", "high"), [(128, 4096, 20, 46), (64, 1024, 5, 18)])
def test_yarn_ramps_between_the_known_planes(head_dim, length, low, high):
    frequencies = rope_frequencies(head_dim)
    ramp = ((torch.arange(head_dim // 2) - low) / (high - low)).clamp(0, 1)
    expected = frequencies * (1 - ramp) + frequencies / 4 * ramp
    torch.testing.assert_close(yarn(frequencies, 4.0, length), expected)


@pytest.mark.parametrize(("factor", "gain"), [(1, 1.0), (4, 1.138629), (8, 1.207944), (16, 1.277259)])
def test_yarn_sharpens_by_the_known_gain(factor, gain):
    assert sharpening(factor) == pytest.approx(gain, abs=1e-6)


@pytest.mark.parametrize(
    "inner", ["fox", "cable", "grape_a_phase", "grape_m_ctx", "selective_rope", "fox+cable", "drope"]
)
@pytest.mark.parametrize("method", ["rerope", "self_extend", "dual_chunk", "dual_chunk+logn"])
def test_a_method_that_would_change_nothing_is_refused(inner, method):
    with pytest.raises(EncodingError, match="reads no position"):
        resolve(f"{inner}@{method}")


@pytest.mark.parametrize(
    "inner", ["rope", "alibi", "t5_bias", "bipe", "rope+fox", "grape_a_qk", "canon", "bam", "swan"]
)
def test_distances_are_changed_where_a_hook_reads_positions(inner):
    assert resolve(f"{inner}@rerope")[0] == f"{inner}@rerope"


SEARCHED = "longrope2_searched"  # its frequencies are not known before a search
RETUNED = [name for name, cls in methods().items() if issubclass(cls, Retuned) and name != SEARCHED]
REGROUPED = [name for name, cls in methods().items() if issubclass(cls, Regrouped)]
STACKED = ["yarn+logn", "dual_chunk+logn"]


@pytest.mark.parametrize("method", RETUNED)
def test_zero_frequencies_stay_zero(method):
    frequencies = PRoPE(Shape(1, 1, 32, 64)).frequencies
    cls = METHODS[method]
    assert issubclass(cls, Retuned)
    changed = cls.change(frequencies, 4.0, 64)
    assert ((changed == 0) == ((frequencies == 0) | (method == "dropped"))).all()


EXTENSIBLE = [
    "rope",
    "rope_500k",
    "p_rope",
    "hope",
    "xpos",
    "partial_rope",
    "pope",
    "selective_rope",
    "grape_m_nonctx",
    "grape_m_per_head",
]
WRAPPED = ["grape_m_ctx", "grape_m_basis", "grape_m_rank2", "rope+fox", "rope+ssmax", "swan", "randomized"]


@pytest.mark.parametrize(
    ("spec", "method"),
    [
        *itertools.product(EXTENSIBLE + WRAPPED, ("pi", "ntk", "yarn")),
        *itertools.product(("rope", "grape_m_per_head", "rope+fox"), ("llama3", "longrope2")),
        *itertools.product(("rope", "pope", "alibi", "t5_bias", "rope+fox"), REGROUPED),
        *itertools.product(("rope", "rope+fox"), [*STACKED, "logn", "dropped", "yarn_frequencies"]),
        ("alibi", "logn"),
    ],
)
def test_extended_is_a_working_copy(spec, method):
    lm = LM(SIZE, resolve(spec)[1], 32, 0).eval()
    tokens = torch.randint(16, (1, 48), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before, original = lm(tokens), lm.encoding
        lm.encoding = extended(original, method, 4.0)
        longer, cache = lm(tokens), lm.cache()
        parts = [lm(part, cache) for part in tokens.split([20, 1, 27], dim=1)]
        lm.encoding = original
        assert torch.equal(lm(tokens), before)
    assert not torch.equal(longer, before) or spec == "selective_rope"  # that one starts too close to NoPE
    torch.testing.assert_close(torch.cat(parts, dim=1), longer, rtol=0, atol=1e-5)


def test_yarn_sharpens_the_dot_product_and_not_the_bias():
    longer = extended(make(resolve("rope+fox")[1]), "yarn", 4.0)
    rotation, fox = longer.parts
    assert isinstance(rotation, Sharpened)
    assert rotation.gain == pytest.approx(1.138629**2, abs=1e-5)
    assert not isinstance(fox, Sharpened)


def test_longrope2_divides_by_the_factor_from_its_critical_plane_on():
    changed = rope_frequencies(128, 500_000.0) / longrope2(rope_frequencies(128, 500_000.0), 16.0, 8192)
    assert changed[0] == 1
    assert (changed[[28, 30]] < 15.99).tolist() == [True, False]  # of 36 planes that turn once, 30
    assert METHODS["longrope2"].gain(16.0, 4096) == pytest.approx(1 + 4 / 12)


def test_searched_divisors_are_those_of_the_trained_model():
    rope, divisors = build(resolve("rope")[1], Shape(1, 2, 8, 32)).eval(), torch.tensor([1.0, 2.0, 4.0, 5.0])
    longer = extended(Fitted.around(rope, 4.0, divisors), SEARCHED, 4.0)
    assert isinstance(longer, Sharpened)
    assert torch.equal(longer.inner.frequencies, rope.frequencies / divisors)
    assert longer.gain == METHODS["longrope2"].gain(4.0, 32)
    assert torch.equal(rope.frequencies, rope_frequencies(8))
    stacked = extended(Fitted.around(rope, 4.0, divisors), f"logn+{SEARCHED}", 4.0)
    assert torch.equal(stacked.inner.inner.frequencies, longer.inner.frequencies)
    flat = extended(
        Fitted.around(rope, 4.0, rope.frequencies / longrope2(rope.frequencies, 4.0, 32)), SEARCHED, 4.0
    )
    fixed = extended(rope, "longrope2", 4.0)
    torch.testing.assert_close(flat.inner.frequencies, fixed.inner.frequencies)
    assert type(flat) is type(fixed)
    assert flat.gain == fixed.gain


@pytest.mark.parametrize("stack", ["{}", "{}+logn", "logn+{}"])
def test_without_a_search_nothing_is_extended(stack):
    method, rope = stack.format(SEARCHED), make(resolve("rope")[1])
    with pytest.raises(EncodingError, match="pebench extend --search"):
        extended(rope, method, 4.0)
    with pytest.raises(EncodingError, match="factor 2, not for 4"):
        extended(Fitted.around(rope, 2.0, torch.full(rope.frequencies.shape, 2.0)), method, 4.0)
    with pytest.raises(EncodingError, match="has no 3 frequencies"):
        Fitted.around(rope, 2.0, torch.ones(3))
    resolve(f"rope@{method}")


def seen(method, i, j, length):
    """At which positions the key j and the query i meet, as the papers write it."""
    if method == "self_extend":
        near = length // 4
        group = 6  # with 5, the first and last of 128 tokens would be 32 apart
        return (i, j) if i - j < near else (i // group + near - near // group, j // group)
    if method == "rerope":
        return min(i - j, length // 8), 0
    if method == "streaming":
        return (i, j) if i - j < length - 4 else (min(i, length - 1), j) if j < 4 else None
    far = 3 * length // 4
    chunk = far - length // 16
    between = i // chunk - j // chunk
    query = (i % chunk, min(i % chunk + chunk, far), far)[min(between, 2)]
    return query, j % chunk


@pytest.mark.parametrize("method", REGROUPED)
@pytest.mark.parametrize("spec", ["rope", "rope+alibi"])
def test_each_pair_is_seen_where_the_method_puts_it(spec, method):
    e = extended(build(resolve(spec)[1], Shape(1, 2, 8, 32)), method, 4.0)
    q, k = torch.randn(2, 1, 2, 128, 8, generator=torch.Generator().manual_seed(0))
    at = At.whole(0, torch.zeros(1, 128, 16), q, torch.arange(128))
    weights = attended(e, at, q, k, torch.eye(128).expand(1, 2, -1, -1))
    slopes = torch.tensor([0.0625, 0.00390625]) if "alibi" in spec else torch.zeros(2)
    longest = 0
    for i in (0, 7, 8, 31, 90, 127):
        places = [seen(method, i, j, 32) for j in range(i + 1)]
        hidden = torch.tensor([place is None for place in places])
        pairs = torch.tensor([place or (i, i) for place in places])
        angle = (pairs[:, 1] - pairs[:, 0])[:, None] * rope_frequencies(8)
        logits = (rotate(k[0, :, : i + 1], angle) @ q[0, :, i, :, None])[..., 0] * 8**-0.5
        logits = logits - slopes[:, None] * (pairs[:, 0] - pairs[:, 1])
        expected = logits.masked_fill(hidden, -torch.inf).softmax(-1)
        torch.testing.assert_close(weights[0, :, i, : i + 1], expected, rtol=0, atol=1e-5)
        longest = max(longest, (pairs[:, 0] - pairs[:, 1]).max().item())
    assert 0 < longest < 32


def test_randomised_positions_are_extended_from_their_whole_range():
    longer = extended(make(resolve("randomized")[1]), "pi", 2.0)
    torch.testing.assert_close(longer.inner.frequencies, rope_frequencies(8) / 2)


@pytest.mark.parametrize(
    ("spec", "method", "factor", "error"),
    [("alibi", "pi", 2, EncodingError), ("rope", "pie", 2, UnknownName), ("rope", "pi", 0.5, EncodingError)],
)
def test_what_cannot_be_extended_says_why(spec, method, factor, error):
    with pytest.raises(error):
        extended(make(resolve(spec)[1]), method, factor)


@pytest.mark.parametrize(
    ("spec", "error", "says"),
    [
        ("alibi@yarn", EncodingError, "no frequencies"),
        ("rope@yaarn", UnknownName, "did you mean 'yarn'"),
        ("rope@yarn+lgn", UnknownName, "did you mean 'logn'"),
        ("rope@+logn", UnknownName, "no extension ''"),
        ("rope@logn+yarn+", UnknownName, "no extension ''"),
        ("rope@", UnknownName, "rope@"),
        ("rope@pi@yarn", EncodingError, "extended already"),
        ("roep@pi", UnknownName, "did you mean 'rope'"),
    ],
)
def test_a_name_that_cannot_be_extended_says_why(spec, error, says):
    with pytest.raises(error, match=says):
        resolve(spec)


@pytest.mark.parametrize("spec", ["rope@yarn", "rope+fox@ntk", "randomized@pi", "path/rope.py:RoPE@yarn"])
def test_a_name_with_a_method_is_an_encoding(spec):
    path = registry.FOLDER / "rope.py"
    name, cls = resolve(spec.replace("path/rope.py", str(path)))
    method = spec.rpartition("@")[2]
    assert name == ("rope@yarn" if "path" in spec else spec)
    made = make(cls)
    frequencies = [part.frequencies for part in made.modules() if hasattr(part, "frequencies")]
    length = frequencies and made.shape.train_length * (32 if "randomized" in spec else 1)
    expected = METHODS[method].change(rope_frequencies(made.shape.head_dim), cls.alone, length)
    assert any(torch.equal(f, expected) for f in frequencies)


WITHIN = [name for name in [*methods(), *STACKED, "logn+streaming"] if claims(name).within]


def read(spec, method, length, train_length=32, factor=4.0):
    """Logits of a text by a model, and by the same model extended."""
    lm = LM(SIZE, resolve(spec)[1], train_length, 0).eval()
    tokens = torch.randint(16, (1, length), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        before = lm(tokens)
        lm.encoding = extended(
            lm.encoding, method, max(1.0, length / train_length) if claims(method).dynamic else factor
        )
        return before, lm(tokens)


@pytest.mark.parametrize("method", WITHIN)
def test_what_claims_it_reads_texts_of_the_trained_length_unchanged(method):
    before, after = read("rope", method, 32)
    torch.testing.assert_close(after, before, rtol=0, atol=1e-5)
    before, after = read("rope", method, 64)
    assert (after - before).abs().max() > 1e-4


def test_the_claims_are_those_of_the_methods():
    assert {"ntk_dynamic", "streaming", "logn", "logn+streaming"} == set(WITHIN)
    assert not claims("yarn+logn").within
    assert claims("ntk_dynamic+logn").dynamic


def test_a_streaming_query_sees_what_a_cache_of_the_trained_length_holds():
    e = extended(build(resolve("rope")[1], Shape(1, 2, 8, 32)), "streaming", 4.0)
    q = torch.randn(1, 2, 100, 8, generator=torch.Generator().manual_seed(0))
    at = At.whole(0, torch.zeros(1, 100, 16), q, torch.arange(100))
    weights = attended(e, at, q, q, torch.eye(100).expand(1, 2, -1, -1))
    assert ((weights[0, 0] > 0).sum(-1) == torch.arange(1, 101).clamp(max=32)).all()


MINE = """
from torch import Tensor

from pebench.encodings.extension import Retuned, method


@method("{name}")
class Mine(Retuned):
    title = "halved"
    paper = "unpublished"
    formula = "x"

    @staticmethod
    def change(frequencies: Tensor, factor: float, length: int) -> Tensor:
        return frequencies / 2
"""


def test_a_file_adds_a_method(tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(MINE.format(name="halved_here"))
    try:
        assert load_method(str(file)) == load_method(f"{file}:Mine") == "halved_here"
        assert resolve("rope@halved_here")[0] == "rope@halved_here"
        with pytest.raises(EncodingError, match=r"names no methods.*Mine"):
            load_method(f"{file}:Other")
        other = tmp_path / "other.py"
        other.write_text(MINE.format(name="halved_here"))
        with pytest.raises(EncodingError, match="defined twice"):
            load_method(str(other))
    finally:
        METHODS.pop("halved_here", None)
        CLAIMS.pop("halved_here", None)


@pytest.mark.parametrize("name", ["Halved", "2x", "", "a+b", "lambda"])
def test_a_method_has_a_name_that_can_be_written(name, tmp_path):
    file = tmp_path / "mine.py"
    file.write_text(MINE.format(name=name))
    with pytest.raises(EncodingError, match="cannot be called"):
        load_method(str(file))


@pytest.mark.parametrize("method", ["self_extend", "rerope", "dual_chunk", "streaming"])
def test_a_model_whose_distances_are_changed_compiles_whole(method: str) -> None:
    assert compiles_whole(resolve(f"rope@{method}")[1], 0).passed


def test_planes_that_the_token_places_stay_the_same_when_frequencies_shrink():
    shape = Shape(layers=1, heads=2, head_dim=32, train_length=128)
    trained = build(DaRoPE, shape)
    longer = next(part for part in extended(trained, "pi", 4.0).modules() if isinstance(part, DaRoPE))
    assert 0 < trained.fast.sum() < 16
    assert torch.equal(longer.fast, trained.fast)
    assert not torch.equal(longer.frequencies, trained.frequencies)
