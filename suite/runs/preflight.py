"""Facts that a node states before it gets runs, and the faults for which it gets none."""

import tempfile
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from pebench.encodings.registry import EncodingError, UnknownName
from pebench.suite.lm.native.build import served, serving
from pebench.suite.lm.step import multiplies_in
from pebench.suite.runs.cell import Cell
from pebench.suite.runs.machine import LEAST_MEMORY, cores, disk_faults, hardware, memory, processor
from pebench.suite.runs.selection import demand_data
from pebench.tasks.data.wheels import CorpusError


def kinds(cells: Iterable[Cell]) -> list[Cell]:
    """One run of each encoding and task: no seed is part of a fingerprint."""
    return list(dict.fromkeys(replace(cell, seed=0) for cell in cells))


def expected(cells: Iterable[Cell]) -> list[tuple[Cell, str]]:
    """Each kind of these runs with its fingerprint here."""
    return [(cell, cell.fingerprint()) for cell in kinds(cells)]


def state(asked: list[tuple[Cell, str]], device: str = "cpu", folder: Path | None = None) -> dict[str, Any]:
    """The facts of this machine, and under `faults` why it cannot make these runs; empty where it can.

    `asked` pairs each kind of run with the fingerprint that it must have. `folder` is where runs write, by default
    the folder of temporary files.
    """
    where = torch.device(device)
    folder = folder or Path(tempfile.gettempdir())
    faults = [*data_faults(asked), *code_faults(asked), *disk_faults(folder)]
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    usable = where.type != "cuda" or gpus > (where.index or 0)
    if not usable:
        faults.append(f"no device {device}: PyTorch finds {gpus} GPUs")
    if memory() < LEAST_MEMORY:
        faults.append(f"{memory() / 2**20:.0f} MiB of memory, fewer than {LEAST_MEMORY / 2**20:.0f}")
    serving()
    return {
        "torch": torch.__version__,
        "processor": processor(),
        "device": hardware(where) if usable else "none",
        "precision": multiplies_in(where) if usable else "unknown",
        "kernels": served().get("kernels", "pytorch"),
        "processors": cores(),
        "memory": memory(),
        "gpus": gpus,
        "faults": faults,
    }


def data_faults(asked: list[tuple[Cell, str]]) -> list[str]:
    """Why the data of these runs cannot be read here. Texts are verified by their hash."""
    faults = []
    for corpus in dict.fromkeys(cell.corpus for cell, _ in asked if cell.reads_text):
        try:
            demand_data([cell.task for cell, _ in asked if cell.corpus == corpus], corpus)
        except CorpusError as e:
            faults.append(str(e))
    return faults


def code_faults(asked: list[tuple[Cell, str]]) -> list[str]:
    """Which runs would be of other code here, in one line."""
    other, missing = [], []
    for cell, fingerprint in asked:
        try:
            if cell.fingerprint() != fingerprint:
                other.append(f"{cell.name} {cell.task}")
        except CorpusError:  # `data_faults` says so
            continue
        except (EncodingError, UnknownName, KeyError) as e:
            missing.append(f"{cell.encoding} {cell.task}: {e}")
    said = []
    if other:
        more = f" and {len(other) - 1} more" if len(other) > 1 else ""
        said.append(f"other code, text or plan than the sweep's: {other[0]}{more}")
    return [*said, *missing[:1]]


def kind_of(facts: dict[str, Any]) -> tuple[str, str]:
    """The precision class of a machine: records of two classes differ by more than rounding of sums."""
    return facts["precision"], facts["torch"]
