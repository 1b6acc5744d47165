"""Attention of a chunk of queries over all keys so far, in parts of one view each: no matrix of queries by keys.

The definition is `encodings.extension.Regrouped.weights`. Here a part is a stretch of keys that all queries of a chunk
see in one view, without a mask. Where views meet, each has a part with a mask. Parts are joined by the logarithms of
their normalisers. Queries that share a head of keys read it in one call; only the chunk's own keys are repeated.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pebench.encodings.base import NOTHING, At, Encoding, Keys
from pebench.encodings.extension import Regrouped
from pebench.encodings.wrapper import Wrapper
from pebench.suite.lm.native.stretch import serves, stretch

BLOCK = 512  # keys whose views are looked at together
HOOKS = ("positions", "embed", "columns", "bias", "by_distance", "weights", "values", "output")
flash = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu


class Part(NamedTuple):
    """The keys from `start` to `stop`, seen in one view."""

    view: int
    start: int
    stop: int
    mask: Tensor | None = None  # (T, stop - start) float32: 0 where seen in this view, else -inf
    causal: bool = False  # the keys are those of the chunk itself


class Behind(NamedTuple):
    """Keys behind a text of `text` tokens, several continuations of it side by side."""

    text: int
    places: Tensor  # (S,), in the text with its continuation
    seen: Tensor  # bool (T, S): whether a query sees one


def grouping(encoding: Encoding) -> Regrouped | None:
    """The method within an encoding that changes distances; None where no method does."""
    while isinstance(encoding, Wrapper) and not isinstance(encoding, Regrouped):
        encoding = encoding.inner
    return encoding if isinstance(encoding, Regrouped) else None


def in_parts(encoding: Encoding) -> bool:
    """Whether attention in parts computes this encoding: it turns q and k, and a method may change the distances."""
    if isinstance(encoding, Regrouped):
        method = type(encoding)
        own = method.weights is Regrouped.weights and method.seen is Regrouped.seen
        return own and not any(encoding.inner.defines(hook) for hook in HOOKS)
    if isinstance(encoding, Wrapper):
        cls = type(encoding)
        kept = all(getattr(cls, hook) is getattr(Wrapper, hook) for hook in (*HOOKS, "rebias", "reweigh"))
        return kept and in_parts(encoding.inner)
    return not any(encoding.defines(hook) for hook in HOOKS)


def parts_of(encoding: Encoding, order: Tensor, behind: Behind | None = None) -> list[Part]:
    """The parts in which queries (T,) at these places see all keys up to the last of them, themselves included.

    With `behind` keys do not lie in one line: those of a text come first, and see `Behind` for the others.
    """
    start, stop = int(order[0]), int(order[-1]) + 1
    method, text = grouping(encoding), behind.text if behind else stop
    if method is None:
        if behind:
            return [Part(0, 0, text), *masked(0, text, behind.seen)]
        own = Part(0, start, stop, causal=True)
        return [Part(0, 0, start), own] if start else [own]
    found = list[Part]()
    for part in looked_at(method, order, text):
        last = found[-1] if found else None
        if (
            last
            and last.view == part.view
            and last.stop == part.start
            and last.mask is None
            and part.mask is None
        ):
            found[-1] = last._replace(stop=part.stop)
        else:
            found.append(part)
    if behind:
        found += in_views(method, order, behind.places, text, behind.seen)
    return found


def looked_at(method: Regrouped, order: Tensor, stop: int) -> Iterator[Part]:
    """The parts within each block of the keys up to `stop`."""
    for first in range(0, stop, BLOCK):
        places = torch.arange(first, min(stop, first + BLOCK))
        yield from in_views(method, order, places, first, places <= order[:, None])


def in_views(method: Regrouped, order: Tensor, places: Tensor, first: int, seen: Tensor) -> Iterator[Part]:
    """The parts of the keys (S,) at these places, of which queries (T,) see `seen` (T, S); `first` is their first."""
    at, keys = At(0, NOTHING, NOTHING, order, order, {}), Keys(places, places)
    hidden = method.hidden(at, keys)
    shown = seen if hidden is None else seen & ~hidden
    view = method.chosen(at, keys).masked_fill(~shown, -1)
    low, high = int(view.min()), int(view.max())
    if low == high:
        if low >= 0:
            yield Part(low, first, first + len(places))
        return
    for number in range(max(0, low), high + 1):
        mine = view == number
        if bool(mine.any()):
            yield from masked(number, first, mine)


def masked(view: int, first: int, seen: Tensor) -> list[Part]:
    """The part of keys of which each query sees its own: bool (T, S)."""
    return [Part(view, first, first + seen.shape[1], torch.zeros(seen.shape).masked_fill(~seen, -torch.inf))]


def attend(q: Tensor, k: Tensor, v: Tensor, parts: list[Part], views: int, scale: float) -> Tensor:
    """(1, H, T, d) out of q (1, H, T, n d), k (1, K, S, n d) and v (1, K, S, d), n views side by side.

    Heads h of q read the keys' head h // (H / K), as in grouped-query attention.
    """
    heads, tokens = q.shape[1], q.shape[2]
    groups = heads // k.shape[1]
    sides, width = q.chunk(views, dim=-1), k.shape[-1] // views
    outs, logs = list[Tensor](), list[Tensor]()
    for part in parts:
        here = slice(part.start, part.stop)
        side = sides[part.view].contiguous()
        key = k[..., here, part.view * width : (part.view + 1) * width]
        if part.causal:
            key, value = (x.repeat_interleave(groups, dim=1) for x in (key, v[..., here, :]))
            y, log = flash(side, key, value, is_causal=True, scale=scale)
        else:
            folded, value = side.view(1, -1, groups * tokens, width), v[..., here, :]
            mask = None if part.mask is None else part.mask.repeat(groups, 1)
            if mask is None and serves(folded, key, value):
                y, log = stretch(folded, key, value, scale)
            else:
                y, log = flash(folded, key, value, attn_mask=mask, scale=scale)
            y, log = y.reshape(1, heads, tokens, -1), log.reshape(1, heads, tokens)
            if part.mask is not None:  # the kernel gives 0 for a row that sees nothing
                log = log.masked_fill((part.mask == -torch.inf).all(-1), -torch.inf)
        outs.append(y)
        logs.append(log)
    if len(outs) == 1:
        return outs[0]
    shares = torch.stack(logs).softmax(0)[..., None]
    total = outs[0] * shares[0]
    for y, share in zip(outs[1:], shares[1:], strict=True):
        total.addcmul_(y.float(), share)
    return total.type_as(v)
