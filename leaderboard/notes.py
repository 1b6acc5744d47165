"""The notes below a board: what a reader must know before believing its order."""

import ast
import functools
import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import pandas as pd

from pebench.leaderboard import ranking
from pebench.leaderboard.columns import Columns
from pebench.leaderboard.entries import Entry
from pebench.suite.results.metrics import RATIOS, YARDSTICK, counted
from pebench.suite.results.record import CERTIFICATE, Unreadable

WAYS = {"mean": "the mean", "standardised": "standardised scores", "median-rank": "median rank"}
NAMED = 6  # pairs that a note names


def notes_of(
    entries: list[Entry],
    told: Columns,
    result: ranking.Ranking,
    scores: pd.DataFrame,
    profile: str,
    profiles: dict[str, int],
    unreadable: list[Unreadable],
    caps: Mapping[str, float],
) -> list[str]:
    """All notes of a board, the most important first."""
    return [
        *_seed_notes(entries, result, scores),
        *_task_notes(result),
        *_length_notes(result),
        *_keeps_notes(entries, caps),
        *_model_notes(result),
        *_processor_notes(told),
        *_clock_notes(scores),
        *_mixture_notes(told),
        *_source_notes(told),
        *_entry_notes(entries),
        *_folder_notes(profile, profiles, unreadable),
    ]


def _names(entries: list[Entry]) -> str:
    return ", ".join(e.name for e in entries)


def _seed_notes(entries: list[Entry], result: ranking.Ranking, scores: pd.DataFrame) -> list[str]:
    """Which encodings and tasks have too few seeds, and which tasks do not count yet."""
    notes, data = [], result.data
    previews = [e for e in entries if e.preview]
    if result.one_seed and data.tasks:
        notes.append(
            "One seed only: another training would give other scores, and nothing tells how different. So there is "
            "no interval, no tier and no rank; every row is a preview."
        )
    elif previews:
        notes.append(
            "Preview, a score without a place, because some task has fewer than two seeds: "
            f"{_names(previews)}. Their intervals borrow the variance of other encodings."
        )
    if behind := [name for name in data.behind if name not in {e.name for e in previews}]:
        notes.append(f"With fewer seeds than others in some task: {', '.join(behind)}.")
    found = scores.dropna(subset="score").groupby("task")["encoding"].nunique()
    if uncounted := [f"{task} ({found[task]})" for task in sorted(set(found.index) - set(data.tasks))]:
        notes.append(f"Not counted until more encodings have a result there: {', '.join(uncounted)}.")
    return notes


def _length_notes(result: ranking.Ranking) -> list[str]:
    """Which tasks make up the score at the training length, where not all do."""
    there = result.data.tasks_with("at_length")
    if not there or len(there) == len(result.data.tasks):
        return []
    rest = counted(len(result.data.tasks) - len(there), "other task")
    return [f"Scored at the training length: {', '.join(there)}. The gate alone judges it in {rest}."]


def _keeps_notes(entries: list[Entry], caps: Mapping[str, float]) -> list[str]:
    """How far each task's lengths reach, in octaves of L, which bounds *keeps*; `caps` by task."""
    kept = [e.keeps for e in entries if e.keeps and e.rank is not None]
    if not any(keeps.cut for keeps in kept):
        return []
    reach = ", ".join(
        f"{task} {octaves:.1f}" for task, octaves in sorted(caps.items(), key=lambda each: each[1])
    )
    return [
        f"Keeps ends with a task's longest length, in octaves of L: {reach}. Of a ranked encoding's passing runs "
        f"{sum(keeps.cut for keeps in kept) / len(kept):.0%} in the mean still hold half of the score there. "
        "So intervals and P(best) by keeps are of these lengths; longer ones may tell rows apart that are equal here."
    ]


def _task_notes(result: ranking.Ranking) -> list[str]:
    """How much of the order hangs on which tasks there are."""
    notes = []
    if lost := result.task_dependent:
        pairs = ", ".join(f"{better} over {worse}" for better, worse in lost[:NAMED])
        rest = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
        notes.append(
            f"Of {counted(result.separated, 'separated pair')}, {len(lost)} would not survive another choice of "
            f"{result.other_tasks}: {pairs}{rest}."
        )
    if firsts := _firsts(result):
        notes.append(firsts)
    if alike := _orders_alike(result):
        notes.append(alike)
    share = ranking.influence(result).dropna().sort_values(ascending=False)
    if len(share) > 1:
        parts = ", ".join(f"{family} {part:.0%}" for family, part in share.items())
        notes.append(f"Equal weights are not equal influence. Share of the variance between scores: {parts}.")
    return notes


def _firsts(result: ranking.Ranking) -> str:
    """Who comes first by each way to aggregate tasks, where they differ."""
    places = ranking.places(result)
    found = {order: list(places.index[places[order] == 1]) for order in places} if len(places) > 1 else {}
    if len({tuple(sorted(names)) for names in found.values()}) < 2:
        return ""
    said = "; ".join(f"{', '.join(names)} by {WAYS[order]}" for order, names in found.items())
    return f"The first place depends on the way to aggregate tasks: {said}."


def _orders_alike(result: ranking.Ranking) -> str:
    """How far the order by the mean is that by other ways to aggregate tasks.

    Nothing is said of two rows, or of one family of tasks, where all ways are one.
    """
    places = ranking.places(result)
    if "mean" not in places or len(places) < 3 or result.families["task_family"].nunique() < 2:
        return ""
    mean = places.pop("mean")
    taus = {order: ranking.tau(mean.to_numpy(float), places[order].to_numpy(float)) for order in places}
    said = " and ".join(f"{tau:+.2f} with the order by {WAYS[order]}" for order, tau in taus.items())
    return f"Order by the mean, {counted(len(mean), 'encoding')} with every task: Kendall's tau is {said}."


def _model_notes(result: ranking.Ranking) -> list[str]:
    """Extensions that read another training of an encoding than the one of its row."""
    data = result.data
    other = defaultdict[str, list[str]](list)
    for name, base in zip(data.encodings, data.trained, strict=True):
        if name != base and ranking.one_model(data, name, base) is False:
            other[base].append(name)
    return [
        f"{', '.join(names)} {'reads' if len(names) == 1 else 'read'} another training of {base} than the row of "
        "that name: at L their scores differ."
        for base, names in other.items()
    ]


def _processor_notes(told: Columns) -> list[str]:
    """On which processors and in which precision the runs were made, because another kind trains another model."""
    trained = told.where(told.column("measured") & ~told.column("task").isin([CERTIFICATE, "throughput"]))
    facts = list(zip(*map(trained.texts, ("encoding", "cpu", "precision")), strict=True))
    kinds = Counter((cpu, precision) for _, cpu, precision in facts if cpu)
    if not kinds:
        return []
    named = ", ".join(
        f"{', '.join(filter(None, kind))} ({counted(n, 'run')})" for kind, n in kinds.most_common()
    )
    return [
        f"Processors and precision of products: {named}. Another kind rounds differently and trains another model from "
        "the same seed: expect scores that differ as between seeds.",
        *_alone({(name, (cpu, precision)) for name, cpu, precision in facts if name and cpu}),
    ]


def _alone(used: set[tuple[str, tuple[str, str | None]]]) -> list[str]:
    """Which encodings share no processor and precision with most others: what these do is in their differences."""
    groups: list[tuple[set[str], set[Any]]] = []  # encodings and kinds that are linked
    for name, kind in sorted(used, key=str):
        linked = [group for group in groups if name in group[0] or kind in group[1]]
        groups = [group for group in groups if group not in linked]
        groups.append(({name}.union(*(g[0] for g in linked)), {kind}.union(*(g[1] for g in linked))))
    apart = sorted(groups, key=lambda group: len(group[0]))[:-1]
    return [
        f"No other row was made on the processor and in the precision of {' and '.join(sorted(names))}: a difference "
        "from another row may be one between machines."
        for names, _ in apart
    ]


def _clock_notes(scores: pd.DataFrame) -> list[str]:
    """How far RoPE's times over its own times are from 1, which is the noise of the clock."""
    itself = scores[(scores["encoding"] == YARDSTICK) & scores["metric"].isin(RATIOS)]["value"].dropna()
    if itself.empty:
        return []
    span = f"{itself.min():.2f} to {itself.max():.2f}"
    return [
        f"Costs are times over RoPE's. RoPE over itself was measured as {span}: within that, nothing is told apart.",
        *_cost_length_notes(scores),
    ]


def _cost_length_notes(scores: pd.DataFrame) -> list[str]:
    """Which encodings have costs of fewer lengths than RoPE: the mean over lengths is of others there."""
    rows = scores[scores["metric"].isin(RATIOS) & scores["length"].notna()]
    rows = rows.astype({"encoding": str, "metric": str})
    lengths = rows.groupby(["encoding", "metric"])["length"].agg(frozenset)
    fewer: dict[str, set[str]] = defaultdict(set)
    for (name, metric), own in lengths.items():
        whole = lengths.get((YARDSTICK, metric), own)
        if own < whole:
            fewer[f"at {', '.join(f'{n:g}' for n in sorted(own))} tokens alone"].add(name)
    told = "; ".join(f"{where}: {', '.join(sorted(names))}" for where, names in sorted(fewer.items()))
    return [f"A cost is the mean over RoPE's lengths. Some have costs of fewer, {told}."] if told else []


def _mixture_notes(told: Columns) -> list[str]:
    """Tasks in which encodings are compared that were not run alike."""
    versions: dict[str, set[str]] = defaultdict(set)
    setups: dict[str, set[str]] = defaultdict(set)
    precisions: dict[str, set[str]] = defaultdict(set)
    trained = told.where(told.column("measured") & (told.column("task") != CERTIFICATE))
    facts = zip(*map(trained.texts, ("task", "shared_code", "setup", "precision")), strict=True)
    for task, code, setup, precision in dict.fromkeys(facts):
        versions[task] |= {code} if code else set()  # older records do not tell
        setups[task].add(setup)
        precisions[task] |= {precision} & {"float32", "bfloat16", "float16"}
    notes = []
    if mixed := sorted(task for task in setups if len(versions[task]) > 1 or len(setups[task]) > 1):
        notes.append(
            f"Run with different versions of the task or the training: {', '.join(mixed)}; "
            "`pebench status` says which runs are stale."
        )
    for found in sorted({tuple(sorted(found)) for found in precisions.values() if len(found) > 1}):
        mixed = sorted(task for task in precisions if precisions[task] == set(found))
        notes.append(f"Runs of one task multiplied in {' or '.join(found)}: {', '.join(mixed)}.")
    return notes


def _source_notes(told: Columns) -> list[str]:
    """Encodings whose rows come from two sources of one name, and records whose identity is of another kind."""
    sources: dict[str, set[str]] = defaultdict(set)
    facts = zip(*map(told.texts, ("encoding", "encoding_code", "card")), strict=True)
    for name, code, card in dict.fromkeys(facts):
        if code:
            sources[name].add(f"code {code}")
        elif isinstance(text := json.loads(card).get("source"), str):  # revision 1 tells no hash of the code
            sources[name].add(f"text {text}")
    for name, found in sources.items():
        if len(found) > 1:  # texts that differ may mean the same
            sources[name] = {f"text {_meaning(s[5:])}" if s.startswith("text ") else s for s in found}
    kinds = {name: Counter(said.partition(" ")[0] for said in found) for name, found in sources.items()}
    notes = []
    if mixed := sorted(name for name, count in kinds.items() if max(count.values()) > 1):
        notes.append(
            f"Rows of two or more versions of one encoding, which are no result of any of them: {', '.join(mixed)}; "
            "`pebench status` says which runs are stale."
        )
    early = told.texts("encoding_code").count(None)
    if 0 < early < len(told):
        notes.append(
            f"{early} of {len(told)} runs have fingerprints of revision 1: no code of today can be compared with "
            "theirs, so they count as stale."
        )
    return notes


@functools.cache
def _meaning(source: str) -> str:
    """A source without comments, docstrings and formatting; the text itself where it does not parse."""
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return source
    for node in ast.walk(tree):
        if (
            isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
            and ast.get_docstring(node) is not None
        ):
            node.body = node.body[1:]
    return ast.dump(tree)


def _entry_notes(entries: list[Entry]) -> list[str]:
    """Rows that lack something or were made in another way."""
    notes = []
    if partial := [e for e in entries if e.partial]:
        notes.append(
            f"* behind a score: some conditions are missing, and the score averages the others: "
            f"{_names(partial)}. A rank uses shared conditions only."
        )
    if untested := [e for e in entries if e.certificate == "missing"]:
        notes.append(f"No certificate yet: {_names(untested)}.")
    if stale := [e for e in entries if e.stale]:
        notes.append(
            f"Stale, because the seeds were run with different versions of the code: {_names(stale)}."
        )
    if dirty := [e for e in entries if not e.clean and not e.no_commit]:
        notes.append(f"Run from code that was not committed: {_names(dirty)}.")
    for why in sorted({why for e in entries for why in e.no_commit}):
        unknown = _names([e for e in entries if why in e.no_commit])
        notes.append(f"Run from code of no known commit ({why}): {unknown}.")
    if own := [f"{e.name} ({', '.join(e.own_texts)})" for e in entries if e.own_texts]:
        notes.append(f"On a text of the user's own, not to be compared with books-v1: {', '.join(own)}.")
    if failed := [f"{e.name} ({'; '.join(e.failed_runs)})" for e in entries if e.failed_runs]:
        notes.append(f"Runs without a result: {', '.join(failed)}.")
    return notes


def _folder_notes(profile: str, profiles: dict[str, int], unreadable: list[Unreadable]) -> list[str]:
    """What else the folder holds."""
    notes = []
    if others := [f"{name} ({count})" for name, count in profiles.items() if name != profile]:
        notes.append(f"Other profiles in this folder, never mixed in: {', '.join(others)}.")
    notes += [f"Unreadable and left out: {file.path}: {file.reason}" for file in unreadable]
    return notes
