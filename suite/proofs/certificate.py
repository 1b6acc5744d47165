"""What an encoding must keep before anything is trained with it: `pebench check`.

Every check builds a small standard LM and measures one property on the CPU. First it moves the encoding's
parameters away from their initial values: many encodings are silent there, and a silent encoding passes
everything.
"""

import copy
import functools
import math
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, get_args

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor
from torch.nn.functional import cross_entropy

from pebench.encodings.base import At, Encoding, Family, Memory
from pebench.encodings.compose import Composition
from pebench.encodings.extension import Extended, Regrouped, Retuned
from pebench.encodings.nope import NoPE
from pebench.encodings.rope import RoPE
from pebench.encodings.streams import stream
from pebench.encodings.wrapper import Wrapper
from pebench.suite.lm.attention import attended
from pebench.suite.lm.model import LM, LengthError, Size
from pebench.suite.lm.native import ops

SIZE = Size(layers=2, width=64, heads=4, vocab=64)
LENGTH = 32  # the training length of the model that is checked
LONG = 16 * LENGTH  # no profile measures at a larger multiple of its training length
FAR = 512  # beyond the 256 whole numbers of bfloat16
SHIFT = 100
HIGHEST = 2**20  # the largest offset that is tried: a text of a million tokens
LONGEST_TEXT = 2**12  # the least relative range: the PAPER profiles alone measure longer texts
PADDING = 8

TORCH = Path(torch.__file__).parent
SHARED = (
    Encoding,
    Wrapper,
    Composition,
    Extended,
    Retuned,
    Regrouped,
)  # an exception there is no fault of theirs

# The logits of the model that is checked have a standard deviation of about one.
EQUAL = 1e-4
"""Largest difference of two logits that are equal up to float32 rounding."""
NOTICED = 1e-3
"""Largest difference of two logits whose sums over a long text are rounded in another order; the relative range ends
where a shift moves a logit by more than this in float32 ..."""
NOTICED_BF16 = 0.1
"""... or by more than this in bfloat16, whose own rounding moves logits by some hundredths."""
BF16_FACTOR = 4.0
"""An encoding may lose this many times what RoPE loses in bfloat16."""


@dataclass(frozen=True)
class Check:
    """One line of the certificate. `detail` says what was done, or after a failure what to change."""

    name: str
    passed: bool
    measured: str
    limit: str
    detail: str
    facts: dict[str, Any] = field(default_factory=dict)


class Finding(NamedTuple):
    """What a check function returns; `remedy` is shown where it failed, `facts` are what badges say."""

    passed: bool
    measured: str
    limit: str
    remedy: str
    facts: Mapping[str, Any] = MappingProxyType({})


CheckFunction = Callable[[type[Encoding], int], Finding]
CHECKS: list[CheckFunction] = []
STATED: dict[str, str] = {}


def states(sentence: str) -> Callable[[CheckFunction], CheckFunction]:
    """Add a check to `CHECKS`, with what it says of an encoding that passes: no docstring, which `-OO` takes away."""

    def add(check: CheckFunction) -> CheckFunction:
        CHECKS.append(check)
        STATED[check.__name__] = sentence
        return check

    return add


def certify(name: str, cls: type[Encoding], seed: int = 0) -> list[Check]:
    """All checks of this encoding, in the order of `CHECKS`; an exception inside a check is its failure."""
    return [run_check(check, name, cls, seed) for check in CHECKS]


def run_check(check: CheckFunction, name: str, cls: type[Encoding], seed: int) -> Check:
    """One check as a line of the certificate, named like its function."""
    title = check.__name__.replace("_", " ")
    try:
        found = check(cls, seed)
    except Exception as e:
        message = str(e).strip().splitlines()
        reason = f"{type(e).__name__}: {message[0] if message else 'no message'}"
        return Check(title, False, "an exception", "none", f"{name} raised {reason}{origin(e, cls)}")
    detail = STATED[check.__name__] if found.passed else found.remedy
    return Check(title, found.passed, found.measured, found.limit, detail, dict(found.facts))


def origin(error: Exception, cls: type[Encoding]) -> str:
    """Where in the encoding's own code an exception arose, or else in the last call before torch."""
    frames = traceback.extract_tb(error.__traceback__)
    own = {getattr(sys.modules[part.__module__], "__file__", None) for part in written(cls)}
    ours = [frame for frame in frames if frame.filename in own]
    ours = ours or [frame for frame in frames if not Path(frame.filename).is_relative_to(TORCH)]
    if not ours:
        return ""
    line = f": `{ours[-1].line}`" if ours[-1].line else ""
    return f" ({Path(ours[-1].filename).name}, line {ours[-1].lineno}, in {ours[-1].name}{line})"


def written(cls: type[Encoding]) -> Iterator[type[Encoding]]:
    """The classes that make up an encoding and were written for it, with the classes of its parts."""
    parts = (*cls.classes,) if issubclass(cls, Composition) else ()
    inner = (cls.inner_class,) if issubclass(cls, Wrapper) else ()
    for part in (*parts, *inner):
        yield from written(part)
    yield from (base for base in cls.__mro__ if issubclass(base, Encoding) and base not in SHARED)


@states("The class has a title, a paper, a family, a formula and a docstring.")
def says_what_it_is(cls: type[Encoding], seed: int) -> Finding:
    fields = ["title", "paper", "family", "formula"]
    fields += [] if sys.flags.optimize >= 2 else ["__doc__"]  # which Python was told to forget
    wrong = {name: reason for name in fields if (reason := misstated(name, getattr(cls, name, None)))}
    told = "; ".join(f"`{name}` {reason}" for name, reason in wrong.items())
    return Finding(
        not wrong, f"{len(fields) - len(wrong)} of {len(fields)}", "all", f"As in encodings/rope.py: {told}."
    )


def misstated(name: str, text: object) -> str:
    """The fault of a text of the class, with the remedy; empty where there is none."""
    if not isinstance(text, str) or not text.strip():
        return "is to be set on the class, as a text"
    if name == "family" and text not in get_args(Family):
        return f"is {text!r}; the families are {', '.join(get_args(Family))}"
    allowed = "\n\t" if name == "__doc__" else ""
    bad = next((c for c in text if not c.isprintable() and c not in allowed), "")
    return f'holds {bad!r}, which no page can show; write it as a raw string, r"..."' if bad else ""


@states("No logit depends on a later token, in value or gradient, at the training length and at 16 times it.")
def hides_the_future(cls: type[Encoding], seed: int) -> Finding:
    lm = model(cls, seed)
    worst = 0.0
    for length in dict.fromkeys(longest(lm, length) for length in (LENGTH, LONG)):
        tokens, embedded = batch(2, length, seed), list[Tensor]()
        hook = lm.embedding.register_forward_hook(lambda module, args, out, kept=embedded: kept.append(out))
        before = lm(tokens)
        hook.remove()
        if length > LENGTH and not before.isfinite().all():
            break  # `stands_long_inputs` says so
        for cut in (1, length // 2, length - 1):
            later = torch.cat([tokens[:, :cut], (tokens[:, cut:] + 1) % SIZE.vocab], dim=1)
            with torch.no_grad():
                worst = max(worst, largest(lm(later)[:, :cut] - before[:, :cut]))
            (gradient,) = torch.autograd.grad(before[:, :cut].square().sum(), embedded[0], retain_graph=True)
            worst = max(worst, largest(gradient[:, cut:]))
    return Finding(
        worst <= EQUAL,
        number(worst),
        number(EQUAL),
        "A token sees later ones; mask by `visible(at, keys)` in `weights`, and sum only over earlier tokens.",
    )


@states(
    "Through the cache, in chunks of one, three and many tokens, logits are those of one forward pass, also at 16 "
    "times the training length."
)
@torch.no_grad()
def decodes_as_it_reads(cls: type[Encoding], seed: int) -> Finding:
    lm = model(cls, seed)

    def off(length: int, *chunks: list[int]) -> float:
        tokens = batch(2, longest(lm, length), seed)
        full = lm(tokens)
        if length == LONG and not full.isfinite().all():
            return 0.0  # `stands_long_inputs` says so
        return max(largest(through_cache(lm, tokens, sizes) - full) for sizes in chunks)

    near = off(3 * LENGTH, [1], [3], [LENGTH // 2, 1, 1, 7], [LENGTH])
    far = off(LONG, [LENGTH], [3 * LENGTH, 1, LENGTH - 1])
    alike = near <= EQUAL and far <= NOTICED
    return Finding(
        alike,
        f"{number(near)}, far {number(far)}",
        f"{number(EQUAL)}, far {number(NOTICED)}",
        "Take positions from `at.pos` and places from `at.order`, never from a shape; carry sums in `at.memory`.",
        {"streaming": alike},
    )


@states(
    "Every tensor gets a gradient, the encoding's and those of q, k and v alike, and all gradients are finite."
)
def learns_every_parameter(cls: type[Encoding], seed: int) -> Finding:
    lm = model(cls, seed)
    loss_of(lm, batch(2, longest(lm, 4 * LENGTH), seed)).backward()
    own = {name: p.grad for name, p in lm.encoding.named_parameters() if p.requires_grad}
    others = outer_gradients(lm)
    idle = [name for name, gradient in own.items() if gradient is None or not gradient.any()]
    cut = [
        name for name in learned_outside(seed) if (gradient := others.get(name)) is None or not gradient.any()
    ]
    broken = [name for name, p in lm.named_parameters() if p.grad is not None and not p.grad.isfinite().all()]
    if broken:
        remedy = f"Not finite: the gradients of {', '.join(broken)}; look for 0 ** p or log(0) under a mask."
    elif idle:
        remedy = f"No gradient reaches {', '.join(idle)}; use it, or remove it, or make it a buffer."
    else:
        remedy = (
            f"No gradient reaches {', '.join(cut)}; let q, k and v through without `no_grad` and `detach`."
        )
    many = len(own) + len(learned_outside(seed))
    return Finding(
        not idle and not cut and not broken,
        f"{many - len(idle) - len(cut)} of {many} tensors",
        "all, finite",
        remedy,
    )


def outer_gradients(lm: LM) -> dict[str, Tensor | None]:
    """The gradient of each tensor outside the encoding, of q, k and v apart."""
    found: dict[str, Tensor | None] = {}
    for name, p in lm.named_parameters():
        if name.endswith("qkv.weight") and p.grad is not None:
            found |= {f"{part} of {name}": g for part, g in zip("qkv", p.grad.chunk(3), strict=True)}
        elif not name.startswith("encoding."):
            found[name] = p.grad
    return found


@functools.cache
def learned_outside(seed: int) -> frozenset[str]:
    """The tensors outside the encoding that NoPE's gradient reaches."""
    lm = model(NoPE, seed)
    loss_of(lm, batch(2, LENGTH, seed)).backward()
    return frozenset(name for name, g in outer_gradients(lm).items() if g is not None and g.any())


@states("At 16 times the training length all is finite, gradients too, or `max_length` is declared and kept.")
def stands_long_inputs(cls: type[Encoding], seed: int) -> Finding:
    lm = model(cls, seed)
    length = longest(lm, LONG)
    if length < LENGTH:
        return Finding(
            False, f"max_length {length}", f"{LENGTH}", "`max_length` must reach `shape.train_length`."
        )
    loss = loss_of(lm, batch(1, length, seed))
    loss.backward()
    gradients = [p.grad for p in lm.parameters() if p.grad is not None]
    finite = bool(loss.isfinite()) and all(bool(g.isfinite().all()) for g in gradients)
    measured = f"{'finite' if finite else 'not finite'} at {length} tokens"
    remedy = "Bound what grows with the position, or set `self.max_length` to what the encoding can do."
    if lm.encoding.max_length is not None:
        try:
            through_cache(lm, batch(1, lm.encoding.max_length + 1, seed), [length])
        except LengthError:
            measured += ", LengthError beyond"
        else:
            return Finding(False, "no LengthError beyond max_length", "LengthError", remedy)
    limit = lm.encoding.max_length
    facts = {"max_length": limit and limit / LENGTH}  # in training lengths; None: free of any length
    return Finding(finite, measured, f"{LONG} tokens or max_length", remedy, facts)


@states("Under bfloat16 autocast, 512 tokens in, the logits lose about as much as RoPE's.")
def keeps_precision_in_bf16(cls: type[Encoding], seed: int) -> Finding:
    ratio = lost_in_bf16(cls, seed) / rope_loses_in_bf16(seed)
    return Finding(
        ratio <= BF16_FACTOR,
        f"{ratio:.2f} x RoPE's loss",
        f"{BF16_FACTOR:g} x",
        "Compute positions, angles and sums in float32, outside of autocast; declare a bias of low rank by `columns`.",
    )


@states("Moved to positions up to 1,048,576 (or `max_length`), all logits are finite in both precisions.")
def stands_far_positions(cls: type[Encoding], seed: int) -> Finding:
    offsets = [2**n for n in range(10, HIGHEST.bit_length())]
    moved = [m for bf16 in (False, True) for m in moved_by(cls, seed, offsets, bf16)]
    whole = sum(map(math.isfinite, moved))
    return Finding(
        whole == len(moved),
        f"finite at {whole} of {len(moved)} places",
        f"all, up to {HIGHEST:,}",
        "Nothing may grow with the position itself: let differences in, as xpos does, and never a power.",
    )


@states("Adding one number to all positions changes no logit, where `relative` is claimed.")
def is_relative_as_claimed(cls: type[Encoding], seed: int) -> Finding:
    (moved,) = moved_by(cls, seed, [SHIFT])
    if not cls.relative:
        return Finding(
            math.isfinite(moved), number(moved), "not claimed", "A shift of the positions gives NaN."
        )
    return Finding(
        moved <= EQUAL,
        number(moved),
        number(EQUAL),
        "Let positions enter through differences only, or drop the claim `relative = True`.",
    )


@states("`qk` keeps the norms of q and k, where `norm_preserving` is claimed.")
def keeps_norms_as_claimed(cls: type[Encoding], seed: int) -> Finding:
    lm, rng = model(cls, seed), generator(seed, "norms")
    worst = 0.0
    with torch.no_grad():
        for layer in range(SIZE.layers):
            q, k, v = torch.randn(3, 1, SIZE.heads, LENGTH, SIZE.width // SIZE.heads, generator=rng)
            x = torch.randn(1, LENGTH, SIZE.width, generator=rng)
            after = lm.encoding.qk(q, k, placed(lm.encoding, layer, x, v))
            for raw, turned in zip((q, k), after, strict=True):
                worst = max(worst, largest(turned.norm(dim=-1) / raw.norm(dim=-1) - 1))
    claimed = cls.norm_preserving
    return Finding(
        worst <= EQUAL or not claimed,
        number(worst),
        number(EQUAL) if claimed else "not claimed",
        "`qk` must rotate and nothing else, or drop the claim `norm_preserving = True`.",
        {"norm_preserving": claimed and worst <= EQUAL},
    )


@states("An example's logits do not depend on its neighbours in the batch.")
def keeps_examples_apart(cls: type[Encoding], seed: int) -> Finding:
    lm, tokens = model(cls, seed), batch(3, LENGTH, seed)
    others = tokens.clone()
    others[1:] = (others[1:] + 1) % SIZE.vocab
    with torch.no_grad():
        together = lm(tokens)[:1]
        worst = max(largest(lm(others)[:1] - together), largest(lm(tokens[:1]) - together))
    return Finding(
        worst <= EQUAL, number(worst), number(EQUAL), "Reduce over tokens or channels, never over the batch."
    )


@states("The same seed and input give the same bits, in one model and in two that were built alike.")
def gives_the_same_bits_twice(cls: type[Encoding], seed: int) -> Finding:
    lm, twin, tokens = model(cls, seed), model(cls, seed), batch(2, LENGTH, seed)
    with torch.no_grad():
        first = lm(tokens)
        worst = max(largest(lm(tokens) - first), largest(twin(tokens) - first))
    return Finding(
        worst == 0.0,
        number(worst),
        "0",
        "Draw initial values with torch's functions in `__init__`, and nothing in evaluation.",
    )


@states("Training and evaluation compute the same, at the positions of evaluation.")
def ignores_the_training_flag(cls: type[Encoding], seed: int) -> Finding:
    lm, tokens = model(cls, seed), batch(2, LENGTH, seed)
    place = lm.encoding.positions

    def evaluated(index: Tensor, tokens: Tensor, memory: Memory) -> Tensor:
        lm.encoding.eval()
        try:
            return place(index, tokens, memory)
        finally:
            lm.encoding.train()

    with torch.no_grad():
        still = lm(tokens)
        lm.train()
        lm.encoding.positions = evaluated  # type: ignore[method-assign]
        moved = largest(lm(tokens) - still)
    return Finding(
        moved <= EQUAL, number(moved), number(EQUAL), "Only `positions` may look at `self.training`."
    )


@states("Saved and loaded into a model of another seed, it gives the same bits.")
def comes_back_from_disk(cls: type[Encoding], seed: int) -> Finding:
    lm, other, tokens = model(cls, seed), model(cls, seed + 1), batch(2, LENGTH, seed)
    with tempfile.TemporaryDirectory() as folder:
        save_model(lm, str(Path(folder, "model.safetensors")))
        load_model(other, Path(folder, "model.safetensors"))
    with torch.no_grad():
        moved = largest(lm(tokens) - other(tokens))
    return Finding(
        moved == 0.0,
        number(moved),
        "0",
        "Keep what is drawn at random in an nn.Parameter or a persistent buffer, so that it is saved.",
    )


@states(
    "The weights outside it are those of every other encoding, and the global random stream is untouched."
)
def leaves_the_rest_alone(cls: type[Encoding], seed: int) -> Finding:
    lm = LM(SIZE, cls, LENGTH, seed).eval()
    state = torch.get_rng_state()
    loss_of(lm, batch(1, LENGTH, seed)).backward()
    drew = not torch.equal(state, torch.get_rng_state())
    torch.set_rng_state(state)
    own, plain = outside(lm), outside(LM(SIZE, NoPE, LENGTH, seed))
    differ = sorted(name for name in own.keys() | plain.keys() if not same(own.get(name), plain.get(name)))
    return Finding(
        not differ and not drew,
        "random numbers drawn" if drew else f"{len(differ)} of {len(plain)} tensors differ",
        "0, none",
        "Change no weight outside the encoding, and draw random numbers in `__init__` only.",
    )


@states("torch.compile makes one graph of the model, without a break.")
def compiles_whole(cls: type[Encoding], seed: int) -> Finding:
    lm, tokens = model(cls, seed), batch(2, LENGTH, seed)
    eager = lm(tokens)
    torch.compiler.reset()
    try:
        moved = largest(torch.compile(lm, fullgraph=True, backend="eager")(tokens) - eager)
    except torch._dynamo.exc.TorchDynamoException as e:
        reason = next((line.strip() for line in str(e).splitlines() if line.strip()), type(e).__name__)
        remedy = f"No .item(), no `if` on a tensor and no Python side effects in the hooks ({reason})."
        return Finding(False, "a graph break", "one graph", remedy)
    finally:
        torch.compiler.reset()
    return Finding(
        moved <= EQUAL,
        f"one graph, {number(moved)}",
        number(EQUAL),
        "The compiled model computes something else.",
    )


@states("Each part of a sum, and each modifier, changes the result.")
@torch.no_grad()
def each_part_changes_the_result(cls: type[Encoding], seed: int) -> Finding:
    lm = model(cls, seed)
    tokens = batch(2, longest(lm, 3 * LENGTH), seed)  # some parts change nothing up to the training length
    whole = lm(tokens)
    moved = {part: largest(twin(tokens) - whole) for part, twin in reduced(lm)}
    idle = [part for part, by in moved.items() if by <= EQUAL]
    return Finding(
        not idle,
        f"{len(moved) - len(idle)} of {len(moved)} parts" if moved else "no sum",
        "all",
        f"The result is the same without {', '.join(idle)}: a hook is lost, or the part does nothing here.",
    )


def reduced(lm: LM) -> Iterator[tuple[str, LM]]:
    """The model less one part of its encoding: a summand, or a wrapper around another encoding."""
    for path, part in lm.encoding.named_modules(prefix="encoding"):
        if isinstance(part, Composition):
            for n, summand in enumerate(part.parts):
                yield summand.title, replaced(lm, f"{path}.parts.{n}", NoPE(part.shape))
        elif isinstance(part, Wrapper) and not isinstance(
            part, Retuned
        ):  # that one has changed its inner one
            yield type(part).title, replaced(lm, path, part.inner)


def replaced(lm: LM, path: str, part: Encoding) -> LM:
    """A copy of the model with another encoding at this place."""
    twin = copy.deepcopy(lm)
    owner, _, name = path.rpartition(".")
    setattr(twin.get_submodule(owner), name, copy.deepcopy(part))
    return twin


@states("The largest offset (a power of two) that moves no logit by more than 0.001, and in bfloat16 by 0.1.")
def relative_range(cls: type[Encoding], seed: int) -> Finding:
    """A claim to be relative has to hold over 4,096 tokens, as far as the profiles measure."""
    if not cls.relative:
        return Finding(True, "no", "not claimed", "")
    fine, coarse = reach(cls, seed, NOTICED, bf16=False), reach(cls, seed, NOTICED_BF16, bf16=True)
    return Finding(
        min(fine, coarse) >= LONGEST_TEXT,
        f"{fine:,} (fp32), {coarse:,} (bf16)",
        f"{LONGEST_TEXT:,}",
        "Let positions enter as differences before they are rounded, in float32.",
        {"relative_range": {"float32": fine, "bfloat16": coarse}},
    )


@states("How far padding in front of an example moves its logits, where no key of the padding is seen.")
@torch.no_grad()
def left_padding(cls: type[Encoding], seed: int) -> Finding:
    """The LM has no padding: it reads batches of one length and hides nothing but the future.

    A left-padded batch would begin an example's positions after the padding. The running sums in the cache's memory
    have gone over the padding, and its keys are gone.
    """
    offset = torch.tensor(0)
    lm, tokens = model(shifted(cls, offset), seed), batch(2, LENGTH // 2 + PADDING, seed)
    alone, cache = lm(tokens[:, PADDING:]), lm.cache()
    lm(tokens[:, :PADDING], cache)
    for layer in cache.layers:
        layer.k = layer.v = layer.columns = None
    cache.length, cache.pos = 0, None
    offset.fill_(PADDING)
    moved = largest(lm(tokens[:, PADDING:], cache) - alone)
    return Finding(
        math.isfinite(moved),
        f"changes nothing ({number(moved)})" if moved <= EQUAL else f"moves logits by {number(moved)}",
        "reported",
        "An example behind padding gives NaN.",
        {"left_padding": moved <= EQUAL},
    )


@states("Whether positions enter other than as q^T M(i, j) k + b(i, j), with M and b of the positions alone.")
@torch.no_grad()
def reads_content(cls: type[Encoding], seed: int) -> Finding:
    """Differences of neighbouring log weights, free of softmax's term of the row, change only as logits of q and k do.

    Without content they keep their value under another x and v, under another q where k is 0, and under another k
    where q is 0. They are also additive in q and in k.
    """
    lm, rng = model(cls, seed), generator(seed, "content")
    heads, width = SIZE.heads, SIZE.width // SIZE.heads
    count = longest(lm, 12)
    one = torch.eye(count).expand(1, heads, count, count)  # as values, it makes attention return its weights
    q, q2, k, k2, v, v2 = torch.randn(6, 1, heads, count, width, generator=rng)
    x, x2 = torch.randn(2, 1, count, SIZE.width, generator=rng)
    none, worst = torch.zeros_like(q), 0.0
    for layer in range(SIZE.layers):

        def odds(q: Tensor, k: Tensor, x: Tensor = x, v: Tensor = v, layer: int = layer) -> Tensor:
            at = placed(lm.encoding, layer, x, v)
            return attended(lm.encoding, at, q, k, one)[..., -1, :].log().diff()

        bare = odds(none, none)
        for term in (
            odds(q, k, x2, v2) - odds(q, k),
            odds(q, none) - bare,
            odds(none, k) - bare,
            odds(q + q2, k) - odds(q, k) - odds(q2, k) + odds(none, k),
            odds(q, k + k2) - odds(q, k) - odds(q, k2) + odds(q, none),
        ):
            worst = max(worst, largest(term[term.isfinite()]))  # a window hides keys: log 0
    reads = worst > EQUAL
    measured = f"yes ({number(worst)})" if reads else "no"
    return Finding(True, measured, "reported", "", {"reads_content": reads})


@states("Bytes that the cache holds for each token in float32, and for the whole sequence.")
def cost_of_a_cached_token(cls: type[Encoding], seed: int) -> Finding:
    per_token, fixed = cache_bytes(cls, seed)
    plain, _ = cache_bytes(RoPE, seed)
    return Finding(
        True,
        f"{per_token:,} bytes a token ({per_token / plain:.2f} x RoPE) + {fixed:,}",
        "reported",
        "",
        {"cache": {"bytes_per_token": per_token, "over_rope": per_token / plain, "bytes_fixed": fixed}},
    )


def generator(seed: int, name: str) -> torch.Generator:
    """The random stream of this name."""
    return torch.Generator().manual_seed(stream(seed, name))


@torch.no_grad()
def model(cls: type[Encoding], seed: int) -> LM:
    """The small LM that is checked, in evaluation mode.

    Its matrices are N(0, 1/fan-in), larger than the standard LM starts with: attention matters, and the logits
    have a standard deviation of about one. To every learned parameter of the encoding N(0, 1/(4n)) is added, n its
    last size. So a log-frequency moves by some tenths, and a sum over n unit numbers by 1/2.
    """
    lm = LM(SIZE, cls, LENGTH, seed).eval()
    for name, p in lm.named_parameters():
        if not p.requires_grad:
            continue  # a constant, which no training moves
        noise = torch.randn(p.shape, generator=generator(seed, f"noise:{name}"))
        if name.startswith("encoding."):
            p.add_(noise, alpha=0.5 / math.sqrt(p.shape[-1] if p.dim() else 1))
        elif p.dim() == 2:
            p.copy_(noise / math.sqrt(p.shape[-1]))
    return lm


def batch(size: int, length: int, seed: int) -> Tensor:
    """Random tokens (size, length)."""
    return torch.randint(SIZE.vocab, (size, length), generator=generator(seed, f"tokens:{size}:{length}"))


def longest(lm: LM, length: int) -> int:
    """This length, or as much of it as the encoding is defined for."""
    limit = lm.encoding.max_length
    return length if limit is None else min(length, limit)


def loss_of(lm: LM, tokens: Tensor) -> Tensor:
    """Mean loss of the next token."""
    return cross_entropy(lm(tokens)[:, :-1].flatten(0, 1), tokens[:, 1:].flatten())


def through_cache(lm: LM, tokens: Tensor, sizes: list[int]) -> Tensor:
    """Logits of tokens (B, T) read through a cache in chunks of these sizes, taken in turn."""
    parts: list[Tensor] = []
    cache, start = lm.cache(), 0
    while start < tokens.shape[1]:
        size = sizes[len(parts) % len(sizes)]
        parts.append(lm(tokens[:, start : start + size], cache))
        start += size
    return torch.cat(parts, dim=1)


def shifted(cls: type[Encoding], offset: Tensor) -> type[Encoding]:
    """The same encoding with a number (a tensor, so that it may change) added to all its positions."""

    class Shifted(cls):  # type: ignore[misc, valid-type]
        def positions(self, index: Tensor, tokens: Tensor, memory: Memory) -> Tensor:
            return super().positions(index, tokens, memory) + offset

    return Shifted


@torch.no_grad()
def moved_by(cls: type[Encoding], seed: int, offsets: Sequence[int], bf16: bool = False) -> Iterator[float]:
    """The most that any logit moves when each of these offsets is added to all positions.

    Where `max_length` leaves no room for an offset, it is as large as it can be.
    """
    added = torch.tensor(0)
    lm = model(shifted(cls, added), seed)
    length, limit = LENGTH, lm.encoding.max_length
    if limit is not None:
        length = min(length, limit // 2)
        offsets = [min(offset, limit - length) for offset in offsets]
    tokens = batch(2, length, seed)
    with bfloat16() if bf16 else nullcontext():
        still = lm(tokens).float()
        for offset in offsets:
            added.fill_(offset)
            yield largest(lm(tokens).float() - still)


@contextmanager
def bfloat16() -> Iterator[None]:
    """Autocast, and no native kernels: those keep in float32 what other devices hand to an encoding in bfloat16."""
    with ops.definitions(), torch.autocast("cpu", torch.bfloat16):
        yield


def reach(cls: type[Encoding], seed: int, amount: float, bf16: bool) -> int:
    """The largest power of two such that shifts up to it move no logit by more than `amount`; 0 if none."""
    offsets = [2**n for n in range(HIGHEST.bit_length())]
    held = takewhile(
        lambda pair: pair[1] <= amount, zip(offsets, moved_by(cls, seed, offsets, bf16), strict=True)
    )
    return max((offset for offset, _ in held), default=0)


@torch.no_grad()
def lost_in_bf16(cls: type[Encoding], seed: int) -> float:
    """Root mean square error of the logits under bfloat16 autocast, over the second half of a long input."""
    lm = model(cls, seed)
    tokens = batch(1, longest(lm, FAR), seed)
    exact = lm(tokens)
    with bfloat16():
        rounded = lm(tokens).float()
    return (rounded - exact)[:, tokens.shape[1] // 2 :].square().mean().sqrt().item()


@functools.cache
def rope_loses_in_bf16(seed: int) -> float:
    return lost_in_bf16(RoPE, seed)


@torch.no_grad()
def cache_bytes(cls: type[Encoding], seed: int) -> tuple[int, int]:
    """Bytes that the cache grows by with a token, and bytes that do not grow."""
    lm = model(cls, seed)
    sizes = []
    for length in (LENGTH // 2, LENGTH):
        cache = lm.cache()
        lm(batch(1, length, seed), cache)
        held = [
            buffer[..., :length, :]
            for layer in cache.layers
            for buffer in (layer.k, layer.v, layer.columns)
            if buffer is not None
        ]
        held += [kept for layer in cache.layers for kept in tensors(layer.memory)]
        sizes.append(sum(x.numel() * x.element_size() for x in held))
    per_token = (sizes[1] - sizes[0]) // (LENGTH // 2)
    return per_token, sizes[1] - per_token * LENGTH


def tensors(memory: Memory) -> Iterator[Tensor]:
    """All that a memory and its parts hold."""
    for kept in memory.values():
        yield from tensors(kept) if isinstance(kept, dict) else (kept,)


def placed(encoding: Encoding, layer: int, x: Tensor, v: Tensor) -> At:
    """The place of whole sequences with these inputs x (B, T, D) and values v."""
    tokens = torch.zeros(x.shape[:2], dtype=torch.long)
    return At.whole(layer, x, v, encoding.positions(torch.arange(x.shape[1]), tokens, {}))


def outside(lm: LM) -> dict[str, Tensor]:
    """All tensors of the model but the encoding's."""
    return {name: x for name, x in lm.state_dict().items() if not name.startswith("encoding.")}


def same(a: Tensor | None, b: Tensor | None) -> bool:
    return a is not None and b is not None and torch.equal(a, b)


def largest(x: Tensor) -> float:
    """The largest absolute value; infinite where there is a NaN, so that no comparison passes."""
    worst = x.detach().abs().max().item() if x.numel() else 0.0
    return math.inf if math.isnan(worst) else worst


def number(x: float) -> str:
    """Two digits, as a person reads them.

    >>> number(0.0), number(1.234e-5)
    ('0', '1.2e-05')
    """
    return f"{x:.1e}" if x else "0"
