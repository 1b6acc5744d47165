"""The workload that `throughput` times: a standard LM that trains, reads and decodes random bytes."""

import time
from contextlib import ExitStack

import torch

from pebench.encodings.base import Encoding
from pebench.encodings.streams import stream
from pebench.suite.experiment import graphs
from pebench.suite.experiment.profiles import Plan
from pebench.suite.experiment.training import AdamW, stepper
from pebench.suite.lm.model import LM
from pebench.suite.lm.precision import precision
from pebench.tasks.base import Batch

DECODED = 16  # tokens whose mean time is the time of one
VOCAB = 256


class Timed:
    """A model under the clock. Every call returns the seconds of processor time (CPU) or wall time (GPU)."""

    def __init__(self, encoding: type[Encoding], plan: Plan, device: torch.device):
        self.plan, self.device, self.held = plan, device, ExitStack()
        self.lm = LM(plan.size(VOCAB), encoding, plan.recipe.length, seed=0).to(device)
        of = graphs.stepper if device.type == "cuda" else stepper  # as runs.cell trains
        self.step = self.held.enter_context(of(self.lm, AdamW(self.lm, plan.recipe), plan.recipe.clip))

    def bytes(self, rows: int, length: int) -> torch.Tensor:
        """Random tokens (rows, length), the same for every encoding."""
        rng = torch.Generator().manual_seed(stream(0, f"throughput:{rows}x{length}"))
        return torch.randint(0, VOCAB, (rows, length), generator=rng).to(self.device)

    def rows(self, length: int) -> int:
        """Sequences in a batch: as many as give the tokens of a training step, at least one."""
        return max(1, self.plan.recipe.tokens // length)

    def now(self) -> float:
        # Processor time of our one thread is blind to other programs on the machine; a GPU has only the wall's.
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
            return time.perf_counter()
        return time.process_time()

    def train(self, length: int) -> float:
        """One step: forward, backward, clipping, AdamW."""
        self.lm.train()
        tokens = self.bytes(self.rows(length), length + 1)
        start = self.now()
        self.step(Batch(tokens[:, :-1], tokens[:, 1:]), self.plan.recipe.learning_rate)
        return self.now() - start

    @torch.no_grad()
    def prefill(self, length: int) -> float:
        """One forward pass over a batch, without a cache."""
        self.lm.eval()
        tokens = self.bytes(self.rows(length), length)
        start = self.now()
        with precision(self.device):
            self.lm(tokens)
        return self.now() - start

    @torch.no_grad()
    def decode(self, length: int) -> float:
        """One token, of the last ones of `length`, one sequence, through the cache."""
        self.lm.eval()
        tokens = self.bytes(1, length)
        cache = self.lm.cache()
        self.lm(tokens[:, :-DECODED], cache)
        start = self.now()
        for token in tokens[
            :, -DECODED:
        ].T:  # in float32: to round all weights takes longer than to read them
            self.lm(token[None], cache)
        return (self.now() - start) / DECODED

    def tokens(self, kind: str, length: int) -> int:
        """How many tokens one call of this kind works on."""
        return 1 if kind == "decode" else self.rows(length) * length

    @torch.no_grad()
    def cache_bytes(self, length: int) -> float:
        """Bytes of keys, values and columns that the cache holds for each token, over all layers."""
        self.lm.eval()
        cache = self.lm.cache()
        self.lm(self.bytes(1, length), cache)
        parts = (part for layer in cache.layers for part in (layer.k, layer.v, layer.columns))
        kept = [part for part in parts if part is not None]
        return float(
            sum(part.shape[0] * part.shape[1] * part.shape[3] * part.element_size() for part in kept)
        )
