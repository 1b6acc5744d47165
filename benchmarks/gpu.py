"""Time attention and small models on a GPU, each encoding against rope by torch's own kernels in the same call.

    python benchmarks/gpu.py                    # an H100: step, prefill and decode at 1k to 32k, about ten minutes
    python benchmarks/gpu.py --quick            # 1k and 4k, width 64
    python benchmarks/gpu.py --interpreted      # on a CPU under Triton's interpreter: shows that it runs, times nothing

A step is one layer's forward and backward pass over 32,768 tokens (at least one text), 8 heads, bfloat16. Prefill is
its forward pass; decode is one query of each text against a cache. Times are medians of interleaved rounds, and memory
is what a step holds beyond its inputs. Nothing is written: the lines are JSON.
"""

import argparse
import contextlib
import functools
import importlib.util
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from pebench.encodings.base import At, Encoding, Keys, Shape, sum_after
from pebench.encodings.registry import resolve
from pebench.encodings.streams import build
from pebench.suite.experiment import graphs
from pebench.suite.experiment.training import AdamW, Recipe, plain_step
from pebench.suite.lm.attention import LayerCache, layer
from pebench.suite.lm.gpu import choice
from pebench.suite.lm.model import LM, Size
from pebench.tasks.base import Batch

BASE = "rope"
ENCODINGS = (
    BASE,
    "alibi",
    "fox",
    "grape_a_qk",
    "t5_bias",
    "swan",
    "grape_ap",
    "stick_breaking",
    "cope",
    "path",
)
BARS = {
    "grape_ap": 1.5,
    "stick_breaking": 1.5,
    "cope": 3.0,
    "path": 3.0,
}  # times rope's step; others 1.10, 1.2 at 32k
HEADS, TOKENS, ROUNDS = 8, 32_768, 5
LENGTHS, WIDTHS = (1024, 4096, 16_384, 32_768), (64, 128)
LIMIT = 20.0  # seconds that one measurement may take, less than which is not begun again


class Work(NamedTuple):
    """Texts of one length for one layer of one head width."""

    length: int
    width: int
    batch: int
    heads: int
    device: torch.device
    dtype: torch.dtype


Pass = Callable[[], object]


def inputs(work: Work, queries: int) -> tuple[Tensor, ...]:
    """q, k and v, leaves."""
    rng = torch.Generator().manual_seed(0)
    shape = (work.batch, work.heads)

    def draw(n: int) -> Tensor:
        return torch.randn(*shape, n, work.width, generator=rng).to(work.device, work.dtype).requires_grad_()

    return draw(queries), draw(work.length), draw(work.length)


def of_encoding(name: str, work: Work) -> dict[str, Pass]:
    """The passes of an encoding in its second layer, by the path that `attend` picks."""
    shape = Shape(2, work.heads, work.width, work.length)
    encoding = build(resolve(name)[1], shape).to(work.device)
    q, k, v = inputs(work, work.length)
    x = torch.randn(work.batch, work.length, shape.width, device=work.device)
    index = torch.arange(work.length, device=work.device)
    pos = encoding.positions(
        index, torch.zeros(work.batch, work.length, dtype=torch.long, device=work.device), {}
    )

    def read() -> Tensor:
        return layer(encoding, At(1, x, v, index, pos, {}), q, k, v)

    return {
        "step": stepped(read, (q, k, v)),
        "prefill": without_gradients(read),
        "decode": decoding(encoding, work),
    }


def decoding(encoding: Encoding, work: Work) -> Pass:
    """One token of each text against a cache that holds the others."""
    cache, last = LayerCache(), work.length - 1
    index = torch.arange(work.length, device=work.device)
    q, k, v = (t.detach() for t in inputs(work, work.length))
    x = torch.randn(work.batch, work.length, encoding.shape.width, device=work.device)

    def places(start: int, end: int) -> Tensor:
        none = torch.zeros(work.batch, end - start, dtype=torch.long, device=work.device)
        return encoding.positions(index[start:end], none, {})

    @torch.no_grad()
    def read(start: int, end: int) -> Tensor:
        here = slice(start, end)
        at = At(1, x[:, here], v[:, :, here], index[here], places(start, end), cache.memory)
        keys = Keys(index[:end], places(0, end))
        return layer(encoding, at, q[:, :, here], k[:, :, here], v[:, :, here], keys, cache)

    read(0, last)
    return lambda: read(last, work.length)


def stepped(read: Callable[[], Tensor], leaves: tuple[Tensor, ...]) -> Pass:
    """A forward and a backward pass."""
    return lambda: torch.autograd.grad(read().sum(), leaves)


def without_gradients(read: Callable[[], Tensor]) -> Pass:
    return torch.no_grad()(read)


def of_fla(operator: str, work: Work) -> dict[str, Pass]:
    """FoX or PaTH by flash-linear-attention: its own passes, whether or not `attend` takes them."""
    if importlib.util.find_spec("fla") is None:
        raise ImportError("fla-core is not installed; pip install 'pebench[gpu]'")
    q, k, v = (x.detach().transpose(1, 2).contiguous().requires_grad_() for x in inputs(work, work.length))
    gates = torch.randn(work.batch, work.length, work.heads, device=work.device)
    if operator == "fox":
        from fla.ops.forgetting_attn import parallel_forgetting_attn

        read = functools.partial(parallel_forgetting_attn, q, k, v, logsigmoid(gates + 3))
    else:
        from fla.ops.path_attn import parallel_path_attn

        w = normalize(torch.randn(k.shape, device=work.device), dim=-1)

        def read() -> Tensor:
            y: Tensor = parallel_path_attn(q, k, v, w, 2 * gates.sigmoid())[0]
            return y

    return {"step": stepped(read, (q, k, v)), "prefill": without_gradients(read)}


def of_flex(work: Work) -> dict[str, Pass]:
    """ALiBi by flex attention, compiled."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    slopes = 2.0 ** -torch.arange(1, work.heads + 1, device=work.device)
    mask = create_block_mask(
        lambda b, h, i, j: i >= j, None, None, work.length, work.length, device=work.device
    )
    compiled = torch.compile(flex_attention)
    q, k, v = inputs(work, work.length)

    def read() -> Tensor:
        return compiled(q, k, v, score_mod=lambda s, b, h, i, j: s - slopes[h] * (i - j), block_mask=mask)

    return {"step": stepped(read, (q, k, v)), "prefill": without_gradients(read)}


def of_reference(work: Work) -> dict[str, Pass]:
    """GRAPE-AP as its reference code computes it: all logits and path sums at once."""
    q, k, v = inputs(work, work.length)
    p, r = (torch.randn(work.batch, work.heads, work.length, 8, device=work.device) for _ in range(2))
    future = torch.ones(work.length, work.length, dtype=torch.bool, device=work.device).triu(1)

    def read() -> Tensor:
        path = sum_after(logsigmoid(p @ r.mT / 8).masked_fill(future, 0.0))
        logits = (q @ k.mT).float() * work.width**-0.5 + path
        return logits.masked_fill(future, -torch.inf).softmax(-1).type_as(v) @ v

    return {"step": stepped(read, (q, k, v)), "prefill": without_gradients(read)}


OTHERS: dict[str, Callable[[Work], dict[str, Pass]]] = {
    "fla: fox": functools.partial(of_fla, "fox"),
    "fla: path": functools.partial(of_fla, "path"),
    "flex: alibi": of_flex,
    "reference: grape_ap": of_reference,
}


def seconds(run: Pass, device: torch.device) -> float:
    """One pass."""
    if device.type != "cuda":
        start = time.perf_counter()
        run()
        return time.perf_counter() - start
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    run()
    end.record()
    end.synchronize()
    return begin.elapsed_time(end) / 1000


def held(run: Pass, device: torch.device) -> int | None:
    """Bytes that a pass holds at most beyond what lay there before; None on a CPU."""
    if device.type != "cuda":
        run()
        return None
    torch.cuda.synchronize(device)
    torch.cuda.reset_peak_memory_stats(device)
    before = torch.cuda.memory_allocated(device)
    run()
    torch.cuda.synchronize(device)
    return torch.cuda.max_memory_allocated(device) - before


def measured(work: Work, named: list[str], rounds: int, end: float) -> Iterator[dict[str, Any]]:
    """A line for each contender: medians over rounds that are interleaved with rope's, and the memory of a step.

    No contender is begun after `end`, a time of `time.monotonic`.
    """
    base = of_encoding(BASE, work)
    for name in named:
        line: dict[str, Any] = {
            "contender": name,
            "length": work.length,
            "width": work.width,
            "batch": work.batch,
        }
        if time.monotonic() > end:
            yield line | {"left_out": "the time is over; --only measures it, --minutes gives more"}
            continue
        try:
            passes = OTHERS[name](work) if name in OTHERS else of_encoding(name, work)
            line["step_bytes"] = held(passes["step"], work.device)
            for kind, run in passes.items():
                seconds(run, work.device)  # compiles
                seconds(base[kind], work.device)
                pairs = []
                while len(pairs) < rounds and sum(map(sum, pairs)) < LIMIT:
                    pairs.append((seconds(run, work.device), seconds(base[kind], work.device)))
                line[f"{kind}_ms"] = round(1000 * statistics.median(own for own, _ in pairs), 3)
                line[f"{kind}_over_rope"] = round(statistics.median(own / rope for own, rope in pairs), 3)
        except (RuntimeError, ImportError) as e:  # torch.OutOfMemoryError too
            line["failed"] = f"{type(e).__name__}: {str(e).splitlines()[0]}"
        bar = BARS.get(name, 1.2 if work.length >= TOKENS else 1.1)
        if name in ENCODINGS and "step_over_rope" in line and work.device.type == "cuda":
            line["bar"], line["holds"] = bar, line["step_over_rope"] <= bar
        yield line


def small(kind: str, device: torch.device) -> float:
    """The median seconds of such a step."""
    lm = LM(Size(4, 128, 4, 256), resolve("grape_ap")[1], 256, seed=0).to(device)
    opt, tokens = AdamW(lm, Recipe(256, 1)), torch.randint(256, (8, 257), device=device)
    data = Batch(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
    with graphs.stepper(lm, opt, 1.0) as take:
        plain = functools.partial(plain_step, lm, opt, 1.0)
        run = functools.partial(take if kind == "graph" else plain, data, 1e-3)
        for _ in range(3):
            run()
        return statistics.median(seconds(run, device) for _ in range(10))


def small_step(device: torch.device) -> dict[str, Any]:
    """Seconds of a STANDARD model's training step, plain and as a CUDA graph."""
    found: dict[str, Any] = {"contender": "step of a small model", "encoding": "grape_ap"}
    for kind in ("plain", "graph") if device.type == "cuda" else ("plain",):
        found[f"{kind}_ms"] = round(1000 * small(kind, device), 3)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="1k and 4k tokens, width 64")
    parser.add_argument(
        "--interpreted", action="store_true", help="on a CPU: one tiny size, its times mean nothing"
    )
    parser.add_argument("--only", help="contenders, with commas; default: all")
    parser.add_argument("--minutes", type=float, default=10, help="nothing is begun after these; default: 10")
    given = parser.parse_args()
    end = time.monotonic() + 60 * given.minutes
    contenders = [*ENCODINGS, *OTHERS]
    named = given.only.split(",") if given.only else contenders
    if unknown := sorted(set(named) - set(contenders)):
        sys.exit(f"no contender {', '.join(unknown)}; there are {', '.join(contenders)}")
    if not given.interpreted and not torch.cuda.is_available():
        sys.exit(
            "there is no CUDA device, so times and memory on a GPU stay unmeasured; "
            "--interpreted shows on a CPU that the benchmark runs"
        )
    torch.manual_seed(0)
    around = choice.interpreted() if given.interpreted else contextlib.nullcontext()
    if given.interpreted:
        device, dtype, sizes, rounds = torch.device("cpu"), torch.float32, [(20, 16, 1, 2)], 1
    else:
        device, dtype, rounds = torch.device("cuda"), torch.bfloat16, ROUNDS
        lengths, widths = (LENGTHS[:2], WIDTHS[:1]) if given.quick else (LENGTHS, WIDTHS)
        sizes = [(length, width, max(1, TOKENS // length), HEADS) for width in widths for length in lengths]
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu, interpreted"
    print(json.dumps({"device": name, "torch": torch.__version__}), flush=True)
    with around:
        for length, width, batch, heads in sizes:
            work = Work(length, width, batch, heads, device, dtype)
            for line in measured(
                work, [n for n in named if given.only or not given.interpreted or n in ENCODINGS], rounds, end
            ):
                print(json.dumps(line), flush=True)
        if not given.only:
            print(json.dumps(small_step(device)), flush=True)


if __name__ == "__main__":
    main()
