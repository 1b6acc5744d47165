"""Do the rules of docs/standard2.md hold? python -m pebench.leaderboard.reports.rules --profile STANDARD_2

A rule is met, not met, or unknown where the records and trials do not say. Records come from test items, trials (JSON
lines of `python -m benchmarks.trial`) from validation items; both are judged by the same functions. A trial counts
where it has the size and training length of the profile.
"""

import argparse
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from pebench.leaderboard import about, ranking
from pebench.leaderboard.about import PUBLISHED
from pebench.leaderboard.table import score_table
from pebench.suite.results.metrics import counted
from pebench.suite.results.record import Record, newest, read_all

REFERENCES = ("rope", "alibi", "t5_bias", "fox", "nope")
EXCUSED = "nope"  # may fail in these tasks, for the reason on the page
REASONED = ("flipflop_error", "recall_again")
SEEDS = 3  # where the profile is not known
LOW, HIGH = 0.05, 0.95  # the references' median at a length that is scored
DEVIATIONS = 2  # between seeds, by which twice the steps may move a reference
LEAST_SD = 0.01
INFLUENCE = 2  # times its equal share, which a family's share of the variance may reach
CONTEXT, HEAD_WIDTH = 128, 32  # tokens of a training context; width of a head of the larger profile
SIZES = ("STANDARD_2", "LARGE")  # train at equal lengths
RATES, SAMPLE = (1 / 3, 1.0, 3.0), 6  # of the profile's rate; encodings that are trained at all of them
# `times` counts steps and `rate` is a learning rate, both in units of the profile's.
RUNS = ["task", "encoding", "seed", "times", "rate", "gate", "learned", "length", "score"]
RECIPE = (
    *("model", "train_length", "steps", "tokens", "corpus"),
    *("learning_rate", "warmup", "weight_decay", "clip", "floor"),
)

TRIALS = Path(__file__).parents[1] / "trials2.jsonl"  # of STANDARD_2 and LARGE, on validation


NOTHING = "no runs"


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
            lines.append((r.task, r.encoding, r.seed, 1.0, 1.0, gate, gate >= from_, length, score))
    return pd.DataFrame(lines, columns=RUNS)


def of_trials(text: str, profile: str) -> pd.DataFrame:
    """The trials (JSON lines) at a profile's sizes, in the same form. ValueError names a line that is no trial."""
    lines = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            t = json.loads(line)
            size = (t["layers"], t["width"], t["heads"], t["length"], t["tokens"])
            plan = about.task(profile, t["task"])
            if plan is None or size != (plan.layers, plan.width, plan.heads, plan.trained, plan.tokens):
                continue
            of_plan = (t["steps"] / plan.steps, t["rate"] / plan.rate)
            for length, score in t["scores"].items():
                if float(length) not in plan.lengths:
                    continue
                run = (t["task"], t["encoding"], t["seed"], *of_plan, t["gate"], t["learned"])
                lines.append((*run, float(length), score))
        except (ValueError, KeyError, TypeError, AttributeError) as e:
            raise ValueError(f"line {number} is no trial of `python -m benchmarks.trial`: {e!r}") from e
    return pd.DataFrame(lines, columns=RUNS)


def of_plan(runs: pd.DataFrame, times: float = 1.0, rate: float = 1.0) -> pd.DataFrame:
    """The references' runs with so many times the steps and so many times the rate of the profile."""
    here = np.isclose(runs["times"], times) & np.isclose(runs["rate"], rate, rtol=0.1)
    return runs[here & runs["encoding"].isin(REFERENCES)]


def learned(runs: pd.DataFrame, tasks: Iterable[str], seeds: int = SEEDS) -> list[Verdict]:
    """Rule (a): each reference passes each gate with each of its seeds, or `nope` fails for a reason on the page."""
    found = []
    for task in tasks:
        of_task = runs[runs["task"] == task]
        if of_task.empty:
            found.append(Verdict("a", task, None, NOTHING))
            continue
        passed = (
            of_task.groupby(["encoding", "seed"])["learned"].all().groupby("encoding").agg(["sum", "size"])
        )
        failed = passed[passed["sum"] < passed["size"]]
        missing = [name for name in REFERENCES if passed["size"].get(name, 0) < seeds]
        text = [f"{name} passes with {row['sum']} of {row['size']}" for name, row in failed.iterrows()]
        text += [f"fewer than {seeds} seeds of {', '.join(missing)}"] if missing else []
        alone, reasoned = list(failed.index) == [EXCUSED], task in REASONED
        text += (
            [f"{EXCUSED} alone fails{'' if reasoned else ', without a reason on the page'}"] if alone else []
        )
        broken = set(failed.index) - ({EXCUSED} if reasoned else set())
        met = False if broken else None if missing else True
        found.append(Verdict("a", task, met, "; ".join(text) or "all pass"))
    return found


def separating(runs: pd.DataFrame, tasks: Iterable[str], seeds: int = SEEDS) -> list[Verdict]:
    """Rule (b): at every scored length the references' median, over so many seeds, lies within LOW and HIGH."""
    found = []
    for task in tasks:
        of_task = runs[runs["task"] == task]
        if of_task.empty:
            found.append(Verdict("b", task, None, NOTHING))
            continue
        measured = of_task.groupby("encoding")["seed"].nunique()
        means = of_task.groupby(["length", "encoding"])["score"].mean()
        medians = means.groupby("length").median()
        missing = [name for name in REFERENCES if measured.get(name, 0) < seeds]
        text = [f"median {value:.2f} at {length:g}" for length, value in medians.items()]
        text += [f"fewer than {seeds} seeds of {', '.join(missing)}"] if missing else []
        met = None if missing else bool(medians.between(LOW, HIGH).all())
        found.append(Verdict("b", task, met, "; ".join(text)))
    return found


def trained_at(profile: str) -> list[Verdict]:
    """Rule (c): long contexts, wide heads in the larger profile, and the same training lengths in both."""
    found = []
    other = next((name for name in SIZES if name != profile), profile)
    for plan in about.tasks(profile):
        if plan.context is None:
            continue
        twin = about.task(other, plan.name)
        text = [f"contexts of {counted(plan.context, 'token')}"]
        text += [f"no such task in {other}"] if twin is None else []
        text += [f"L {twin.trained} in {other}"] if twin and twin.trained != plan.trained else []
        narrow = profile == SIZES[-1] and plan.width // plan.heads < HEAD_WIDTH
        text += [f"heads of width {plan.width // plan.heads}"] if narrow else []
        found.append(Verdict("c", plan.name, plan.context >= CONTEXT and len(text) == 1, "; ".join(text)))
    return found


def enough(tried: pd.DataFrame, tasks: Iterable[str]) -> list[Verdict]:
    """Rule (d): twice the steps move no reference by more than two deviations between seeds.

    Compared are the gate, which is the score at L, and every scored length. Trials alone are compared, all on
    validation; of one seed the last trial counts.
    """
    found = []
    at, run = ["encoding", "where"], ["encoding", "seed", "where", "times", "rate"]
    lengths = tried.assign(where=[f"at {length:g}" for length in tried["length"]])
    tried = pd.concat([lengths, tried.assign(where="in the gate", score=tried["gate"])])
    for task in tasks:
        of_task = tried[tried["task"] == task].drop_duplicates(run, keep="last")
        once = of_plan(of_task).groupby(at)["score"].agg(["mean", "std", "size"])
        twice = of_plan(of_task, times=2.0).groupby(at)["score"].agg(twice="mean", doubled="size")
        both = once[once["size"] > 1].join(twice, how="inner")
        gap = both["twice"] - both["mean"]
        far = gap[gap.abs() > DEVIATIONS * both["std"].clip(lower=LEAST_SD)]
        places = set(of_task["where"])
        tried_at = both.reset_index().groupby("encoding")["where"].agg(set)
        known = {name for name, of_name in tried_at.items() if of_name >= places}
        missing = [n for n in REFERENCES if n not in known]
        chance = sum(by_chance(*sizes) for sizes in both[["size", "doubled"]].to_numpy())
        moved = f"{len(far)} of {len(gap)} move, by chance up to {chance:.1f}; {int((far > 0).sum())} of them move up"
        text = [moved] if len(far) else []
        text += [f"{name} by {moved:+.2f} {where}" for (name, where), moved in far.items()]
        text += [f"no trials of two seeds and a doubling of {', '.join(missing)}"] if missing else []
        met = False if len(far) else None if missing else True
        found.append(Verdict("d", task, met, "; ".join(text) or "none moves"))
    return found


def by_chance(once: float, twice: float) -> float:
    """The probability that rule (d) sees a move between the means of so many seeds where the steps change nothing.

    The difference over the deviation of the seeds with the profile's steps is Student's t, of normal scores of one
    variance. LEAST_SD makes it less probable.

    >>> round(by_chance(2, 1), 2), round(by_chance(3, 1), 2)
    (0.35, 0.23)
    """
    return float(2 * special.stdtr(once - 1, -DEVIATIONS / (1 / once + 1 / twice) ** 0.5))


def equal_effort(records: Iterable[Record]) -> list[Verdict]:
    """Rule (e): all encodings of a task have one recipe; two at least tell."""
    recipes: dict[str, dict[str, set[str]]] = {}
    for r in records:
        if "learning_rate" in r.setup and r.setup.get("steps"):
            recipe = json.dumps({key: r.setup.get(key) for key in RECIPE}, sort_keys=True)
            recipes.setdefault(r.task, {}).setdefault(r.encoding, set()).add(recipe)
    found = []
    for task, by_encoding in recipes.items():
        kinds = set().union(*by_encoding.values())
        met = False if len(kinds) > 1 else True if len(by_encoding) > 1 else None
        said = f"{counted(len(kinds), 'recipe')} of {counted(len(by_encoding), 'encoding')}"
        found.append(Verdict("e", task, met, said))
    return found


def other_rates(runs: pd.DataFrame, tasks: Sequence[str]) -> Verdict:
    """Rule (e): in each of these tasks a sample is trained at a third and at three times the rate.

    The detail says how many encodings were, and which gates another rate passes.
    """
    at = [runs[np.isclose(runs["rate"], rate, rtol=0.1) & np.isclose(runs["times"], 1)] for rate in RATES]
    gates = [part.groupby(["task", "encoding"])["learned"].max() for part in at]
    table = pd.concat(gates, axis=1, join="inner", keys=RATES)
    sizes = table.groupby(level="task").size()
    opened = table.index[~table[1.0].astype(bool) & table.any(axis=1)]
    text = [f"{name} {sizes.get(name, 0)}" for name in tasks]
    text = [f"encodings at three rates, of {SAMPLE}: {', '.join(text)}"]
    text += [f"another rate passes {name} in {task}" for task, name in opened]
    all_tried = bool(tasks) and all(sizes.get(name, 0) >= SAMPLE for name in tasks)
    return Verdict("e", "all", True if all_tried else None, "; ".join(text))


def balanced(records: Iterable[Record]) -> list[Verdict]:
    """Rule (f): no family has more than INFLUENCE times its equal share of the variance between scores."""
    scores = score_table(records)
    if scores.empty:
        return [Verdict("f", "all", None, "no scores")]
    shares = ranking.influence(ranking.rank(scores)).dropna()
    if 1 <= len(shares) <= INFLUENCE:
        return [Verdict("f", "all", None, f"{', '.join(shares.index)} alone: no share can be too large")]
    if shares.empty:
        return [Verdict("f", "all", None, "fewer than two ranked encodings")]
    large = shares[shares > INFLUENCE / len(shares)]
    text = ", ".join(f"{name} {share:.3f}" for name, share in shares.items())
    return [Verdict("f", "all", large.empty, f"{text}; allowed {INFLUENCE / len(shares):.3f}")]


def verdicts(records: list[Record], trials: pd.DataFrame | None = None, profile: str = "") -> list[Verdict]:
    """All rules, of records and trials of one profile; (c) is of the profile itself."""
    runs = of_records(records)
    tried = pd.DataFrame(columns=RUNS) if trials is None else trials
    judged = of_plan(tried) if runs.empty else runs
    trained = [plan.name for plan in about.tasks(profile) if plan.context is not None]
    seeds = about.seeds(profile) or SEEDS
    tasks = list(dict.fromkeys([*trained, *sorted({*judged["task"], *tried["task"]})]))
    return [
        *learned(judged, tasks, seeds),
        *separating(judged, tasks, seeds),
        *trained_at(profile),
        *enough(tried, tasks),
        *equal_effort(records),
        other_rates(tried, trained),
        *balanced(records),
    ]


def to_markdown(found: Iterable[Verdict]) -> str:
    """A line for each rule and task."""
    said = {True: "met", False: "**not met**", None: "unknown"}
    lines = ["| rule | task | | |", "|---|---|---|---|"]
    return "\n".join([*lines, *(f"| ({v.rule}) | `{v.task}` | {said[v.met]} | {v.detail} |" for v in found)])


def published_trials(profile: str) -> pd.DataFrame:
    """The trials of the repository at a profile's sizes."""
    return of_trials(TRIALS.read_text(encoding="utf-8"), profile)


def published(profile: str) -> str:
    """The table of a profile, of the published records and trials."""
    records = newest(r for r in read_all(PUBLISHED)[0] if r.profile == profile)
    names = {r.encoding for r in records}
    state = (
        f"{counted(len(records), 'record')} of {counted(len(names), 'encoding')}"
        if records
        else "no records yet"
    )
    trials = published_trials(profile)
    times = [row_time(records), row_times(records, profile)]
    said = [f"{profile}: {state}.", " ".join(filter(None, times))]
    said.append(to_markdown(verdicts(records, trials, profile)))
    return "\n\n".join(filter(None, said))


def _rows(records: Iterable[Record]) -> dict[tuple[str, int], list[Record]]:
    """The timed trainings of each encoding and seed."""
    rows: dict[tuple[str, int], list[Record]] = {}
    for r in records:
        if any(row.metric == "gate" for row in r.rows) and "seconds" in r.provenance:
            rows.setdefault((r.encoding, r.seed), []).append(r)
    return rows


def row_times(records: Iterable[Record], profile: str) -> str:
    """What the rows of all encodings took that have every task of the profile; empty where none has."""
    tasks = {plan.name for plan in about.tasks(profile) if plan.context is not None}
    whole = [row for row in _rows(records).values() if tasks and {r.task for r in row} >= tasks]
    minutes = [sum(float(r.provenance["seconds"]) for r in row) / 60 for row in whole]
    if not minutes:
        return ""
    return (
        f"A row of any encoding: {min(minutes):.0f} to {max(minutes):.0f} minutes, the median {np.median(minutes):.0f} "
        f"({counted(len(minutes), 'row')}, all processors)."
    )


def row_time(records: Iterable[Record]) -> str:
    """What training and measuring a row of `rope` took with each seed, a thread for each run; empty without records."""
    took = []
    for (name, seed), row in sorted(_rows(records).items()):
        if name != "rope":
            continue
        seconds = sum(float(r.provenance["seconds"]) for r in row)
        where = sorted(
            {f"{r.provenance.get('cpu', 'unknown')}, {r.provenance.get('precision', '')}" for r in row}
        )
        took.append(f"{seconds:.0f} s with seed {seed} in {counted(len(row), 'run')} ({'; '.join(where)})")
    return f"A row of `rope` by the clock: {', '.join(took)}." if took else ""


def trial_table() -> str:
    """All published trials, a line each, with the examples of a condition and the precision where it has them."""
    lines = [
        "| task | encoding | L | layers x width, heads | steps x tokens | rate | seed | gate | loss | s | scores "
        "| examples, precision |",
        "|---" * 12 + "|",
    ]
    for text in TRIALS.read_text(encoding="utf-8").splitlines():
        t = json.loads(text)
        scores = ", ".join(f"{length}: {score:.2f}" for length, score in t["scores"].items())
        cells = (
            *(f"`{t['task']}`", f"`{t['encoding']}`", t["length"]),
            *(
                f"{t['layers']} x {t['width']}, {t['heads']}",
                f"{t['steps']} x {t['tokens']}",
                f"{t['rate']:g}",
            ),
            *(t["seed"], f"{t['gate']:.2f} ({'passes' if t['learned'] else 'fails'})", f"{t['loss']:.3f}"),
            *(t["seconds"], scores),
            ", ".join(str(t[part]) for part in ("examples", "precision") if part in t) or "-",
        )
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """Print the table. 0: every rule is met; 1: one is not, or is unknown; 2: there is nothing to judge."""
    parser = argparse.ArgumentParser(prog="python -m pebench.leaderboard.reports.rules", description=__doc__)
    parser.add_argument("--profile", default="STANDARD_2")
    parser.add_argument("--records", type=Path, default=PUBLISHED, help="a records folder")
    parser.add_argument("--trials", type=Path, help="JSON lines that `python -m benchmarks.trial` wrote")
    given = parser.parse_args(arguments)
    try:
        trials = of_trials(given.trials.read_text(encoding="utf-8"), given.profile) if given.trials else None
    except (OSError, ValueError) as e:
        print(f"{given.trials} cannot be read: {e}", file=sys.stderr)
        return 2
    records = newest(r for r in read_all(given.records)[0] if r.profile == given.profile)
    found = verdicts(records, trials, given.profile) if records or trials is not None else []
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
