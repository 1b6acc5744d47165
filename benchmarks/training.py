"""Speed of the suite against other implementations: training steps, whole sweeps, and decoding.

    python -m benchmarks.training --grape ../GRAPE

A step is forward, backward, clipping and AdamW, in processor time of one thread, all in one process and in turn, so
that a machine that slows down slows all of them. The experiments:

    small, medium    steps of two sizes of model
    long             steps at 4096 tokens, and the memory that they take
    encodings        our steps with each encoding against those with `rope`
    sweep            tokens per second of two cores: two processes of ours, or one of a peer with two threads
    decode           the time of a token after many, beside that of reading weights and cache from memory once

The peers are installed into an environment of their own, build/peers, over the one that starts this script. The
reference code of GRAPE (github.com/model-architectures/GRAPE) is no package: `--grape` names a checkout, and
without it its rows are missing. Denormals are flushed for all.
"""

import argparse
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import psutil
import torch

from benchmarks.peers import (
    ENVIRONMENT,
    LONG,
    MEDIUM,
    SMALL,
    TINY,
    VOCAB,
    Shape,
    Step,
    environment,
    in_float32,
    ours,
    rivals,
)
from pebench.encodings.base import NOTHING
from pebench.encodings.registry import resolve
from pebench.suite.lm.model import LM, Cache, Size
from pebench.suite.runs.machine import peak_memory

WARM_UP = 3  # steps; torch.compile may compile again in the second
ENCODINGS = ("alibi", "fox", "grape_a_qk", "t5_bias", "grape_ap")
WINDOW = 3.0  # seconds for which a contestant of `sweep` trains at a time
DECODER = Size(layers=6, width=384, heads=6, vocab=VOCAB)  # 10.7 million parameters
CONTEXTS = (8192, 32768)
DECODED = 8  # tokens at a time


def failure(e: Exception) -> str:
    """One line of an error."""
    return f"{type(e).__name__}: {str(e).partition(chr(10))[0]}"


def measured(shape: Shape, encoding: str, others: dict[str, Callable[[], Step]], rounds: int) -> None:
    """Print the time of our step with this encoding, and of each other one with its ratio to ours."""
    print(f"\n{shape.name}: {encoding}")
    steps = {"ours": ours(shape, encoding)}
    others = {"ours, float32 products": lambda: in_float32(shape, encoding), **others}
    for name, make in others.items():
        try:
            step = make()
            for _ in range(WARM_UP):
                step()
        except Exception as e:  # whatever another version of a peer stumbles over
            print(f"  {name:<44} not run: {failure(e)}")
        else:
            steps[name] = step
    for _ in range(WARM_UP):
        steps["ours"]()
    taken: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            taken[name].append(step())
    for name, seconds in taken.items():
        ratio = statistics.median(t / own for t, own in zip(seconds, taken["ours"], strict=True))
        milliseconds = 1000 * statistics.median(seconds)
        print(f"  {name:<44} {milliseconds:9.1f} ms {ratio:7.2f} x ours", flush=True)


def memory(shape: Shape, checkout: Path | None, who: str) -> float:
    """MiB that a step of `grape_ap` takes at its peak above the idle model, in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.training", "--memory", who]
    command += ["--grape", os.fspath(checkout)] if checkout else []
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


def peak(shape: Shape, checkout: Path | None, who: str) -> float:
    """What `memory` measures, in the process that measures it."""
    step = ours(shape, "grape_ap") if who == "ours" else rivals(shape, checkout, "grape_ap")[who]()
    idle = psutil.Process().memory_info().rss
    step()
    step()
    return (peak_memory(torch.device("cpu")) - idle) / 2**20


def windows(pipe: Connection, shape: Shape, checkout: Path | None, who: str, threads: int) -> None:
    """A process that trains for as long as it is told to, and says: tokens per second, and cores that it had."""
    torch.set_flush_denormal(True)
    torch.set_num_threads(threads)
    try:
        step = ours(shape, "rope") if who == "ours" else rivals(shape, checkout, "rope")[who]()
        for _ in range(WARM_UP):
            step()
    except Exception as e:
        pipe.send(failure(e))
        return
    pipe.send("")
    while seconds := pipe.recv():
        start, busy, steps = time.perf_counter(), time.process_time(), 0
        while time.perf_counter() - start < seconds:
            step()
            steps += 1
        wall = time.perf_counter() - start
        pipe.send((steps * shape.tokens / wall, (time.process_time() - busy) / wall))


def sweep(shape: Shape, checkout: Path | None, rounds: int) -> None:
    """Print tokens per second of wall time: two processes of ours, against each eager float32 peer on two threads.

    Where they did not have two cores, other programs did: two threads that wait for each other suffer more from that
    than two processes, so the ratio then says nothing.
    """
    print(f"\n{shape.name}: rope, what two cores train")
    peers = [who for who in rivals(shape, checkout, "rope") if "float32" in who and "compiled" not in who]
    spawn, teams = multiprocessing.get_context("spawn"), dict[str, list[Connection]]()
    for who, members, threads in [("ours", 2, 1), *((who, 1, 2) for who in peers)]:
        pipes = []
        for _ in range(members):
            pipe, end = spawn.Pipe()
            spawn.Process(target=windows, args=(end, shape, checkout, who, threads), daemon=True).start()
            pipes.append(pipe)
        if said := next(filter(None, [pipe.recv() for pipe in pipes]), ""):
            print(f"  {who:<44} not run: {said}")
        else:
            teams[who] = pipes
    taken: dict[str, list[tuple[float, float]]] = {who: [] for who in teams}
    for _ in range(rounds):
        for who, pipes in teams.items():
            for pipe in pipes:
                pipe.send(WINDOW)
            rates, cores = zip(*(pipe.recv() for pipe in pipes), strict=True)
            taken[who].append((sum(rates), sum(cores)))
    for pipes in teams.values():
        for pipe in pipes:
            pipe.send(None)
    for who, windows_of in taken.items():
        ratio = statistics.median(own[0] / w[0] for own, w in zip(taken["ours"], windows_of, strict=True))
        rate, cores = (statistics.median(values) for values in zip(*windows_of, strict=True))
        disturbed = "" if cores > 1.8 else f"; DISTURBED, it had {cores:.1f} cores"
        print(f"  {who:<44} {rate:9,.0f} tokens/s, ours {ratio:5.2f} x{disturbed}", flush=True)


def filled(lm: LM, context: int) -> Cache:
    """A cache as after this many tokens, without the time of reading them; what it holds is one token's."""
    cache = lm.cache()
    lm(torch.zeros(1, 1, dtype=torch.long), cache)
    for layer in cache.layers:
        assert layer.k is not None
        assert layer.v is not None
        k, v = (part[..., :1, :].expand(-1, -1, context - 1, -1) for part in (layer.k, layer.v))
        columns = layer.columns
        beside = NOTHING if columns is None else columns[..., :1, :].expand(-1, -1, context - 1, -1)
        layer.append(k, v, beside, 1)
    index = torch.arange(context)
    cache.length, cache.pos = context, lm.encoding.positions(index, index[None], {})
    return cache


def reading(buffer: torch.Tensor) -> float:
    """Bytes per second that one core reads from memory; of PyTorch's reductions this is the fastest."""
    start = time.process_time()
    buffer.amax()
    return buffer.nbytes / (time.process_time() - start)


@torch.no_grad()
def decode(encoding: str, context: int, rounds: int) -> None:
    """Print the time of a token, the time in which one core reads weights, keys and values, and their ratio."""
    lm = LM(DECODER, resolve(encoding)[1], 512, seed=0)
    token, buffer = (
        torch.zeros(1, 1, dtype=torch.long),
        torch.ones(2**28),
    )  # 1 GiB: no cache holds a share of it
    times, floors = [], []
    cache = filled(lm, context)
    parts = [part for layer in cache.layers for part in (layer.k, layer.v) if part is not None]
    size = sum(p.nbytes for p in lm.parameters())
    size += sum(part[..., :context, :].numel() * part.element_size() for part in parts)
    for _ in range(WARM_UP):
        lm(token, cache)
    for _ in range(rounds):
        start = time.process_time()
        for _ in range(DECODED):
            lm(token, cache)
        times.append((time.process_time() - start) / DECODED)
        floors.append(size / reading(buffer))
    share = statistics.median(floor / t for floor, t in zip(floors, times, strict=True))
    ms, floor = 1000 * statistics.median(times), 1000 * statistics.median(floors)
    print(
        f"  {encoding:<12} {context:6} tokens {ms:8.2f} ms a token, to read {size / 2**20:4.0f} MiB"
        f" takes {floor:6.2f} ms: {share:4.0%}",
        flush=True,
    )


def experiment(name: str, checkout: Path | None, rounds: int) -> None:
    if name == "small":
        measured(SMALL, "rope", rivals(SMALL, checkout, "rope"), rounds)
        measured(SMALL, "grape_ap", rivals(SMALL, checkout, "grape_ap"), rounds)
    elif name == "medium":
        measured(MEDIUM, "rope", rivals(MEDIUM, checkout, "rope"), rounds)
    elif name == "long":
        others = rivals(LONG, checkout, "grape_ap")
        measured(LONG, "grape_ap", others, rounds)
        for who in ("ours", *others):
            print(f"  {who:<44} {memory(LONG, checkout, who):9.0f} MiB at the peak of a step", flush=True)
    elif name == "encodings":
        for shape in (SMALL, LONG):
            own = {e: lambda e=e, shape=shape: ours(shape, e) for e in ENCODINGS}
            measured(shape, "rope", own, rounds)
    elif name == "sweep":
        for shape in (SMALL, TINY):
            sweep(shape, checkout, rounds)
    else:
        print(f"\n{DECODER.layers} layers, d={DECODER.width}: decoding, one core")
        for encoding in ("rope", "alibi"):
            for context in CONTEXTS:
                decode(encoding, context, rounds)


EXPERIMENTS = ("small", "medium", "long", "encodings", "sweep", "decode")


def chosen() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--grape", type=Path, help="a checkout of github.com/model-architectures/GRAPE")
    parser.add_argument("--rounds", type=int, default=7, help="how often each is timed")
    parser.add_argument("--only", default=",".join(EXPERIMENTS), help="experiments, with commas between them")
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.only = options.only.split(",")
    if unknown := set(options.only) - set(EXPERIMENTS):
        parser.error(f"no experiment {', '.join(sorted(unknown))}; there are: {', '.join(EXPERIMENTS)}")
    if options.grape and not (options.grape / "model").is_dir():
        parser.error(f"{options.grape} is no checkout of GRAPE: it has no folder `model`")
    return options


def main() -> None:
    options = chosen()
    if Path(sys.prefix) != ENVIRONMENT.resolve():
        os.execv(python := os.fspath(environment()), [python, "-m", "benchmarks.training", *sys.argv[1:]])
    torch.set_flush_denormal(True)
    torch.set_num_threads(1)
    if options.memory:
        print(peak(LONG, options.grape, options.memory))
        return
    print(f"torch {torch.__version__}, one thread, medians of {options.rounds} rounds")
    if options.grape is None:
        print("without --grape: the rows of the GRAPE reference are missing")
    for name in options.only:
        experiment(name, options.grape, options.rounds)


if __name__ == "__main__":
    main()
