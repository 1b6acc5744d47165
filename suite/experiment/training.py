"""How every model is trained: the same batches, the same steps, the same optimiser, whatever the encoding."""

import math
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.functional import cross_entropy
from torch.optim.adamw import adamw

from pebench.encodings.streams import stream
from pebench.suite.experiment.clock import clock
from pebench.suite.experiment.resume import Progress, Resume
from pebench.suite.lm import step as native
from pebench.suite.lm.model import LM
from pebench.suite.lm.precision import precision
from pebench.tasks.base import IGNORE, Batch, Task


@dataclass(frozen=True)
class Recipe:
    """How long and how fast to train. The learning rate warms up linearly, then falls on a cosine."""

    length: int
    steps: int
    tokens: int = 2048  # per step
    learning_rate: float = 3e-3
    warmup: float = 0.05  # share of the steps
    weight_decay: float = 0.1
    clip: float = 1.0
    floor: float = 0.1  # the last learning rate, as a share of the peak


class Diverged(ArithmeticError):
    """Training met a loss or a gradient that is not finite."""


@dataclass(frozen=True)
class Trained:
    """What training took."""

    tokens: int
    seconds: float
    final_loss: float  # nats, mean over the last twentieth of the steps


def batch(task: Task, recipe: Recipe, seed: int, step: int) -> Batch:
    """The batch of this step: a function of (task, seed, step) alone, so no encoding sees another."""
    rng = torch.Generator().manual_seed(stream(seed, f"{task.name}:train:{step}"))
    return task.training(recipe.length, recipe.tokens, rng)


class AdamW:
    """PyTorch's fused AdamW (Loshchilov and Hutter, 2019) with weight decay on the model's matrices alone.

    Scalars, gains and all of the encoding's parameters are exempt. Decay would pull every learned frequency
    towards 1 and every learned slope towards 0 by its schedule, not by the data. The bits are torch.optim.AdamW's,
    whose construction imports torch._dynamo: a second of every run.
    """

    betas = (0.9, 0.95)
    eps = 1e-8

    def __init__(self, lm: LM, recipe: Recipe):
        inside = {id(p) for p in lm.encoding.parameters()}
        self.parameters: list[torch.Tensor] = list(lm.parameters())
        self.decays = [
            recipe.weight_decay if p.dim() == 2 and id(p) not in inside else 0.0 for p in self.parameters
        ]
        self.means, self.squares = ([torch.zeros_like(p) for p in self.parameters] for _ in range(2))
        self.steps = [torch.zeros((), device=p.device) for p in self.parameters]

    @torch.no_grad()
    def step(self, learning_rate: float) -> None:
        """One step for every parameter that has a gradient, which is forgotten then."""
        for decay in dict.fromkeys(self.decays):
            chosen = [
                n for n, p in enumerate(self.parameters) if self.decays[n] == decay and p.grad is not None
            ]

            def of(every: list[torch.Tensor], chosen: list[int] = chosen) -> list[torch.Tensor]:
                return [every[n] for n in chosen]

            gradients = [g for p in of(self.parameters) if (g := p.grad) is not None]
            adamw(
                of(self.parameters), gradients, of(self.means), of(self.squares), [], of(self.steps), fused=True,
                lr=learning_rate, beta1=self.betas[0], beta2=self.betas[1], weight_decay=decay, eps=self.eps,
                amsgrad=False, maximize=False,
            )  # fmt: skip
        for p in self.parameters:
            p.grad = None

    def state_dict(self) -> dict[str, list[torch.Tensor]]:
        """What a training that goes on needs."""
        return {"means": self.means, "squares": self.squares, "steps": self.steps}

    def load_state_dict(self, state: dict[str, list[torch.Tensor]]) -> None:
        """Continue from a `state_dict`."""
        for name, mine in self.state_dict().items():
            for x, saved in zip(mine, state[name], strict=True):
                x.copy_(saved)


def rate(step: int, recipe: Recipe) -> float:
    """The learning rate of this step, as a share of its peak.

    >>> recipe = Recipe(length=8, steps=100)
    >>> [round(rate(step, recipe), 2) for step in (0, 4, 99)]
    [0.2, 1.0, 0.1]
    """
    warm = max(1, round(recipe.warmup * recipe.steps))
    if step < warm:
        return (step + 1) / warm
    done = (step - warm + 1) / max(1, recipe.steps - warm)
    return recipe.floor + (1 - recipe.floor) / 2 * (1 + math.cos(math.pi * done))


def loss(lm: LM, data: Batch) -> torch.Tensor:
    """Mean cross-entropy (nats) of the targets that are asked for."""
    asked = data.targets != IGNORE
    return cross_entropy(lm(data.tokens, asked=asked).float(), data.targets[asked])


Step = Callable[[Batch, float], tuple[float, float]]
Stepper = Callable[[LM, AdamW, float], AbstractContextManager[Step]]


@contextmanager
def stepper(lm: LM, opt: AdamW, clip: float) -> Iterator[Step]:
    """What takes a training step of this model, natively where that can serve.

    A step takes a batch and a learning rate, and returns its loss (nats) and the norm of the gradients before clipping.
    Where one of the two is not finite it changes nothing.
    """
    if native.serves(lm):
        step = native.NativeStep(lm, opt, clip)
        try:
            yield step
        finally:
            step.release()
    else:
        yield lambda data, rate: plain_step(lm, opt, clip, data, rate)


def plain_step(lm: LM, opt: AdamW, clip: float, data: Batch, rate: float) -> tuple[float, float]:
    """A step in PyTorch: the definition."""
    with precision(data.tokens.device):
        value = loss(lm, data)
    value.backward()
    norm = nn.utils.clip_grad_norm_(lm.parameters(), clip, foreach=True)
    if value.isfinite() and norm.isfinite():
        opt.step(rate)
    lm.zero_grad()
    return value.item(), norm.item()


def reseed(device: torch.device, seed: int) -> None:
    """Seed what draws on this device. `torch.manual_seed` also queues calls for devices that are not there: 0.3 ms."""
    if device.type == "cpu":
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)


def train(
    lm: LM,
    task: Task,
    recipe: Recipe,
    seed: int,
    tick: Callable[[int], None] = lambda step: None,
    resume: Resume | None = None,
    stepper: Stepper = stepper,
) -> Trained:
    """Train in place. `tick` is called after every step. Diverged where a loss or gradient is not finite.

    With `resume` the state is saved now and then, and a call that finds one goes on from there. A step depends on
    the steps before only through the model and the optimiser, so the bits are the same. `stepper` may share each
    step among processes (`ranks.py`); it computes the same step, to rounding.
    """
    opt = AdamW(lm, recipe)
    device = next(lm.parameters()).device
    past = resume.restore(lm, opt) if resume else Progress()
    started, tokens, losses = clock() - past.seconds, past.tokens, list(past.losses)
    lm.train()
    with torch.random.fork_rng(devices=[]), stepper(lm, opt, recipe.clip) as take:
        for step in range(past.step, recipe.steps):
            reseed(device, stream(seed, f"train:{step}"))  # what an encoding draws follows from the step too
            data = Batch(*(part.to(device) for part in batch(task, recipe, seed, step)))
            lm.progress.fill_(step / recipe.steps)
            value, norm = take(data, recipe.learning_rate * rate(step, recipe))
            if not (math.isfinite(value) and math.isfinite(norm)):
                raise Diverged(f"loss {value:g}, gradient norm {norm:g} at step {step + 1} of {recipe.steps}")
            tokens += data.tokens.numel()
            losses.append(torch.tensor(value))
            tick(step)
            if resume and resume.due():
                seconds = clock() - started
                resume.save(lm, opt, Progress(step + 1, tokens, seconds, tuple(losses)))
    lm.progress.fill_(1.0)
    last = torch.stack(losses[-max(1, recipe.steps // 20) :]).mean().item()
    return Trained(tokens, clock() - started, last)
