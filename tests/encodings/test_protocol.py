"""What every encoding keeps of the protocol, and what its hooks are for."""

import copy
import functools
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from pebench.encodings import extension
from pebench.encodings.alibi import ALiBi
from pebench.encodings.base import (
    At,
    Encoding,
    Keys,
    Memory,
    Shape,
    distance,
    rotate,
    visible,
)
from pebench.encodings.compose import composition
from pebench.encodings.cope import CoPE
from pebench.encodings.extension import Regrouped, View, extended, longer
from pebench.encodings.kv_shift import KVShift
from pebench.encodings.nope import NoPE
from pebench.encodings.registry import EncodingError, names, resolve
from pebench.encodings.rnope import RNoPE
from pebench.encodings.rope import RoPE, Rotary
from pebench.encodings.ssmax import SSMax
from pebench.encodings.stick_breaking import StickBreaking
from pebench.encodings.streams import build
from pebench.encodings.t5_bias import T5Bias
from pebench.encodings.wrapper import Wrapper
from pebench.suite.experiment.training import Recipe, train
from pebench.suite.lm.attention import attended, layer
from pebench.suite.lm.model import LM, Size
from pebench.suite.lm.native import ops
from pebench.suite.proofs.certificate import (
    LENGTH,
    SIZE,
    batch,
    decodes_as_it_reads,
    hides_the_future,
    keeps_examples_apart,
    largest,
    learns_every_parameter,
    longest,
    model,
    through_cache,
)
from pebench.tasks import make

SMALL = Shape(layers=2, heads=4, head_dim=16, train_length=32)
MADE = ["rope+fox", "rope+t5_bias+fox+ssmax", "fox+swan", "alibi+kv_shift", "rope@yarn", "rope+fox@ntk"]


def logits(lm: LM, tokens: Tensor) -> Tensor:
    with torch.no_grad():
        return lm(tokens)


@pytest.mark.parametrize("name", names())
def test_a_class_is_abstract_or_final(name: str) -> None:
    concrete = {resolve(other)[1] for other in names()}
    _, cls = resolve(name)
    assert "title" in vars(cls)
    for parent in cls.__mro__[1:]:
        assert parent not in concrete, (
            f"{name} overrides {parent.__name__}: share functions or an abstract parent"
        )
        assert "title" not in vars(parent)


@pytest.mark.parametrize("name", names())
def test_who_defines_both_a_hook_and_its_fast_path_means_the_same(name: str) -> None:
    _, cls = resolve(name)
    assert not (cls.defines("form") and cls.overruled("form", "weights"))


# A logit that rounding moves across TRA's threshold drops its key or takes it in, however exact positions are.
JUMPS = {"tra": 10}


@functools.cache
def losses(spec: str, length: int) -> list[float]:
    """What a model cast to each dtype loses where a rounded position would be most wrong."""
    lm, tokens, lost = model(resolve(spec)[1], 0), batch(1, length, 0), []
    exact = logits(lm, tokens)
    for dtype in (torch.bfloat16, torch.float16, torch.float64):
        cast = copy.deepcopy(lm).to(dtype)
        tensors = (*cast.encoding.parameters(), *cast.encoding.buffers())
        assert not any(x.dtype != torch.float32 and x.is_floating_point() for x in tensors)
        lost.append((logits(cast, tokens).double() - exact)[:, -LENGTH:].abs().mean().item())
    return lost


@pytest.mark.parametrize("spec", [*names(), *MADE])
def test_a_cast_model_keeps_its_encoding_in_float32(spec: str) -> None:
    length = longest(model(resolve(spec)[1], 0), 12 * LENGTH)
    plain = losses("nope+ssmax" if "ssmax" in spec else "nope", length)  # SSMax makes logits larger
    for lost, allowed in zip(losses(spec, length), plain, strict=True):
        assert lost < JUMPS.get(spec, 3) * allowed + 1e-4


@pytest.mark.parametrize("method", ["bfloat16", "half", "double"])
def test_methods_that_cast_do_as_to_does(method: str) -> None:
    encoding = getattr(LM(SIZE, resolve("rope+t5_bias")[1], LENGTH, 0), method)().encoding
    assert {x.dtype for x in (*encoding.buffers(), *encoding.parameters())} == {torch.float32}


@pytest.mark.parametrize("spec", [*names(), *MADE])
def test_a_model_from_the_meta_device_is_the_one_that_was_saved(spec: str) -> None:
    lm = model(resolve(spec)[1], 0)
    tokens = batch(1, longest(lm, 2 * LENGTH), 0)
    with torch.device("meta"):
        empty = LM(SIZE, resolve(spec)[1], LENGTH, seed=1)
    assert all(p.is_meta for p in empty.parameters())
    filled = empty.to_empty(device="cpu").eval()
    filled.load_state_dict(lm.state_dict())
    assert torch.equal(logits(filled, tokens), logits(lm, tokens))
    bare = LM(SIZE, resolve(spec)[1], LENGTH, seed=1).to("meta").to_empty(device="cpu").eval()
    bare.load_state_dict(lm.state_dict())
    assert torch.equal(logits(bare, tokens), logits(lm, tokens))


def test_a_class_made_on_the_meta_device_by_hand_says_so() -> None:
    with torch.device("meta"):
        rope = RoPE(SMALL)
    with pytest.raises(RuntimeError, match="RoPE was made on the meta device; make it by `build`"):
        rope.to_empty(device="cpu")


def test_the_default_dtype_of_a_program_does_not_round_positions() -> None:
    torch.set_default_dtype(torch.bfloat16)
    try:
        encodings = [build(resolve(name)[1], SMALL) for name in names()]
        assert torch.get_default_dtype() == torch.bfloat16
    finally:
        torch.set_default_dtype(torch.float32)
    for name, encoding in zip(names(), encodings, strict=True):
        plain = build(resolve(name)[1], SMALL)
        pairs = zip(
            (*encoding.buffers(), *encoding.parameters()),
            (*plain.buffers(), *plain.parameters()),
            strict=True,
        )
        assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs), name


@pytest.mark.parametrize("spec", ["rope", *MADE])
def test_models_and_classes_go_through_a_pickle(spec: str, tmp_path: Path) -> None:
    _, cls = resolve(spec)
    assert pickle.loads(pickle.dumps(cls)) is cls
    lm = model(cls, 0)
    tokens = batch(1, LENGTH, 0)
    assert torch.equal(logits(copy.deepcopy(lm), tokens), logits(lm, tokens))
    torch.save(lm, tmp_path / "lm.pt")
    loaded = torch.load(tmp_path / "lm.pt", weights_only=False)
    assert type(loaded.encoding) is cls
    assert torch.equal(logits(loaded, tokens), logits(lm, tokens))


def test_another_process_reads_a_model_of_made_classes(tmp_path: Path) -> None:
    lm = model(resolve("rope+fox+ssmax")[1], 0)
    lm.encoding = extended(lm.encoding, "yarn", 2.0)
    torch.save(lm, tmp_path / "lm.pt")
    code = (
        "import sys, torch; lm = torch.load(sys.argv[1], weights_only=False); "
        "print(lm(torch.arange(9)[None]).double().sum().item())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, tmp_path / "lm.pt"], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) == pytest.approx(lm(torch.arange(9)[None]).double().sum().item(), abs=1e-3)


class InsideNumbers(Encoding):
    """Abacus (McLeish et al., 2024): a vector for a digit's place in its number; tokens below 10 are digits."""

    title, paper, family, formula = "Abacus", "arXiv:2405.17399", "absolute", "x"

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.table = nn.Parameter(torch.randn(64, shape.width))

    def positions(self, index: Tensor, tokens: Tensor, memory: Memory) -> Tensor:
        places = []
        place = memory.get("place", torch.zeros(len(tokens), dtype=torch.long))
        for token in tokens.unbind(1):
            place = (place + 1) * (token < 10)
            places.append(place)
        memory["place"] = place
        return torch.stack(places, dim=1)

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        return x + self.table[pos.clamp(max=63)].type_as(x)


class Segments(Encoding):
    """BiPE (He et al., 2024): a vector inside the segment, a rotation by segments; every eighth token ends one."""

    title, paper, family, formula = "BiPE", "arXiv:2401.16421", "multiplicative", "x"

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.rope = RoPE(shape)
        self.table = nn.Parameter(torch.randn(512, shape.width))

    def positions(self, index: Tensor, tokens: Tensor, memory: Memory) -> Tensor:
        seen = torch.cat([memory.get("seen", tokens[:, :0]), tokens], dim=1)
        memory["seen"] = seen
        ends = pad((seen % 8 == 0).long()[:, :-1], (1, 0))
        segment, order = ends.cumsum(1), torch.arange(seen.shape[1])
        first = (order * ends).cummax(1).values
        return torch.stack([segment, order - first], dim=-1)[:, -len(index) :]

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        return x + self.table[pos[..., 1]].type_as(x)

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        return self.rope.qk(q, k, at._replace(pos=at.pos[..., 0]))


class EachExampleItsOwn(Encoding):
    """Positions that skip a step after even tokens, for whichever encoding reads them."""

    title, paper, family, formula = "Own positions", "none", "absolute", "x"

    def positions(self, index: Tensor, tokens: Tensor, memory: Memory) -> Tensor:
        place = memory.get("place", tokens.new_zeros(len(tokens), 1)) + (1 + (tokens % 2 == 0).long()).cumsum(
            1
        )
        memory["place"] = place[:, -1:]
        return place


class Selective(Encoding):
    """Selective Attention (Leviathan et al., 2024): what earlier queries of head 0 masked, later ones see less of."""

    title, paper, family, formula = "Selective attention", "arXiv:2410.02703", "contextual", "x"
    relative = True

    def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
        logits = (q @ k.mT).float() * self.shape.scale
        seen = visible(at, keys)
        mask = logits[:, :1].relu().masked_fill(~seen, 0.0)
        mask = mask * (keys.order > 0) * (keys.order != at.order[:, None])  # never the first, nor oneself
        before = at.memory.get("masked")
        total = mask.cumsum(2)
        if before is not None:
            total = total + pad(before, (0, total.shape[-1] - before.shape[-1]))
        at.memory["masked"] = total[:, :, -1:]
        return (logits - (total - mask)).masked_fill(~seen, -torch.inf).softmax(-1)


class Dropped(Rotary):
    """DroPE (Gelberg et al., 2025): a rotation for the first 7/8 of the training, none afterwards."""

    title, paper, formula = "DroPE", "arXiv:2512.12167", "x"

    def __init__(self, shape: Shape):
        super().__init__(shape, 10_000 ** -torch.linspace(0, 1, shape.head_dim // 2))

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        angle = at.place * self.frequencies * (at.progress < 7 / 8)
        return rotate(q, angle), rotate(k, angle)


class Gated(Encoding):
    """An output gate per head and channel (Qiu et al., 2025, arXiv:2505.06708), and values that it reads shrunk."""

    title, paper, family, formula = "Gated", "arXiv:2505.06708", "none", "x"
    relative = True

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.weight = nn.Parameter(0.1 * torch.randn(shape.layers, shape.width, shape.width))

    def values(self, v: Tensor, at: At) -> Tensor:
        return v * at.v.sigmoid()

    def output(self, y: Tensor, at: At) -> Tensor:
        gate = (at.x @ self.weight[at.layer]).sigmoid()
        return (y * gate.unflatten(-1, (self.shape.heads, -1)).transpose(1, 2)).type_as(y)


@pytest.mark.parametrize("cls", [InsideNumbers, Segments, Selective, Gated], ids=lambda cls: cls.__name__)
def test_what_the_hooks_are_for_keeps_the_certificate(cls: type[Encoding]) -> None:
    for check in (hides_the_future, decodes_as_it_reads, learns_every_parameter, keeps_examples_apart):
        found = check(cls, 0)
        assert found.passed, (check.__name__, found.measured)


def own_positions(name: str) -> type[Encoding]:
    return composition(f"own+{name}", (EachExampleItsOwn, resolve(name)[1]))


READ_POSITIONS = [name for name in names() if not issubclass(resolve(name)[1], Wrapper) and name != "nope"]


# Two that place the tokens do not add up.
PLACED = [name for name in READ_POSITIONS if not resolve(name)[1].defines("positions")]


@pytest.mark.parametrize("name", [name for name in PLACED if name != "learned_ape"])
def test_every_encoding_reads_positions_that_differ_between_examples(name: str) -> None:
    lm = model(own_positions(name), 0)
    tokens = batch(3, LENGTH, 0)
    together = logits(lm, tokens)
    for n in range(3):
        alone = logits(lm, tokens[n : n + 1])
        torch.testing.assert_close(together[n : n + 1], alone, rtol=0, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(through_cache(lm, tokens, [5, 1, 7]), together, rtol=0, atol=1e-4)
    same = torch.arange(2, 2 + 2 * LENGTH, 2) % SIZE.vocab  # even tokens alone: positions 2, 4, 6 ...
    mapped = logits(lm, same[None])

    class Twice(resolve(name)[1]):  # type: ignore[misc]
        def positions(self, index: Tensor, tokens: Tensor, memory: Memory) -> Tensor:
            return 2 * (index + 1)

    plain = model(Twice, 0)
    plain.load_state_dict(
        {key.replace("encoding.parts.1.", "encoding."): x for key, x in lm.state_dict().items()}
    )
    torch.testing.assert_close(mapped, logits(plain, same[None]), rtol=0, atol=1e-4)


def test_several_positions_a_token_are_refused_by_who_reads_one() -> None:
    lm = LM(SIZE, composition("bipe+alibi", (Segments, ALiBi)), LENGTH, 0)
    with pytest.raises(ValueError, match="each token has 2 positions here, and this encoding reads one"):
        lm(batch(1, 9, 0))


def test_a_schedule_reads_the_progress_of_the_training() -> None:
    lm, tokens = model(Dropped, 0), batch(1, LENGTH, 0)
    done, plain = logits(lm, tokens), logits(model(NoPE, 0), tokens)
    assert torch.equal(done, plain)
    lm.progress.fill_(0.5)
    assert largest(logits(lm, tokens) - plain) > 1e-3


def test_training_tells_its_progress() -> None:
    seen = []

    class Watching(NoPE):
        def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
            seen.append(at.progress.item())
            return q, k

    lm = LM(Size(layers=1, width=16, heads=2, vocab=make("copy").vocab), Watching, 4, 0)
    train(lm, make("copy"), Recipe(length=4, steps=4, tokens=32), seed=0)
    assert seen == [0.0, 0.25, 0.5, 0.75]
    assert lm.progress == 1


def test_a_modifier_twice_keeps_two_memories() -> None:
    twice = model(SSMax.over(SSMax.over(ALiBi)), 0)
    tokens = batch(1, LENGTH, 0)
    with torch.no_grad():
        torch.testing.assert_close(through_cache(twice, tokens, [5, 1]), twice(tokens), rtol=0, atol=1e-5)
        shifts = model(KVShift.over(KVShift.over(NoPE)), 0)
        torch.testing.assert_close(through_cache(shifts, tokens, [5, 1]), shifts(tokens), rtol=0, atol=1e-5)


def test_kv_shift_mixes_each_key_and_value_with_the_one_before() -> None:
    e = build(KVShift.over(NoPE), SMALL)
    q, k, v = torch.randn(3, 2, 4, 9, 16, generator=torch.Generator().manual_seed(0))
    mix = e.get_parameter("mix").detach()
    past_k, past_v = (pad(x[:, :, :-1], (0, 0, 1, 0)) for x in (k, v))
    a, b = (mix[side, 1][:, :, None, None] for side in (0, 1))
    mixed_k, mixed_v = a[:, 0] * past_k + a[:, 1] * k, b[:, 0] * past_v + b[:, 1] * v
    at = At.whole(1, torch.zeros(2, 9, 64), v, torch.arange(9))
    with torch.no_grad():
        torch.testing.assert_close(layer(e, at, q, k, v), layer(build(NoPE, SMALL), at, q, mixed_k, mixed_v))
    torch.testing.assert_close(mix.sum(-1), torch.ones(2, 2, 4))
    assert (mix > 0).all()


class GroupedFar(Regrouped):
    """Self-Extend (Jin et al., 2024): exact positions up to 8 tokens away, whole groups of them beyond."""

    title, paper, formula = "Self-Extend", "arXiv:2401.01325", "x"
    near = 8

    def views(self) -> tuple[View, ...]:
        group = int(self.factor)
        return (
            View(lambda pos: pos, lambda pos: pos),
            View(lambda pos: pos // group + self.near - self.near // group, lambda pos: pos // group),
        )

    def chosen(self, at: At, keys: Keys) -> Tensor:
        return (distance(at.pos, keys.pos) >= self.near).long()


@pytest.mark.parametrize(
    "inner", [RoPE, ALiBi, T5Bias, resolve("rope+t5_bias+alibi")[1]], ids=lambda c: c.__name__
)
def test_a_method_that_changes_distances_sees_each_pair_where_it_says(
    inner: type[Encoding], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(extension.METHODS, "grouped", GroupedFar)
    e = extended(build(inner, SMALL), "grouped", 4.0)
    q, k, v = torch.randn(3, 1, 4, 40, 16, generator=torch.Generator().manual_seed(0))
    x = torch.zeros(1, 40, 64)
    one, pos = torch.eye(40).expand(1, 4, -1, -1), torch.arange(40)
    found = attended(e, At.whole(0, x, v, pos), q, k, one)
    for i in (0, 7, 8, 30, 39):
        # The last query alone, with its keys at the positions that the method gives them.
        far = i - pos[: i + 1]
        grouped = i // 4 + 8 - 2 - pos[: i + 1] // 4
        mapped = torch.where(far < 8, far, grouped)
        at = At.whole(0, x[:, : i + 1], v[:, :, : i + 1], 1000 - mapped)
        at.pos[-1] = 1000
        plain, sides = build(inner, SMALL), (q[:, :, : i + 1], k[:, :, : i + 1])
        expected = attended(plain, at, *sides, torch.eye(i + 1).expand(1, 4, -1, -1))
        torch.testing.assert_close(found[:, :, i, : i + 1], expected[:, :, -1], rtol=0, atol=1e-5)


def test_a_method_that_changes_distances_is_named_and_decodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(extension.METHODS, "grouped", GroupedFar)
    cls = longer(RoPE, "grouped")
    assert cls.title == "Rotary position embedding, Self-Extend"
    assert decodes_as_it_reads(cls, 0).passed
    for inner, reason in ((CoPE, "whole rows"), (NoPE, "no distances")):
        with pytest.raises(EncodingError, match=reason):
            longer(inner, "grouped")


def test_a_new_definition_overrules_the_old_fast_path() -> None:
    class Even(StickBreaking):
        def weights(self, q: Tensor, k: Tensor, at: At, keys: Keys) -> Tensor:
            seen = visible(at, keys).float()
            return (seen / seen.sum(-1, keepdim=True)).expand(*q.shape[:2], -1, -1)

    class Flat(T5Bias):
        def bias(self, at: At, keys: Keys) -> Tensor:
            return torch.zeros(self.shape.heads, len(at.order), len(keys.order))

    tokens = batch(1, LENGTH, 0)
    for cls in (Even, Flat, RNoPE.over(Even), composition("x", (RoPE, Even))):
        lm = model(cls, 0)
        with ops.definitions():
            defined = logits(lm, tokens)
        torch.testing.assert_close(logits(lm, tokens), defined, rtol=0, atol=1e-5)
    torch.testing.assert_close(
        logits(model(Flat, 0), tokens), logits(model(NoPE, 0), tokens), rtol=0, atol=1e-5
    )


def test_a_wrapper_cannot_hide_the_bias_of_what_it_wraps() -> None:
    with pytest.raises(TypeError, match="whose bias comes in `bias`"):
        type("Hiding", (Wrapper,), {"by_distance": lambda self, far, layer: None})
