"""Boards of folders of records: one for each model and corpus."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from pebench.leaderboard.about import EXTENDED, PUBLISHED
from pebench.leaderboard.extension.board import CACHE, CACHE_RATIO, COSTS, PLANS, Line, Track
from pebench.leaderboard.extension.notes import level_notes, notes
from pebench.leaderboard.extension.quantities import found_by_phase, loss_quantities, quantities_of
from pebench.leaderboard.extension.records import (
    BASE,
    COST,
    QUICK,
    answer_table,
    fault_of,
    is_pretrained,
    loss_table,
    method_of,
    model_of,
    shown_corpus,
    subject_of,
)
from pebench.leaderboard.printing import spanned_days
from pebench.leaderboard.reading import BoardError, reading
from pebench.suite.results.metrics import EXTENDING
from pebench.suite.results.record import Record, Unreadable, newest

REMEDY = "make some with `pebench extend --profile {}`"


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
