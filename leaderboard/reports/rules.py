"""Do the rules of docs/standard2.md hold? python -m pebench.leaderboard.reports.rules --profile STANDARD_2

A rule is met, not met, or unknown where the records and trials do not say. Records come from test items, trials (JSON
lines of `python -m benchmarks.trial`) from validation items; both are judged by the same functions.
"""

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pebench.leaderboard import ranking
from pebench.leaderboard.board import PUBLISHED
from pebench.leaderboard.table import score_table
from pebench.suite.results.metrics import counted
from pebench.suite.results.record import Record, newest, read_all

REFERENCES = ("rope", "alibi", "t5_bias", "fox", "nope")
SEEDS = 3
LOW, HIGH = 0.05, 0.95  # the references' median at a length that is scored
DEVIATIONS = 2  # between seeds, by which twice the steps may move a reference
LEAST_SD = 0.01
INFLUENCE = 2  # times its equal share, which a family's share of the variance may reach
RUNS = ["task", "encoding", "seed", "steps", "learned", "length", "score"]
RECIPE = ("model", "train_length", "steps", "tokens", "learning_rate", "warmup", "weight_decay", "clip")


class Verdict(NamedTuple):
    """One rule in one task, or in all of them."""

    rule: str
    task: str
    met: bool | None  # None: unknown
    detail: str


def of_records(records: Iterable[Record]) -> pd.DataFrame:
    """The references' runs, a line for each length: RUNS, with the mean score over the conditions of a length."""
    lines = []
    for r in records:
        gate, from_ = next((row.value for row in r.rows if row.metric == "gate"), None), r.setup.get("gate")
        if r.encoding not in REFERENCES or gate is None or not isinstance(from_, int | float):
            continue
        counts = [(row.condition.get("length"), row.score) for row in r.rows if row.metric != "gate"]
        means = pd.DataFrame(counts, columns=["length", "score"]).dropna().groupby("length")["score"].mean()
        for length, score in means.items():
            lines.append((r.task, r.encoding, r.seed, r.setup.get("steps"), gate >= from_, length, score))
    return pd.DataFrame(lines, columns=RUNS)


def of_trials(text: str) -> pd.DataFrame:
    """The references' trials (JSON lines), in the same form. ValueError names a line that is no trial."""
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            t = json.loads(line)
            for length, score in t["scores"].items():
                lines.append(
                    (t["task"], t["encoding"], t["seed"], t["steps"], t["learned"], float(length), score)
                )
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise ValueError(f"line {number} is no trial of `python -m benchmarks.trial`: {e!r}") from e
    frame = pd.DataFrame(lines, columns=RUNS)
    return frame[frame["encoding"].isin(REFERENCES)].reset_index(drop=True)


def learned(runs: pd.DataFrame) -> list[Verdict]:
    """Rule (a): each reference passes each gate with each of three seeds."""
    found = []
    for task, of_task in runs.groupby("task"):
        passed = (
            of_task.groupby(["encoding", "seed"])["learned"].all().groupby("encoding").agg(["sum", "size"])
        )
        failed = passed[passed["sum"] < passed["size"]]
        missing = [name for name in REFERENCES if passed["size"].get(name, 0) < SEEDS]
        text = [f"{name} passes with {row['sum']} of {row['size']}" for name, row in failed.iterrows()]
        text += [f"fewer than {SEEDS} seeds of {', '.join(missing)}"] if missing else []
        met = False if len(failed) else None if missing else True
        found.append(Verdict("a", str(task), met, "; ".join(text) or "all pass"))
    return found


def separating(runs: pd.DataFrame) -> list[Verdict]:
    """Rule (b): at every scored length the references' median lies within LOW and HIGH."""
    found = []
    for task, of_task in runs.groupby("task"):
        means = of_task.groupby(["length", "encoding"])["score"].mean()
        medians = means.groupby("length").median()
        outside = medians[(medians < LOW) | (medians > HIGH)]
        missing = [n for n in REFERENCES if n not in set(of_task["encoding"])]
        text = [f"median {value:.2f} at {length:g}" for length, value in outside.items()]
        text += [f"without {', '.join(missing)}"] if missing else []
        met = None if missing else not len(outside)
        found.append(Verdict("b", str(task), met, "; ".join(text) or f"{counted(len(medians), 'length')}"))
    return found


def enough(runs: pd.DataFrame) -> list[Verdict]:
    """Rule (d): twice the steps move no reference by more than two deviations between seeds, at any length."""
    found = []
    for task, of_task in runs.groupby("task"):
        cells = of_task.groupby(["encoding", "length", "steps"])["score"].agg(["mean", "std", "size"])
        moved, known = [], set()
        for name, length, steps in cells.index:
            if (name, length, 2 * steps) not in cells.index or cells.loc[(name, length, steps), "size"] < 2:
                continue
            once, twice = cells.loc[(name, length, steps)], cells.loc[(name, length, 2 * steps)]
            known.add(name)
            gap = twice["mean"] - once["mean"]
            if abs(gap) > DEVIATIONS * max(once["std"], LEAST_SD):
                moved.append(f"{name} by {gap:+.2f} at {length:g}")
        missing = [n for n in REFERENCES if n not in known]
        text = moved + ([f"no two seeds and a doubling of {', '.join(missing)}"] if missing else [])
        met = False if moved else None if missing else True
        found.append(Verdict("d", str(task), met, "; ".join(text) or "none moves"))
    return found


def equal_effort(records: Iterable[Record]) -> list[Verdict]:
    """Rule (e): all encodings of a task have one recipe."""
    recipes: dict[str, set[str]] = {}
    for r in records:
        if "learning_rate" in r.setup and r.setup.get("steps"):
            recipe = json.dumps({key: r.setup.get(key) for key in RECIPE}, sort_keys=True)
            recipes.setdefault(r.task, set()).add(recipe)
    return [Verdict("e", t, len(kinds) == 1, counted(len(kinds), "recipe")) for t, kinds in recipes.items()]


def balanced(records: Iterable[Record]) -> list[Verdict]:
    """Rule (f): no family has more than INFLUENCE times its equal share of the variance between scores."""
    scores = score_table(records)
    if scores.empty:
        return [Verdict("f", "all", None, "no scores")]
    shares = ranking.influence(ranking.rank(scores)).dropna()
    if shares.empty:
        return [Verdict("f", "all", None, "fewer than two ranked encodings")]
    large = shares[shares > INFLUENCE / len(shares)]
    text = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
    return [Verdict("f", "all", large.empty, f"{text}; allowed {INFLUENCE / len(shares):.2f}")]


def verdicts(records: list[Record], trials: pd.DataFrame | None = None) -> list[Verdict]:
    """All rules that records and trials can tell of; (c) is a test of the profiles."""
    runs = of_records(records)
    if runs.empty and trials is not None:
        return [*learned(trials), *separating(trials), *enough(trials)]
    doubled = runs if trials is None else trials
    return [
        *learned(runs),
        *separating(runs),
        *enough(doubled),
        *equal_effort(records),
        *balanced(records),
    ]


def to_markdown(found: Iterable[Verdict]) -> str:
    """A line for each rule and task."""
    said = {True: "met", False: "**not met**", None: "unknown"}
    lines = ["| rule | task | | |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| ({v.rule}) | `{v.task}` | {said[v.met]} | {v.detail} |" for v in found)])


def main(arguments: list[str] | None = None) -> int:
    """Print the table. 0: every rule is met; 1: one is not, or is unknown; 2: there is nothing to judge."""
    parser = argparse.ArgumentParser(prog="python -m pebench.leaderboard.reports.rules", description=__doc__)
    parser.add_argument("--profile", default="STANDARD_2")
    parser.add_argument("--records", type=Path, default=PUBLISHED, help="a records folder")
    parser.add_argument("--trials", type=Path, help="JSON lines that `python -m benchmarks.trial` wrote")
    given = parser.parse_args(arguments)
    try:
        trials = of_trials(given.trials.read_text(encoding="utf-8")) if given.trials else None
    except (OSError, ValueError) as e:
        print(f"{given.trials} cannot be read: {e}", file=sys.stderr)
        return 2
    records = newest(r for r in read_all(given.records)[0] if r.profile == given.profile)
    found = verdicts(records, trials) if records or trials is not None else []
    if not found:
        print(
            f"no records of {given.profile} in {given.records} and no trials; "
            f"make some with `pebench run --profile {given.profile}`",
            file=sys.stderr,
        )
        return 2
    print(to_markdown(found))
    return 0 if all(v.met for v in found) else 1


if __name__ == "__main__":
    sys.exit(main())
