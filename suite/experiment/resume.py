"""The state of a training on disk: a killed training goes on where it was, and ends in the same bits."""

import io
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor, nn

from pebench.suite.results.record import write_whole


class Progress(NamedTuple):
    """How far a training is."""

    step: int = 0  # steps done
    tokens: int = 0
    seconds: float = 0.0
    losses: tuple[Tensor, ...] = ()  # of each step


class Optimiser(Protocol):
    """An optimiser with a state of its own."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any], /) -> None: ...


@dataclass
class Resume:
    """Where a training keeps its state, and the run's identity: the state of another run is not used."""

    path: Path
    run: str
    every: float = 60.0  # seconds
    saved: float = field(default_factory=time.monotonic)  # when it was last
    earlier: float = 0.0  # seconds of the training before this process

    def restore(self, lm: nn.Module, opt: Optimiser) -> Progress:
        """Continue from the saved state, where there is one of this run."""
        if not self.path.exists():
            return Progress()
        try:
            state = torch.load(self.path, map_location="cpu", weights_only=True)
            if state["run"] != self.run:
                raise ValueError("it is of another run")
        except Exception as e:  # torch.load raises whatever a torn file makes it stumble over
            print(f"{self.path} is not used, the training starts anew: {e}", file=sys.stderr)
            return Progress()
        lm.load_state_dict(state["model"])
        opt.load_state_dict(state["optimiser"])
        losses, self.earlier = state["losses"].unbind(), state["seconds"]
        print(f"continues after step {state['step']}", file=sys.stderr)
        return Progress(state["step"], state["tokens"], state["seconds"], losses)

    def due(self) -> bool:
        """Whether the state was saved long enough ago."""
        return time.monotonic() - self.saved >= self.every

    def save(self, lm: nn.Module, opt: Optimiser, progress: Progress) -> None:
        """Save the state. Where the disk or the memory is full that is told, and the training goes on."""
        self.saved = time.monotonic()
        state = {
            "run": self.run,
            "model": lm.state_dict(),
            "optimiser": opt.state_dict(),
            "step": progress.step,
            "tokens": progress.tokens,
            "seconds": progress.seconds,
            "losses": torch.stack(progress.losses),
        }
        try:
            data = io.BytesIO()
            torch.save(state, data)
            write_whole(self.path, data.getvalue())
        except (OSError, MemoryError, RuntimeError) as e:
            print(f"the state of the training cannot be saved: {e}", file=sys.stderr)

    def remove(self) -> None:
        """The run has its record: the state is of no use any more."""
        self.path.unlink(missing_ok=True)
