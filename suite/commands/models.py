"""Commands that use a trained model."""

import json
import math
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from pebench.suite.commands.common import (
    PATH,
    AsJson,
    Device,
    Stale,
    TheirEncoding,
    console,
    listed,
)


def finite(value: float) -> float:
    """An option's number, which must not be infinite or nan."""
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number")
    return value


def write_text(
    checkpoint: Annotated[
        Path, typer.Argument(help="A trained model: FOLDER/checkpoints/.../*.safetensors.", **PATH)
    ],
    prompt: Annotated[str, typer.Option(help="The beginning of the text.")] = "",
    tokens: Annotated[int, typer.Option(min=1, help="How many bytes to write.")] = 256,
    temperature: Annotated[
        float,
        typer.Option(min=0, callback=finite, help="The sampling temperature; 0 takes the likeliest byte."),
    ] = 0.8,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="The seed of the random choices.")] = 0,
    encoding: TheirEncoding = None,
    stale: Stale = False,
) -> None:
    """Let a trained model write, byte by byte through its cache."""
    import codecs

    import torch

    from pebench.suite.lm.generate import Sampling, generate, shown
    from pebench.suite.lm.model import LengthError
    from pebench.suite.runs.checkpoint import CheckpointError, config, load
    from pebench.tasks.language import BEGIN

    torch.set_num_threads(1)
    lm, about = load(checkpoint, encoding, stale), config(checkpoint)
    if not about.reads_bytes:
        raise CheckpointError(f"{checkpoint} knows the symbols of {about.task!r}, not text")
    text = list(prompt.encode(errors="surrogateescape"))
    read = [BEGIN, *text] if about.begins or not text else text
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rng = torch.Generator().manual_seed(seed)
    written, why = 0, ""
    try:
        for byte in generate(lm, read, tokens, Sampling(temperature), rng):
            typer.echo(shown(decoder.decode(bytes([byte]))), nl=False)
            sys.stdout.flush()
            written += 1
    except LengthError as e:
        if not written:
            raise
        why = f"stopped after {written} bytes: {e}"
    typer.echo(shown(decoder.decode(b"", final=True)))
    if why:
        typer.echo(why, err=True)


def run_harness(
    checkpoint: Annotated[
        Path,
        typer.Option(help="A trained model of a text task: FOLDER/checkpoints/.../*.safetensors.", **PATH),
    ],
    tasks: Annotated[
        list[str] | None,
        typer.Option(
            "--tasks", "-t", help="Tasks of lm-eval, with commas or -t again; default: forced choice."
        ),
    ] = None,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Ask the first N questions of each task only.")
    ] = None,
    max_length: Annotated[
        int | None, typer.Option(min=2, help="The most bytes that the model reads; default: as in training.")
    ] = None,
    online: Annotated[bool, typer.Option("--online", help="Use lm-eval's own tasks, from the hub.")] = False,
    encoding: TheirEncoding = None,
    stale: Stale = False,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Measure a trained model on the tasks of lm-eval: forced choices, needles, bits per byte."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # lm-eval's bars; read when it is imported

    from dataclasses import asdict

    from pebench.suite.runs.harness import FORCED_CHOICE, CheckpointLM, above_chance, measure
    from pebench.suite.runs.selection import demand_device

    demand_device(device)
    lm = CheckpointLM(checkpoint, encoding, max_length, device, stale)
    measured = []
    for result in measure(lm, listed(tasks) or list(FORCED_CHOICE), limit, online):
        typer.echo(f"{result.task}: {result.questions} questions", err=True)
        measured.append(result)
    if as_json:
        rows = [{**m._asdict(), "scores": [asdict(s) for s in m.scores]} for m in measured]
        typer.echo(json.dumps({"max_length": lm.max_length, "tasks": rows}, indent=1))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("task", "questions", "metric", "value", "chance", "", "cut inputs"):
        table.add_column(
            column, justify="right" if column in ("questions", "value", "cut inputs") else "left"
        )
    for m in measured:
        for s in m.scores:
            chance = "" if s.floor is None else f"{s.floor:.3f}"
            verdict = "" if s.floor is None else "above chance" if above_chance(s) else "at chance"
            row = (m.task, f"{m.questions}", s.metric, f"{s.value:.3f}", chance, verdict, f"{m.cut}")
            table.add_row(*row)
    console().print(table)
    typer.echo(f"The model reads at most {lm.max_length} bytes: of longer inputs the last ones.")
