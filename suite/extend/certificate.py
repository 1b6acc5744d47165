"""The certificate of a method: what must hold of it on any model, proved on a small random one in seconds."""

import math
from collections.abc import Iterator

import torch
from torch import Tensor

from pebench.encodings.base import NOTHING, At, Encoding, Keys, visible
from pebench.encodings.extension import claims, extended
from pebench.encodings.streams import build
from pebench.encodings.wrapper import Wrapper
from pebench.suite.extend.attention import grouping, in_parts
from pebench.suite.extend.branches import Branches
from pebench.suite.extend.model import Model, Reader
from pebench.suite.extend.trial import ABOUT, FACTOR, tried
from pebench.suite.proofs.certificate import Check

LENGTH = 256  # tokens, FACTOR times the trained length
MILLION = 1_000_000
TOLERANCE = 2e-4  # of hidden states whose mean square is 1
SHIFTED = 0.05  # of logits, which are of order 1: an angle of a million has an error of 0.03 in float32


class ByHooks(Wrapper):
    """An encoding that attention in parts does not take, because it has a hook of its own."""

    title = "by its hooks"
    relative = True
    norm_preserving = True

    def values(self, v: Tensor, at: At) -> Tensor:
        return super().values(v, at)


def certify_method(method: str) -> list[Check]:
    """All checks of a method, "yarn" or "yarn+logn". UnknownName or EncodingError where there is none.

    A method that needs a search takes drawn divisors: what it proves holds of any.
    """
    model = tried(method)
    text = torch.randint(ABOUT.vocab, (LENGTH,), generator=torch.Generator().manual_seed(0))
    whole = model.read(text, model.cache())
    return list(checks(method, model, text, whole))


def checks(method: str, model: Model, text: Tensor, whole: Tensor) -> Iterator[Check]:
    """The checks in turn."""
    yield compared(
        "hides the future",
        largest(whole[:-1], altered(model, text)[:-1]),
        "the last token was changed: no earlier state may change with it",
    )
    yield compared(
        "decodes through the cache as it reads",
        largest(whole, in_pieces(model, text, 1)),
        "the text was read token by token; `views` and `chosen` must follow from the positions that are passed",
    )
    for size in (7, 100):
        yield compared(
            f"reads in chunks of {size} as at once",
            largest(whole, in_pieces(model, text, size)),
            "the text was read in chunks; a method must not guess a position from a shape",
        )
    if in_parts(model.encoding):
        yield compared(
            "attention in parts equals the definition",
            largest(whole, defined(model, text)),
            "`suite/extend/attention.py` against `Regrouped.weights` or the hooks",
        )
        yield compared(
            "reads continuations side by side as alone",
            beside(model, text, whole),
            "two continuations of a text were read in one chunk; `chosen` must follow from the places that are passed",
        )
    yield within(method, model, text)
    if in_parts(model.encoding):
        yield shifted(model.encoding)
    finite = finite_at(model.encoding, MILLION)
    yield Check(
        f"is finite at position {MILLION:,}",
        finite,
        "finite" if finite else "not finite",
        "finite",
        "q and k were turned there",
    )


def within(method: str, model: Model, text: Tensor) -> Check:
    """Whether texts of the trained length are read as by the trained model, where the method claims it."""
    claim = claims(method)
    short = text[: model.about.trained]
    rope = model.checkpoint.rope()
    longer = extended(rope, method, 1.0 if claim.dynamic else FACTOR)
    mine, trained = (
        each.read(short, each.cache()) for each in (model.with_encoding(longer), model.with_encoding(rope))
    )
    error = largest(mine, trained)
    if not claim.within:
        return Check("reads the trained length unchanged", True, f"{error:.1e}", "not claimed", "not claimed")
    return compared(
        "reads the trained length unchanged",
        error,
        "claimed by `within`; take the claim back or leave short texts alone",
    )


def compared(name: str, error: float, detail: str) -> Check:
    """A check that two ways to compute the same agree."""
    return Check(name, error <= TOLERANCE, f"{error:.1e}", f"{TOLERANCE:.0e}", detail)


def largest(a: Tensor, b: Tensor) -> float:
    """The largest difference; infinite where a value is none."""
    error = float((a - b).abs().max())
    return float("inf") if math.isnan(error) else error


def altered(model: Model, text: Tensor) -> Tensor:
    """The states of the text with another last token."""
    other = text.clone()
    other[-1] = (other[-1] + 1) % model.about.vocab
    return model.read(other, model.cache())


def in_pieces(model: Model, text: Tensor, size: int) -> Tensor:
    """The states of the text, read so many tokens at a time."""
    cache = model.cache()
    return torch.cat([model.read(part, cache) for part in text.split(size)])


def beside(model: Model, text: Tensor, whole: Tensor) -> float:
    """The error of the text's end that is read beside another continuation of its beginning."""
    start, end = text.split([len(text) - 24, 24])
    other, branches = end.flip(0), Branches(Reader(model), start)
    parts = [(branches.add(), each) for each in (other, end)]
    first, second = (
        torch.cat(found) for found in zip(*(branches.read(some) for some in halves(parts)), strict=True)
    )
    alone = model.read(torch.cat([start, other]), model.cache())[len(start) :]
    return max(largest(first, alone), largest(second, whole[len(start) :]))


def halves(parts: list[tuple[int, Tensor]]) -> Iterator[list[tuple[int, Tensor]]]:
    """Each part's first half, then each one's second."""
    for half in (0, 1):
        yield [(branch, tokens.chunk(2)[half]) for branch, tokens in parts]


def defined(model: Model, text: Tensor) -> Tensor:
    """The states of the text by the hooks alone."""
    encoding = model.encoding
    wrapped = build(ByHooks.over(type(encoding)), encoding.shape)
    assert isinstance(wrapped, ByHooks)
    wrapped.inner = encoding
    by_hooks = model.with_encoding(wrapped)
    return by_hooks.read(text, by_hooks.cache())


def finite_at(encoding: Encoding, place: int) -> bool:
    """Whether q and k stay finite there."""
    shape = encoding.shape
    order = torch.arange(place - 8, place)
    q = torch.ones(1, shape.heads, 8, shape.head_dim)
    at = At(0, torch.zeros(1, 8, shape.width), NOTHING, order, order, {})
    return all(bool(side.isfinite().all()) for side in encoding.qk(q, q, at))


def shifted(encoding: Encoding) -> Check:
    """Whether logits at a million are those at the beginning, where the method claims to be relative.

    `views`, `chosen` and `hidden` of every method are read there.
    """
    name = f"reads at position {MILLION:,} as at the beginning"
    near, far = (logits_from(encoding, start) for start in (0, MILLION))
    seen = far.isfinite()
    if far.isnan().any() or not seen.any(-1).all():
        return Check(name, False, "nothing finite is seen", "finite", "logits of a query were computed there")
    if not type(encoding).relative:
        return Check(name, True, "finite", "not claimed", "`views`, `chosen` and `hidden` were read there")
    error = largest(near[seen], far[seen]) if torch.equal(seen, near.isfinite()) else math.inf
    detail = "positions were moved by a million; `relative` claims that logits stay"
    return Check(name, error <= SHIFTED, f"{error:.1e}", f"{SHIFTED:.0e}", detail)


def logits_from(encoding: Encoding, start: int) -> Tensor:
    """The logits (H, T, T) of the same queries and keys at positions from `start` on; -inf where no key is seen.

    Their order stays: `logn` counts the keys, and is relative.
    """
    shape, rng = encoding.shape, torch.Generator().manual_seed(0)
    q, k = torch.rand(2, 1, shape.heads, LENGTH, shape.head_dim, generator=rng) * 2 - 1
    order = torch.arange(LENGTH)
    at = At(0, torch.zeros(1, LENGTH, shape.width), NOTHING, order, order + start, {})
    method, keys = grouping(encoding), Keys(order, order + start)
    q, k = encoding.qk(q, k, at)
    views = len(method.views()) if method else 1
    pairs = zip(q.chunk(views, dim=-1), k.chunk(views, dim=-1), strict=True)
    logits = torch.stack([(q @ k.mT)[0] * shape.scale for q, k in pairs])
    shown = visible(at, keys)
    if method:
        logits = logits.gather(0, method.chosen(at, keys).expand(1, *logits.shape[1:]))
        hidden = method.hidden(at, keys)
        shown = shown if hidden is None else shown & ~hidden
    return logits[0].masked_fill(~shown, -torch.inf)
