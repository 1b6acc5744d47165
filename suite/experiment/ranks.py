"""One model on several processes, the ranks: each takes its rows of the same batch, and all take the same step.

A step shared among ranks is the step of `training.py` but for the order of its sums. So no fingerprint counts this
module. torchrun starts the processes. They talk by gloo on CPUs and by NCCL on GPUs. Replicas are PyTorch's DDP,
and shares of parameters, gradients and moments are its FSDP2.
"""

import contextlib
import gc
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar, cast

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as checkpoints
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor
from torch.nn.functional import cross_entropy
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from pebench.suite.experiment.resume import Optimiser, Progress, Resume
from pebench.suite.experiment.sharing import Sharing
from pebench.suite.experiment.training import AdamW, Recipe, Step, Trained, train
from pebench.suite.lm.model import LM, Block
from pebench.suite.lm.precision import precision
from pebench.suite.results.provenance import RunFacts
from pebench.suite.results.record import write_whole
from pebench.tasks.base import IGNORE, Batch, Task

LOGITS = 2**26  # held at once; of more, each stretch of tokens has its loss apart, computed again backwards
T = TypeVar("T")
ABOUT = "progress.json"  # in the folder of a saved state: written last, so what has it is whole


class Loss(nn.Module):
    """The sum (nats) of the cross-entropies of the targets that are asked for."""

    def __init__(self, lm: LM):
        super().__init__()
        self.lm = lm

    def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
        asked = targets != IGNORE
        states, targets = self.lm.states(tokens)[asked], targets[asked]
        most = max(1, LOGITS // self.lm.size.vocab)
        if len(states) <= most:
            return self.part(states, targets)
        stretches = zip(states.split(most), targets.split(most), strict=True)
        return torch.stack([checkpoint(self.part, *each, use_reentrant=False) for each in stretches]).sum()

    def part(self, states: Tensor, targets: Tensor) -> Tensor:
        """The sum over residual states (N, D) and their targets (N,)."""
        return cross_entropy(self.lm.logits(states).float(), targets, reduction="sum")


def no_view(forward: Callable[..., Tensor], *inputs: Any) -> Tensor:
    """What a block returns, in memory of its own: a view may lose the hook by which FSDP2 gathers its parameters."""
    y = forward(*inputs)
    return y.clone() if y._is_view() else y


@dataclass
class Team:
    """The ranks of one training, seen from one of them."""

    sharing: Sharing
    rank: int
    device: torch.device
    mesh: DeviceMesh | None = None

    def train(
        self,
        lm: LM,
        task: Task,
        recipe: Recipe,
        seed: int,
        tick: Callable[[int], None] = lambda step: None,
        resume: "Resume | None" = None,
    ) -> Trained:
        """`training.train` by all ranks. The model is theirs then: `whole` gives its weights."""
        for block in cast(list[Block], list(lm.blocks)):
            if self.sharing.recompute:
                block.forward = partial(checkpoint, block.forward, use_reentrant=False)  # type: ignore[method-assign]
            if self.sharing.sharded:
                block.forward = partial(no_view, block.forward)  # type: ignore[method-assign]
        loss = Loss(lm)
        model: nn.Module = self.shards(loss) if self.sharing.sharded else self.replica(loss)

        @contextlib.contextmanager
        def stepper(lm: LM, opt: AdamW, clip: float) -> Iterator[Step]:
            yield lambda data, rate: self.step(model, lm, opt, clip, data, rate)

        return train(lm, task, recipe, seed, tick, resume, stepper)

    def replica(self, loss: Loss) -> nn.Module:
        """The loss on every rank, with all parameters (DDP).

        Parameters that a step does not use keep their moments, as on one process. The search for them also keeps the
        buckets of gradients as they are, so that a resumed training sums in the same order.
        """
        devices = [self.device] if self.device.type == "cuda" else None
        return DistributedDataParallel(
            loss, device_ids=devices, forward_sync_buffers=False, find_unused_parameters=True
        )

    def shards(self, loss: Loss) -> nn.Module:
        """The loss on every rank, with a share of every parameter (FSDP2)."""
        self.mesh = mesh = self.mesh or init_device_mesh(self.device.type, (self.sharing.ranks,))
        for block in loss.lm.blocks:
            fully_shard(block, mesh=mesh)
        fully_shard(loss, mesh=mesh)
        return loss

    def step(
        self, model: nn.Module, lm: LM, opt: AdamW, clip: float, data: Batch, rate: float
    ) -> tuple[float, float]:
        """A step of all ranks: the loss of the whole batch (nats), and the norm of its gradients.

        Both are equal on all ranks, so that all go on or none does. Each pass draws the same random numbers.
        """
        count, total = (data.targets != IGNORE).sum(), torch.zeros((), device=self.device)
        passes = self.passes(data)
        for n, part in enumerate(passes):
            with self.drawing(), self.exchange(model, n == len(passes) - 1):
                with precision(self.device):
                    value = model(*part) / count
                (value * self.sharing.ranks).backward()  # DDP and FSDP2 take the mean over ranks
            total += value.detach()
        dist.all_reduce(total)
        norm = nn.utils.clip_grad_norm_(lm.parameters(), clip, foreach=True)
        norm = norm.full_tensor() if isinstance(norm, DTensor) else norm
        if total.isfinite() and norm.isfinite():
            opt.step(rate)
        lm.zero_grad()
        return total.item(), norm.item()

    def passes(self, data: Batch) -> list[Batch]:
        """The rows of this rank in micro-batches, as many on every rank; a rank without a row asks for nothing."""
        most = -(-len(data.tokens) // self.sharing.ranks)
        size = min(most, self.sharing.micro_batch or most)
        mine = Batch(*(part[self.rank :: self.sharing.ranks] for part in data))
        parts = [
            Batch(*part) for part in zip(*(side.split(size) for side in mine), strict=True) if len(part[0])
        ]
        nothing = Batch(data.tokens[:1], torch.full_like(data.targets[:1], IGNORE))
        return parts + [nothing] * (-(-most // size) - len(parts))

    def drawing(self) -> AbstractContextManager[None]:
        """Within, random numbers are drawn; behind it, their state is the one before."""
        return torch.random.fork_rng(devices=[self.device] if self.device.type == "cuda" else [])

    def exchange(self, model: nn.Module, last: bool) -> AbstractContextManager[None]:
        """Within, replicas add their gradients up on the last pass alone; shares are sent on every pass."""
        if isinstance(model, DistributedDataParallel) and not last:
            return cast(AbstractContextManager[None], model.no_sync())
        return contextlib.nullcontext()

    def whole(self, lm: LM) -> dict[str, Tensor]:
        """The weights of a model that the ranks have trained, in this process's memory. All ranks must ask."""
        return {
            name: (x.full_tensor() if isinstance(x, DTensor) else x).cpu()
            for name, x in lm.state_dict().items()
        }

    def forget(self) -> None:
        """Let go of the destroyed group, so that its threads end before the interpreter does.

        DTensor's caches hold the mesh, and the mesh holds the group. A thread of gloo that then frees a tensor while
        the interpreter ends aborts the process.
        """
        getattr(self.mesh, "_pg_registry", {}).clear()
        gc.collect()  # modules of FSDP2 hold the group in cycles

    def agree(self, mine: T) -> T:
        """What rank 0 says."""
        box = [mine]
        dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
        return box[0]


@contextlib.contextmanager
def joined(sharing: Sharing, device: torch.device) -> Iterator[Team]:
    """The team that torchrun has started, seen from this process; on GPUs each rank has its own."""
    rank = int(os.environ["RANK"])
    if device.type == "cuda":
        torch.cuda.set_device(device)
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    team = Team(sharing, rank, device)
    yield team
    dist.barrier()  # none leaves while another still reads
    dist.destroy_process_group()
    team.forget()


def train_together(
    model: Callable[[], LM],
    task: Task,
    recipe: Recipe,
    seed: int,
    tick: Callable[[int], None],
    folder: Path,
    run: str,
    sharing: Sharing,
    device: torch.device,
) -> tuple[LM, Trained, RunFacts]:
    """Train with the other ranks; the whole model on this device, and what a record says of earlier ranks.

    `folder` keeps the state of the run of this identity.
    """
    with joined(sharing, device) as team:
        lm = model().to(device)
        state = SharedResume(folder, run, team=team)
        done = team.train(lm, task, recipe, seed, tick, state)
        weights = team.whole(lm)
        del lm  # its modules hold the group, that `joined` lets go
    whole = model().to(device)
    whole.load_state_dict(weights)
    about: RunFacts = {"ranks_before": state.before} if state.before else {}
    return whole, done, about


@dataclass
class SharedResume(Resume):
    """The state of a training of several ranks, in a folder: each rank writes its part.

    The same number of ranks ends in the same bits as without a stop. Another number goes on too, and sums in another
    order. `before` then has the numbers of ranks that the training had.
    """

    team: Team = field(kw_only=True)
    before: list[int] = field(default_factory=list)

    def restore(self, lm: nn.Module, opt: Optimiser) -> Progress:
        """Continue from the newest saved state of this run, where there is one."""
        found = self.team.agree(self.newest())
        if found is None:
            return Progress()
        folder, about = found
        state = {"model": lm.state_dict(), "optimiser": opt.state_dict()}
        start = {name: x.clone() for name, x in state["model"].items()}
        try:
            checkpoints.load(state, checkpoint_id=folder)
        except Exception as e:  # of every rank, where one of them fails
            self.tell(f"{folder} is not used, the training starts anew: {said(e)}")
            for name, x in start.items():
                state["model"][name].copy_(x)
            for part in (
                *state["optimiser"]["means"],
                *state["optimiser"]["squares"],
                *state["optimiser"]["steps"],
            ):
                part.zero_()
            return Progress()
        ranks = about["ranks"]
        self.before = [*about["before"], *([ranks] if ranks != self.team.sharing.ranks else [])]
        self.tell(f"continues after step {about['step']}, that {ranks} ranks have saved")
        losses = torch.tensor(about["losses"]).unbind()
        return Progress(about["step"], about["tokens"], about["seconds"], losses)

    def newest(self) -> tuple[str, dict[str, Any]] | None:
        """The last whole state of this run and its progress."""
        for file in sorted(self.path.glob(f"*/{ABOUT}"), key=lambda f: int(f.parent.name), reverse=True):
            try:
                about = json.loads(file.read_text(encoding="utf-8"))
                if about["run"] == self.run:
                    return os.fspath(file.parent), about
                self.tell(f"{file.parent} is not used, the training starts anew: it is of another run")
            except (OSError, ValueError, KeyError) as e:
                self.tell(f"{file.parent} is not used: {said(e)}")
        return None

    def due(self) -> bool:
        """Whether the state was saved long enough ago, by the clock of rank 0."""
        return self.team.agree(super().due())

    def save(self, lm: nn.Module, opt: Optimiser, progress: Progress) -> None:
        """Save the state, then remove the one before. Where a disk is full that is told, and the training goes on."""
        self.saved = time.monotonic()
        folder = self.path / f"{progress.step}"
        about = {
            "run": self.run, "ranks": self.team.sharing.ranks, "before": self.before, "step": progress.step,
            "tokens": progress.tokens, "seconds": progress.seconds, "losses": [x.item() for x in progress.losses],
        }  # fmt: skip
        try:
            checkpoints.save({"model": lm.state_dict(), "optimiser": opt.state_dict()}, checkpoint_id=folder)
            if self.team.rank == 0:
                write_whole(folder / ABOUT, json.dumps(about).encode())
                for old in self.path.iterdir():
                    if old != folder:
                        shutil.rmtree(old, ignore_errors=True)
        except Exception as e:  # of every rank, where one of them fails
            self.tell(f"the state of the training cannot be saved: {said(e)}")
            if self.team.rank == 0:
                shutil.rmtree(folder, ignore_errors=True)

    def tell(self, line: str) -> None:
        """Say something once."""
        if self.team.rank == 0:
            print(line, file=sys.stderr)


def said(e: BaseException) -> str:
    """An error in a line; of an error of several ranks, the first."""
    for part in getattr(e, "failures", {}).values():
        e = part[0] if isinstance(part, tuple) else part
        break
    return f"{type(e).__name__}: {(str(e).splitlines() or [''])[0]}"
