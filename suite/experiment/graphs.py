"""A training step as one CUDA graph: a small model's step is hundreds of launches, which take longer than their work.

Never measured: it was written without a GPU at hand. The step that a graph records is tested on a CPU.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim.adamw import adamw

from pebench.suite.experiment.training import AdamW, Step
from pebench.suite.lm.model import LM
from pebench.suite.lm.precision import precision
from pebench.tasks.base import IGNORE, Batch

SHAPES = 4  # of batches, each of which has a graph of its own; others take the same step without one
WARM = 3  # passes before a graph is recorded: libraries choose and allocate in the first ones


@contextmanager
def stepper(lm: LM, opt: AdamW, clip: float) -> Iterator[Step]:
    """`stepper` of training.py for a model on a GPU."""
    before = lm.progress
    lm.progress = before.to(next(lm.parameters()).device)  # a graph reads what it holds when it runs
    try:
        yield Graphs(lm, opt, clip).step
    finally:
        lm.progress = before.fill_(lm.progress.item())
        lm.zero_grad()


class Graphs:
    """The recorded steps of a model, by the shape of the batch."""

    def __init__(self, lm: LM, opt: AdamW, clip: float):
        self.lm, self.opt, self.clip = lm, opt, clip
        self.recorded = dict[torch.Size, Recorded | None]()

    def step(self, data: Batch, rate: float) -> tuple[float, float]:
        """Take a step; its loss and the gradients' norm."""
        shape = data.tokens.shape
        if shape not in self.recorded and len(self.recorded) < SHAPES:
            self.recorded[shape] = record(self.lm, self.opt, self.clip, data)
        recorded = self.recorded.get(shape)
        if recorded is not None:
            return recorded.step(data, rate)
        # The same computation: which shapes have a graph depends on where a training was resumed.
        at = torch.tensor(rate, device=data.tokens.device)
        value, norm = whole_step(self.lm, self.opt, self.clip, data.tokens, data.targets, at)
        return value.item(), norm.item()


class Recorded:
    """A graph with the tensors that it reads and writes."""

    def __init__(self, lm: LM, opt: AdamW, clip: float, data: Batch):
        self.tokens, self.targets = data.tokens.clone(), data.targets.clone()
        self.rate = torch.zeros((), device=data.tokens.device)
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.value, self.norm = whole_step(lm, opt, clip, self.tokens, self.targets, self.rate)

    def step(self, data: Batch, rate: float) -> tuple[float, float]:
        self.tokens.copy_(data.tokens)
        self.targets.copy_(data.targets)
        self.rate.fill_(rate)
        self.graph.replay()
        return self.value.item(), self.norm.item()


def record(lm: LM, opt: AdamW, clip: float, data: Batch) -> Recorded | None:
    """The graph of a step with such batches; None where a pass draws random numbers or waits for the GPU.

    A graph would repeat the numbers that it was recorded with.
    """
    if not repeats(lm, data):
        return None
    try:
        return Recorded(lm, opt, clip, data)
    except RuntimeError:  # an operator that a graph cannot hold
        lm.zero_grad()
        return None


def repeats(lm: LM, data: Batch) -> bool:
    """Whether passes over a batch leave the random streams as they were; on a stream of their own, as graphs want.

    The random streams are set back.
    """
    device = data.tokens.device
    before = states(device)
    if device.type == "cuda":
        side = torch.cuda.Stream(device)
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            passes(lm, data)
        torch.cuda.current_stream(device).wait_stream(side)
    else:
        passes(lm, data)
    alike = all(torch.equal(a, b) for a, b in zip(before, states(device), strict=True))
    torch.set_rng_state(before[0])
    for state in before[1:]:
        torch.cuda.set_rng_state(state, device)
    return alike


def passes(lm: LM, data: Batch) -> None:
    """A few forward and backward passes, without a step."""
    for _ in range(WARM):
        with precision(data.tokens.device):
            value = loss(lm, data.tokens, data.targets)
        value.backward()
        lm.zero_grad()


def states(device: torch.device) -> list[Tensor]:
    """The random streams that a pass may draw from."""
    return [torch.get_rng_state(), *([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])]


def loss(lm: LM, tokens: Tensor, targets: Tensor) -> Tensor:
    """`loss` of training.py, without asking how many targets there are: all logits are computed."""
    return cross_entropy(lm(tokens).float().flatten(0, 1), targets.flatten(), ignore_index=IGNORE)


def whole_step(
    lm: LM, opt: AdamW, clip: float, tokens: Tensor, targets: Tensor, rate: Tensor
) -> tuple[Tensor, Tensor]:
    """`plain_step` of training.py without waiting for a number: loss and norm; nothing changes if one is not finite."""
    with precision(tokens.device):
        value = loss(lm, tokens, targets)
    value.backward()
    norm = nn.utils.clip_grad_norm_(lm.parameters(), clip, foreach=True)
    with torch.no_grad():
        bad = (~(value.isfinite() & norm.isfinite())).float()
        for decay in dict.fromkeys(opt.decays):
            chosen = [
                n for n, p in enumerate(opt.parameters) if opt.decays[n] == decay and p.grad is not None
            ]
            of = [[every[n] for n in chosen] for every in (opt.parameters, opt.means, opt.squares, opt.steps)]
            gradients = [g for p in of[0] if (g := p.grad) is not None]
            adamw(
                of[0], gradients, of[1], of[2], [], of[3], fused=True, found_inf=bad, lr=rate, beta1=opt.betas[0],
                beta2=opt.betas[1], weight_decay=decay, eps=opt.eps, amsgrad=False, maximize=False,
            )  # fmt: skip
        for p in opt.parameters:
            p.grad = None
    return value.detach(), norm.detach()
