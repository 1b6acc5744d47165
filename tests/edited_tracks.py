"""Records of the track EXTEND, made of published ones of the unextended model."""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from pebench.leaderboard import extension
from pebench.leaderboard.about import EXTENDED
from pebench.leaderboard.extension import COST, LOSS, RETRIEVAL, Line, Track
from pebench.suite.results.record import Record, Row, read_all

__all__ = ["COST", "LOSS", "RETRIEVAL", "edited", "line_of", "of_another", "tracked"]


@functools.cache
def published(task: str) -> Record:
    """A published record of the unextended model."""
    wanted = ("EXTEND_QUICK", "rope", task, 0)
    return next(r for r in read_all(EXTENDED)[0] if (r.profile, r.encoding, r.task, r.seed) == wanted)


def edited(
    method: str,
    text: int = 0,
    task: str = LOSS,
    value: Callable[[Row], float] = lambda row: row.value,
    card: dict[str, Any] | None = None,
    **provenance: Any,
) -> Record:
    """A record as if it were of another method and text, with other values, and other facts of its machine."""
    old = published(task)
    return signed(
        replace(
            old,
            encoding="rope" if method == "none" else f"rope@{method}",
            seed=text,
            rows=tuple(replace(row, value=value(row)) for row in old.rows),
            card={**old.card, "title": f"Edited {method}", "method": method, **(card or {})},
            provenance={**old.provenance, **provenance},
        )
    )


def of_another(record: Record, part: str, name: str, sha256: str) -> Record:
    """The record as if it were of another model or corpus."""
    setup: Any = {**record.setup, part: {**record.setup[part], "name": name, "sha256": sha256}}  # type: ignore[literal-required]
    return signed(replace(record, setup=setup))


def signed(record: Record) -> Record:
    """The record with a fingerprint of its own."""
    said = repr((record.encoding, record.setup, record.card, record.provenance, record.rows))
    return replace(record, fingerprint=hashlib.sha256(said.encode()).hexdigest()[:16])


def tracked(*records: Record, profile: str = "EXTEND_QUICK") -> Track:
    """The only board of these records."""
    (track,) = extension.tracks_of([replace(r, profile=profile) for r in records], profile)
    return track


def line_of(track: Track, method: str) -> Line:
    """A method's line."""
    return next(line for line in track.lines if line.method == method)
