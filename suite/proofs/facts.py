"""What every registered encoding reads and how it acts, as its hooks do: the facts of docs/map.md.

`python -m pebench.suite.proofs.facts` writes them for the board, which cannot import torch.
"""

import itertools
import json
from pathlib import Path

import torch
from torch import Tensor

from pebench.encodings.base import At, Encoding, Keys, Reflected
from pebench.encodings.base import Path as Unipotent
from pebench.encodings.idle import reads_positions
from pebench.encodings.registry import names, resolve
from pebench.encodings.wrapper import Wrapper
from pebench.suite.lm.attention import attended
from pebench.suite.proofs.certificate import EQUAL, LENGTH, SIZE, largest, longest, model, reads_content

FILE = Path(__file__).parents[2] / "leaderboard" / "facts.json"
ORDER = ("place", "embed", "rotate", "scale", "transform", "add", "hide", "weigh", "mix", "gate", "schedule")


def facts(name: str, cls: type[Encoding]) -> dict[str, object]:
    """Title, what it reads, how it acts, and the group action in GRAPE's language."""
    does = acts(cls)
    return {
        "name": name,
        "title": cls.title,
        "reads": reads(cls, does),
        "acts": sorted(does, key=ORDER.index) or ["nothing"],
        "action": action(cls, does),
    }


class Probe:
    """An encoding with moved parameters, and random inputs of texts twice as long as those of its training."""

    def __init__(self, cls: type[Encoding]):
        lm = model(cls, 0)
        self.encoding, self.shape, tokens = lm.encoding, lm.encoding.shape, longest(lm, 2 * LENGTH)
        rng = torch.Generator().manual_seed(0)
        self.x = torch.randn(1, tokens, self.shape.width, generator=rng)
        heads, width = self.shape.heads, self.shape.head_dim
        self.v = torch.randn(1, heads, tokens, width, generator=rng)
        # Alike in all heads, so that a head which shares another's q and k does not change them.
        self.q, self.k = torch.randn(2, 1, 1, tokens, width, generator=rng).expand(-1, -1, heads, -1, -1)
        self.index = torch.arange(tokens)
        self.tokens = self.index[None] % SIZE.vocab  # all symbols, those that end a segment too
        self.pos = self.encoding.positions(self.index, self.tokens, {})

    def at(self, layer: int, progress: float = 1.0, pos: Tensor | None = None) -> At:
        """A layer, with a memory of its own."""
        pos = self.pos if pos is None else pos
        return At(layer, self.x, self.v, self.index, pos, {}, torch.tensor(progress))


@torch.no_grad()
def acts(cls: type[Encoding]) -> set[str]:
    """How it acts, and how the encoding that it wraps does."""
    probe, found = Probe(cls), set[str]()
    encoding = probe.encoding
    if not torch.equal(probe.pos, probe.index):
        found.add("place")
    if not torch.equal(encoding.embed(probe.x, probe.pos), probe.x):
        found.add("embed")
    for layer in range(probe.shape.layers):
        early, late = (encoding.qk(probe.q, probe.k, probe.at(layer, progress)) for progress in (0.0, 1.0))
        if any(not torch.equal(a, b) for a, b in zip(early, late, strict=True)):
            found.add("schedule")
        for progress in (0.0, 1.0):
            found |= turns(probe, layer, progress)
        found |= adds(probe, layer)
        if not torch.equal(encoding.values(probe.v, probe.at(layer)), probe.v):
            found.add("mix")
        if not torch.equal(encoding.output(probe.v, probe.at(layer)), probe.v):
            found.add("gate")
    if issubclass(cls, Wrapper):
        found |= acts(cls.inner_class)
    return found


def turns(probe: Probe, layer: int, progress: float) -> set[str]:
    """How `qk` changes queries and keys: by rotations, by factors that do not depend on them, or otherwise."""
    found, at = set[str](), probe.at(layer, progress)
    first = probe.encoding.qk(probe.q, probe.k, at)
    second = probe.encoding.qk(probe.k, probe.q, probe.at(layer, progress))
    for raw, other, x, y in zip((probe.q, probe.k), (probe.k, probe.q), first, second, strict=True):
        if torch.equal(x, raw):
            continue
        ratio, again = x.norm(dim=-1) / raw.norm(dim=-1), y.norm(dim=-1) / other.norm(dim=-1)
        if x.shape != raw.shape or largest(ratio - again) > EQUAL:
            found.add("transform")
            continue
        if largest(ratio - 1) > EQUAL:
            found.add("scale")
        if largest(x - ratio[..., None] * raw) > EQUAL:
            found.add("rotate")
    return found


def adds(probe: Probe, layer: int) -> set[str]:
    """Whether it computes rows of weights, else whether it adds to logits or hides keys."""
    encoding, at, keys = probe.encoding, probe.at(layer), Keys(probe.index, probe.pos)
    if encoding.defines("weights"):
        return {"weigh"}
    found = set[str]()
    if encoding.columns(probe.q, probe.k, at) is not None:
        found.add("add")
    if encoding.sight(layer) is not None:
        found.add("hide")  # a window may be wider than this text
    bias = encoding.bias(probe.at(layer), keys)
    if bias is not None:
        past = bias.expand(1, probe.shape.heads, -1, -1).tril()
        if past.isneginf().any():
            found.add("hide")
        if past[past.isfinite()].any():
            found.add("add")
    return found


@torch.no_grad()
def reads(cls: type[Encoding], does: set[str]) -> list[str]:
    """Distances or places of tokens, contents, the neighbours of a token, or the tokens themselves."""
    probe = Probe(cls)
    again = probe.encoding.positions(probe.index, probe.tokens.flip(1), {})
    relative = cls.relative and "embed" not in does
    content = bool(reads_content(cls, 0).facts.get("reads_content"))
    found = {
        "distance" if relative else "position": "embed" in does or reads_positions(cls) or far_matters(probe),
        "content": content or "gate" in does,
        "neighbours": mixes_neighbours(probe),
        "tokens": not torch.equal(probe.pos, again),
    }
    return [what for what, read in found.items() if read]


def far_matters(probe: Probe) -> bool:
    """Whether weights change where positions lie twice as far apart: hooks that compute rows may read them too."""
    if probe.pos.dim() > 2:
        return False  # several numbers a token, which `embed` and `qk` read
    one = torch.eye(len(probe.index)).expand(1, probe.shape.heads, -1, -1)

    def weights(layer: int, progress: float, pos: Tensor) -> Tensor:
        at = probe.at(layer, progress, pos)
        return attended(probe.encoding, at, probe.q, probe.k, one, Keys(probe.index, pos))

    return any(
        largest(weights(*place, probe.pos) - weights(*place, 2 * probe.pos)) > EQUAL
        for place in itertools.product(range(probe.shape.layers), (0.0, 1.0))
    )


def mixes_neighbours(probe: Probe) -> bool:
    """Whether the first token's key or value reaches into what later tokens have."""

    def later(k: Tensor, v: Tensor) -> list[Tensor]:
        at = probe.at(0)
        return [x[..., 1:, :] for x in (probe.encoding.qk(probe.q, k, at)[1], probe.encoding.values(v, at))]

    other = probe.k.clone(), probe.v.clone()
    for x in other:
        x[..., 0, :] += 1
    return any(not torch.equal(a, b) for a, b in zip(later(probe.k, probe.v), later(*other), strict=True))


def action(cls: type[Encoding], does: set[str]) -> str:
    """The group that acts on q and k; of paths, what is multiplied along them."""
    if "weigh" in does:
        return rows(cls, does)
    parts = ["SO(d) (GRAPE-M)"] if "rotate" in does else []
    parts += ["scalings"] if "scale" in does else []
    if "transform" in does:
        return "none: q and k change as no group acts"
    if "add" in does:
        parts.append(
            "unipotent (GRAPE-A)" if cls.defines("columns") else "none: a table or function of distances"
        )
    return " x ".join(parts) or ("none: acts on embeddings" if "embed" in does else "identity")


@torch.no_grad()
def rows(cls: type[Encoding], does: set[str]) -> str:
    """The path action of an encoding that computes rows of weights, where its form says one."""
    probe = Probe(cls)
    at, q, k = probe.at(0), probe.q, probe.k
    columns = probe.encoding.columns(q, k, at)
    keys = Keys(probe.index, probe.pos)
    if columns is not None:
        sides = [side.expand(1, probe.shape.heads, len(probe.index), -1) for side in columns]
        at, keys = at._replace(columns=sides[0]), keys._replace(columns=sides[1])
    form = probe.encoding.valid_form(*probe.encoding.qk(q, k, at), at, keys)
    if isinstance(form, Unipotent):
        return "path of unipotent factors (GRAPE-AP)"
    if isinstance(form, Reflected) or cls.family == "path-integral":
        return "path of reflections"
    return "SO(d) (GRAPE-M), rows of its own" if "rotate" in does else "none: rows of its own"


def document() -> str:
    """The facts of all registered encodings, as JSON."""
    return json.dumps([facts(name, resolve(name)[1]) for name in names()], indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")
