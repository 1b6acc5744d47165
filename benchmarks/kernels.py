"""Compile the kernels of suite/lm/gpu for three chips, without a GPU, and tell what each takes.

    python benchmarks/kernels.py                               # the kernels that changed since benchmarks/kernels.jsonl
    python benchmarks/kernels.py --source path --width 64 --chip 90
    python benchmarks/kernels.py --errors                      # every encoding that a kernel serves, interpreted
    python benchmarks/kernels.py --table                       # compiles nothing, writes the tables of docs/gpu.md

Each result is stored at once, in benchmarks/kernels.jsonl and benchmarks/kernel_errors.jsonl, so an interrupted call
continues. Registers and spilled bytes are ptxas's own figures, shared memory is Triton's.
"""

import argparse
import ast
import contextlib
import functools
import hashlib
import importlib.metadata
import importlib.util
import io
import json
import os
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from pebench.encodings.registry import names, resolve
from pebench.suite.lm.gpu import bias, choice, paths, tiles

CHIPS = {80: 166_912, 90: 232_448, 100: 232_448}  # bytes of shared memory that one block may take
POINTERS = {"Q", "K", "V", "DY", "Y", "DK", "DV_"}  # of the model's dtype; all others are float32
RESULTS = Path(__file__).with_suffix(".jsonl")
ERRORS = Path(__file__).with_name("kernel_errors.jsonl")
PAGE = Path(__file__).parent.parent / "docs" / "gpu.md"


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
WIDTHS, DTYPES = (16, 32, 64, 128), {"bf16": torch.bfloat16, "fp32": torch.float32}


class Job(NamedTuple):
    """One kernel to compile."""

    kernel: str
    source: str
    width: int
    dtype: str
    chip: int

    @property
    def tile(self) -> tiles.Tile:
        """The default tile."""
        plan = tiles.planned(self.width, SOURCES[self.source].kind, DTYPES[self.dtype], self.chip)
        own = {"forward": plan.forward, "backward_keys": plan.keys, "backward_table": plan.table}
        return own.get(self.kernel, plan.queries)

    def constants(self) -> dict[str, Any]:
        """The kernel's compile-time arguments, and the launch options."""
        source = SOURCES[self.source]
        return {
            **self.tile.options(), "D": self.width, "DP": max(16, self.width), "DV": self.width,
            "DVP": max(16, self.width), "N": source.columns, "NP": 4 if source.columns else 1, "F": source.features,
            "FP": 16, "KNOWN": source.known, "KIND": source.kind, "TABLED": source.table, "KEEP": True, "TILES": True,
            "B": self.tile.keys,
        }  # fmt: skip

    def code(self) -> str:
        """A hash of all that the result depends on."""
        about = (kernels_meaning(), triton_version(), self, self.tile)
        return hashlib.sha256(repr(about).encode()).hexdigest()[:12]


@functools.cache
def kernels_meaning() -> str:
    """The kernels' source without comments and docstrings."""
    tree = ast.parse(Path(bias.__file__).with_name("kernels.py").read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.Module) and ast.get_docstring(node):
            node.body = node.body[1:]
    return ast.dump(tree)


@functools.cache
def triton_version() -> str:
    """The version whose compiler is asked; ImportError where there is none."""
    return importlib.metadata.version("triton")


def jobs() -> Iterator[Job]:
    """Every kernel that a source of bias needs, in all widths and dtypes, for all chips."""
    for dtype in DTYPES:
        for width in WIDTHS:
            for source, about in SOURCES.items():
                needed = ["forward", "backward_queries", "backward_keys"]
                needed += ["row_sums"] if about.kind != bias.BROKEN else []
                needed += ["totals"] if about.kind else []
                needed += ["backward_table"] if about.table else []
                for name in needed:
                    for chip in CHIPS:
                        yield Job(name, source, width, dtype, chip)


def compiled(job: Job) -> dict[str, Any]:
    """What a kernel takes on a chip."""
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    from pebench.suite.lm.gpu import kernels

    if kernels.INTERPRETED.value:
        raise RuntimeError("Triton interprets in this process; set TRITON_INTERPRET=0 before it starts")
    function, given = getattr(kernels, job.kernel), job.constants()
    arguments = function.arg_names
    constants = {name: given[name] for name in arguments if name in given}
    model = "*bf16" if job.dtype == "bf16" else "*fp32"
    kinds = {
        name: "constexpr" if name in constants else "fp32" if name == "scale" else "i32" if name in kernels.LENGTHS
        else model if name in POINTERS else "*fp32"
        for name in arguments
    }  # fmt: skip
    places = {(arguments.index(name),): value for name, value in constants.items()}
    # PyTorch's tensors begin at multiples of 16 bytes, and a launch tells the compiler.
    aligned = {
        (i,): [["tt.divisibility", 16]] for i, name in enumerate(arguments) if kinds[name].startswith("*")
    }
    source = ASTSource(fn=function, signature=kinds, constexprs=places, attrs=aligned)
    options = {"num_warps": given["num_warps"], "num_stages": given["num_stages"]}
    triton.knobs.nvidia.dump_ptxas_log = triton.knobs.compilation.always_compile = True
    log = io.StringIO()
    with contextlib.redirect_stdout(log):
        made = triton.compile(source, target=GPUTarget("cuda", job.chip, 32), options=options)
    return {
        **job._asdict(),
        "registers": int(re.findall(r"Used (\d+) registers", log.getvalue())[0]),
        "shared": made.metadata.shared,
        "spilled": int(re.findall(r"(\d+) bytes spill stores", log.getvalue())[0]),
        "atomics": len(re.findall(r"\b(?:atom|red)\.", made.asm["ptx"])),
        "code": job.code(),
    }


def stored() -> dict[Job, dict[str, Any]]:
    """The results in benchmarks/kernels.jsonl; the last of several counts."""
    return {Job(*(line[name] for name in Job._fields)): line for line in lines(RESULTS)}


def lines(file: Path) -> list[dict[str, Any]]:
    """What a file of JSON lines holds; nothing where there is none."""
    return (
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] if file.exists() else []
    )


def cell(results: list[dict[str, Any]]) -> str:
    """The most that any of these kernels takes."""
    if not results:
        return "not compiled"
    registers, shared, spilled = (
        max(r[name] for r in results) for name in ("registers", "shared", "spilled")
    )
    return f"{registers}, {shared / 1024:.0f} KiB, {spilled} B"


def table(results: Iterable[dict[str, Any]]) -> str:
    """A row for each source of bias, dtype and head width."""
    known = list(results)
    text = [
        "| bias | dtype | width | kernels | " + " | ".join(f"sm_{chip}" for chip in CHIPS) + " |",
        "|---|---|---|---|" + "---|" * len(CHIPS),
    ]
    for source, dtype, width in dict.fromkeys((j.source, j.dtype, j.width) for j in jobs()):
        rows = [r for r in known if (r["source"], r["dtype"], r["width"]) == (source, dtype, width)]
        count = len({j.kernel for j in jobs() if j.source == source})
        cells = []
        for chip in CHIPS:
            here = [r for r in rows if r["chip"] == chip]
            cells.append(cell(here) + (f" ({len(here)} of {count})" if 0 < len(here) < count else ""))
        if rows:
            text.append(f"| {source} | {dtype} | {width} | {count} | {' | '.join(cells)} |")
    return "\n".join(text)


def served() -> dict[str, str]:
    """The registered encodings that a kernel serves in some layer, and what each of their walks adds."""
    ways = {name: paths.paths(resolve(name)[1]) for name in names()}
    walks = {name: sorted({way for way in every if way.startswith("walk")}) for name, every in ways.items()}
    return {name: ", ".join(x.removeprefix("walk: ") for x in walk) for name, walk in walks.items() if walk}


def errors_code() -> str:
    """A hash of the kernels that were interpreted."""
    return hashlib.sha256(repr((kernels_meaning(), triton_version())).encode()).hexdigest()[:12]


def compare() -> None:
    """Append the errors of each encoding that a kernel serves and that has none of this code."""
    from pebench.suite.proofs.walks import errors

    if reason := choice.why_not_interpreted():
        sys.exit(reason)
    have = {line["encoding"] for line in lines(ERRORS) if line["code"] == errors_code()}
    for name, source in served().items():
        if name not in have:
            values, gradients = errors(resolve(name)[1])
            line = {"encoding": name, "source": source, "values": values, "gradients": gradients}
            print(json.dumps(line), flush=True)
            with ERRORS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(line | {"code": errors_code()}) + "\n")
    kept = {line["encoding"]: line for line in lines(ERRORS) if line["encoding"] in served()}
    ERRORS.write_text("".join(json.dumps(kept[name]) + "\n" for name in sorted(kept)), encoding="utf-8")


def errors_table(results: Iterable[dict[str, Any]]) -> str:
    """A row for each source of bias: the encodings that it serves, and their largest errors."""
    known = list(results)
    rows = ["| a walk adds | encodings | error of logits | error of gradients |", "|---|---|---|---|"]
    for source in dict.fromkeys(line["source"] for line in sorted(known, key=lambda x: x["source"])):
        here = [line for line in known if line["source"] == source]
        encodings = ", ".join(f"`{line['encoding']}`" for line in here)
        values, gradients = (max(line[kind] for line in here) for kind in ("values", "gradients"))
        rows.append(f"| {source} | {encodings} | {values:.0e} | {gradients:.0e} |")
    return "\n".join(rows)


def lines_text() -> str:
    """How many lines each kernel has, and the functions that they share."""
    tree = ast.parse(Path(bias.__file__).with_name("kernels.py").read_text(encoding="utf-8"))
    sizes = {
        node.name: (node.end_lineno or 0) - node.lineno + 1
        for node in tree.body
        if isinstance(node, ast.FunctionDef)
    }
    own = {job.kernel for job in jobs()}
    parts = [f"`{name}` {size}" for name, size in sizes.items() if name in own]
    shared = sum(size for name, size in sizes.items() if name not in own)
    return f"Lines of `suite/lm/gpu/kernels.py`: {', '.join(parts)}, and {shared} that they share."


def page(text: str, results: Iterable[dict[str, Any]]) -> str:
    """The text of docs/gpu.md with the tables of these results."""
    parts = {"kernels": table(results), "errors": errors_table(lines(ERRORS)), "lines": lines_text()}
    for name, part in parts.items():
        between = rf"(?<=<!-- {name} -->\n).*?(?=<!-- /{name} -->)"
        text = re.sub(between, lambda _, part=part: f"\n{part}\n\n", text, flags=re.DOTALL)
    return text


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--source", choices=SOURCES, help="one source of bias")
    parser.add_argument("--width", type=int, choices=WIDTHS, help="one head width")
    parser.add_argument("--chip", type=int, choices=CHIPS, help="one compute capability, times ten")
    parser.add_argument("--dtype", choices=DTYPES, help="one dtype of q, k and v")
    parser.add_argument("--kernel", choices=sorted({job.kernel for job in jobs()}), help="one kernel")
    parser.add_argument("--again", action="store_true", help="compile the stored kernels too")
    parser.add_argument("--errors", action="store_true", help="compile nothing, compare with the definitions")
    parser.add_argument("--table", action="store_true", help="compile nothing")
    given = parser.parse_args()
    if importlib.util.find_spec("triton") is None:
        sys.exit("Triton is not installed; pip install 'pebench[gpu]'")
    if given.errors:
        compare()
    else:
        os.environ["TRITON_INTERPRET"] = "0"  # Triton looks once, when it is imported
    asked = {name: value for name in Job._fields if (value := getattr(given, name)) is not None}
    known = stored()
    current = {job: known[job] for job in jobs() if job in known and known[job]["code"] == job.code()}
    for job in () if given.table or given.errors else jobs():
        if all(getattr(job, name) == value for name, value in asked.items()) and (
            given.again or job not in current
        ):
            current[job] = compiled(job)
            print(json.dumps(current[job]), flush=True)
            with RESULTS.open("a", encoding="utf-8") as file:
                file.write(json.dumps(current[job]) + "\n")
    kept = [json.dumps(current[job]) + "\n" for job in jobs() if job in current]
    RESULTS.write_text("".join(kept), encoding="utf-8")
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8"), current.values()), encoding="utf-8")


if __name__ == "__main__":
    main()
