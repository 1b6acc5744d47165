"""What every registered encoding reads and how it acts, as its hooks say: the facts of docs/map.md.

`python -m pebench.suite.proofs.facts` writes them for the board, which cannot import torch.
"""

import json
from pathlib import Path

import torch

from pebench.encodings.base import Encoding
from pebench.encodings.registry import names, resolve
from pebench.suite.proofs.certificate import LENGTH, batch, model, reads_content

FILE = Path(__file__).parents[2] / "leaderboard" / "facts.json"
ACTS = {
    "rotate": ("qk",),
    "add": ("columns", "bias", "by_distance"),
    "weigh": ("weights",),
    "embed": ("embed",),
    "place": ("positions",),
    "mix": ("values", "output"),
}


def facts(name: str, cls: type[Encoding]) -> dict[str, object]:
    """Title, what it reads, how it acts, and the group action in GRAPE's language."""
    acts = [act for act, hooks in ACTS.items() if any(map(cls.defines, hooks))]
    return {
        "name": name,
        "title": cls.title,
        "reads": [what for what, read in reads(cls).items() if read],
        "acts": acts or ["nothing"],
        "action": action(cls, acts),
    }


@torch.no_grad()
def reads(cls: type[Encoding]) -> dict[str, bool]:
    """Whether distances, contents, or the tokens themselves change what it does."""
    lm, index = model(cls, 0), torch.arange(LENGTH)
    a, b = (lm.encoding.positions(index, batch(1, LENGTH, seed), {}) for seed in (0, 1))
    content = bool(reads_content(cls, 0).facts.get("reads_content"))
    return {
        "positions": any(map(cls.defines, ("qk", "columns", "bias", "by_distance", "weights", "embed"))),
        "content": content,
        "tokens": not torch.equal(a, b),
    }


def action(cls: type[Encoding], acts: list[str]) -> str:
    """The group that acts on q and k."""
    if "weigh" in acts:
        return "none: rows of its own"
    turns, adds = cls.norm_preserving and cls.defines("qk"), cls.defines("columns")
    if turns and adds:
        return "SO(d) x unipotent (GRAPE-M x A)"
    if turns:
        return "SO(d) (GRAPE-M)"
    return "unipotent (GRAPE-A)" if adds else "none"


def document() -> str:
    """The facts of all registered encodings, as JSON."""
    return json.dumps([facts(name, resolve(name)[1]) for name in names()], indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(document(), encoding="utf-8")
