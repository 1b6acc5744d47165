"""Encodings that fail while they are trained, each in its own way."""

import atexit
import os
import signal
import time

import torch
from torch import Tensor

from pebench.encodings.base import At
from pebench.encodings.nope import NoPE


class Raises(NoPE):
    """Has a bug."""

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        print("this must not disturb anything")
        raise RuntimeError("a bug of [bold]mine[/]")


class Prints(NoPE):
    """Writes to standard output as a C library does, more than a pipe holds."""

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        os.write(1, b"no JSON\n" * 1000)
        return x


class EndsBadly(NoPE):
    """Crashes when all is done."""

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        atexit.register(os._exit, 9)
        return x


class Diverges(NoPE):
    """Loses all numbers."""

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        return x * torch.nan


class Hangs(NoPE):
    """Never answers."""

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        time.sleep(600)
        return x


class Swallows(NoPE):
    """Takes all memory that it gets."""

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        hoard = []
        while True:
            hoard.append(torch.ones(2**24))
            time.sleep(0.05)  # what watches it comes once in a while


class Dies(NoPE):
    """Is killed."""

    def embed(self, x: Tensor, pos: Tensor) -> Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        return x
