"""Pictures of an encoding, as tables that are drawn without torch: `pebench pictures`.

Each row of the table is a point: state ("start" or "trained"), picture, layer, head (-1: their mean), x and y.

logit      x: distance of the key in tokens; y: its logit less the nearest key's
angle      x: plane; y: by how many radians one token turns it (the eigenvalues' angles)
stretch    x: distance; y: each singular value of the relative action over that distance
frequency  x: plane; y: radians a token, where they are learned
mass       x: lower end of a range of distances; y: share of the attention that lies in it
"""

import copy
import csv
import io
import math
from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import rms_norm

from pebench.encodings.base import At, Encoding, Keys, Shape
from pebench.encodings.streams import build, stream
from pebench.encodings.wrapper import Wrapper
from pebench.suite.lm.attention import attended, queries
from pebench.suite.lm.model import LM
from pebench.tasks.base import Task

SHAPE = Shape(layers=1, heads=4, head_dim=64, train_length=512)  # of an encoding without a model
SMALL = Shape(layers=1, heads=4, head_dim=16, train_length=512)  # where all pairs of channels are tried
DISTANCES = (0, 1, 2, 3, *(n for p in range(2, 10) for n in (2**p, 3 * 2 ** (p - 1))))
STEPS = (1, 4, 16, 64)  # distances over which an action is taken apart
DRAWS = 16  # random contents that a logit is averaged over
LINEAR = 1e-3  # error, as a share of the logit, from which an action is not linear

State = Literal["start", "trained"]


class Point(NamedTuple):
    """One row of the table."""

    state: State
    picture: str
    layer: int
    head: int
    x: float
    y: float


def untrained(cls: type[Encoding]) -> list[Point]:
    """The pictures of an encoding at its initial values."""
    points = list(logits("start", build(cls, SHAPE).eval()))
    return points + list(spectrum("start", build(cls, SMALL).eval()))


@torch.no_grad()
def trained(lm: LM, tokens: Tensor) -> list[Point]:
    """The pictures of a model's encoding before and after training; its attention is that over tokens (B, T)."""
    lm = copy.deepcopy(lm).cpu().eval()
    start = build(type(lm.encoding), lm.encoding.shape).eval()
    points: list[Point] = []
    states: tuple[tuple[State, Encoding], ...] = (("start", start), ("trained", lm.encoding))
    for state, encoding in states:
        for picture in (logits, spectrum, frequencies):
            points += picture(state, encoding)
    return points + list(masses(lm, tokens))


def texts(task: Task, length: int) -> Tensor:
    """Some training texts (B, T) of a task, to look at attention on."""
    return task.training(length, 4 * length, torch.Generator().manual_seed(0)).tokens


def to_csv(points: list[Point]) -> str:
    """The table as text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(Point._fields)
    writer.writerows((*p[:4], f"{p.x:g}", f"{p.y:.6g}") for p in points if math.isfinite(p.y))
    return text.getvalue()


@torch.no_grad()
def logits(state: State, encoding: Encoding) -> Iterator[Point]:
    """The logit of a key by its distance, in a text that repeats one token: only positions differ.

    q = k, x and v are drawn at random, q and k of unit RMS, and the logits are averaged over the draws. What an
    encoding adds to the embeddings does not show.
    """
    shape = encoding.shape
    length = min(DISTANCES[-1] + 1, encoding.max_length or math.inf)
    index = torch.arange(length)
    pos = encoding.positions(index, torch.zeros(DRAWS, length, dtype=torch.long), {})
    rng = torch.Generator().manual_seed(stream(0, "pictures"))
    same, v = (
        rms_norm(torch.randn(DRAWS, shape.heads, 1, shape.head_dim, generator=rng), (shape.head_dim,)).expand(
            -1, -1, length, -1
        )
        for _ in range(2)
    )
    x = torch.randn(DRAWS, 1, shape.width, generator=rng).expand(-1, length, -1)
    for layer in range(shape.layers):
        row = last_row(encoding, same, same, At.whole(layer, x, v, pos))  # (B, H, T)
        nearest = row[..., -1:] if row[..., -1].isfinite().all() else row[..., -2:-1]
        fall = (row - nearest).mean(0).flip(-1)
        for distance in DISTANCES[: sum(n < length for n in DISTANCES)]:
            for head in range(shape.heads):
                yield Point(state, "logit", layer, head, distance, fall[head, distance].item())


def last_row(encoding: Encoding, q: Tensor, k: Tensor, at: At) -> Tensor:
    """Logits (B, H, T) of the last query, up to a constant, from q and k as a layer gives them."""
    columns = encoding.columns(q, k, at)
    q, k = encoding.qk(q, k, at)
    here, keys = queries(at, slice(-1, None)), Keys(at.order, at.pos)
    q = q[..., -1:, :]
    if columns is not None:
        beside = columns.q.expand(*k.shape[:-1], -1)[..., -1:, :]
        here, keys = here._replace(columns=beside), keys._replace(columns=columns.k)
    weights = encoding.weights(q, k, here, keys)
    if weights is not None:
        return weights[..., 0, :].log()
    row = q @ k.mT * encoding.shape.scale
    if columns is not None:
        row = row + here.columns @ keys.columns.mT
    bias = encoding.bias(here, keys)
    return (row if bias is None else row + bias)[..., 0, :]


@torch.no_grad()
def spectrum(state: State, encoding: Encoding) -> Iterator[Point]:
    """What the relative action does to a key over some distances; nothing where q and k enter otherwise."""
    for layer in range(encoding.shape.layers):
        for distance in STEPS:
            action = relative_action(encoding, layer, distance)
            if action is None:
                break
            for head, matrix in enumerate(action):
                if distance == 1:
                    angles = torch.linalg.eigvals(matrix).angle().abs().sort(descending=True).values
                    for plane, angle in enumerate(angles[::2].tolist()):  # they come in pairs
                        yield Point(state, "angle", layer, head, plane, angle)
                for value in torch.linalg.svdvals(matrix).tolist():
                    yield Point(state, "stretch", layer, head, distance, value)


def relative_action(encoding: Encoding, layer: int, distance: int) -> Tensor | None:
    """M (H, d, d) of the logits q^T M k / sqrt(d) + b at this distance; None where they are not bilinear.

    Found through the hooks alone. The farther of two keys is zero, so the difference of their logits is the nearer
    one's product with the query, and its bias. Subtracting the logit of a zero key removes the bias.
    """
    shape, d = encoding.shape, encoding.shape.head_dim
    if encoding.max_length is not None and distance + 2 > encoding.max_length:
        return None
    rng = torch.Generator().manual_seed(stream(0, "action"))
    index = torch.arange(distance + 2)
    pos = encoding.positions(index, index[None], {})
    x = torch.randn(1, distance + 2, shape.width, generator=rng)

    def products(query: Tensor, key: Tensor) -> Tensor:
        """q^T M k (H, N) of N pairs (N, d)."""
        q, k = torch.zeros(2, len(query), shape.heads, distance + 2, d)
        q[..., -1, :], k[..., 1, :] = query[:, None], key[:, None]
        row = last_row(encoding, q, k, At.whole(layer, x.expand(len(query), -1, -1), q, pos))
        return (row[..., 1] - row[..., 0]).mT / shape.scale

    zero = torch.zeros(1, d)
    bias = products(zero, zero)
    basis = torch.eye(d)
    pairs = products(basis.repeat_interleave(d, 0), basis.repeat(d, 1)) - bias
    action = pairs.unflatten(-1, (d, d))
    q, k = torch.randn(2, 8, d, generator=rng)
    guess = torch.einsum("na,hab,nb->hn", q, action, k)
    error = (products(q, k) - bias - guess).abs().max()
    return action if error <= LINEAR * guess.abs().max() else None


def frequencies(state: State, encoding: Encoding) -> Iterator[Point]:
    """Learned frequencies, by plane, of encodings that keep them in a parameter."""
    for part in encoding.modules():
        with torch.enable_grad():
            theta = part.spectrum() if isinstance(part, Encoding) else None
        if theta is None or not theta.requires_grad:
            continue
        for layer, rows in enumerate(theta.flatten(1, -2) if theta.dim() > 2 else theta[:, None]):
            for head, row in enumerate(rows):
                for plane, value in enumerate(row.tolist()):
                    yield Point(state, "frequency", layer, head if len(rows) > 1 else -1, plane, value)


class Watched(Wrapper):
    """An encoding that remembers what its layers' attention was given."""

    title = "watched"
    seen: list[tuple[Tensor, Tensor, At]]

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        self.seen.append((q, k, at._replace(memory={})))
        return super().qk(q, k, at)


def masses(lm: LM, tokens: Tensor) -> Iterator[Point]:
    """How much attention goes how far: the mean over texts, heads and the queries of the second half."""
    plain = lm.encoding
    watched = build(Watched.over(type(plain)), plain.shape).eval()
    assert isinstance(watched, Watched)
    watched.inner, watched.seen = plain, []
    lm.encoding = watched
    try:
        lm(tokens)
    finally:
        lm.encoding = plain
    length = tokens.shape[1]
    one = torch.eye(length).expand(
        len(tokens), plain.shape.heads, -1, -1
    )  # these values make attention its weights
    place = torch.arange(length)
    far = (place[length // 2 :, None] - place).clamp(min=0)
    for q, k, at in watched.seen:
        weights = attended(plain, at, q, k, one).mean((0, 1))[length // 2 :]
        low, high = 0, 1
        while low < length:
            share = (weights * ((far >= low) & (far < high))).sum(-1).mean().item()
            yield Point("trained", "mass", at.layer, -1, low, share)
            low, high = high, 2 * high
