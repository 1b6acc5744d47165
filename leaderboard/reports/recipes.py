"""The trial of recipes as tables: `leaderboard/recipes.jsonl`, which `python -m benchmarks.recipes` writes.

A line is a training and its outcome, on validation examples. Trainings that only chose a recipe have one seed. A
recipe that was chosen has SEEDS of them, and a row.
"""

import itertools
import json
from pathlib import Path

import pandas as pd

FILE = Path(__file__).parents[1] / "recipes.jsonl"
SEEDS = 3
OPTIMISERS = ("adamw", "muon")
STAGES = ((1, 512), (1, 1024), (2, 512))  # times the profile's steps, tokens of a batch
RECIPE = ["task", "optimiser", "tokens", "factor", "schedule", "steps"]
SHORT = ["task", "optimiser", "tokens", "steps"]


def read(path: Path = FILE) -> pd.DataFrame:
    """The chosen trainings, a line each: RECIPE, encoding, seed, gate, passed, to_gate, seconds, at, beyond, kept.

    `at` and `beyond` are the mean scores at the training length and at the longer ones, `kept` has the score by length.
    """
    lines = []
    for text in path.read_text(encoding="utf-8").splitlines():
        trial, outcome = json.loads(text)
        scores = [score for _, score in sorted((int(n), score) for n, score in outcome["kept"].items())]
        lines.append(trial | outcome | {"at": scores[0], "beyond": sum(scores[1:]) / len(scores[1:])})
    frame = pd.DataFrame(lines)
    count = frame.groupby([*RECIPE, "encoding"])["seed"].transform("size")
    return frame[count >= SEEDS].sort_values([*SHORT, "encoding", "seed"], ignore_index=True)


def to_markdown(path: Path = FILE) -> str:
    """Each recipe over all encodings, where all of them were trained, then each encoding."""
    frame = read(path)
    most = frame.groupby(SHORT)["encoding"].transform("nunique")
    whole = frame[most == most.max()]
    over = [
        f"| {task} | {optimiser} | {tokens} | {steps} | {recipe(group)} | {passes(group)} | {group['at'].mean():.2f} "
        f"| {group['beyond'].mean():.2f} |"
        for (task, optimiser, tokens, steps), group in whole.groupby(SHORT)
    ]
    each = [
        f"| {task} | {encoding} | {optimiser} | {tokens} | {steps} | {group['gate'].median():.2f} | {passes(group)} "
        f"| {far(group)} |"
        for (task, encoding, optimiser, tokens, steps), group in frame.groupby(
            ["task", "encoding", *SHORT[1:]]
        )
    ]
    reached = "passed | steps to the gate | seconds to it"
    return "\n".join(
        [
            f"| task | optimiser | batch | steps | rate, schedule | {reached} | score at L | beyond L |",
            "|---" * 10 + "|",
            *over,
            "",
            f"Not complete: {lacking(whole) or 'none'}. Rows beyond these stages stand in the last table alone.",
            "",
            "| task | optimiser | batch | change at L | change beyond L | encodings moved at L | beyond L |",
            "|---" * 7 + "|",
            *doubled(whole),
            "",
            f"| task | encoding | optimiser | batch | steps | gate | {reached} | score by length |",
            "|---" * 10 + "|",
            *each,
        ]
    )


def lacking(whole: pd.DataFrame) -> str:
    """The batches, steps, tasks and optimisers of the trial that not all encodings were trained with."""
    there = set(whole[SHORT].itertuples(index=False, name=None))
    least = whole.groupby("task")["steps"].min()
    found = []
    for times, tokens in STAGES:
        cells = [
            (f"`{task}` with {optimiser}", (task, optimiser, tokens, times * steps) in there)
            for (task, steps), optimiser in itertools.product(least.items(), OPTIMISERS)
        ]
        missing = [name for name, known in cells if not known]
        which = "all" if len(missing) == len(cells) else ", ".join(missing)
        if missing:
            found.append(f"batch {tokens}{' and twice the steps' if times == 2 else ''} ({which})")
    return "; ".join(found)


def doubled(whole: pd.DataFrame) -> list[str]:
    """What twice the steps change: the mean change of the score, and the encodings that move.

    An encoding moves where its mean change is more than two standard deviations over seeds, pooled over both steps.
    """
    lines, least = [], whole.groupby("task")["steps"].transform("min")
    key = [*SHORT[:-1], "encoding", "seed"]
    both = whole[whole["steps"] == least].merge(
        whole[whole["steps"] == 2 * least], on=key, suffixes=("", "_2")
    )
    for (task, optimiser, tokens), group in both.groupby(SHORT[:-1]):
        changes, moved, each = [], [], group.groupby("encoding")
        for kind in ("at", "beyond"):
            deviation = ((each[kind].var() + each[f"{kind}_2"].var()) / 2) ** 0.5
            far = (each[f"{kind}_2"].mean() - each[kind].mean()).abs() > 2 * deviation
            changes.append(f"{group[f'{kind}_2'].mean() - group[kind].mean():+.2f}")
            moved.append(", ".join(far.index[far]) or "-")
        lines.append(f"| {' | '.join([str(task), str(optimiser), str(tokens), *changes, *moved])} |")
    return lines


def recipe(group: pd.DataFrame) -> str:
    """What validation chose: the rate in units of the profile's, and its schedule."""
    return f"{group['factor'].iloc[0]:.2g} {group['schedule'].iloc[0]}"


def passes(group: pd.DataFrame) -> str:
    """How many trainings pass the gate, and the medians of steps and processor seconds until those do."""
    passed = group.dropna(subset="passed")
    if passed.empty:
        return f"0 of {len(group)} | - | -"
    return (
        f"{len(passed)} of {len(group)} | {passed['passed'].median():.0f} | {passed['to_gate'].median():.0f}"
    )


def far(group: pd.DataFrame) -> str:
    """The median score over seeds at each length."""
    lengths = pd.DataFrame(group["kept"].tolist()).median()
    return ", ".join(f"{n}: {lengths[n]:.2f}" for n in sorted(lengths.index, key=int))
