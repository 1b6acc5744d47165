"""What a rank does in the tests of ranks: `python together.py WHAT FOLDER ...`, with torchrun's variables set."""

import hashlib
import json
import math
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import torch

from pebench.encodings.registry import resolve
from pebench.suite.experiment import ranks
from pebench.suite.experiment.ranks import Loss, SharedResume, Team, joined, train_together
from pebench.suite.experiment.sharing import Sharing
from pebench.suite.experiment.training import Diverged, Recipe, train
from pebench.suite.lm import precision
from pebench.suite.lm.model import LM, Size
from pebench.tasks import make
from pebench.tasks.base import Task

RECIPE = Recipe(length=8, steps=12, tokens=256, learning_rate=6e-3)
TASK = make("copy")
CPU = torch.device("cpu")
assert isinstance(TASK, Task)


def model(name: str) -> LM:
    return LM(Size(2, 32, 4, TASK.vocab), resolve(name)[1], 17, 0)


@contextmanager
def at_most(logits: int) -> Iterator[None]:
    before, ranks.LOGITS = ranks.LOGITS, logits
    yield
    ranks.LOGITS = before


def alike(team: Team, encodings: list[str], ways: dict[str, Sharing]) -> dict[str, float]:
    """How far losses and weights of each way lie from those of one process."""
    far = {}
    for name in encodings:
        alone = model(name)
        loss = train(alone, TASK, RECIPE, 0).final_loss
        for way, sharing in ways.items():
            team.sharing, shared = sharing, model(name)
            with at_most(TASK.vocab * 7 if sharing.recompute else ranks.LOGITS):
                found = team.train(shared, TASK, RECIPE, 0).final_loss
            weights = team.whole(shared)
            moved = max(float((weights[n] - x).abs().max()) for n, x in alone.state_dict().items())
            far[f"{name} {way}"] = abs(found - loss)
            far[f"{name} {way} weights"] = moved
    return far


def poisoned(team: Team) -> tuple[str, float]:
    """What this rank says, and how many seconds after the loss of rank 1 alone became NaN, in the seventh step."""
    whole, calls = Loss.forward, list[float]()

    def forward(self: Loss, tokens: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        calls.append(time.monotonic())
        bad = team.rank == 1 and len(calls) == 7
        return whole(self, tokens, targets) * (math.nan if bad else 1.0)

    Loss.forward = forward  # type: ignore[method-assign]
    team.sharing = Sharing(team.sharing.ranks)
    try:
        team.train(model("rope"), TASK, RECIPE, 0)
    except Diverged as e:
        return str(e), time.monotonic() - calls[6]
    finally:
        Loss.forward = whole  # type: ignore[method-assign]
    return "ended", 0.0


def killed_at(step: int, rank: int) -> Callable[[int], None]:
    """A tick that kills this rank behind a step."""

    def tick(done: int) -> None:
        if done == step and int(os.environ["RANK"]) == rank:
            os.kill(os.getpid(), signal.SIGKILL)

    return tick


def resumed(team: Team, folder: Path, stop: int, run: str) -> dict[str, object]:
    """Train with a state saved behind every step; what became of it."""
    state = SharedResume(folder, run, every=0.0, team=team)
    shared = model("fox")
    done = team.train(shared, TASK, RECIPE, 0, killed_at(stop, 1), state)
    bits = b"".join(x.numpy().tobytes() for x in team.whole(shared).values())
    return {"loss": done.final_loss, "bits": hashlib.sha256(bits).hexdigest(), "before": state.before}


def left(world: int, folder: Path, sharded: bool) -> dict[str, int]:
    """How many threads, beside Python's, a training leaves behind."""
    sharing = Sharing(world, sharded=sharded)
    train_together(lambda: model("fox"), TASK, RECIPE, 0, lambda step: None, folder, "run", sharing, CPU)
    return {"threads": psutil.Process().num_threads() - threading.active_count()}


def main() -> None:
    what, rest = sys.argv[1], json.loads(sys.argv[2])
    warnings.simplefilter("error")
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    precision.fast_bf16 = lambda device: False  # type: ignore[assignment]
    precision.fast_fp16 = lambda: False  # type: ignore[assignment]
    world = int(os.environ["WORLD_SIZE"])
    if what == "left":
        print(json.dumps(left(world, Path(rest["folder"]), rest["sharded"])), flush=True)
        return
    with joined(Sharing(world, sharded=rest.get("sharded", False)), CPU) as team:
        said: object
        if what == "alike":
            ways = {name: Sharing(world, **way) for name, way in rest["ways"].items()}
            said = {"far": alike(team, rest["encodings"], ways), "poisoned": poisoned(team)}
        else:
            said = resumed(team, Path(rest["folder"]), rest["stop"], rest["run"])
    print(json.dumps(said), flush=True)


if __name__ == "__main__":
    main()
