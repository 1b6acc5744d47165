"""What each page of the app shows, as data frames: all arithmetic of the pages is here."""

import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import pandas as pd

from pebench.leaderboard import about, ranking
from pebench.leaderboard.board import Board, version_after, version_before
from pebench.leaderboard.entries import COSTS, Entry, Interval, Overall
from pebench.leaderboard.printing import plain, spanned_days, to_frame
from pebench.leaderboard.reports.quantities import train_lengths
from pebench.leaderboard.reports.trend import APART, Trend
from pebench.leaderboard.reports.trend import to_frame as trend_frame
from pebench.leaderboard.reports.validity import Validity
from pebench.suite.results.metrics import METRICS, counted

FEW = 5
SPREAD = {
    "value": ("value", "mean"),
    "low": ("value", "min"),
    "high": ("value", "max"),
    "seeds": ("value", "size"),
}


@dataclass(frozen=True)
class Filter:
    """Which encodings the overview shows; an empty choice means all."""

    search: str = ""
    families: Collection[str] = field(default_factory=tuple)
    kernels: Collection[str] = field(default_factory=tuple)
    content: Collection[str] = field(default_factory=tuple)  # "yes", "no"
    parameters: Collection[str] = field(default_factory=tuple)
    seeds: int = 0
    certified: bool = False
    verified: bool = False


def overview(board: Board, chosen: Filter) -> pd.DataFrame:
    """One row per encoding that passes the filter, best first."""
    frame = to_frame(board)
    text = (frame["name"] + " " + frame["title"] + " " + frame["family"]).str.lower()
    keep = text.map(lambda t: all(word in t for word in chosen.search.lower().split()))
    if chosen.families:
        keep &= frame["family"].isin(chosen.families)
    if chosen.kernels:
        keep &= frame["kernel"].isin(chosen.kernels)
    yes_no = {True: "yes", False: "no"}
    if chosen.content:
        keep &= frame["reads_content"].map(yes_no).isin(chosen.content)
    if chosen.parameters:
        keep &= (frame["parameters"] > 0).map(yes_no).isin(chosen.parameters)
    if chosen.verified:
        keep &= frame["verified"] > 0
    if chosen.certified:
        keep &= frame["certificate"] == "passed"
    return frame[keep & (frame["seeds"] >= chosen.seeds)].reset_index(drop=True)


def ranked_tasks(board: Board) -> list[str]:
    """The tasks that count on this board, in the order of its profile."""
    found = list(board.ranking.data.tasks)
    known = [facts.name for facts in about.tasks(board.profile) if facts.name in found]
    return [*known, *(task for task in found if task not in known)]


class Question(NamedTuple):
    """What a visitor comes for, the page that answers it, and what the link to it says."""

    words: str
    page: str
    query: dict[str, Any]


# Families of tasks that find something in a text, plainest first.
NEEDLE = "needle"
RETRIEVAL = (NEEDLE, "recall", "indexing")


def questions(board: Board) -> list[Question]:
    """The questions that this board can answer: a choice names only tasks that it has."""
    tasks = ranked_tasks(board)
    finding = [task for task in tasks if about.family(task) in RETRIEVAL]
    language = [task for task in tasks if about.family(task) == "language"]
    return [
        *(
            [Question("Which finds things in long texts?", "overview", {"tasks": finding, "sort": "score"})]
            if finding
            else []
        ),
        *needle_question(board),
        Question(
            "Which keeps its score beyond the training length?", "overview", {"tasks": "", "sort": "keeps"}
        ),
        *(
            [Question("Which models language best?", "overview", {"tasks": language, "sort": "score"})]
            if language
            else []
        ),
        Question("Is A better than B?", "compare", {}),
        *costs_question(board),
        Question("How does mine compare?", "submit", {}),
        *versions(board),
    ]


def needle_question(board: Board) -> list[Question]:
    """Where this version of a profile hides no needle in a book: the way to the version before, which may."""
    before = version_before(board.profile, board.profiles)
    hidden = [facts.name for facts in about.tasks(before) if facts.family == NEEDLE] if before else []
    if not hidden or NEEDLE in map(about.family, ranked_tasks(board)):
        return []
    words = f"Which finds a needle in a book, in {before}?"
    return [Question(words, "overview", {"profile": before, "tasks": hidden})]


def needle_maps(board: Board) -> list[Question]:
    """The same way, to the maps of length and depth."""
    return [
        Question(f"Length and depth, in {q.query['profile']}", "needle", {"profile": q.query["profile"]})
        for q in needle_question(board)
    ]


def costs_question(board: Board) -> list[Question]:
    """What an encoding costs; where this version of a profile has not measured it, in the version before."""
    if cost_metrics(board):
        return [Question("What does it cost?", "cost", {})]
    before = version_before(board.profile, board.profiles)
    return [Question(f"What does it cost in {before}?", "cost", {"profile": before})] if before else []


def versions(board: Board) -> list[Question]:
    """The ways to the versions of this profile before and after it, where they have results in the same folder."""
    names = {
        "The version before": version_before(board.profile, board.profiles),
        "The next version": version_after(board.profile),
    }
    return [
        Question(f"{which}: {name}, {counted(board.profiles[name], 'run')}", "overview", {"profile": name})
        for which, name in names.items()
        if name in board.profiles
    ]


def answering(board: Board, task: str, asked: Iterable[tuple[str, str]]) -> list[Question]:
    """The ways to tasks of the same family whose answers are kept; `asked` are their profiles and tasks."""
    family = about.family(task)
    return [
        Question(f"{about.title(name)}, in {profile}", "task", {"profile": profile, "task": name})
        for profile, name in sorted(set(asked))
        if family and about.family(name) == family and about.items(profile, name)
    ]


def seed_numbers(board: Board) -> range:
    """From none to as many seeds as some task has."""
    return range(len(board.seeds) + 1)


def measured_what(board: Board) -> str:
    """What the numbers of a board are of, in two or three sentences: sizes, lengths, seeds, dates."""
    runs = board.runs
    sizes = runs["parameters"].dropna()
    span = f"{_millions(sizes.min(), sizes.max())} parameters" if len(sizes) else "unknown size"
    tasks = ranked_tasks(board)
    reach = [max(facts.lengths) / facts.trained for t in tasks if (facts := about.task(board.profile, t))]
    far = f" and measured at up to {max(reach):g} times their training length" if reach else ""
    days = dates(board)
    when = f", run {days}" if days else ""
    return (
        f"{board.profile}: {board.size}, {counted(len(tasks), 'task')}, {len(runs)} runs{when}. "
        f"The models are language models of {span}, trained for each task from nothing{far}. "
        "What holds for them need not hold for large models."
    )


def scale(board: Board, task: str = "", seeds: "pd.Series[int] | None" = None) -> str:
    """The line above a figure: "STANDARD, copy: 0.12 million parameters, 1 to 3 seeds".

    `seeds` are the drawn points', where not all runs are drawn.
    """
    runs = board.runs[board.runs["outcome"] == "measured"]
    runs = runs[runs["task"] == task] if task else runs[runs["task"].isin(ranked_tasks(board))]
    if runs.empty:
        return board.profile
    if seeds is None:
        seeds = runs.groupby(["task", "encoding"])["seed"].nunique()
    least, most = int(seeds.min()), int(seeds.max())
    counts = counted(most, "seed") if least == most else f"{least} to {most} seeds"
    parameters = runs["parameters"].dropna()
    models = f"{_millions(parameters.min(), parameters.max())} parameters, " if len(parameters) else ""
    return f"{', '.join([board.profile, task]) if task else board.profile}: {models}{counts}"


def first_tier(board: Board, most: int = 5) -> str:
    """Which encodings are best and how sure: the first tier with its intervals; empty where nothing is ranked."""
    best = [entry for entry in board.entries if entry.tier == 1]
    if not best:
        return ""
    told = [f"{e.name} {e.score:.2f} ({e.low:.2f} to {e.high:.2f})" for e in best[:most] if e.low is not None]
    more = f" and {len(best) - most} more" if len(best) > most else ""
    seeds = min(entry.seeds for entry in best)
    rest = sum(entry.rank is not None for entry in board.entries) - len(best)
    below = f" {counted(rest, 'encoding')} {'is' if rest == 1 else 'are'} in lower tiers." if rest else ""
    return (
        f"Tier 1, with 95 % intervals over {counted(seeds, 'seed')} or more: {', '.join(told)}{more}. "
        f"No test separates a tier from its leader.{below}"
    )


def sizes(facts: about.TaskFacts) -> str:
    """The sizes of a task in a sentence or two."""
    lengths = ", ".join(f"{length}" for length in facts.lengths)
    return (
        f"Trained on up to {facts.trained} {facts.unit}, measured at {lengths} {facts.unit}: "
        f"{counted(facts.conditions, 'condition')}, {facts.examples} examples each. {counted(facts.layers, 'layer')} "
        f"of width {facts.width}, {counted(facts.heads, 'head')}, {facts.steps} steps."
    )


def multiple(item: about.Item, trained: int) -> str:
    """At what length an item is: "8 times as long: 96", over the training length."""
    length = int(item.condition["length"])
    return f"{'training length' if length == trained else f'{length / trained:.3g} times as long'}: {length}"


def question(item: about.Item) -> str:
    """What a model reads of an item; the places of the answer are in brackets."""
    return "".join(f"[{text.strip()}] " if asked else text for text, asked in item.pieces).strip()


def kept_items(board: Board, task: str) -> list[tuple[str, int]]:
    """The condition and the number of each item of a task that the records keep answers to, short ones first."""
    rows = board.answers[board.answers["task"] == task]
    longest = rows["asked"].str.len().groupby(rows["condition"]).max()
    kept = rows[["condition", "item"]].drop_duplicates()
    ordered = kept.assign(length=kept["condition"].map(longest)).sort_values(["length", "condition", "item"])
    return list(ordered[["condition", "item"]].itertuples(index=False, name=None))


def kept_item(board: Board, task: str, condition: str, number: int) -> tuple[str, str]:
    """The item as its first record keeps it, the middle of a long one left out, and its right answer."""
    row = _answers_to(board, task, condition, number).iloc[0]
    return str(row["asked"]), str(row["answer"])


def _answers_to(board: Board, task: str, condition: str, number: int) -> pd.DataFrame:
    """The answers to one item."""
    rows = board.answers
    return rows[(rows["task"] == task) & (rows["condition"] == condition) & (rows["item"] == number)]


def answered(board: Board, task: str, condition: str, number: int = 0) -> pd.DataFrame:
    """What each encoding answered to an item, best encodings first. Columns: encoding, answers, right."""
    asked = _answers_to(board, task, condition, number)
    order = {entry.name: n for n, entry in enumerate(board.entries)}
    found = [
        {
            "encoding": name,
            "answers": " / ".join(dict.fromkeys(said["said"])),
            "right": f"{said['right'].sum()} of {len(said)}",
        }
        for name, said in sorted(asked.groupby("encoding"), key=lambda pair: order[pair[0]])
    ]
    return pd.DataFrame(found, columns=["encoding", "answers", "right"])


def task_validity(found: Validity, task: str) -> pd.DataFrame:
    """The kinds of published quantities that are held against this task."""
    frame = kinds(found)
    return frame[frame["ours"].str.startswith(f"{task} ")].drop(columns="ours") if len(frame) else frame


def kinds(found: Validity) -> pd.DataFrame:
    """Each kind of published quantity, and how its pairs of encodings come out on the board."""
    return pd.DataFrame(
        [
            {
                "published quantity": kind.kind,
                "ours": kind.ours.replace("`", ""),
                "tables": kind.tables,
                "sources": kind.all.sources,
                "pairs": kind.all.pairs,
                "agree": kind.all.agree,
                "contradict": kind.all.contradict,
                "not separated": kind.all.not_separated,
                "without a test": kind.all.preview,
                "tau": kind.all.tau,
                "low": kind.all.low,
                "high": kind.all.high,
                "smallest difference": kind.smallest_difference,
            }
            for kind in found.kinds
        ]
    )


def dates(board: Board) -> str:
    """When the runs of a board were made: a day, or the first and the last."""
    return spanned_days(map(str, board.runs["started"]))


def news(board: Board, version: str) -> str:
    """What this version of pebench has measured that no earlier release had, in a sentence."""
    made = board.runs["versions"].str.extract(r"pebench ([^,]+)", expand=False).fillna("")
    older = board.runs[made != version]
    runs = int((made == version).sum())
    if older.empty:
        return f"New in {version}: all of {board.profile}."
    last = max(made[made != version], key=lambda text: [int(part) for part in re.findall(r"\d{1,9}", text)])
    if not runs:
        return f"Nothing of {board.profile} is newer than release {last or 'unknown'}."
    known = set(older["encoding"])
    fresh = [entry.name for entry in board.entries if entry.name not in known]
    names = f"; encodings: {', '.join(fresh)}" if fresh else ""
    return f"New in {version}, after release {last or 'unknown'}: {counted(runs, 'run')}{names}."


def standing(entry: Entry) -> str:
    """Where an encoding stands, in a sentence."""
    if entry.score is None:
        return f"No score yet: {entry.reason}."
    interval = (
        ""
        if entry.low is None or entry.high is None
        else f", 95 % interval {entry.low:.2f} to {entry.high:.2f}"
    )
    place = f"Tier {entry.tier}" if entry.tier else f"No rank ({entry.reason})"
    return f"{place}: score {entry.score:.2f}{interval}, {counted(entry.seeds, 'seed')}, coverage {entry.coverage:.0%}."


def quantities(entry: Entry) -> pd.DataFrame:
    """Each quantity that orders the board. Columns: quantity, value, low, high, p_best, unit."""
    found = {
        "learns": (entry.learns, "share of the runs that pass their gate"),
        "at L": (entry.at_length, "score at the training length L"),
        "beyond L": (entry.beyond, "score at longer lengths"),
        "keeps": (entry.keeps, "octaves of L with half of the score at L"),
    }
    return pd.DataFrame(
        [
            {
                "quantity": name,
                "value": part.value if isinstance(part, Overall) else part.score,
                "low": part.low,
                "high": part.high,
                "p_best": part.p_best,
                "unit": f"{unit}{qualified(part)}",
            }
            for name, (part, unit) in found.items()
            if part is not None
        ]
    )


STANDINGS = {order: order.replace("-", " ") for order in ranking.ORDERS[1:]}


def standings(board: Board) -> pd.DataFrame:
    """Each encoding that has a place, in the orders of STANDINGS: the value, its ends and P(best), by column."""
    rows = []
    for e in board.entries:
        row: dict[str, Any] = {"encoding": e.name}
        for order, name in STANDINGS.items():
            if found := e.standings.get(order):
                row |= {
                    name: found.value,
                    f"{name} low": found.low,
                    f"{name} high": found.high,
                    f"{name} P(best)": found.p_best,
                }
        rows += [row] if len(row) > 1 else []
    return pd.DataFrame(rows)


def qualified(part: Overall | Interval) -> str:
    """What a quantity lacks, in words."""
    if not isinstance(part, Overall):
        return ""
    bound = f", at least: {part.cut:.0%} of the runs keep half to the longest length" if part.bound else ""
    return bound + (f", {part.tasks} of {part.of} tasks" if part.tasks < part.of else "")


def costs(entry: Entry) -> pd.DataFrame:
    """What an encoding costs. Columns: cost, value, unit."""
    return pd.DataFrame(
        [
            {"cost": METRICS[metric].title, "value": entry.costs[metric], "unit": METRICS[metric].unit}
            for metric in COSTS
            if metric in entry.costs
        ]
    )


def _millions(least: float, most: float) -> str:
    """A range of parameters: 0.10 to 0.15 million."""
    low, high = f"{least / 1e6:.2f}", f"{most / 1e6:.2f}"
    return f"{low} million" if low == high else f"{low} to {high} million"


def few(board: Board) -> list[str]:
    """The encodings that a crowded page starts with: the best, and rope, which everybody knows."""
    names = [entry.name for entry in board.entries]
    best = names[:FEW]
    return [*best, "rope"] if "rope" in names and "rope" not in best else best


def measured(board: Board, key: str) -> list[tuple[str, str]]:
    """(task, metric) pairs that were measured at more than one `key` ("length", "depth" or "position")."""
    rows = board.scores.dropna(subset=key)
    if key == "length":
        rows = rows[rows["position"].isna()]
    spread = rows.groupby(["task", "metric"])[key].nunique()
    scored = set(board.scores.dropna(subset="score").groupby(["task", "metric"]).groups)
    # Scored metrics first: they make the ranking.
    return sorted(spread[spread > 1].index, key=lambda pair: (pair not in scored, pair))


def sizes_compared(found: Trend) -> str:
    """What a trend compares, and how many pairs have each verdict."""
    counts = found.pairs["verdict"].value_counts()
    verdicts = ", ".join(f"{verdict} {counts[verdict]}" for verdict in counts.index)
    fewer = int((found.pairs["tasks"] < len(found.tasks)).sum())
    return (
        f"Sizes: {', '.join(found.sizes)}. Same tasks, training lengths, steps and tokens: "
        f"{', '.join(found.tasks)}. "
        f"Of {counted(len(found.pairs), 'pair')}: {verdicts}."
        + (f" Pairs with fewer of these tasks, and so of another quantity: {fewer}." if fewer else "")
    )


def trend_lines(found: Trend) -> pd.DataFrame:
    """The pairs of a trend, their verdicts and sizes; the largest difference at the largest size first."""
    frame = trend_frame(found)
    order = frame[found.profiles[-1]].abs().sort_values(ascending=False, kind="stable").index
    first = ["better", "worse", "verdict", "tasks"]
    return frame.loc[order, [*first, *frame.columns.drop(first)]].reset_index(drop=True)


def compared(found: Trend) -> list[str]:
    """The encodings that a trend compares."""
    return sorted({*found.pairs["better"], *found.pairs["worse"]})


def chosen_lines(frame: pd.DataFrame, verdicts: Sequence[str], encodings: Sequence[str]) -> pd.DataFrame:
    """The pairs with one of these verdicts and one of these encodings; an empty choice means all."""
    keep = frame["verdict"].isin(verdicts or frame["verdict"].unique())
    names = encodings or pair_names(frame)
    return frame[keep & (frame["better"].isin(names) | frame["worse"].isin(names))].reset_index(drop=True)


def pair_names(frame: pd.DataFrame) -> list[str]:
    """The encodings of these pairs."""
    return list(dict.fromkeys([*frame["better"], *frame["worse"]]))


def largest_gaps(frame: pd.DataFrame, profiles: Sequence[str], most: int = 12) -> pd.DataFrame:
    """The pairs that a picture shows: known at every size, the first few."""
    return frame.dropna(subset=list(profiles)).head(most)


def better(metric: str) -> str:
    """How an axis names a metric: 'exact match (share, higher is better)'."""
    about = METRICS[metric]
    return f"{about.title} ({about.unit}, {about.better} is better)"


def train_length(board: Board, task: str) -> float | None:
    """The length that a task is trained at, None where it is not trained."""
    return train_lengths(board).get(task)


def _chosen(board: Board, task: str, metric: str, names: Sequence[str], learned_only: bool) -> pd.DataFrame:
    rows = board.scores
    rows = rows[(rows["task"] == task) & (rows["metric"] == metric) & rows["encoding"].isin(names)]
    if learned_only:
        failed = board.runs[(board.runs["task"] == task) & (board.runs["learned"] == False)]  # noqa: E712
        out = pd.MultiIndex.from_frame(failed[["encoding", "seed"]])
        rows = rows[~pd.MultiIndex.from_frame(rows[["encoding", "seed"]]).isin(out)]
    return rows


def by_length(
    board: Board, task: str, metric: str, names: Sequence[str], learned_only: bool = True
) -> pd.DataFrame:
    """Mean over seeds at each length, with the lowest and the highest seed.

    `learned_only` leaves out runs that did not pass the gate. Columns: encoding, length, value, low, high,
    seeds.
    """
    rows = _chosen(board, task, metric, names, learned_only).dropna(subset="length")
    return _over_seeds(rows, "length", names)


def effective_lengths(board: Board) -> pd.DataFrame:
    """Longest length up to which all lengths have a mean score of at least 0.5, per encoding and task.

    Only of tasks that can be answered in full: text that nobody foresees has no such length.
    """
    rows = board.scores.dropna(subset=["score", "length"])
    rows = rows[rows["metric"].isin([name for name, metric in METRICS.items() if metric.unit == "share"])]
    mean = rows.groupby(["encoding", "task", "length"])["score"].mean().sort_index()
    unbroken = (mean >= 0.5).groupby(["encoding", "task"]).cummin()
    longest = mean[unbroken].reset_index().groupby(["encoding", "task"])["length"].max()
    order = [entry.name for entry in board.entries if entry.name in set(rows["encoding"])]
    pairs = pd.MultiIndex.from_frame(rows[["encoding", "task"]].drop_duplicates())
    # Below one half already at the shortest length: 0, which differs from not measured.
    return longest.reindex(pairs, fill_value=0).unstack("task").reindex(order).astype("Int64").reset_index()


def by_depth(board: Board, task: str, metric: str, names: Sequence[str]) -> pd.DataFrame:
    """Mean over seeds at each length and place: a depth, or the question about several needles.

    Columns: encoding, length, place, value; places from the beginning of the text to its end, kinds last.
    """
    rows = _chosen(board, task, metric, names, learned_only=False).dropna(subset="length")
    place = rows["depth"].map("depth {:g}".format, na_action="ignore").fillna(rows["kind"])
    rows = rows.assign(place=place).dropna(subset="place").sort_values(["depth", "place"], kind="stable")
    means = rows.groupby(["encoding", "length", "place"], as_index=False, sort=False)["value"].mean()
    return _in_order(means, names)


def _over_seeds(rows: pd.DataFrame, along: str, names: Sequence[str]) -> pd.DataFrame:
    per_seed = rows.groupby(["encoding", along, "seed"], as_index=False)["value"].mean()
    return _in_order(per_seed.groupby(["encoding", along], as_index=False).agg(**SPREAD), names)


def _in_order(frame: pd.DataFrame, names: Sequence[str]) -> pd.DataFrame:
    places = {name: n for n, name in enumerate(names)}
    by_place = frame["encoding"].map(places).argsort(kind="stable")
    return frame.iloc[by_place].reset_index(drop=True)


def by_position(board: Board, task: str, metric: str, length: float, names: Sequence[str]) -> pd.DataFrame:
    """Mean over seeds at each position, texts of one length. Columns: encoding, position, value, low, high."""
    rows = _chosen(board, task, metric, names, learned_only=False)
    rows = rows[rows["length"] == length].dropna(subset="position")
    return _over_seeds(rows, "position", names)


def position_lengths(board: Board, task: str, metric: str) -> list[int]:
    """The lengths at which values by position were measured, longest first."""
    rows = board.scores[(board.scores["task"] == task) & (board.scores["metric"] == metric)]
    lengths = {int(length) for length in rows.dropna(subset="position")["length"].dropna()}
    return sorted(lengths, reverse=True)


def cost_metrics(board: Board) -> list[str]:
    """The costs that some encoding has."""
    return [metric for metric in COSTS if any(metric in entry.costs for entry in board.entries)]


def cost_quality(board: Board, cost: str) -> pd.DataFrame:
    """Cost against score, cheapest first; `front` marks those that no other beats in both.

    Encodings with missing conditions are listed but never on the front, as their scores average other things;
    nor are those without a rank.
    """
    rows = [
        (
            e.name,
            e.title,
            e.family,
            e.costs[cost],
            e.score,
            e.low,
            e.high,
            e.rank is not None and not e.partial,
        )
        for e in board.entries
        if cost in e.costs and e.score is not None
    ]
    columns = ["encoding", "title", "family", "cost", "score", "low", "high", "comparable"]
    frame = pd.DataFrame(rows, columns=columns).astype({"low": float, "high": float, "comparable": bool})
    frame = frame.sort_values(["cost", "score"], ascending=[True, False])
    frame["front"] = False
    whole = frame[frame["comparable"]]
    ahead = whole["score"] > whole["score"].cummax().shift(fill_value=-1.0)
    frame.loc[ahead[ahead].index, "front"] = True
    return frame.reset_index(drop=True)


def compare(board: Board, first: str, others: Sequence[str]) -> pd.DataFrame:
    """`first` minus each `other`, overall and per task, with 95 % intervals (ranking.differences)."""
    known = set(board.ranking.data.encodings)
    if first not in known:
        return pd.DataFrame()
    parts = [
        ranking.differences(board.ranking, first, other).assign(other=other)
        for other in others
        if other in known
    ]
    if not parts:
        return pd.DataFrame()
    frame = pd.concat(parts, ignore_index=True)
    return frame[["task", "other", *frame.columns.drop(["task", "other"])]]


def one(board: Board, name: str) -> dict[str, pd.DataFrame]:
    """Tables of one encoding: families, certificate, runs, scores."""
    entry = next(e for e in board.entries if e.name == name)
    families = pd.DataFrame(
        [
            {"task family": f, "score": part.score, "low": part.low, "high": part.high}
            for f, part in entry.families.items()
        ]
    )
    tables = {"certificate": board.checks, "runs": board.runs, "scores": board.scores}
    mine = {key: t[t["encoding"] == name].drop(columns="encoding") for key, t in tables.items()}
    return {"families": families, **mine}


def run_facts(runs: pd.DataFrame, file: str) -> pd.DataFrame:
    """Everything that is known of one run, as name and value."""
    run: dict[str, Any] = runs[runs["file"] == file].iloc[0].to_dict()
    known = {key: value for key, value in run.items() if not pd.isna(value) and value != ""}
    return pd.DataFrame({"fact": list(known), "value": [_short(value) for value in known.values()]})


def _short(value: object) -> str:
    return f"{value:.10g}" if isinstance(value, float) else str(value)


def forced_choice(board: Board) -> pd.DataFrame:
    """What each encoding's language models answer, per question set and reach, means over seeds.

    Columns: questions, length, encoding, asked, accuracy, verdict, chance, bits_per_byte, seeds. "above chance" is
    one-sided at 5 %, by the normal approximation, for the questions of one seed: all seeds are asked the same.
    """
    keys = ["encoding", "task", "seed", "questions", "length"]
    right = board.scores[board.scores["metric"] == "accuracy"]
    bits = board.scores.loc[board.scores["metric"] == "bits_per_byte", [*keys, "value"]]
    both = right.merge(bits.rename(columns={"value": "bits"}), on=keys, how="left")
    both["questions"] = both["questions"].astype(object).fillna("")
    frame = both.groupby(["questions", "length", "encoding"], as_index=False).agg(
        asked=("n", "max"),
        accuracy=("value", "mean"),
        chance=("floor", "mean"),
        bits_per_byte=("bits", "mean"),
        seeds=("seed", "nunique"),
    )
    sure = 1.645 * (frame["chance"] * (1 - frame["chance"]) / frame["asked"]) ** 0.5
    above = (frame["accuracy"] - frame["chance"] > sure).map(
        {True: "above chance", False: "not above chance"}
    )
    judged = frame["chance"].notna() & (frame["seeds"] >= ranking.FEWEST)
    frame.insert(5, "verdict", above.where(judged, ""))
    return frame.sort_values(["questions", "length", "bits_per_byte"], ignore_index=True)


def empty_pages(board: Board) -> set[str]:
    """The pages of the app that have nothing to show of a board."""
    has = {
        "harness": bool((board.scores["metric"] == "accuracy").any()),
        "needle": bool(measured(board, "depth")),
        "positions": bool(measured(board, "position")),
        "cost": bool(cost_metrics(board)),
        "trend": _two_sizes(list(board.profiles)),
    }
    return {page for page, shown in has.items() if not shown}


def _two_sizes(profiles: Sequence[str]) -> bool:
    """Whether two of these profiles train some task alike (length, steps, tokens) with models of different sizes."""
    models: dict[tuple[str, int, int, int], list[int]] = {}
    for profile in profiles:
        for task in about.tasks(profile):
            if task.steps:
                recipe = (task.name, task.trained, task.steps, task.tokens)
                models.setdefault(recipe, []).append(task.layers * task.width**2)
    return any(max(sizes) >= APART * min(sizes) for sizes in models.values())


class MeanRanks(NamedTuple):
    """The order within each task alone, as Demsar (2006) compares classifiers."""

    ranks: pd.Series  # mean over tasks, best first; index: encoding
    friedman: float  # p-value of Friedman's test that all are alike; NaN with fewer than three
    distance: float  # Nemenyi's critical difference
    cliques: list[tuple[int, int]]  # first and last place of each group that it does not separate


def mean_ranks(board: Board) -> MeanRanks:
    """Mean ranks over tasks of the wholly covered encodings, and what they separate."""
    names = ranking.whole(board.ranking)["encoding"]
    by_task = ranking.task_scores(board.ranking).loc[names]
    ranks = by_task.rank(ascending=False).mean(axis=1).sort_values(kind="stable")
    if len(ranks) < 2:
        return MeanRanks(ranks, math.nan, math.nan, [])
    distance = ranking.critical_difference(len(ranks), by_task.shape[1])
    return MeanRanks(ranks, ranking.friedman(by_task), distance, ranking.cliques(list(ranks), distance))


def how_sure(board: Board, most: int = 12) -> list[str]:
    """What separates the leader from each of the next, or how many seeds would, in words; alike ones share a line."""
    frame = ranking.behind_leader(board.ranking).head(most)
    never = (frame["difference"] >= 0) & ~frame["separated"] & frame["seeds_needed"].isna()
    close = list(frame.loc[never, "worse"])
    told = [_sure(row) for row in frame[~never].itertuples()]
    if not close:
        return told
    ahead = frame.iloc[0]["better"]
    return [f"Not even 1000 seeds would separate {ahead} from {', '.join(close)}.", *told]


def _sure(row: Any) -> str:
    pair = f"{row.better} is ahead of {row.worse} by {row.difference:.3f}"
    if row.difference < 0:  # possible where conditions that both have are not those that all have
        pair = (
            f"{row.better} is ahead of {row.worse} in the mean over all pairs, and behind it by "
            f"{-row.difference:.3f} in their own"
        )
    p = "p < 0.001" if row.p < 0.001 else f"p = {row.p:.2g}"
    if pd.isna(row.difference):
        return f"{row.better} and {row.worse} are not compared: in some task they share no seed."
    if row.separated:
        return f"{pair}: separated ({p})."
    if pd.isna(row.seeds_needed):
        return f"{pair}: not separated, and not even 1000 seeds would."
    more = row.seeds_needed - row.seeds
    return (
        f"{pair}: not separated by {counted(row.seeds, 'seed')}; about {more} more would do."
        if more > 0
        else (f"{pair}: not separated, though {row.seeds} seeds are enough four times out of five.")
    )


def following(turn: int) -> int:
    """The number of the next state of a table, which tells it from the one before."""
    return turn + 1


def quoted(sentence: str) -> str:
    """A generated sentence as Markdown: what stands in backticks stays code, all else is plain text."""
    return "".join(f"`{part}`" if n % 2 else plain_spaced(part) for n, part in enumerate(sentence.split("`")))


def plain_spaced(text: str) -> str:
    """Escaped text that keeps the spaces at its ends."""
    ends = [" " if text[:1] == " " else "", " " if text[-1:] == " " and len(text) > 1 else ""]
    return plain(text).join(ends)
