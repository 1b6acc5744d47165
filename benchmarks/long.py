"""16,384 tokens through a model with each encoding: peak memory and time of a forward pass and of a training step.

    python -m benchmarks.long long.jsonl --encodings tra,rope_pp

Each measurement has a process of its own, one thread and a limit in seconds. The file keeps finished measurements, and
a second call makes the others. A T x T matrix of one head in float32 takes 1 GiB. So two numbers are printed: the
process's peak, and the peak less its memory before the first token.
"""

import json
import subprocess
import sys
import time
from pathlib import Path

import torch
import typer

from pebench.encodings.registry import names, resolve
from pebench.suite.lm.model import LM, Size
from pebench.suite.runs.machine import peak_memory

TOKENS = 16384
SIZE = Size(layers=2, width=64, heads=4, vocab=64)


def held() -> float:
    """The most memory that this process has held (GiB)."""
    return (peak_memory(torch.device("cpu")) or 0) / 2**30


def measure(name: str, kind: str) -> dict[str, float]:
    """One forward pass, or one training step, over a text of 16,384 tokens (or what the encoding is defined for)."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    lm = LM(SIZE, resolve(name)[1], TOKENS // 16, seed=0).train(kind == "step")
    length = min(TOKENS, lm.encoding.max_length or TOKENS)
    tokens = torch.randint(SIZE.vocab, (1, length), generator=torch.Generator().manual_seed(0))
    before, start = held(), time.process_time()
    with torch.set_grad_enabled(kind == "step"):
        loss = torch.nn.functional.cross_entropy(lm(tokens)[0, :-1].float(), tokens[0, 1:])
    if kind == "step":
        loss.backward()
        torch.optim.AdamW(lm.parameters()).step()
    assert loss.isfinite()
    return {"tokens": length, "gib": held(), "more": held() - before, "seconds": time.process_time() - start}


def main(out: Path, encodings: str = "", kinds: str = "forward,step", limit: float = 600.0) -> None:
    """Print a row for each encoding and kind; append each to `out` as JSON."""
    done = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    known = {(row["encoding"], row["kind"]): row for row in done}
    print(
        "| encoding | of | tokens | peak GiB | more than before, GiB | processor s |\n|---|---|---|---|---|---|"
    )
    for name in encodings.split(",") if encodings else names():
        for kind in kinds.split(","):
            row = known.get((name, kind))
            if row is None:
                row = {"encoding": name, "kind": kind, **child(name, kind, limit)}
                with out.open("a") as file:
                    file.write(json.dumps(row) + "\n")
            told = (
                row["fault"]
                if "fault" in row
                else f"{row['tokens']} | {row['gib']:.2f} | {row['more']:.2f} | {row['seconds']:.0f}"
            )
            print(f"| {name} | {kind} | {told} |", flush=True)


def child(name: str, kind: str, limit: float) -> dict[str, float | str]:
    """What a process of its own measures, or why it did not."""
    code = f"import json; from benchmarks.long import measure; print(json.dumps(measure({name!r}, {kind!r})))"
    try:
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=limit)
    except subprocess.TimeoutExpired:
        return {"fault": f"more than {limit:.0f} s"}
    if run.returncode:
        return {"fault": f"exit {run.returncode}: {run.stderr.strip().splitlines()[-1:]}"}
    found: dict[str, float | str] = json.loads(run.stdout)
    return found


if __name__ == "__main__":
    typer.run(main)
