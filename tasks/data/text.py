"""Windows of the corpus, as the tasks on real text draw them."""

import functools
from pathlib import Path

import torch
from torch import Tensor

from pebench.tasks.data.corpus import CorpusError, Split, byte_tensor


@functools.cache
def joined(split: Split, corpus: Path | None) -> Tensor:
    """All documents of a split, one after another: uint8 (bytes,)."""
    return torch.cat(byte_tensor(split, corpus))


def random_windows(split: Split, n: int, length: int, rng: torch.Generator, corpus: Path | None) -> Tensor:
    """Bytes (n, length), int64: each row stands together in one document of the split."""
    first, room = starts(split, length, corpus)
    places = torch.randint(0, int(room[-1]), (n,), generator=rng)
    document = torch.searchsorted(room, places, right=True)
    before = torch.nn.functional.pad(room, (1, 0))[document]  # places of earlier documents
    return joined(split, corpus)[(first[document] + places - before)[:, None] + torch.arange(length)].long()


@functools.cache
def starts(split: Split, length: int, corpus: Path | None) -> tuple[Tensor, Tensor]:
    """Where each document begins in `joined`, and how many windows of this length it and those before it hold."""
    sizes = torch.tensor([len(document) for document in byte_tensor(split, corpus)])
    room = (sizes - length + 1).clamp(min=0).cumsum(0)
    if room[-1] == 0:
        raise CorpusError(f"no document of the {split} text has {length} bytes; add longer ones")
    return sizes.cumsum(0) - sizes, room
