"""Sums of encodings and modifiers: "rope+fox+ssmax"."""

import functools

import pytest
import torch
from torch import Tensor

from pebench.encodings.base import At, Columns, Encoding, Shape, rope_frequencies, running_sum
from pebench.encodings.compose import composition
from pebench.encodings.grape_a import GrapeAQK
from pebench.encodings.randomized import Randomized
from pebench.encodings.registry import EncodingError, UnknownName, names, resolve
from pebench.encodings.rope import RoPE, Rotary
from pebench.encodings.wrapper import Wrapper
from pebench.suite.lm.model import LM, LengthError, Size
from pebench.suite.lm.native import ops
from pebench.suite.proofs.certificate import LENGTH, batch, certify, largest, model, through_cache
from pebench.suite.proofs.claims import POS, K, Q, V, X, make
from tests.walks import some

SIZE = Size(layers=2, width=32, heads=2, vocab=16)


def test_a_sum_is_one_class_under_its_own_name():
    name, cls = resolve("rope+fox")
    assert (name, cls) == ("rope+fox", resolve("rope+fox")[1])
    assert cls.title == "Rotary position embedding + Forgetting attention"
    assert cls.family == "additive"
    assert cls.relative


def test_a_modifier_wraps_what_stands_before_it():
    _, cls = resolve("rope+alibi+ssmax")
    assert issubclass(cls, Wrapper)
    assert cls.inner_class is resolve("rope+alibi")[1]
    assert resolve("swan+ssmax")[1].inner_class is resolve("swan")[1]


@pytest.mark.parametrize(
    ("spec", "remedy"),
    [
        ("rope+pope", "both turn q and k; keep one"),
        ("rope+rope", "both turn q and k; keep one"),
        ("cope+fox", "would drop the bias of Forgetting attention; only a rotation"),
        ("cope+t5_bias", "would drop the bias of T5"),
        ("cope+shaw", "both compute whole rows; keep one"),
        ("xpos+rope", "both turn q and k; keep one"),
        ("pope+cope", "reads q and k as wide as they came"),
        ("nope+rope", "adds nothing to a sum; leave it out"),
        ("rope+stick_breaking+ssmax", "drop one"),
        ("ssmax+rope", "modifies them last"),
        ("rope+ssmax+fox", "modifies them last"),
        ("stick_breaking+ssmax", "drop one"),
        ("tra+ssmax", "drop one"),
        ("asentmax+ssmax", "drop one"),
        ("learned_ape+random_floats", "between two positions"),
        ("cope+swan", "use rnope"),
    ],
)
def test_what_does_not_go_together_is_refused_with_a_remedy(spec, remedy):
    with pytest.raises(EncodingError, match=remedy):
        resolve(spec)


def test_an_unknown_part_names_its_neighbour():
    with pytest.raises(UnknownName, match="did you mean 'fox'"):
        resolve("rope+fxo")


SUMS = [
    "rope+fox",
    "rope+grape_ap",
    "grape_m_ctx+grape_a_qk",
    "sinusoidal+alibi",
    "rope+t5_bias+fox+ssmax",
    "fox+cable",
]
MODIFIED = [
    "cope+ssmax",
    "t5_bias+ssmax",
    "alibi+rnope",
    "shaw+rnope",
    "t5_bias+swan",
    "learned_ape+randomized",
]


QUICK = ("rope+grape_ap", "alibi+rnope", "learned_ape+randomized")


@pytest.mark.parametrize("spec", some(SUMS + MODIFIED, *QUICK))
def test_a_sum_keeps_what_every_encoding_must_keep(spec):
    failed = [check for check in certify(spec, resolve(spec)[1]) if not check.passed]
    assert not failed


class Labelled(Rotary):
    """A rotation under another label."""

    title, paper, formula = "Labelled", "none", "x"

    def __init__(self, shape: Shape):
        super().__init__(shape, rope_frequencies(shape.head_dim))


class Both(Rotary):
    """A part with every hook that a sum can have: turns, declares, biases, embeds, changes values and outputs."""

    title, paper, formula = "Both", "none", "x"

    def __init__(self, shape: Shape):
        super().__init__(shape, rope_frequencies(shape.head_dim))
        self.max_length = 4 * shape.train_length

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        return x + 0.1

    def columns(self, q: Tensor, k: Tensor, at: At) -> Columns:
        total = running_sum(at.x.mean(-1)[:, None], at.memory, "total")[..., None]
        return Columns(q[..., :1].float(), total)

    def by_distance(self, far: Tensor, layer: int) -> Tensor:
        return -0.1 * far.expand(self.shape.heads, *far.shape)

    def values(self, v: Tensor, at: At) -> Tensor:
        return 0.5 * v

    def output(self, y: Tensor, at: At) -> Tensor:
        return y.sin()


@pytest.mark.parametrize("family", ["multiplicative", "contextual", "additive", "none"])
@pytest.mark.parametrize("other", ["fox", "t5_bias", "cope", "grape_ap", "sinusoidal"])
def test_what_a_part_contributes_follows_from_its_hooks_and_not_from_its_label(
    family: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Labelled, "family", family)
    wanted = model(resolve(f"rope+{other}")[1], 0)
    for order in ((0, 1), (1, 0)):
        classes = (Labelled, resolve(other)[1])
        cls = composition.__wrapped__("x", tuple(classes[n] for n in order))
        lm = model(cls, 0)
        place = order.index(1)
        lm.load_state_dict(
            {name.replace("parts.1", f"parts.{place}"): x for name, x in wanted.state_dict().items()}
        )
        with torch.no_grad():
            tokens = batch(2, 20, 0)
            torch.testing.assert_close(lm(tokens), wanted(tokens), rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["alibi", "fox", "t5_bias", "learned_ape"])
@pytest.mark.parametrize("first", [True, False])
def test_a_part_with_every_hook_loses_none(name: str, first: bool) -> None:
    classes = (Both, resolve(name)[1]) if first else (resolve(name)[1], Both)
    cls = composition("x", classes)
    lm, tokens = model(cls, 0), batch(1, 20, 0)
    assert lm.encoding.max_length == (LENGTH if name == "learned_ape" else 4 * LENGTH)
    with torch.no_grad():
        whole = lm(tokens)
        torch.testing.assert_close(through_cache(lm, tokens, [5, 1, 7]), whole, rtol=0, atol=1e-4)
        with ops.definitions():
            torch.testing.assert_close(lm(tokens), whole, rtol=0, atol=1e-4)
        part = next(part for part in lm.encoding.parts if isinstance(part, Both))
        for hook in ("embed", "qk", "columns", "by_distance", "values", "output"):
            setattr(part, hook, functools.partial(getattr(Encoding, hook), part))
            assert largest(lm(tokens) - whole) > 1e-3, hook
            delattr(part, hook)


def test_the_same_part_twice_keeps_two_memories() -> None:
    lm, tokens = model(resolve("fox+fox")[1], 0), batch(1, 20, 0)
    with torch.no_grad():
        torch.testing.assert_close(through_cache(lm, tokens, [5, 1, 7]), lm(tokens), rtol=0, atol=1e-4)


def test_gates_of_a_sum_read_the_unrotated_query():
    encoding, alone = make(resolve("rope+grape_a_qk")[1]), make(GrapeAQK)
    alone.load_state_dict(encoding.parts[1].state_dict())
    at = At.whole(0, X, V, POS)
    both, raw = encoding.columns(Q, K, at), alone.columns(Q, K, at)
    assert both is not None
    assert all(torch.equal(a, b) for a, b in zip(both, raw, strict=True))
    turned = make(RoPE).qk(Q, K, at)
    assert all(torch.equal(a, b) for a, b in zip(encoding.qk(Q, K, at), turned, strict=True))


def test_a_rotation_under_own_weights_makes_no_relative_claim():
    assert resolve("cope")[1].relative
    assert not resolve("rope+cope")[1].relative


def test_randomised_training_positions_are_sorted_and_fresh():
    encoding = make(Randomized).train()
    torch.manual_seed(0)
    index = torch.arange(20)
    first, second = (encoding.positions(index, index[None], {}) for _ in range(2))
    assert (first.diff() > 0).all()
    assert 0 <= first.min() < first.max() < 32 * 32
    assert not torch.equal(first, second)


def test_randomised_evaluation_positions_follow_from_the_index():
    encoding = make(Randomized)
    index = torch.arange(16 * 32)
    whole = encoding.positions(index, index[None], {})
    assert (whole.diff() > 0).all()
    assert whole.max() < 32 * 32
    torch.testing.assert_close(encoding.positions(index[7:30], index[None, 7:30], {}), whole[7:30])


def test_randomised_positions_end_where_they_say():
    lm = LM(SIZE, Randomized, 4, 0).eval()
    lm(torch.zeros(1, 64, dtype=torch.long))
    with pytest.raises(LengthError):
        lm(torch.zeros(1, 65, dtype=torch.long))


def test_every_name_of_the_family_is_registered():
    expected = [
        "nope",
        "sinusoidal",
        "learned_ape",
        "t5_bias",
        "alibi",
        "rope",
        "rope_500k",
        "partial_rope",
        "p_rope",
        "hope",
        "xpos",
        "kerple_log",
        "kerple_power",
        "sandwich",
        "fire",
        "fox",
        "cable",
        "cope",
        "stick_breaking",
        "path",
        "path_fox",
        "selective_rope",
        "pope",
        "dape",
        "shaw",
        "transformer_xl",
        "nape",
        "randomized",
        "rnope",
        "swan",
        "ssmax",
        "grape_m_nonctx",
        "grape_m_basis",
        "grape_m_rank2",
        "grape_m_noncommuting",
        "grape_m_ctx",
        "grape_a_q",
        "grape_a_k",
        "grape_a_qk",
        "grape_ap",
    ]
    assert set(expected) <= set(names())
