"""Random streams with names: what is drawn from one does not shift what another gives."""

import hashlib

import torch

from pebench.encodings.base import Encoding, Shape


def stream(seed: int, name: str) -> int:
    """The seed of the random stream that belongs to this name: independent of all others'."""
    return int.from_bytes(hashlib.sha256(f"{seed}:{name}".encode()).digest()[:8], "big") >> 1


def build(cls: type[Encoding], shape: Shape, seed: int = 0) -> Encoding:
    """An encoding whose initial values come from a random stream of its own, on the default device.

    It is made in float32 on the CPU: so its constants are right in a model that is made on the meta device.
    """
    dtype, device = torch.get_default_dtype(), torch.get_default_device()
    with torch.random.fork_rng(devices=[]), torch.device("cpu"):
        torch.manual_seed(stream(seed, "encoding"))
        torch.set_default_dtype(torch.float32)
        try:
            encoding = cls(shape)
            return encoding if device.type == "cpu" else encoding.to(device)  # a move has no fake tensors
        finally:
            torch.set_default_dtype(dtype)
