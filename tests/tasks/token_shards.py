"""A folder of token shards for tests: small, and with enough text held out."""

import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import torch

from pebench.tasks.data.tokens import Source, held_out, tokenise

WORDS = (
    "ship",
    "river",
    "the",
    "of",
    "naïve",
    "stone",
    "under",
    "seven",
    "lamp",
    "wrote",
    "green",
    "is",
    "a",
)


def names(held: bool) -> Iterator[str]:
    return (str(n) for n in itertools.count() if held_out(str(n)) == held)


def made(folder: Path, documents: int = 60, words: int = 400) -> Path:
    """Shards of random sentences; every fifth document is held out."""
    rng, (kept, aside) = torch.Generator().manual_seed(0), (names(False), names(True))
    source = folder / "documents.jsonl"
    with source.open("w", encoding="utf-8") as file:
        for n in range(documents):
            drawn = torch.randint(len(WORDS), (words,), generator=rng).tolist()
            document = {"id": next(aside if n % 5 == 0 else kept), "text": " ".join(WORDS[k] for k in drawn)}
            file.write(json.dumps(document) + "\n")
    tokenise(Source(str(source)), folder / "shards")
    return folder / "shards"
