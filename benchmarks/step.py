"""The native training step beside PyTorch's operators, and the share of the machine's limit that each reaches.

    python -m benchmarks.step --rounds 3 --encodings rope,alibi,fox,grape_a_qk,t5_bias,grape_ap

A step is forward, backward, clipping and AdamW, in processor time of one thread; all kinds take turns on the same
batches. The limit is the time of the matrix products alone at the peak of float32 multiply-adds, measured between the
steps. `PyTorch` is the step that a model takes where `suite.lm.step.serves` says no, in float32. AMX is not used.
"""

import ctypes
import functools
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from unittest.mock import patch

import torch
import typer

from benchmarks.precision import products
from pebench.encodings.registry import resolve
from pebench.suite.experiment.profiles import PROFILES
from pebench.suite.experiment.training import AdamW, Recipe, batch, stepper
from pebench.suite.lm import precision, step
from pebench.suite.lm.model import LM, Size
from pebench.suite.lm.native import build
from pebench.tasks import make
from pebench.tasks.base import IGNORE, Batch, Task

TASKS = ("copy", "recall", "needle", "language")  # of STANDARD
LARGER = ((4, 128, 4, 256, 8), (6, 256, 4, 512, 4))  # layers, width, heads, tokens, batch
BATCHES = 20  # of different lengths, as the tasks draw them
TURNS = 50_000  # of the loop of peak.c: a few milliseconds


@functools.cache
def peak() -> Callable[[], float]:
    """Measures the operations per second of one core in float32 multiply-adds, in some milliseconds."""
    compiler = shutil.which("cc")
    assert compiler is not None, "no C compiler: install gcc or clang"
    with (
        tempfile.TemporaryDirectory() as folder,
        patch.object(build, "SOURCES", [Path(__file__).with_name("peak.c")]),
    ):
        library = ctypes.CDLL(str(build.compiled(compiler, Path(folder), "peak")))
    library.peak.argtypes, library.peak.restype = [ctypes.c_int64, ctypes.c_float], ctypes.c_float

    def measure() -> float:
        start = time.process_time()
        library.peak(TURNS, 0.5)
        return TURNS * library.operations() / (time.process_time() - start)

    return measure


def work(size: Size, data: Batch) -> int:
    """Operations in the matrix products of a step, forward and backward, without attention's."""
    each = size.layers * (4 * size.width**2 + 3 * size.width * size.hidden)
    asked = int((data.targets != IGNORE).sum())
    return 6 * (data.tokens.numel() * each + asked * size.width * size.vocab)


def race(name: str, encoding: str, size: Size, length: int, batches: list[Batch], rounds: int) -> float:
    """Print a row of the table; the median time of the fastest kind (s)."""
    recipe, kinds = Recipe(length, 1), ["PyTorch", "float32", *(["float16"] if precision.fast_fp16() else [])]
    taken: dict[str, list[float]] = {kind: [] for kind in kinds}
    limits = []
    with ExitStack() as stack:
        steps = {}
        for kind in kinds:
            lm = LM(size, resolve(encoding)[1], length, seed=0)
            with products(kind), patch.object(step, "serves", lambda lm, kind=kind: kind != "PyTorch"):
                steps[kind] = stack.enter_context(stepper(lm, AdamW(lm, recipe), recipe.clip))
        for n in range(rounds + 1):
            for data in batches:
                limits.append(work(size, data) / peak()())
                for kind, take in steps.items():
                    with products(kind):
                        start = time.process_time()
                        take(data, recipe.learning_rate)
                        if n:  # the first round warms up
                            taken[kind].append(time.process_time() - start)
    limit = statistics.median(limits)
    row = []
    for kind in kinds:
        seconds = statistics.median(taken[kind])
        ratio = statistics.median(a / b for a, b in zip(taken["PyTorch"], taken[kind], strict=True))
        row.append(f"{1000 * seconds:.2f} ms, {ratio:.2f}x, {limit / seconds:.0%}")
    print(f"| {name} | {encoding} | {' | '.join(row)} |", flush=True)
    return statistics.median(taken[kinds[-1]])


def main(encodings: str = "rope", rounds: int = 3, larger: bool = True) -> None:
    """Print time, speed over PyTorch's step and share of the float32 limit, by shape, encoding and precision."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    print(f"float32 multiply-adds: {statistics.median(peak()() for _ in range(20)) / 1e9:.0f} GF/s")
    kinds = ["PyTorch", "float32", *(["float16"] if precision.fast_fp16() else [])]
    print(f"| shape | encoding | {' | '.join(kinds)} |\n|---|---|{'---|' * len(kinds)}")
    names = encodings.split(",")
    for task in TASKS:
        plan, subject = PROFILES["STANDARD"].plans[task], make(task)
        assert isinstance(subject, Task)
        batches = [batch(subject, plan.recipe, 0, n) for n in range(BATCHES)]
        context = subject.context(plan.recipe.length)
        times = {
            name: race(f"STANDARD {task}", name, plan.size(subject.vocab), context, batches, rounds)
            for name in names
        }
        for name in names[1:]:
            print(f"  {name} over {names[0]}: {times[name] / times[names[0]]:.2f}")
    for layers, width, heads, tokens, rows in LARGER if larger else ():
        text = torch.randint(256, (rows, tokens + 1), generator=torch.Generator().manual_seed(0))
        shape = f"{layers} layers, d={width}, T={tokens}, batch {rows}"
        data = [Batch(text[:, :-1], text[:, 1:])]
        for name in names:
            race(shape, name, Size(layers, width, heads, 256), tokens, data, rounds)


if __name__ == "__main__":
    typer.run(main)
