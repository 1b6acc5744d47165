"""Random streams with names: what is drawn from one does not shift what another gives."""

import hashlib

import torch

from pebench.encodings.base import Encoding, Shape


def stream(seed: int, name: str) -> int:
    """The seed of the random stream that belongs to this name: independent of all others'."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big") >> 1


def build(cls: type[Encoding], shape: Shape, seed: int = 0) -> Encoding:
    """An encoding whose initial values come from a random stream of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, "encoding"))
        return cls(shape)
