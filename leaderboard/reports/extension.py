"""The board of the track EXTEND: methods of context extension on a pretrained model.

Its rows are methods, no encodings, so it has no ranks. Loss and retrieval, at the training length and beyond it, are
four quantities, each with its interval and its difference from the unextended model on the same texts. Losses have
Student's intervals over texts. Found numbers have the intervals of `shares`.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from rich.console import Console
from rich.table import Table
from scipy import special

from pebench.leaderboard.about import EXTENDED, PUBLISHED
from pebench.leaderboard.board import BoardError, reading
from pebench.leaderboard.printing import objects, spanned_days
from pebench.leaderboard.ranking import LEVEL
from pebench.leaderboard.reports.shares import FEWEST, Share, differences, shares
from pebench.suite.results.metrics import EXTENDING, counted, listed
from pebench.suite.results.record import Record, Unreadable, newest

LOSS, RETRIEVAL, COST = EXTENDING
QUICK = "EXTEND_QUICK"
PREFIX = "EXTEND"  # of the names of its profiles
CACHE, CACHE_RATIO = "cache_bytes", "cache_ratio"
COSTS = ("prefill_ratio", "decode_ratio", "prefill_speed", "decode_speed", CACHE)
PHASES = ("at_length", "beyond")
KINDS = ("single", "multi_key", "multi_query", "multi_value")
ALL = "all"  # kinds together
MEASURES = {
    "exact": "exact",
    "found": "found",
    "margin": "choice",
}  # metrics, and what by_kind calls their shares
FAR = 0.15  # between two methods at a length: what the track is to tell apart
BASE = "none"
FULL = "EXTEND"
REMEDY = "make some with `pebench extend --profile {}`"


Span = tuple[float | None, float | None, float | None]  # a number and the ends of its interval


class Plan(NamedTuple):
    """The texts and methods that a profile measures."""

    texts: int
    methods: tuple[str, ...]


# As suite/extend/profiles.py has them, which needs torch.
PLANS = {
    "EXTEND_QUICK": Plan(2, (BASE, "ntk", "yarn", "dual_chunk")),
    "EXTEND": Plan(
        4,
        (
            *(BASE, "pi", "ntk", "ntk_dynamic", "yarn", "yarn_frequencies", "llama3", "longrope2"),
            *(
                "longrope2_searched",
                "self_extend",
                "rerope",
                "dual_chunk",
                "streaming",
                "dropped",
                "yarn+logn",
            ),
        ),
    ),
}
# Facts of a machine that results depend on, and the tasks where they do.
FACTS = {
    "precision": EXTENDING,
    "kind of kernels": EXTENDING,
    "processor": EXTENDING,
    "torch version": EXTENDING,
    "number of threads": (COST,),
}


@dataclass(frozen=True)
class Quantity:
    """A mean with its 95 % interval over texts (and items), and its difference from the unextended model."""

    value: float
    low: float | None  # None with fewer than two texts
    high: float | None
    texts: int
    n: int  # tokens or questions
    difference: float | None = None  # on the texts that both have
    difference_low: float | None = None
    difference_high: float | None = None
    difference_texts: int = 0

    @property
    def alone(self) -> bool:
        """Whether it, or its difference, is of one text."""
        return 1 in (self.texts, self.difference_texts)


@dataclass(frozen=True)
class Line:
    """A method on the board. What was not measured is None or absent."""

    method: str
    title: str
    loss: dict[str, Quantity]  # by phase
    retrieval: dict[str, Quantity]
    costs: dict[str, float]

    @property
    def quantities(self) -> list[Quantity]:
        """Those that were measured, of both phases."""
        return [*self.loss.values(), *self.retrieval.values()]

    @property
    def place(self) -> tuple[bool, float, str]:
        """What lines are ordered by: the difference in loss beyond L; those without one stand below, by their loss."""
        loss = self.loss.get("beyond")
        if self.method == BASE and loss:
            return False, 0.0, self.method
        if loss and loss.difference is not None:
            return False, loss.difference, self.method
        return True, loss.value if loss else np.inf, self.method


@dataclass(frozen=True)
class Track:
    """The board of one profile, one model and one corpus: only texts of one corpus are pairs."""

    profile: str
    model: str
    sha256: str
    trained: int  # tokens
    lines: list[Line]
    losses: pd.DataFrame  # method, text, start, length, value, n
    answers: pd.DataFrame  # method, text, length, kind, depth, metric, value, n
    notes: list[str]
    corpus: str
    dates: str = ""  # of its runs: a day, or the first and the last
    named: bool = False  # whether the title names the corpus: the model was read on several
    alike: bool = False  # whether the title has the model's sha256: another model has this name


def is_track(profile: str | None) -> bool:
    """Whether a profile belongs to this track."""
    return profile is not None and profile.upper().startswith(PREFIX)


def places(folders: Sequence[Path]) -> list[Path]:
    """The folders in which records of the track lie; the published ones lie apart."""
    return [EXTENDED if folder.resolve() == PUBLISHED.resolve() else folder for folder in folders]


def profiles(folders: Sequence[Path]) -> list[str]:
    """The profiles of the track that these folders have records of. BoardError where there is none."""
    read = [reading(folder) for folder in places(folders)]
    found = {r.profile for part in read for r in part.records if r.task in EXTENDING}
    if not found:
        raise BoardError(
            f"no records of this track in {', '.join(map(str, folders))}; {REMEDY.format(QUICK)}"
        )
    return sorted(found)


def make_tracks(folders: Sequence[Path], profile: str) -> tuple[list[Track], list[Unreadable]]:
    """The boards of a profile, one a model and corpus, and the files that are no records.

    BoardError where there is no board.
    """
    read = {folder: reading(folder) for folder in places(folders)}
    unreadable = [file for part in read.values() for file in part.unreadable]
    mine = list[Record]()
    for folder, part in read.items():
        for r in part.records:
            if r.profile == profile.upper() and r.task in EXTENDING:
                if fault := fault_of(r):
                    unreadable.append(Unreadable(folder / r.path, fault))
                else:
                    mine.append(r)
    if not mine:
        remedy = REMEDY.format(profile.upper() if profile.upper() in PLANS else QUICK)
        raise BoardError(f"no records of {profile.upper()} in {', '.join(map(str, folders))}; {remedy}")
    return tracks_of(mine, profile), unreadable


def tracks_of(records: Iterable[Record], profile: str) -> list[Track]:
    """The boards of a profile's records, one a model and corpus. Runs without a result have no model, and no place.

    A model has the name of its newest record.
    """
    mine = [r for r in records if is_pretrained(r) and not fault_of(r)]
    groups = dict[tuple[str, str], list[Record]]()
    for r in mine:
        groups.setdefault(subject_of(r), []).append(r)
    by_time = sorted(mine, key=lambda r: str(r.provenance.get("started", "")))
    names = {model_of(r)["sha256"]: model_of(r)["name"] for r in by_time}
    tracks = [track(profile.upper(), names[model], model, group) for (model, _), group in groups.items()]
    read, shared = Counter(model for model, _ in groups), Counter(names.values())
    corpora = Counter((each.sha256, each.corpus) for each in tracks)
    return [
        replace(
            each,
            named=read[model] > 1,
            alike=shared[each.model] > 1,
            corpus=f"{each.corpus} {corpus[:8]}" if corpora[model, each.corpus] > 1 else each.corpus,
        )
        for each, (model, corpus) in zip(tracks, groups, strict=True)
    ]


def latest(records: Iterable[Record]) -> list[Record]:
    """The newest record of each run. A run of the track is of one model and one corpus, too."""
    groups = dict[tuple[str, str], list[Record]]()
    for r in records:
        groups.setdefault(subject_of(r) if is_pretrained(r) else ("", ""), []).append(r)
    return [r for group in groups.values() for r in newest(group)]


def pretrained(record: Record) -> str:
    """The pretrained model of a record, with the beginning of its sha256; empty where it has none."""
    about = model_of(record) if is_pretrained(record) else None
    return shown_model(about["name"], about["sha256"]) if about else ""


def is_pretrained(record: Record) -> bool:
    """Whether a record is of the track and names its model."""
    model = record.setup.get("model")
    return record.task in EXTENDING and isinstance(model, dict) and {"name", "sha256"} <= model.keys()


# What a condition holds, by task and name; `depth` may be absent.
CONDITIONS: dict[str, dict[str, type]] = {
    LOSS: {"start": float, "length": float},
    RETRIEVAL: {"length": float, "kind": str, "depth": float},
    COST: {},
}


def fault_of(record: Record) -> str:
    """What a record of the track does not say, and must; empty where it says all."""
    trained = record.setup.get("train_length")
    if record.rows and (type(trained) is not int or trained < 1):
        return f"its train_length is {trained!r}, no number of tokens"
    for row in record.rows:
        for name, kind in CONDITIONS[record.task].items():
            value = row.condition.get(name, 0.0 if name == "depth" else None)
            if not isinstance(value, str if kind is str else int | float):
                return f"a condition of {row.metric} has {name} {value!r}, no {'text' if kind is str else 'number'}"
    return ""


def subject_of(record: Record) -> tuple[str, str]:
    """The sha256 of the model and of the corpus."""
    return model_of(record)["sha256"], corpus_of(record)["sha256"]


def shown_model(name: str, sha256: str) -> str:
    """A model by its name and the beginning of its sha256."""
    return f"{name} {sha256[:8]}"


def model_of(record: Record) -> dict[str, str]:
    """The name and the sha256 of the model that was read."""
    return {part: str(record.setup["model"][part]) for part in ("name", "sha256")}


def corpus_of(record: Record) -> dict[str, str]:
    """The name and the sha256 of the corpus that its texts are of."""
    about = record.setup.get("corpus")
    known = about if isinstance(about, dict) else {}
    return {part: str(known.get(part, "")) for part in ("name", "sha256")}


def track(profile: str, model: str, sha256: str, records: Iterable[Record]) -> Track:
    """The board of these records of one profile, model and corpus."""
    records = newest(records)
    losses, answers = loss_table(records), answer_table(records)
    trained = int(records[0].setup["train_length"])
    titles = {method_of(r): str(r.card.get("title", "")) for r in records}
    costs = {method_of(r): {row.metric: row.value for row in r.rows} for r in records if r.task == COST}
    found = found_by_phase(answers, trained)
    lines = [
        Line(
            method,
            titles[method],
            loss_quantities(losses, method, trained),
            quantities_of(found, method),
            costs_of(costs.get(method, {}), costs.get(BASE, {})),
        )
        for method in titles
    ]
    lines.sort(key=lambda line: line.place)
    said = [*notes(records, lines, PLANS.get(profile)), *level_notes(losses, answers)]
    days = spanned_days(str(r.provenance.get("started", "")) for r in records)
    return Track(
        profile, model, sha256, trained, lines, losses, answers, said, shown_corpus(records[0]), days
    )


def costs_of(own: Mapping[str, float], base: Mapping[str, float]) -> dict[str, float]:
    """What of COSTS was measured, and the cache over the unextended model's."""
    found = {name: own[name] for name in COSTS if name in own}
    if CACHE in own and base.get(CACHE):
        found[CACHE_RATIO] = own[CACHE] / base[CACHE]
    return found


def shown_corpus(record: Record) -> str:
    """The corpus by its name; a user's own by its sha256 too, as two of them may have one name."""
    about = corpus_of(record)
    return f"{about['name']} {about['sha256'][:8]}" if about["name"].startswith("user:") else about["name"]


def method_of(record: Record) -> str:
    """The method of a record."""
    return record.encoding.partition("@")[2] or BASE


def loss_table(records: Iterable[Record]) -> pd.DataFrame:
    """One row for each stretch of a text: mean loss in nats a token."""
    rows = [
        (method_of(r), r.seed, row.condition["start"], row.condition["length"], row.value, row.n)
        for r in records
        if r.task == LOSS
        for row in r.rows
    ]
    return pd.DataFrame(rows, columns=["method", "text", "start", "length", "value", "n"])


def answer_table(records: Iterable[Record]) -> pd.DataFrame:
    """One row for each question and metric."""
    rows = [
        (
            *(method_of(r), r.seed, row.condition["length"], row.condition["kind"]),
            *(row.condition.get("depth"), row.metric, row.value, row.n),
        )
        for r in records
        if r.task == RETRIEVAL
        for row in r.rows
    ]
    columns = ["method", "text", "length", "kind", "depth", "metric", "value", "n"]
    return pd.DataFrame(rows, columns=columns).astype({"depth": float})


def loss_quantities(losses: pd.DataFrame, method: str, trained: int) -> dict[str, Quantity]:
    """Mean loss at the training length and beyond it, where it was measured."""
    return {
        phase: quantity
        for phase in PHASES
        if (quantity := loss_quantity(losses[in_phase(losses, phase, trained)], method))
    }


def means_by_method(losses: pd.DataFrame) -> pd.DataFrame:
    """The mean loss of each text (rows) and method (columns)."""
    sums = losses.assign(sum=losses["value"] * losses["n"]).groupby(["method", "text"])[["sum", "n"]].sum()
    return (sums["sum"] / sums["n"]).unstack("method")


def loss_quantity(losses: pd.DataFrame, method: str) -> Quantity | None:
    """The mean over texts, with Student's interval over texts."""
    means = means_by_method(losses)
    if method not in means:
        return None
    own = means[method].dropna()
    paired = (own - means[BASE]).dropna() if BASE in means and method != BASE else own[:0]
    low, high = student(own)
    difference_low, difference_high = student(paired)
    return Quantity(
        value=float(own.mean()),
        low=low,
        high=high,
        texts=len(own),
        n=int(losses.loc[losses["method"] == method, "n"].sum()),
        difference=float(paired.mean()) if len(paired) else None,
        difference_low=difference_low,
        difference_high=difference_high,
        difference_texts=len(paired),
    )


def student(values: pd.Series) -> tuple[float | None, float | None]:
    """The ends of Student's 95 % interval of a mean; None with fewer than two values."""
    n = len(values)
    if n < FEWEST:
        return None, None
    half = float(special.stdtrit(n - 1, 1 - LEVEL / 2) * values.std(ddof=1) / np.sqrt(n))
    return float(values.mean()) - half, float(values.mean()) + half


class Found(NamedTuple):
    """Shares of questions with every number right, by phase or length."""

    levels: dict[tuple[Any, str], Share]  # of a method
    pairs: dict[tuple[Any, str, str], Share]  # of a method minus another

    def difference(self, part: Hashable, one: str, other: str) -> Share | None:
        """One method minus another; None where no text has both."""
        if (part, one, other) in self.pairs:
            return self.pairs[part, one, other]
        found = self.pairs.get((part, other, one))
        return found and found.turned


def found(answers: pd.DataFrame, parts: Sequence[Hashable]) -> Found:
    """What all methods found, with the part of the board that each of these answers counts for.

    Intervals are moderated over all methods and parts, and over all pairs and parts.
    """
    table = questions(answers, parts)
    return Found(shares(table), shares(differences(table), -1.0))


def found_by_phase(answers: pd.DataFrame, trained: int) -> Found:
    """What all methods found at the training length and beyond it."""
    exact = answers[answers["metric"] == "exact"]
    return found(exact, phases(exact, trained))


def questions(answers: pd.DataFrame, parts: Sequence[Hashable]) -> pd.DataFrame:
    """Answers by question (rows: text, length, kind, depth) and by part and method (columns)."""
    keyed = answers.assign(depth=answers["depth"].fillna(-1.0), part=pd.Series(parts, answers.index, object))
    keys = ["text", "length", "kind", "depth", "part", "method"]
    return keyed.set_index(keys)["value"].unstack(["part", "method"]).dropna(axis=1, how="all")


def phases(frame: pd.DataFrame, trained: int) -> list[Hashable]:
    """The phase of each row."""
    return [PHASES[beyond] for beyond in in_phase(frame, "beyond", trained)]


def retrieval_quantities(answers: pd.DataFrame, method: str, trained: int) -> dict[str, Quantity]:
    """Share of questions with every number right, at the training length and beyond it, where it was measured."""
    return quantities_of(found_by_phase(answers, trained), method)


def quantities_of(found: Found, method: str) -> dict[str, Quantity]:
    """A method's shares by phase, each with its difference from the unextended model."""
    quantities = {}
    for phase in PHASES:
        if own := found.levels.get((phase, method)):
            minus = found.difference(phase, method, BASE)
            apart = (minus.value, minus.low, minus.high, minus.texts) if minus else (None, None, None, 0)
            quantities[phase] = Quantity(own.value, own.low, own.high, own.texts, own.n, *apart)
    return quantities


def in_phase(frame: pd.DataFrame, phase: str, trained: int) -> "pd.Series[bool]":
    """The rows of texts or stretches that end at the training length or before, or beyond it."""
    beyond = frame["length"] > trained
    return beyond if phase == "beyond" else ~beyond


def notes(records: Sequence[Record], lines: Sequence[Line], plan: Plan | None) -> list[str]:
    """What a reader must know of these records."""
    found = []
    if alone := sorted(line.method for line in lines if any(q.alone for q in line.quantities)):
        found.append(
            f"One text in some quantity of {', '.join(alone)}: it has no interval, and a difference may be the text's."
        )
    most = max((q.texts for line in lines for q in line.quantities), default=0)
    full = plan.texts if plan else most
    if lacking := sorted(line.method for line in lines if in_part(line, full)):
        found.append(f"Measured in part: {', '.join(lacking)}.")
    there = {line.method for line in lines}
    if absent := [method for method in (plan.methods if plan else ()) if method not in there]:
        found.append(f"Not measured: {', '.join(absent)}.")
    found += machine_notes(records)
    shared = {(r.task, r.shared_code) for r in records}
    if len(shared) > len({task for task, _ in shared}):
        found.append("Records of different versions of the code are mixed; run the older ones again.")
    for what, facts in (
        ("version", {(method_of(r), r.encoding_code) for r in records}),
        ("search", {(method_of(r), divisors_of(r)) for r in records}),
    ):
        kinds = Counter(method for method, _ in facts)
        if mixed := sorted(method for method, n in kinds.items() if n > 1):
            found.append(
                f"Records of more than one {what} of a method: {', '.join(mixed)}; run the older ones again."
            )
    if dirty := sum(bool(r.provenance.get("dirty", True)) for r in records):
        found.append(f"{counted(dirty, 'record')} of uncommitted code.")
    return found


def in_part(line: Line, texts: int) -> bool:
    """Whether a method lacks its cost, or one of these texts in one of the four quantities."""
    counts = [q.texts for q in line.quantities]
    return not line.costs or len(counts) < 2 * len(PHASES) or min(counts) < texts


def divisors_of(record: Record) -> str:
    """The divisors that a search found for a record's method; empty where it needs none."""
    searched = record.card.get("searched")
    return json.dumps(searched.get("divisors")) if isinstance(searched, dict) else ""


def machine_notes(records: Sequence[Record]) -> list[str]:
    """What differs between the machines of these records, and the methods that differ from the unextended model's."""
    found = []
    for name, asked in FACTS.items():
        facts = {(method_of(r), r.task, r.seed): machine_fact(r, name) for r in records if r.task in asked}
        if name == "kind of kernels":  # older records do not state it
            facts = {run: fact for run, fact in facts.items() if fact != "None"}
        if len(kinds := sorted(set(facts.values()))) > 1:
            others = {
                method
                for (method, task, text), fact in facts.items()
                if fact != facts.get((BASE, task, text), fact)
            }
            unlike = f"; unlike {BASE}'s: {', '.join(sorted(others))}" if others else ""
            found.append(f"Records of more than one {name}: {', '.join(kinds)}{unlike}.")
    return found


def machine_fact(record: Record, name: str) -> str:
    """One of FACTS, as a record tells it."""
    if name == "torch version":
        versions = record.provenance.get("versions")
        return str(versions.get("torch")) if isinstance(versions, dict) else "None"
    key = {"processor": "cpu", "number of threads": "threads", "kind of kernels": "kernels"}.get(name, name)
    return str(record.provenance.get(key))


def level_notes(losses: pd.DataFrame, answers: pd.DataFrame) -> list[str]:
    """The methods whose levels are of fewer texts than other methods'."""
    lacking = set[str]()
    for frame in (losses, answers):
        texts = texts_of(frame)
        every = set[int]().union(*texts.values())
        lacking |= {method for method, each in texts.items() if each != every}
    if not lacking:
        return []
    return [
        f"Not comparable in level, as they lack texts that others have: {', '.join(sorted(lacking))}. "
        f"Differences from {BASE} are paired by text."
    ]


def texts_of(frame: pd.DataFrame) -> dict[str, set[int]]:
    """The texts of each method."""
    return {str(method): set(texts) for method, texts in frame.groupby("method")["text"]}


def to_json(tracks: Sequence[Track], unreadable: Sequence[Unreadable]) -> dict[str, Any]:
    """The boards as plain JSON data."""
    return {
        "profile": tracks[0].profile,
        "models": [
            {
                "model": t.model,
                "sha256": t.sha256,
                "corpus": t.corpus,
                "train_length": t.trained,
                "notes": t.notes,
                "methods": [asdict(line) for line in t.lines],
                "losses": objects(losses_by_method(t)),
                "retrieval": objects(retrieval_by_length(t)),
                "kinds": objects(by_kind(t)),
                "remarks": remarks(t),
            }
            for t in tracks
        ],
        "unreadable": [{"path": str(u.path), "reason": u.reason} for u in unreadable],
    }


def losses_by_method(track: Track) -> pd.DataFrame:
    """Mean loss of each stretch over texts, with the range of texts: method, start, length, value, low, high, texts."""
    grouped = track.losses.groupby(["method", "start", "length"], sort=False)["value"]
    return grouped.agg(value="mean", low="min", high="max", texts="count").reset_index()


def retrieval_by_length(track: Track) -> pd.DataFrame:
    """Each metric by length, kind and depth: method, length, kind, depth, metric, value, n."""
    keys = ["method", "length", "kind", "depth", "metric"]
    grouped = track.answers.groupby(keys, sort=False, dropna=False)["value"]
    return grouped.agg(value="mean", n="count").reset_index()


def levels_by_length(track: Track, kind: str = "single") -> pd.DataFrame:
    """The share of one kind of questions that is answered: method, length, value, low, high, texts."""
    rows = track.answers[(track.answers["metric"] == "exact") & (track.answers["kind"] == kind)]
    levels = shares(questions(rows, list(rows["length"])))
    columns = ["method", "length", "value", "low", "high", "texts"]
    table = [(method, length, *share[:4]) for (length, method), share in levels.items()]
    return pd.DataFrame(table, columns=columns).astype({"value": float, "low": float, "high": float})


def found_by_length(track: Track, kind: str = "single") -> pd.DataFrame:
    """The same in words: lengths by methods."""
    rows = levels_by_length(track, kind)
    words = {
        (row.method, row.length): spanned(*known(row.value, row.low, row.high), "{:.2f}")
        for row in rows.itertuples()
    }
    lengths = sorted(rows["length"].unique())
    table = [
        (line.method, *(words.get((line.method, length), "-") for length in lengths)) for line in track.lines
    ]
    return pd.DataFrame(table, columns=["method", *(f"{length:,}" for length in lengths)])


def known(value: float, low: float, high: float) -> Span:
    """A number and the ends of its interval, None where they are NaN."""
    return value, None if np.isnan(low) else low, None if np.isnan(high) else high


def by_kind(track: Track) -> pd.DataFrame:
    """Shares by kind of question and phase: method, kind, phase, metric, value, low, high, texts, n.

    The metrics: `exact`, answers with every number right; `found`, the numbers found; `choice`, questions whose right
    number is likelier than the three others (a forced-choice margin above 0). The kind ALL has all questions.
    """
    rows = []
    for metric, name in MEASURES.items():
        answers = track.answers[track.answers["metric"] == metric]
        if metric == "margin":
            answers = answers.assign(value=(answers["value"] > 0).astype(float))
        at = phases(answers, track.trained)
        for kinds in (list(answers["kind"]), [ALL] * len(answers)):
            found = shares(questions(answers, list(zip(kinds, at, strict=True))))
            rows += [(method, *part, name, *share) for (part, method), share in found.items()]
    columns = ["method", "kind", "phase", "metric", *Share._fields]
    return pd.DataFrame(rows, columns=columns).astype({"value": float, "low": float, "high": float})


def kind_table(track: Track) -> tuple[list[str], list[list[str]]]:
    """The same as columns and rows of words, a row for each method; no rows where no answers are."""
    shared = {(r.method, r.kind, r.phase, r.metric): r for r in by_kind(track).itertuples()}
    if not shared:
        return [], []
    places = [(kind, phase) for kind in KINDS for phase in PHASES]
    rows = []
    for line in track.lines:
        parts = [
            [shared.get((line.method, *place, metric)) for metric in MEASURES.values()] for place in places
        ]
        chosen = [shared.get((line.method, ALL, phase, "choice")) for phase in PHASES]
        rows.append(
            [
                line.method,
                *(" / ".join(f"{share.value:.2f}" for share in part if share) or "-" for part in parts),
                *(spanned(*known(c.value, c.low, c.high), "{:.2f}") if c else "-" for c in chosen),
            ]
        )
    columns = [f"{name}, {WHERE[phase]}" for name in (*KINDS, "right number likelier") for phase in PHASES]
    return ["method", *columns], rows


class Telling(NamedTuple):
    """What a board's questions tell apart at one length."""

    halves: dict[int, float]  # by length: half of the 95 % interval of a difference, the median over pairs
    pairs: int  # of methods with an interval, at all lengths together
    far: int  # pairs at least FAR apart, on two texts or more
    told: int  # of these: with an interval without 0
    texts: int  # at most
    questions: int  # of a text at a length, at most


def telling(track: Track) -> Telling | None:
    """What paired differences of two methods' found numbers tell apart; None where none has an interval."""
    exact = track.answers[track.answers["metric"] == "exact"]
    halves, far = defaultdict[int, list[float]](list), list[Share]()
    for (length, _, _), share in found(exact, list(exact["length"])).pairs.items():
        if share.half is not None:
            halves[int(length)].append(share.half)
        if share.texts >= FEWEST and abs(share.value) > FAR - 1e-9:
            far.append(share)
    if not halves:
        return None
    counts = exact.groupby(["method", "length", "text"]).size()
    return Telling(
        {length: float(np.median(halves[length])) for length in sorted(halves)},
        sum(map(len, halves.values())),
        len(far),
        sum(share.separated for share in far),
        int(exact.groupby("method")["text"].nunique().max()),
        int(counts.max()),
    )


def told_apart(track: Track) -> list[str]:
    """The same in sentences; none where there is nothing to say."""
    board = telling(track)
    if board is None:
        return []
    halves = ", ".join(f"{half:.2f} at {length:,}" for length, half in board.halves.items())
    said = [
        f"Half of the 95 % interval of a difference between two methods' found numbers, by length in tokens: {halves}. "
        f"Each is a median over pairs of methods, {counted(board.pairs, 'pair')} in all, of at most {board.texts} "
        f"texts with {board.questions} questions."
    ]
    if board.far:
        said.append(
            f"Of {counted(board.far, 'pair')} at least {FAR} apart at one length, {board.told} "
            f"{'is' if board.told == 1 else 'are'} told apart: their intervals lie beside 0."
        )
    return said


def remarks(track: Track) -> list[str]:
    """What these numbers say of the questions and of the costs, in sentences."""
    return [*told_apart(track), *on_questions(track), *on_costs(track)]


def told(track: Track) -> list[str]:
    """The same as a paragraph; none where there is nothing to say."""
    return [" ".join(said)] if (said := remarks(track)) else []


def on_questions(track: Track) -> list[str]:
    """What the unextended model finds, and which questions say little."""
    said = []
    alone = levels_by_length(track)
    base = alone[(alone["method"] == BASE) & (alone["length"] <= track.trained)].sort_values("length")
    if len(base):
        levels = " and ".join(f"{row.value:.2f} at {row.length:,} tokens" for row in base[-2:].itertuples())
        said.append(f"Of the single needles the unextended model finds {levels}.")
    exact = track.answers[track.answers["metric"] == "exact"]
    right = exact.groupby("kind")["value"].sum()
    if never := [kind for kind in KINDS if kind in right and right[kind] == 0]:
        said.append(f"No answer to {' or '.join(never)} has every number right.")
    keys = exact[(exact["kind"] == "multi_key") & (exact["value"] == 1)]
    if len(keys):
        last = int((keys["depth"] == exact.loc[exact["kind"] == "multi_key", "depth"].max()).sum())
        said.append(
            f"Of {counted(len(keys), 'right answer')} to multi_key, {last} asked for the last key of the text."
        )
    return said


def on_costs(track: Track) -> list[str]:
    """How exact ratios of cost are, and the bytes of the unextended model's cache."""
    costs = {line.method: line.costs for line in track.lines if CACHE_RATIO in line.costs}
    if BASE not in costs:
        return []
    said = [f"The unextended model's cache takes {costs[BASE][CACHE]:,.0f} bytes a token."]
    own = [f"{costs[BASE][name]:.2f}x" for name in COSTS[:2] if name in costs[BASE]]
    like = [
        each[name]
        for method, each in costs.items()
        if each[CACHE_RATIO] == 1 and method != BASE
        for name in COSTS[:2]
        if name in each
    ]
    if own:
        others = (
            f" Methods with a cache as large compute about as much, so theirs show the noise: {min(like):.2f}x to "
            f"{max(like):.2f}x."
            if like
            else ""
        )
        said.append(f"Its ratios of time against itself are {' and '.join(own)}.{others}")
    return said


def published() -> str:
    """The boards of all published profiles of the track as Markdown."""
    return "\n\n".join(to_markdown(make_tracks([EXTENDED], profile)[0]) for profile in profiles([EXTENDED]))


def in_short() -> str:
    """The published boards of the full profile in a paragraph; of the quick one where there is none."""
    there = profiles([EXTENDED])
    tracks, _ = make_tracks([EXTENDED], FULL if FULL in there else there[0])
    return "\n\n".join(map(best, tracks))


def best(track: Track) -> str:
    """The methods that lead a board beyond L, by their paired differences from the unextended model."""
    said = [f"{heading(track)}: {counted(len(track.lines), 'method')}. Intervals of 95 %."]
    for words, part, style, sign in (
        ("Largest fall of the loss, in nats a token,", "loss", "{:+.3f}", -1),
        ("Largest rise of the share of hidden numbers found", "retrieval", "{:+.2f}", 1),
    ):
        gaps = {
            line.method: getattr(line, part)["beyond"]
            for line in track.lines
            if "beyond" in getattr(line, part) and getattr(line, part)["beyond"].difference is not None
        }
        if gaps:
            top = max(sign * gap.difference for gap in gaps.values())
            lead = [name for name, gap in gaps.items() if np.isclose(sign * gap.difference, top)]
            gap = gaps[lead[0]]
            texts = counted(gap.difference_texts, "text") + (
                "" if gap.difference_texts > 1 else ", so no interval"
            )
            said.append(
                f"{words} beyond L: {listed([f'`{name}`' for name in lead])}, "
                f"{spanned(*difference(gap), style)} against the unextended model ({texts})."
            )
    return " ".join(said)


COLUMNS = (
    *("method", "loss up to L", "loss beyond L", "minus none's, beyond L"),
    *("found up to L", "found beyond L", "found minus none's, beyond L"),
    *("prefill", "decode", "bytes/token", "texts: loss, found"),
)


WHERE = dict(zip(PHASES, ("up to L", "beyond L"), strict=True))
TIMES = COLUMNS[7:9]
ENDS = {name: (f"{name}, low", f"{name}, high") for name in COLUMNS[1:7]}  # of each interval in `numbers`
STYLES = ("{:.3f}", "{:.3f}", "{:+.3f}", "{:.2f}", "{:.2f}", "{:+.2f}")  # of the same in `cells`


def spans(line: Line) -> list[Span]:
    """The intervals of a method, in the order of the columns."""
    return [
        span
        for part in (line.loss, line.retrieval)
        for span in (*(level(part.get(phase)) for phase in PHASES), difference(part.get("beyond")))
    ]


def level(quantity: Quantity | None) -> Span:
    """A value with its interval."""
    return (quantity.value, quantity.low, quantity.high) if quantity else (None, None, None)


def difference(quantity: Quantity | None) -> Span:
    """A difference from the unextended model with its interval."""
    if quantity is None:
        return None, None, None
    return quantity.difference, quantity.difference_low, quantity.difference_high


def numbers(track: Track) -> pd.DataFrame:
    """The same as `cells` as numbers; the ends of intervals stand in columns of their own (ENDS)."""
    rows = []
    for line in track.lines:
        row: dict[str, Any] = {COLUMNS[0]: line.method}
        for (name, ends), span in zip(ENDS.items(), spans(line), strict=True):
            row |= dict(zip((name, *ends), span, strict=True))
        for name, cost in zip(TIMES, COSTS[:2], strict=True):
            row[name] = line.costs.get(cost)
        row[COLUMNS[9]] = line.costs.get(CACHE_RATIO, line.costs.get(CACHE))
        rows.append(row | {COLUMNS[-1]: cells(line)[-1]})
    numeric = [name for name in rows[0] if name not in (COLUMNS[0], COLUMNS[-1])]
    return pd.DataFrame(rows).astype(dict.fromkeys(numeric, float))


def cost_frame(track: Track) -> pd.DataFrame:
    """Time and memory of the methods whose cost was measured; no rows where none was."""
    return pd.DataFrame([{"method": line.method, **line.costs} for line in track.lines if line.costs])


def cells(line: Line) -> tuple[str, ...]:
    """A method as the texts of a table's row."""
    return (
        line.method,
        *(spanned(*span, style) for span, style in zip(spans(line), STYLES, strict=True)),
        *(f"{line.costs[name]:.1f}x" if name in line.costs else "-" for name in COSTS[:2]),
        cache(line.costs),
        ", ".join(counted_texts(part) for part in (line.loss, line.retrieval)),
    )


def cache(costs: Mapping[str, float]) -> str:
    """Bytes a token over the unextended model's; as they are where that was not measured.

    >>> cache({"cache_bytes": 46080, "cache_ratio": 2.0}), cache({"cache_bytes": 46080}), cache({})
    ('2.0x', '46,080', '-')
    """
    if CACHE_RATIO in costs:
        return f"{costs[CACHE_RATIO]:.1f}x"
    return f"{costs[CACHE]:,.0f}" if CACHE in costs else "-"


def counted_texts(part: dict[str, Quantity]) -> str:
    """The texts of a method, and of its differences where these are fewer: "2 (1 paired)"."""
    texts, paired = (
        max((getattr(q, name) for q in part.values()), default=0) for name in ("texts", "difference_texts")
    )
    return f"{texts} ({paired} paired)" if 0 < paired < texts else str(texts)


def spanned(value: float | None, low: float | None, high: float | None, style: str) -> str:
    """A number and its interval, where there is one.

    >>> spanned(0.5, 0.4, 0.6, "{:.1f}"), spanned(0.5, None, None, "{:.1f}"), spanned(None, None, None, "{:.1f}")
    ('0.5 (0.4 to 0.6)', '0.5', '-')
    """
    if value is None:
        return "-"
    both = "" if low is None or high is None else f" ({style.format(low)} to {style.format(high)})"
    return f"{style.format(value)}{both}"


def label(track: Track) -> str:
    """A name of the board that no other board of its profile has."""
    corpus = f", {track.corpus}" if track.named else ""
    return f"{shown_model(track.model, track.sha256)}{corpus}"


def title(track: Track) -> str:
    """The model of a board; its sha256 where several have its name, and its corpus where it was read on several."""
    model = shown_model(track.model, track.sha256) if track.alike else track.model
    return f"{model} on {track.corpus}" if track.named else model


def heading(track: Track) -> str:
    """What a table shows."""
    return f"{track.profile}: {title(track)}, trained on texts of L = {track.trained:,} tokens"


FOUND = "Single needles found, by length in tokens"
LOSS_AXIS, FOUND_AXIS = "loss, nats a token", "share found"
LOSS_CURVES = (
    "Each point is the mean loss of the tokens since the point before. Bars span the texts, and are no intervals. "
    "Books are held out by document. The model may have read them in its training, and all methods share that."
)
FOUND_CURVES = (
    "The share of questions with every number right. Bars are 95 % intervals. A mark without a bar is of one text, or "
    "all its answers are equal."
)
NO_CHOICE = "A question of several numbers has no choice."
BY_KIND = "By kind of question: every number right / numbers found / right number likelier than three others"
LEGEND = (
    "Loss in nats a token, found: questions with every number right; 95 % intervals over texts, and over questions. "
    "Right number likelier: the forced-choice margin is above 0. Prefill (reading 512 tokens at the end of the longest "
    "text) and decode: processor time over the unextended model's. Bytes/token: the cache over the unextended model's, "
    "with a key for each view; a kernel that turns keys as it reads needs 1.0x. Loss beyond L is of the longest text, "
    "with one factor: ntk_dynamic's is ntk's. Ordered by the difference in loss beyond L; methods without one stand "
    "last, by loss."
)


def printed(title: str, columns: Iterable[str], rows: Iterable[Sequence[str]]) -> Table:
    """A table for a terminal, with a row for each method."""
    table = Table(box=None, header_style="bold", pad_edge=False, title=title, title_justify="left")
    for column in columns:
        table.add_column(column, justify="left" if column == "method" else "right")
    for row in rows:
        table.add_row(*row)
    return table


def print_tracks(tracks: Sequence[Track], screen: Console) -> None:
    """Print the boards."""
    for each in tracks:
        screen.print(printed(heading(each), COLUMNS, map(cells, each.lines)))
        found = found_by_length(each)
        if len(found.columns) > 1:
            screen.print(printed(FOUND, found, found.itertuples(index=False)))
        columns, rows = kind_table(each)
        if rows:
            screen.print(printed(BY_KIND, columns, rows))
        for note in [*each.notes, *told(each)]:
            screen.print(note, markup=False, highlight=False)
    screen.print(LEGEND, markup=False, highlight=False)


def to_markdown(tracks: Sequence[Track]) -> str:
    """The boards as Markdown."""
    lines = list[str]()
    for each in tracks:
        lines += [f"**{heading(each)}**", "", *as_rows(COLUMNS, [cells(line) for line in each.lines])]
        found = found_by_length(each)
        if len(found.columns) > 1:
            lines += ["", f"**{FOUND}**", "", *as_rows(list(found), found.itertuples(index=False))]
        columns, rows = kind_table(each)
        if rows:
            lines += ["", f"**{BY_KIND}**", "", *as_rows(columns, rows)]
        lines += ["", *(f"{note}\n" for note in [*each.notes, *told(each)])]
    return "\n".join([*lines, LEGEND])


def as_rows(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table in Markdown."""
    body = [f"| {' | '.join(cell.replace('_', chr(92) + '_') for cell in row)} |" for row in rows]
    return [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *body]


def to_frame(tracks: Sequence[Track]) -> pd.DataFrame:
    """One flat row a method and model, for CSV."""
    rows = [
        {
            "profile": each.profile,
            "model": each.model,
            "sha256": each.sha256,
            "corpus": each.corpus,
            "method": line.method,
            **{
                f"{name}_{phase}{'' if part == 'value' else '_' + part}": value
                for name, quantities in (("loss", line.loss), ("retrieval", line.retrieval))
                for phase in PHASES
                for part, value in (asdict(quantities[phase]) if phase in quantities else {}).items()
            },
            **{
                f"{row.kind}_{row.metric}_{row.phase}{part}": value
                for row in kinds[kinds["method"] == line.method].itertuples()
                for part, value in zip(("", "_low", "_high"), (row.value, row.low, row.high), strict=True)
                if (row.kind, row.metric) != (ALL, "exact")  # retrieval_...
            },
            **line.costs,
        }
        for each, kinds in zip(tracks, map(by_kind, tracks), strict=True)
        for line in each.lines
    ]
    return pd.DataFrame(rows)
