"""Makes a submission: how long it takes, what it needs, and the folder that a pull request adds."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pebench.encodings import registry
from pebench.suite.experiment.profiles import Profile
from pebench.suite.proofs.hooks import demand_hooks
from pebench.suite.results import card as cards
from pebench.suite.results.metrics import counted
from pebench.suite.results.record import AGAIN, CERTIFICATE, to_json, write_whole
from pebench.suite.results.setup import Setup
from pebench.suite.runs.cell import Cell
from pebench.suite.runs.existing import due, existing, one_line
from pebench.suite.runs.runner import cells


class SubmitError(ValueError):
    """A submission that cannot be made, with the remedy."""


@dataclass(frozen=True)
class Proposal:
    """What a submission runs."""

    encoding: str  # file.py:Class
    name: str
    source: Path
    text: str  # of the source
    file: str  # what the source is called in the submission
    profile: Profile
    seeds: int
    cells: list[Cell]


def propose(encoding: str, profile: Profile, seeds: int | None = None) -> Proposal:
    """The whole profile for one encoding. SubmitError where it has no file of its own or too few seeds."""
    name, cls = registry.resolve(encoding)
    if "+" in name or "@" in name:
        raise SubmitError(f"{name} is made of other encodings; put it in a file of its own: `pebench new`")
    registry.demand_acceptable(name, cls)
    demand_hooks(name, cls)
    count = seeds or profile.seeds
    if count < profile.seeds:
        raise SubmitError(f"{profile.name} needs {profile.seeds} seeds, not {count}")
    tasks = [CERTIFICATE, *profile.plans]
    chosen = cells(profile, [encoding], tasks, list(range(count)), None)
    about = (registry.source(cls), registry.source_text(cls), registry.file_name(name, cls))
    return Proposal(encoding, name, *about, profile, count, chosen)


def missing(proposal: Proposal, folder: Path, retry: bool = False) -> list[Cell]:
    """The runs that have no record yet, with `retry` also those that failed."""
    return [cell for cell in proposal.cells if due(existing(cell, folder), retry)]


def demand_alike(proposal: Proposal, folder: Path) -> None:
    """SubmitError where a run that is kept is not of the file as it is now, or of no clean commit.

    A changed comment leaves scores standing, but a submission's records hold its very file.
    """
    for cell in proposal.cells:
        if (record := existing(cell, folder)) is None:
            continue
        remedy = f"(first: {folder / cell.path}); make them all again with --records NEW_FOLDER"
        if record.card.get("source") != proposal.text:
            raise SubmitError(
                f"there are runs of {proposal.source.name} from before its last change {remedy}"
            )
        if record.provenance.get("dirty") is not False:
            raise SubmitError(f"there are runs of code that was not committed {remedy}")


def holds(certificate: Cell, folder: Path) -> bool:
    """Whether every check in the certificate of this cell holds. SubmitError where it was not made."""
    record = existing(certificate, folder)
    if record is None:
        raise SubmitError("another sweep is making the certificate; wait for it, then run the same command")
    if record.outcome in AGAIN:
        raise SubmitError(
            f"the certificate ended as {record.outcome!r} ({one_line(record.reason)}); the same command with --retry "
            "makes it again"
        )
    return bool(record.rows) and all(row.value == 1 for row in record.rows)


def setups(profile: Profile) -> dict[str, Setup]:
    """What every record of a profile says of its setup, by task: it is the same for all encodings."""
    return {task: Cell("", task, profile.name, 0).setup() for task in (CERTIFICATE, *profile.plans)}


def once(profile: Profile) -> frozenset[str]:
    """The tasks that are run with one seed: nothing is trained in them."""
    return frozenset({CERTIFICATE, *(task for task, plan in profile.plans.items() if not plan.recipe.steps)})


def pack(proposal: Proposal, records: Path, out: Path) -> list[str]:
    """Write the folder of a submission, and return the fields of its card that are still to be filled.

    What the user has filled in an earlier card.json stays. SubmitError where a run has no record, or where
    the folder is another submission's.
    """
    found = {cell: existing(cell, records) for cell in proposal.cells}
    done = [record for record in found.values() if record]
    if todo := [cell for cell, record in found.items() if record is None]:
        raise SubmitError(
            f"{counted(len(todo), 'run')} without a record, first: {todo[0].title}; another sweep may be making it: "
            "wait for that, then run the same command"
        )
    stated = _stated(out, proposal)
    text = done[0].card["source"]
    card = {
        "schema": cards.SCHEMA,
        "name": proposal.name,
        "file": proposal.file,
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "profile": proposal.profile.name,
        "seeds": proposal.seeds,
        "title": done[0].card["title"],
        "paper": done[0].card["paper"],
        **{key: "" for key in cards.STATED},
        **stated,
    }
    for record in done:
        write_whole(out / "records" / record.path, to_json(record).encode())
    for left in {*(out / "records").rglob("*.json")} - {out / "records" / record.path for record in done}:
        left.unlink(missing_ok=True)  # of an earlier version of the encoding
    write_whole(out / card["file"], text.encode())
    write_whole(out / "card.json", f"{json.dumps(card, indent=1, ensure_ascii=False)}\n".encode())
    return [key for key in cards.STATED if not str(card[key]).strip()]


def _stated(out: Path, proposal: Proposal) -> Mapping[str, Any]:
    """What the user filled in before."""
    if not out.exists():
        return {}
    expected = {"card.json", "records", proposal.file}
    if others := sorted(set(os.listdir(out)) - expected):
        raise SubmitError(f"{out} holds something else ({others[0]}); choose a new folder with --out")
    file = out / "card.json"
    if not file.exists():
        return {}
    try:
        card = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as e:
        raise SubmitError(f"{file} is no JSON ({e}); correct or remove it") from e
    if not isinstance(card, dict) or card.get("name") != proposal.name:
        raise SubmitError(f"{out} is the submission of another encoding; choose a new folder with --out")
    return {key: card[key] for key in cards.STATED if card.get(key)}
