"""Compile the kernels of suite/lm/gpu for three chips, without a GPU, and write what each takes into docs/gpu.md.

    TRITON_INTERPRET=0 python benchmarks/kernels.py            # compile all, write docs/gpu_kernels.json and the table
    TRITON_INTERPRET=0 python benchmarks/kernels.py --only path --width 64 --chip 90     # print some, write nothing

It takes about twenty minutes of one core. The figures are ptxas's own: shared memory, registers and spilled bytes.
"""

import argparse
import hashlib
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from pebench.suite.lm.gpu import bias, kernels, walk

ROOT = Path(__file__).parent.parent
FIGURES, PAGE = ROOT / "docs" / "gpu_kernels.json", ROOT / "docs" / "gpu.md"
CHIPS = {80: 166_912, 90: 232_448, 100: 232_448}  # bytes of shared memory that one block may take
POINTERS = {"Q", "K", "V", "DY", "Y", "DK", "DV_"}  # of the model's dtype; all others are float32
BEGIN, END = "<!-- kernels -->", "<!-- end of kernels -->"


class Source(NamedTuple):
    """A source of bias, as the kernels are told of it."""

    kind: int
    columns: int = 0
    features: int = 1
    known: int = 1
    table: bool = False


SOURCES = {
    "columns": Source(bias.WHOLE, columns=3),
    "table": Source(bias.WHOLE, table=True),
    "path": Source(bias.PATH, features=8),
    "counted": Source(bias.COUNTED, known=64),
    "broken": Source(bias.BROKEN),
}
WIDTHS, DTYPES = (64, 128), {"bf16": torch.bfloat16, "fp32": torch.float32}


class Job(NamedTuple):
    """One kernel to compile."""

    kernel: str
    source: str
    width: int
    dtype: str
    chip: int

    def constants(self) -> dict[str, Any]:
        """The kernel's compile-time arguments, and the launch options."""
        source = SOURCES[self.source]
        plan = walk.compiled_plan(self.width, source.kind, DTYPES[self.dtype])
        tile = {"forward": plan.forward, "backward_table": plan.table}.get(self.kernel, plan.backward)
        given = {
            "D": self.width, "DP": walk.padded(self.width), "DV": self.width, "DVP": walk.padded(self.width),
            "N": source.columns, "NP": walk.power(max(1, source.columns)), "F": source.features,
            "FP": walk.padded(source.features), "KNOWN": source.known, "KIND": source.kind, "TABLED": source.table,
            "KEEP": True, "TILES": True, "B": tile.keys, **tile.options(),
        }  # fmt: skip
        return given


def jobs() -> Iterator[Job]:
    """Every kernel that a source of bias needs, in the widths and dtypes of the table."""
    for dtype in DTYPES:
        for width in WIDTHS:
            for source, about in SOURCES.items():
                names = ["forward", "row_sums", "backward_queries", "backward_keys"]
                names += ["totals"] if about.kind else []
                names += ["backward_table"] if about.table else []
                for name in names:
                    for chip in CHIPS:
                        yield Job(name, source, width, dtype, chip)


def compiled(job: Job) -> dict[str, Any]:
    """What a kernel takes on a chip."""
    function, given = getattr(kernels, job.kernel), job.constants()
    constants = {name: given[name] for name in function.arg_names if name in given}
    floats = "*bf16" if job.dtype == "bf16" else "*fp32"
    kinds = {
        name: "constexpr" if name in constants else "fp32" if name == "scale" else
        (floats if name in POINTERS else "*fp32") if name.isupper() and name not in kernels.LENGTHS else
        floats if name in POINTERS else "i32"
        for name in function.arg_names
    }  # fmt: skip
    places = {(function.arg_names.index(name),): value for name, value in constants.items()}
    source = ASTSource(fn=function, signature=kinds, constexprs=places)
    options = {"num_warps": given["num_warps"], "num_stages": given["num_stages"]}
    made = triton.compile(source, target=GPUTarget("cuda", job.chip, 32), options=options)
    ptx = made.asm["ptx"]
    spilled = re.findall(r"(\d+) bytes spill stores", assembled(ptx, job.chip))
    return {
        **job._asdict(),
        "tile": f"{given['BM']} x {given['BN']}"
        if job.kernel != "backward_table"
        else f"{given['B']} x {given['B']}",
        "warps": given["num_warps"],
        "shared": made.metadata.shared,
        "spilled": int(spilled[0]),
        "atomics": len(re.findall(r"\b(?:atom|red)\.", ptx)),
    }


def assembled(ptx: str, chip: int) -> str:
    """What Triton's own ptxas says of a program."""
    tool = next((Path(triton.__file__).parent / "backends" / "nvidia" / "bin").glob("ptxas*"))
    blackwell = tool.with_name("ptxas-blackwell")
    if chip >= 100 and blackwell.exists():
        tool = blackwell
    target = re.findall(r"^\.target (\w+)", ptx, re.MULTILINE)[0]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "kernel.ptx")
        file.write_text(ptx)
        command = [tool, "-v", "--gpu-name", target, file, "-o", Path(folder, "kernel.cubin")]
        return subprocess.run(command, capture_output=True, text=True, check=True).stderr


def digest() -> str:
    """Of the code that the figures follow from."""
    files = (Path(kernels.__file__), Path(walk.__file__))
    return hashlib.sha256(b"".join(file.read_bytes() for file in files)).hexdigest()[:16]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", choices=SOURCES, help="one source of bias")
    parser.add_argument("--width", type=int, choices=WIDTHS, help="one head width")
    parser.add_argument("--chip", type=int, choices=CHIPS, help="one compute capability, times ten")
    parser.add_argument("--dtype", choices=DTYPES, help="one dtype of q, k and v")
    parser.add_argument("--kernel", help="one kernel")
    given = parser.parse_args()
    if kernels.INTERPRETED.value:
        sys.exit("Triton interprets in this process; unset TRITON_INTERPRET")
    asked = (("source", given.only), ("width", given.width), ("chip", given.chip), ("dtype", given.dtype),
             ("kernel", given.kernel))  # fmt: skip
    found = []
    for job in jobs():
        if all(value is None or getattr(job, name) == value for name, value in asked):
            found.append(compiled(job))
            print(json.dumps(found[-1]), flush=True)


if __name__ == "__main__":
    main()
