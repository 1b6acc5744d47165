"""What another kind of processor changes, beside another seed: the published records that were run again on one."""

import json
import math
from pathlib import Path

import pandas as pd

from pebench.suite.results.metrics import counted
from pebench.suite.results.record import VERIFIED


def again(folder: Path) -> pd.DataFrame:
    """A row for each record that was run again on another kind of machine, by `pebench reproduce --mark`.

    Columns: task, encoding, seed, machine, verdict, equal and numbers (bitwise, of all), over_seeds (root mean square
    of the differences, in standard deviations of the difference of two seeds).
    """
    file = folder / VERIFIED
    stated = json.loads(file.read_text(encoding="utf-8"))["verified"] if file.exists() else {}
    rows = []
    for path, mark in sorted(stated.items()):
        if mark.get("over_seeds") is not None:
            _, task, encoding, name = path.split("/")
            equal = mark["numbers"] - mark["unequal"]
            machine = "; ".join(mark["machine"])
            facts = (machine, mark["verdict"], equal, mark["numbers"], mark["over_seeds"])
            rows.append((task, encoding, int(name.split("-")[0]), *facts))
    columns = ["task", "encoding", "seed", "machine", "verdict", "equal", "numbers", "over_seeds"]
    return pd.DataFrame(rows, columns=columns)


def to_markdown(folder: Path) -> str:
    """The rows as a Markdown table, with the summary below; nothing where no record was run again elsewhere."""
    frame = again(folder)
    if frame.empty:
        return ""
    lines = [
        "| task | encoding | seed | verdict | bitwise equal | difference, seeds have 1 |",
        "|---" * 6 + "|",
    ]
    lines += [
        f"| `{row.task}` | {row.encoding} | {row.seed} | {row.verdict} | {row.equal} of {row.numbers} "
        f"| {row.over_seeds:.2f} |"
        for row in frame.itertuples()
    ]
    whole = math.sqrt((frame["over_seeds"] ** 2).mean())
    within = int((frame["verdict"] == "within seed spread").sum())
    machines = " and ".join(dict.fromkeys(frame["machine"]))
    below = (
        f"{counted(len(frame), 'record')} run again ({machines}): {within} within seed spread. The root mean square of "
        f"all differences is {whole:.2f} times the difference of two seeds."
    )
    return "\n".join([*lines, "", below])
