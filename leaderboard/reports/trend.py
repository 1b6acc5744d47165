"""Do differences hold at another size? `pebench trend` prints it, a page of the app shows it.

Two profiles or more train the same tasks on equal lengths, steps and tokens, and differ in their models' sizes. For
each pair of encodings: the difference of their scores at each size, its slope against log2 of the parameters, and a
verdict.
"""

import itertools
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence, Set
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from scipy import special

from pebench.leaderboard import about, ranking
from pebench.leaderboard.about import PUBLISHED
from pebench.leaderboard.columns import number
from pebench.leaderboard.reading import reading
from pebench.leaderboard.reports.quantities import on_other_processors
from pebench.leaderboard.table import run_table, score_table
from pebench.suite.results.metrics import counted
from pebench.suite.results.record import Record, newest

STANDS, FAILS, UNKNOWN = VERDICTS = "stands", "does not carry over", "unknown"
COLUMNS = [
    "better",
    "worse",
    "differences",
    "lows",
    "highs",
    "slope",
    "low",
    "high",
    "verdict",
    "tasks",
    "apart",
]
PARTS = {"differences": "", "lows": "_low", "highs": "_high"}  # by size, and how its column in a table ends
MEANINGS = {
    STANDS: "the 95 % intervals of a difference lie on the same side of 0 at every size.",
    FAILS: "two lie on opposite sides.",
    UNKNOWN: "neither. Intervals are of single pairs, uncorrected.",
    "slope": "the change of the difference per doubling of the parameters, with its 95 % interval.",
    "apart": "the sizes at which no processor, with its precision, trained both.",
}  # of verdicts and columns
FALLEN = r"\*"  # in Markdown, behind an encoding whose score at L falls with size
RECIPE = ("train_length", "steps", "tokens")  # equal in all profiles that are compared
CELL = ["task", "metric", "condition"]
NAMED = 3  # standing pairs that the sentence names
AT, BEYOND = "At L", "Beyond L"  # titles of quantities


def legend(term: str = "{}") -> str:
    """How to read a trend's columns; `term` formats each one's name.

    >>> legend("*{}*")[:42]
    '*stands*: the 95 % intervals of a differen'
    """
    return " ".join(f"{term.format(name)}: {meaning}" for name, meaning in MEANINGS.items())


class TrendError(ValueError):
    """Profiles that no trend can be made of, with the remedy."""


class Trend(NamedTuple):
    """The pairs of encodings that all sizes have."""

    profiles: list[str]  # the smallest first
    parameters: list[float]  # geometric mean over runs
    seeds: list[str]  # of the compared encodings: 2, or 1 to 2
    precisions: list[str]  # of the compared runs: "float32", or "float16, float32"
    rates: list[str]  # learning rates of the compared runs, which are chosen for each size: "0.004 to 0.006"
    tasks: list[str]  # with an equal RECIPE in all profiles, and scores of the quantity
    fallen: dict[
        str, tuple[float, ...]
    ]  # the encodings whose score at L falls with size, with it at each size
    # COLUMNS. Better and worse are of the smallest size; `apart` names the profiles in which no processor, with its
    # precision, trained both.
    pairs: pd.DataFrame

    @property
    def sizes(self) -> list[str]:
        """Each profile with its parameters, seeds, learning rate and precisions."""
        parts = zip(self.profiles, self.parameters, self.seeds, self.rates, self.precisions, strict=True)
        return [
            f"{name} {n / 1e6:.2f} M parameters ({'; '.join(filter(None, (f'seeds: {seeds}', rate, precisions)))})"
            for name, n, seeds, rate, precisions in parts
        ]

    @property
    def encodings(self) -> int:
        """How many encodings the pairs are of."""
        return len({*self.pairs["better"], *self.pairs["worse"]})

    def partly(self, tasks: int) -> str:
        """What a pair that is compared on some of the tasks alone says of it; nothing where it has all."""
        return f" ({tasks} of {len(self.tasks)} tasks)" if tasks < len(self.tasks) else ""

    @property
    def with_fallen(self) -> pd.DataFrame:
        """The pairs with an encoding whose score at L falls with size."""
        return self.pairs[self.pairs[["better", "worse"]].isin(set(self.fallen)).any(axis=1)]

    @property
    def doubt(self) -> str:
        """Which encodings a larger size serves worse, and the verdicts of their pairs; empty where there is none."""
        if not self.fallen:
            return ""
        named = ", ".join(
            f"{name} ({', '.join(f'{score:.2f}' for score in scores)})"
            for name, scores in self.fallen.items()
        )
        return (
            f"The score at L falls with the size of the model: {named}. The training may be the "
            f"cause: each size has one learning rate for all encodings. Pairs with such an encoding: "
            f"{_counts(self.with_fallen)}."
        )


def trend(profiles: Mapping[str, Sequence[Record]], of: str = "score", wanted: Collection[str] = ()) -> Trend:
    """Compare the sizes on the tasks and conditions that all profiles have; `of` is one of ranking.QUANTITIES.

    Where tasks are `wanted`, on these alone.

    A pair is compared on conditions that both encodings have at every size. A task in which one of the two has fewer
    than two seeds at some size is left out, where another remains. A difference has its 95 % interval over seeds.
    `stands`: all intervals lie on the same side of 0. `does not carry over`: two lie on opposite sides. `unknown`: no
    two do, and one holds 0 or has no two seeds. The slope is per doubling of the parameters, by least squares weighed
    by the inverse variances; low and high are its 95 % interval. A size has a learning rate of its own, so what
    differs between sizes is the effect of both. TrendError with fewer than two sizes or nothing in common.
    """
    if of not in ranking.QUANTITIES:
        raise TrendError(f"no quantity {of!r}; there are: {', '.join(ranking.QUANTITIES)}")
    if len(profiles) < 2:
        raise TrendError("a trend needs two profiles of different sizes")
    runs = {name: run_table(records) for name, records in profiles.items()}
    empty = [name for name, frame in runs.items() if frame.empty or frame["parameters"].isna().all()]
    if empty:
        raise TrendError(f"no trained model of {empty[0]}; make some with `pebench run --profile {empty[0]}`")
    alike = {task for task, _ in set.intersection(*map(recipes, profiles.values()))}
    if not alike:
        raise TrendError("the profiles have no task with the same training length, steps and tokens")
    if absent := sorted(set(wanted) - alike):
        raise TrendError(f"no trend of the task {absent[0]!r}; there are: {', '.join(sorted(alike))}")
    alike = alike & set(wanted) or alike
    table = {name: score_table(records) for name, records in profiles.items()}
    common, at_length = (
        set.intersection(*(_counted(s[s["task"].isin(alike)], kind) for s in table.values()))
        for kind in (of, "at_length")
    )
    tasks = sorted({task for task, *_ in common})
    if not tasks:
        raise TrendError(f"the profiles have no score in common of the quantity {of!r}")
    size = {name: _size(frame[frame["task"].isin(tasks)]) for name, frame in runs.items()}
    order = sorted(profiles, key=lambda name: size[name])
    if len({round(size[name]) for name in order}) < len(order):
        raise TrendError("two of the profiles have models of one size")
    scores = [_of_cells(table[name], common) for name in order]
    ranks = [ranking.rank(s) for s in scores]
    names = sorted(set.intersection(*(set(r.data.encodings) for r in ranks)))
    doublings = np.log2([size[name] for name in order])
    have, several = [_cells(r) for r in ranks], [_in_two_seeds(s) for s in scores]
    ranked = {frozenset(common): ranks}
    compared = [r[r["encoding"].isin(names) & r["task"].isin(tasks)] for r in (runs[name] for name in order)]
    lines = []
    for a, b in itertools.combinations(names, 2):
        shared = [cells[a] & cells[b] for cells in have]
        sure = set.intersection(*(has[a] & has[b] for has in several))
        if left := [frozenset(cell for cell in cells if cell[0] in sure) for cells in shared] if sure else []:
            shared = left
        both = frozenset.intersection(*shared)
        on = frozenset(common) if {*shared} == {frozenset(common)} else both
        if on not in ranked:
            ranked[on] = [ranking.rank(_of_cells(s, on)) for s in scores]
        line = _line(a, b, [_difference(r, a, b, of) for r in ranked[on]], doublings)
        apart = [name for name, made in zip(order, compared, strict=True) if on_other_processors(made, a, b)]
        lines.append((*line, len({task for task, *_ in both}), ", ".join(apart)))
    seeds = [_seeds(s[s["encoding"].isin(names)]) for s in scores]
    # A ranking of lengths beyond L alone says nothing of L.
    at = (
        [ranking.rank(_of_cells(table[name], at_length)) for name in order]
        if of == "beyond" and at_length
        else ranks
    )
    return Trend(
        profiles=order,
        parameters=[size[name] for name in order],
        seeds=seeds,
        precisions=[", ".join(sorted(set(part["precision"].dropna()) - {""})) for part in compared],
        rates=[
            _rates([r for r in profiles[name] if r.encoding in names and r.task in tasks]) for name in order
        ],
        tasks=tasks,
        fallen=_fallen(at, names),
        pairs=pd.DataFrame(lines, columns=COLUMNS),
    )


def _rates(records: Sequence[Record]) -> str:
    """The learning rates of some runs in words; empty where none is stated."""
    found = {rate for r in records if (rate := number(r.setup.get("learning_rate"))) is not None}
    if not found:
        return ""
    few, many = (f"{rate:g}" for rate in (min(found), max(found)))
    return f"learning rate {few}" if few == many else f"learning rates {few} to {many}"


def recipes(records: Sequence[Record]) -> set[tuple[str, tuple[float | None, ...]]]:
    """Each task that trained a model, with the RECIPE of most of its records."""
    counts: dict[str, Counter[tuple[float | None, ...]]] = defaultdict(Counter)
    sizes = run_table(records)["parameters"] if records else ()
    for r, size in zip(records, sizes, strict=True):
        length, *rest = (number(r.setup.get(part)) for part in RECIPE)
        if size > 0 and length is not None:
            counts[r.task][length, *rest] += 1
    return {(task, found.most_common(1)[0][0]) for task, found in counts.items()}


def _counted(scores: pd.DataFrame, of: str) -> set[tuple[Any, ...]]:
    """The tasks, metrics and conditions that count for a quantity."""
    there = scores.dropna(subset="score")
    if of != "score":
        there = there[there["phase"] == of]
    return set(there[CELL].itertuples(index=False, name=None))


def _of_cells(scores: pd.DataFrame, cells: Set[tuple[Any, ...]]) -> pd.DataFrame:
    """The rows of these tasks, metrics and conditions."""
    return scores[[cell in cells for cell in scores[CELL].itertuples(index=False, name=None)]]


def _cells(r: ranking.Ranking) -> dict[str, frozenset[tuple[Any, ...]]]:
    """By encoding: the tasks, metrics and conditions that it has a score of."""
    every = list(r.data.names[CELL].itertuples(index=False, name=None))
    return {
        name: frozenset(cell for cell, there in zip(every, has, strict=True) if there)
        for name, has in zip(r.data.encodings, r.data.has_cell, strict=True)
    }


def _in_two_seeds(scores: pd.DataFrame) -> dict[str, set[str]]:
    """By encoding: the tasks in which it has two seeds or more."""
    counts = _seed_counts(scores)
    found: dict[str, set[str]] = defaultdict(set)
    for name, task in counts.index[counts >= ranking.FEWEST]:
        found[name].add(task)
    return found


def _fallen(ranks: Sequence[ranking.Ranking], names: Sequence[str]) -> dict[str, tuple[float, ...]]:
    """The encodings whose score at L falls with size, with it at each size; `ranks` are in order of size.

    It falls where its 95 % interval at some size lies below the one at a smaller size.
    """
    tables = [r.at_length.table.set_index("encoding").reindex(names) for r in ranks]
    found = {}
    for name in names:
        rows = [part.loc[name] for part in tables]
        if any(large["high"] < small["low"] for small, large in itertools.combinations(rows, 2)):
            found[name] = tuple(float(row["score"]) for row in rows)
    return found


def _tally(pairs: pd.DataFrame) -> list[int]:
    """How many pairs have each of the VERDICTS."""
    return [int((pairs["verdict"] == verdict).sum()) for verdict in VERDICTS]


def _counts(pairs: pd.DataFrame) -> str:
    """How many pairs have each verdict, in words."""
    return ", ".join(f"{v} {n}" for v, n in zip(VERDICTS, _tally(pairs), strict=True))


def _size(runs: pd.DataFrame) -> float:
    return float(np.exp(np.log(runs["parameters"][runs["parameters"] > 0]).mean()))


def _seed_counts(scores: pd.DataFrame) -> "pd.Series[int]":
    """How many seeds each encoding has in each task."""
    return scores.groupby(["encoding", "task"], observed=True)["seed"].nunique()


def _seeds(scores: pd.DataFrame) -> str:
    """The fewest and the most in words."""
    counts = _seed_counts(scores)
    few, many = (0, 0) if counts.empty else (counts.min(), counts.max())
    return f"{few}" if few == many else f"{few} to {many}"


def _difference(r: ranking.Ranking, a: str, b: str, of: str) -> tuple[float, float, float]:
    """The difference over all tasks with its interval, NaN where one of the two has fewer than two seeds.

    Variances are shrunk towards those of the other encodings, as everywhere (docs/ranks.md, item 7).
    """
    if not {a, b} <= set(r.data.encodings):
        return np.nan, np.nan, np.nan
    found = ranking.differences(r, a, b, of)
    rows = found[found["task"] == "all"]
    if rows.empty:
        return np.nan, np.nan, np.nan
    row = rows.iloc[0]
    low, high = (row["low"], row["high"]) if row["seeds"] > 1 else (np.nan, np.nan)
    return float(row["difference"]), float(low), float(high)


def _line(
    a: str, b: str, found: list[tuple[float, float, float]], doublings: np.ndarray
) -> tuple[object, ...]:
    """One pair; the leader at the smallest size comes first."""
    if found[0][0] < 0:
        a, b, found = b, a, [(-gap, -high, -low) for gap, low, high in found]
    gap, low, high = np.array(found).T
    slope, error = _slope(gap, (high - low) / 2 / special.ndtri(0.975), doublings)
    half = special.ndtri(0.975) * error
    of_sizes = (tuple(float(value) for value in part) for part in (gap, low, high))
    return a, b, *of_sizes, slope, slope - half, slope + half, verdict(low, high)


def verdict(low: Sequence[float] | np.ndarray, high: Sequence[float] | np.ndarray) -> str:
    """What the intervals of a difference at several sizes say.

    >>> verdict([0.1, 0.2], [0.3, 0.4]), verdict([0.1, -0.4], [0.3, -0.2]), verdict([0.1, -0.1], [0.3, 0.2])
    ('stands', 'does not carry over', 'unknown')
    """
    above, below = np.asarray(low) > 0, np.asarray(high) < 0
    if above.any() and below.any():
        return FAILS
    return STANDS if above.all() or below.all() else UNKNOWN


def _slope(gap: np.ndarray, error: np.ndarray, doublings: np.ndarray) -> tuple[float, float]:
    """Least squares weighed by the inverse variances, and the standard error of the slope that they give."""
    w = 1 / np.maximum(error, 1e-6) ** 2
    x = doublings - (w * doublings).sum() / w.sum()
    return float((w * x * gap).sum() / (w * x**2).sum()), float((w * x**2).sum() ** -0.5)


def to_markdown(found: Trend) -> str:
    """The sizes, the verdicts counted, and a line for each pair, its numbers with 95 % intervals."""
    head = [
        "better",
        "worse",
        *(f"{name} (95 %)" for name in found.profiles),
        "per doubling (95 %)",
        "verdict",
    ]
    lines = [f"{', '.join(found.sizes)}. Tasks: {', '.join(found.tasks)}. Pairs: {_counts(found.pairs)}.", ""]
    lines += [f"{found.doubt} They are marked {FALLEN} below.", ""] if found.doubt else []
    lines += [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for row in found.pairs.itertuples():
        pair = (f"{name}{FALLEN * (name in found.fallen)}" for name in (row.better, row.worse))
        gaps = map(_spanned, row.differences, row.lows, row.highs)
        cells = (
            *pair,
            *gaps,
            _spanned(row.slope, row.low, row.high),
            f"{row.verdict}{found.partly(row.tasks)}" + (f", apart in {row.apart}" if row.apart else ""),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _spanned(value: float, low: float, high: float) -> str:
    """A number with its interval; alone where there is none, a dash where it is unknown."""
    if not np.isfinite(value):
        return "-"
    return f"{value:+.3f}" + (f" ({low:+.3f} to {high:+.3f})" if np.isfinite(low) else "")


def of_folder(
    records: Sequence[Path], profiles: Sequence[str] = (), of: str = "score", wanted: Collection[str] = ()
) -> Trend:
    """The trend of records folders. Without profiles: the group of profiles with most tasks of an equal RECIPE.

    TrendError where there is no such group.
    """
    return trend(selected(records, profiles), of, wanted)


def selected(records: Sequence[Path], profiles: Sequence[str] = ()) -> dict[str, list[Record]]:
    """The records of these profiles, or of the largest group of profiles that can be compared, as in `of_folder`."""
    read = {folder: reading(folder).records for folder in records}
    published = {(r.profile, r.encoding) for r in read.get(PUBLISHED, ())}  # these are shown as published
    every = newest(
        record
        for folder, part in read.items()
        for record in part
        if folder == PUBLISHED or (record.profile, record.encoding) not in published
    )
    by_profile = {
        name: [r for r in every if r.profile == name] for name in sorted({r.profile for r in every})
    }
    if absent := [name for name in profiles if name not in by_profile]:
        raise TrendError(
            f"no records of profile {absent[0]!r}; there are: {', '.join(by_profile)}"
            + (f"; make some with `pebench run --profile {absent[0]}`" if about.tasks(absent[0]) else "")
        )
    if profiles:
        return {name: by_profile[name] for name in profiles}
    if found := groups(by_profile):
        return {name: by_profile[name] for name in found[0]}
    raise TrendError(
        "no two profiles here train a common task alike and differ in their models' sizes; "
        "make some with `pebench run --profile STANDARD_2` and `pebench run --profile LARGE`"
    )


def published(found: Mapping[tuple[str, str], Trend]) -> str:
    """The verdicts of each quantity of `by_quantity` counted, and a part for each with its pairs."""
    if not found:
        return "No two sizes have records of a common task yet."
    named = {f"{title}, {_coded(tasks)}": part for (title, tasks), part in found.items()}
    head = ["quantity", "encodings", "pairs", *VERDICTS]
    lines = [f"| {' | '.join(head)} |", "|---" * len(head) + "|"]
    for name, part in named.items():
        cells = name, part.encodings, len(part.pairs), *_tally(part.pairs)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    parts = (f"**{name}.** {to_markdown(part)}" for name, part in named.items())
    return "\n\n".join(["\n".join(lines), *parts])


def in_short(found: Mapping[tuple[str, str], Trend], page: str) -> str:
    """Whether orders beyond L hold at another size: in all tasks together, and in the task with most pairs."""
    beyond = {tasks: part for (title, tasks), part in found.items() if title == BEYOND}
    if not beyond:
        return ""
    alone = {tasks: part for tasks, part in beyond.items() if len(part.tasks) == 1}
    together = beyond.keys() - alone.keys()
    said = []
    for tasks in (*together, max(alone, key=lambda task: len(alone[task].pairs))):
        part = beyond[tasks]
        sizes = " and ".join(f"{n / 1e6:.2f} M" for n in part.parameters)
        stand, turn, _ = _tally(part.pairs)
        said.append(
            f"Beyond L, by {_coded(tasks)} ({sizes} parameters; seeds: {' and '.join(part.seeds)}), "
            f"{counted(len(part.pairs), 'pair')} of {part.encodings} encodings: {_counts(part.pairs)}."
        )
        if 0 < stand <= NAMED:
            rows = part.pairs[part.pairs["verdict"] == STANDS]
            named = ", ".join(f"`{row.better}` above `{row.worse}`" for row in rows.itertuples())
            said.append(f"Standing: {named}.")
        if part.fallen and turn:
            doubted = _tally(part.with_fallen)[VERDICTS.index(FAILS)]
            named = ", ".join(f"`{name}`" for name in part.fallen)
            said.append(
                f"Of the {turn}, {doubted} are with {named}, whose score at L falls with size. Its rate may be why."
            )
    return (
        f"An order is of a size. [The trend]({page}#the-trend) compares models of two sizes. Lengths and steps are "
        f"equal; each size has its own learning rate. {' '.join(said)} A pair stands where its 95 % intervals lie on "
        "the same side of 0 at each size. They are of single pairs, uncorrected."
    )


def by_quantity(records: Sequence[Path], profiles: Sequence[str] = ()) -> dict[tuple[str, str], Trend]:
    """The trend at L and beyond L, of tasks together and of each alone: by the title of the quantity, and the tasks.

    Together are the tasks that have a trend; it compares the encodings with two seeds in each of them at every size. A
    quantity that the profiles have in no task is left out. TrendError where they have neither.
    """
    chosen = selected(records, profiles)
    made, lacking = dict[tuple[str, str], Trend](), list[TrendError]()
    tasks = sorted(set.intersection(*({r.task for r in of_one} for of_one in chosen.values())))
    several = [_in_two_seeds(score_table(of_one)) for of_one in chosen.values()]
    for of, title in (("at_length", AT), ("beyond", BEYOND)):
        single = {}
        for task in tasks:
            try:
                single[task] = trend(chosen, of, [task])
            except TrendError as e:
                lacking.append(e)
        whole = set.intersection(*({name for name in has if has[name] >= single.keys()} for has in several))
        if min(len(single), len(whole)) > 1:
            rows = {name: [r for r in of_one if r.encoding in whole] for name, of_one in chosen.items()}
            made[title, f"{len(single)} tasks together"] = trend(rows, of, single)
        made |= {(title, task): part for task, part in single.items()}
    if not made:
        raise (lacking or [TrendError("the profiles have no task in common")])[0]
    return made


def _coded(tasks: str) -> str:
    """The tasks of a quantity in Markdown: one is code, several are words."""
    return tasks if " " in tasks else f"`{tasks}`"


def gates(*profiles: str) -> str:
    """Markdown: in each task of the profiles, how many runs pass the gate, and of how many encodings."""
    runs = {
        name: run_table([r for r in reading(PUBLISHED).records if r.profile == name]) for name in profiles
    }
    lines = [f"| task | {' | '.join(profiles)} |", "|---" * (len(profiles) + 1) + "|"]
    for task in [t.name for t in about.tasks(profiles[0]) if t.context]:
        cells = []
        for frame in runs.values():
            own = frame[frame["task"] == task].dropna(subset="learned")
            passed = f"{int(own['learned'].sum())} of {counted(len(own), 'run')}"
            cells.append(
                f"{passed}, {counted(own['encoding'].nunique(), 'encoding')}" if len(own) else "no record"
            )
        lines.append(f"| `{task}` | {' | '.join(cells)} |")
    return "\n".join(lines)


APART = 1.5  # least ratio of the parameters of two sizes


def groups(by_profile: Mapping[str, Sequence[Record]]) -> list[list[str]]:
    """Groups of two or more profiles that train a common task by an equal RECIPE, APART in their parameters.

    The group with most common tasks comes first, and of these the one with most profiles.
    """
    trained = {name: found for name, records in by_profile.items() if (found := recipes(records))}
    sizes = {name: _size(run_table(by_profile[name])) for name in trained}
    made = dict[frozenset[str], tuple[int, list[str]]]()
    for pair in itertools.combinations(sizes, 2):
        alike, common = list(pair), trained[pair[0]] & trained[pair[1]]
        if not common or not _apart(sizes, *pair):
            continue
        for name in sizes:  # another size joins where it takes no task away
            if common <= trained[name] and all(_apart(sizes, name, other) for other in alike):
                alike.append(name)
        made.setdefault(frozenset(alike), (len(common), alike))
    ordered = sorted(made.values(), key=lambda each: (each[0], len(each[1])), reverse=True)
    return [alike for _, alike in ordered]


def _apart(sizes: Mapping[str, float], a: str, b: str) -> bool:
    return max(sizes[a] / sizes[b], sizes[b] / sizes[a]) >= APART


def to_json(found: Trend) -> dict[str, Any]:
    """The trend as plain data; None where a number is unknown."""
    pairs = found.pairs.assign(
        **{part: [[_number(value) for value in each] for each in found.pairs[part]] for part in PARTS}
    )
    pairs = pairs.astype(object).map(lambda value: _number(value) if isinstance(value, float) else value)
    return {
        "profiles": dict(zip(found.profiles, found.parameters, strict=True)),
        "precisions": dict(zip(found.profiles, found.precisions, strict=True)),
        "tasks": found.tasks,
        "fallen": {name: list(scores) for name, scores in found.fallen.items()},
        "pairs": pairs.to_dict("records"),
    }


def to_frame(found: Trend) -> pd.DataFrame:
    """A line for each pair; each profile has a column for the difference and one for each end of its interval."""
    parts = {part: np.array(found.pairs[part].tolist()).reshape(-1, len(found.profiles)) for part in PARTS}
    gaps = pd.DataFrame(
        {
            f"{name}{end}": parts[part][:, n]
            for n, name in enumerate(found.profiles)
            for part, end in PARTS.items()
        },
        index=found.pairs.index,
    )
    return pd.concat(
        [
            found.pairs[["better", "worse"]],
            gaps,
            found.pairs[["slope", "low", "high", "verdict", "tasks", "apart"]],
        ],
        axis=1,
    )


def _number(value: float) -> float | None:
    return None if pd.isna(value) else float(value)
