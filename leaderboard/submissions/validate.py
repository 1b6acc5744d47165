"""Checks a submission folder as data: nothing in it is imported or executed, and nothing in it is trusted.

A submission is `card.json`, the encoding's one file, and `records/` with the records of one profile. Each check
names its faults and their remedy.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pebench.leaderboard.submissions.card import CARD_BYTES, read_card
from pebench.leaderboard.submissions.completeness import (
    Rules,
    check_certificate,
    check_questions,
    check_runs,
    check_setups,
)
from pebench.leaderboard.submissions.folder import RECORD, SOURCE, expected_files, read_bounded
from pebench.leaderboard.submissions.origin import check_commits, check_name, check_sources, read_source
from pebench.leaderboard.submissions.records import check_numbers, read_record
from pebench.leaderboard.submissions.report import Check, Report, SubmissionError, quote
from pebench.suite.results.record import Record
from pebench.suite.results.source import LARGEST_SOURCE, parse, registered_names


def validate(
    folder: Path,
    rules: Mapping[str, Rules],
    taken: Mapping[str, str],
    board: Iterable[Record] = (),
    published: Iterable[Record] = (),
) -> Report:
    """The report on a submission folder. SubmissionError if it is no folder.

    `rules` are by profile. `taken` maps the names of existing encodings to their source. The records of `board` are
    compared with the submission. Its name must be new among the records of `published`: these, unlike `board`,
    hold no earlier runs of its author.
    """
    if folder.is_symlink() or not folder.is_dir():
        raise SubmissionError(f"{folder} is no folder; `pebench submit` packs one")
    files = Check("only the files of a submission, of bounded size")
    paths = expected_files(folder, files)
    card_check, card = Check("the card is filled"), dict[str, Any]()
    if "card.json" in paths:
        card = read_card(read_bounded(folder, "card.json", CARD_BYTES, files), card_check)
    else:
        card_check.problems.append("there is no card.json; `pebench submit` writes it")
    sources = [path for path in paths if SOURCE.fullmatch(path)]
    source_check, text = Check("one source file, as the card says"), ""
    if len(sources) == 1:
        data = read_bounded(folder, sources[0], LARGEST_SOURCE, files)
        text = read_source(sources[0], data, card, source_check)
    else:
        source_check.problems.append(f"there are {len(sources)} Python files beside card.json, not one")
    readable = Check("every record is whole and lies in its place")
    records = [
        r for path in paths if RECORD.fullmatch(path) and (r := read_record(folder, path, files, readable))
    ]
    name, profile = card.get("name", ""), card.get("profile", "")
    rule = rules.get(profile)
    if card and rule is None:
        card_check.problems.append(f"there is no profile {quote(profile)}; there are: {', '.join(rules)}")
    notes: list[str] = []
    if text and name and name not in registered_names(parse(text)):
        notes.append(
            f'`pebench accept` will ask for @register("{name}") before the class: runs without it are stale then'
        )
    standing = [r for r in board if r.profile == profile]
    checks = [
        files,
        card_check,
        source_check,
        readable,
        check_name(name, text, taken, published, records),
        check_runs(records, name, profile, card.get("seeds"), rule),
        check_setups(records, rule),
        check_sources(records, text, sources, card),
        check_commits(records),
        check_numbers(records),
        check_certificate(records),
        check_questions(records, standing, notes),
    ]
    return Report(name, profile, checks, records, notes)
