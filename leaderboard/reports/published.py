"""Published tables of encodings: a CSV file of one form, read and checked.

`leaderboard/published.csv` is our transcription. Any other file of the same form can take its place. One row is one
encoding's value in one table. Columns: see COLUMNS. Grades: A read in the paper's text or data, B in an excerpt,
C in a note that quotes the paper, M from memory. A row that cannot be read is left out and named.
"""

import csv
import difflib
import io
import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from pebench.leaderboard.reports.vocabulary import (
    ACCURACY,
    AT,
    BEYOND,
    BY_UNIT,
    DIRECTIONS,
    PHASES,
    RANGES,
    SHORT_FORM,
    SHORT_QUANTITIES,
    SHORT_UNITS,
    SUBJECTS,
    UNITS,
    UNSURE,
    WORDS,
)
from pebench.suite.results.metrics import counted

FILE = Path(__file__).parents[1] / "published.csv"
REQUIRED = ("source", "table", "kind", "encoding", "value", "unit", "better")
OPTIONAL = ("arxiv", "trained_at", "read_at", "size", "grade")
COLUMNS = (*REQUIRED, *OPTIONAL)
GRADES = ("A", "B", "C", "M")
LARGEST = 64 * 2**20  # bytes
NAMED = 5  # of the lines that are left out, in a note
MOST_BROKEN = 100  # lines that are no CSV; each costs another reading


class PublishedError(ValueError):
    """A table of published results that cannot be read, with the line and the remedy."""


class UnknownKind(PublishedError):
    """A row of a quantity that is none of KINDS."""


class LeftOut(NamedTuple):
    """A row that cannot be read, and why; `unknown`: because of its kind."""

    line: int
    reason: str
    unknown: bool = False

    def __str__(self) -> str:
        return f"line {self.line}: {self.reason}"


class Published(NamedTuple):
    """Checked rows, and what was noticed on the way.

    `rows` has COLUMNS, `phase` (at L, beyond L), `source_id` (arXiv number, else source)
    and `line`; numbers are floats, NaN where empty. A value lies from `low` to `high`: both are the value itself,
    unless the table prints a bound, ">1000".
    """

    rows: pd.DataFrame
    notes: list[str]
    left_out: list[LeftOut]


def read(path: Path = FILE) -> Published:
    """Read a table of this form. PublishedError where its content is wrong, OSError where it cannot be opened."""
    data = path.read_bytes() if path.stat().st_size <= LARGEST else None
    if data is None:
        raise PublishedError(f"{path} is larger than {LARGEST // 2**20} MB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise PublishedError(f"{path} is not UTF-8 text; save it as CSV in UTF-8") from None
    try:
        return parse(text)
    except PublishedError as e:
        raise PublishedError(f"{path}: {e}") from None


def parse(text: str) -> Published:
    """Check the text of such a file; columns may stand in any order, separated by commas, semicolons or tabs."""
    lines = list(_lines(text))
    if not lines:
        raise PublishedError(f"is empty; the first line names the columns: {','.join(COLUMNS)}")
    separator, header = _header(lines[0][1])
    short = "kind" not in header and set(SHORT_FORM) <= set(header)
    if missing := [name for name in REQUIRED if name not in [*header, *(("kind", "unit") if short else ())]]:
        raise PublishedError(
            f"lacks the column{'s' * (len(missing) > 1)} {', '.join(missing)}; it has: {', '.join(header)}. "
            f"Required are {', '.join(REQUIRED)}; optional {', '.join(OPTIONAL)}"
        )
    rows, left_out, told = [], list[LeftOut](), Counter[str]()
    for number, cells in lines_of(text, separator):
        if isinstance(cells, str):
            left_out.append(LeftOut(number, cells))
            continue
        try:
            rows.append(_row(_cells(header, cells, separator, short), number, separator == ";", told))
        except PublishedError as e:
            left_out.append(LeftOut(number, str(e), isinstance(e, UnknownKind)))
    if not rows:
        raise PublishedError(_listed(left_out) or "has a header and no rows")
    frame = _with_units(pd.DataFrame(rows))
    unknown = [name for name in header if name and name not in (*COLUMNS, *SHORT_FORM * short)]
    notes = [f"columns without a meaning here, not read: {', '.join(unknown)}"] if unknown else []
    notes += [f"{said} ({counted(n, 'row')})" for said, n in told.items()]
    if left_out:
        were = "were" if len(left_out) > 1 else "was"
        notes.append(f"{counted(len(left_out), 'row')} {were} left out: {_listed(left_out)}")
    return Published(frame, notes, left_out)


def _listed(left_out: Sequence[LeftOut]) -> str:
    """The first of these rows in words, and the kinds that there are, if one of a row is not known."""
    more = f"; and {len(left_out) - NAMED} more" if len(left_out) > NAMED else ""
    known = any(row.unknown for row in left_out)
    kinds = f". A kind is one of {', '.join(SUBJECTS)}, then 'at L' or 'beyond L'" if known else ""
    return "; ".join(map(str, left_out[:NAMED])) + more + kinds


def _with_units(rows: pd.DataFrame) -> pd.DataFrame:
    """An accuracy is a percentage where its table has a value above 1, else a share."""
    most = rows.groupby(["source_id", "table", "kind"])["value"].transform("max")
    told = most.gt(1).map({True: "percent", False: "share"})
    return rows.assign(unit=rows["unit"].where(rows["unit"] != ACCURACY, told))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip())


def _header(line: str) -> tuple[str, list[str]]:
    """The separator, and the names of the columns in lower case."""
    separator = max(",;\t", key=line.count)
    try:
        header = [name.strip().lower() for name in next(csv.reader([line], delimiter=separator))]
    except csv.Error as e:
        raise PublishedError(f"the header is no CSV: {e}") from None
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise PublishedError(f"names a column twice: {', '.join(twice)}")
    return separator, header


def lines_of(text: str, separator: str) -> Iterator[tuple[int, list[str] | str]]:
    """The fields of each row with the number of its last line, header and empty rows left out.

    Where a line is no CSV, why not, in place of the fields; the next line is read afresh.
    """
    lines = io.StringIO(text, newline="").readlines()
    start, header = 0, True
    for broken in range(1, MOST_BROKEN + 1):
        reader, done = csv.reader(lines[start:], delimiter=separator, strict=True), 0
        try:
            for cells in reader:
                done = reader.line_num
                if any(cell.strip() for cell in cells):
                    if not header:
                        yield start + done, [cell.strip() for cell in cells]
                    header = False
            return
        except csv.Error as e:
            if header:
                raise PublishedError(f"the header is no CSV: {e}") from None
            start += done + 1
            end = "; it is the last line that was read" if broken == MOST_BROKEN else ""
            yield start, f"is no CSV: {e}{end}"


def _cells(header: list[str], cells: list[str], separator: str, short: bool) -> dict[str, str]:
    """The fields of a row by their columns, in the words of the long form."""
    if len(cells) > len(header):
        raise PublishedError(
            f"has {len(cells)} fields and the header {len(header)}; quote a field that holds {separator!r}"
        )
    found = dict(zip(header, [*cells, *[""] * (len(header) - len(cells))], strict=True))
    return found | _kind_and_unit(found) if short else found


def _kind_and_unit(cells: dict[str, str]) -> dict[str, str]:
    """What a row of the short form says, in the words of the long one."""
    quantity = SHORT_QUANTITIES.get(cells["quantity"].lower())
    if quantity is None:
        raise PublishedError(
            f"unknown quantity {cells['quantity']!r}; it is one of {', '.join(SHORT_QUANTITIES)}"
        )
    phase = PHASES.get(_spaced(cells["phase"]))
    if phase is None:
        raise PublishedError(f"unknown phase {cells['phase']!r}; it is 'iid' or 'ood'")
    subject, unit = quantity
    return {"kind": f"{subject or cells['our_task'] or 'composition'} {phase}", "unit": unit}


def _row(cells: dict[str, str], line: int, decimal_comma: bool, told: Counter[str]) -> dict[str, object]:
    """One checked row; what was read with some freedom is counted in `told`."""
    row: dict[str, object] = {name: cells.get(name, "") for name in COLUMNS}
    for name in ("source", "table", "kind", "encoding", "value", "unit", "better"):
        if not row[name]:
            raise PublishedError(f"{name} is empty")
    printed = _chosen(SHORT_UNITS.get(" ".join(cells["unit"].lower().split()), cells["unit"]), RANGES)
    if printed is None:
        raise PublishedError(f"unknown unit {cells['unit']!r}; a unit is one of {', '.join(UNITS)}")
    better = DIRECTIONS.get(" ".join(cells["better"].lower().split()))
    if better is None:
        raise PublishedError(f"better is {cells['better']!r}; it is 'higher' or 'lower'")
    if printed in ("perplexity", "bits", "nats") and better == "higher":
        raise PublishedError(f"{printed} is better when lower, and better says 'higher'")
    unit, value, low, high = _value(cells["value"], printed, decimal_comma)
    trained, asked = (_length(name, cells.get(name, ""), decimal_comma) for name in ("trained_at", "read_at"))
    longer = asked > trained if math.isfinite(asked + trained) else None
    subject, phase = _kind(cells["kind"], unit, longer, told)
    if (phase == AT and asked > trained) or (phase == BEYOND and asked <= trained):
        raise PublishedError(f"kind says {phase!r}, but it was trained at {trained:g} and read at {asked:g}")
    grade = cells.get("grade", "").upper()
    if grade and grade not in GRADES:
        told[f"grade {cells['grade']!r} is none of {', '.join(GRADES)}, and is not read"] += 1
        grade = ""
    arxiv = _arxiv(cells.get("arxiv", ""))
    if cells.get("arxiv", "") and not arxiv:
        told[f"arxiv {cells['arxiv']!r} is no number as 2104.09864, and is not read"] += 1
    return row | {
        "kind": f"{subject} {phase}",
        "unit": unit,
        "better": better,
        "grade": grade,
        "value": value,
        "low": low,
        "high": high,
        "trained_at": trained,
        "read_at": asked,
        "arxiv": arxiv,
        "phase": phase,
        "line": line,
        "source_id": re.sub(r"v\d+$", "", arxiv or _arxiv(cells["source"])) or cells["source"],
    }


def _kind(text: str, unit: str, longer: bool | None, told: Counter[str]) -> tuple[str, str]:
    """The subject and the phase of a kind; one without a phase is read by `longer`, where the lengths are known."""
    words = _spaced(text).split()
    parts = ((" ".join(words[:n]), " ".join(words[n:])) for n in range(len(words), 0, -1))
    name, rest = next(((name, rest) for name, rest in parts if name in WORDS), ("", ""))
    if not name:
        said = " ".join(words)
        for ending in sorted(PHASES, key=len, reverse=True):
            said = said.removesuffix(f" {ending}")
        near = difflib.get_close_matches(said, WORDS, 1, 0.75)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UnknownKind(f"unknown kind {text!r}{hint}")
    phase = PHASES.get(rest)
    if not rest and longer is not None:
        phase = BEYOND if longer else AT
    if phase is None:
        raise PublishedError(
            f"kind {text!r} says neither 'at L' nor 'beyond L'; did you mean '{name} at L' or '{name} beyond L'?"
        )
    subject = WORDS[name] if WORDS[name] != "language" else BY_UNIT.get(unit, "downstream")
    if name in UNSURE:
        told[f"kind {text!r} is read as {subject!r}"] += 1
    return subject, phase


def _spaced(text: str) -> str:
    """In lower case, with single spaces for hyphens, underscores, parentheses and colons."""
    return " ".join(re.sub(r"[-_():]|\.(?=\s)", " ", text.lower()).split())


def _chosen(text: str, known: Iterable[str]) -> str | None:
    """The one of these that the text names, whatever its case and spaces."""
    return next((name for name in known if name.lower() == " ".join(text.lower().split())), None)


_VALUE = re.compile(
    r"(?P<bound>[<>≤≥]=?)?\s*(?P<number>[-+−]?[\d.,]+(?:e[-+]?\d+)?|inf(?:inity)?|∞)\s*(?P<percent>%)?"
    r"\s*(?:(?:±|\+/?-)\s*[\d.,]+|\([-+±]?\s*[\d.,]+%?\))?\s*(?P<behind>%)?",
    re.IGNORECASE,
)  # 50.1, 50.1 %, 50.1±0.3, 50.1 (0.3), >1000, inf
_THOUSANDS = re.compile(r"[-+]?\d{1,3}(,\d{3})+(\.\d+)?")


def _value(text: str, unit: str, decimal_comma: bool) -> tuple[str, float, float, float]:
    """The unit, the number that is printed, and the least and the greatest value that it allows.

    A spread behind a number is not read. Infinity is a value above all others.

    >>> _value("50.1 (0.3)", "percent", False), _value(">1000", "perplexity", False)
    (('percent', 50.1, 50.1, 50.1), ('perplexity', 1000.0, 1000.0, inf))
    """
    plain = re.sub(r"[*†‡$]", "", text.replace(r"\pm", "±").replace(r"\%", "%")).strip()
    found = _VALUE.fullmatch(plain)
    number = None
    if found and found["number"][0] in "i∞I":
        number = math.inf
    elif found:
        number = _number(found["number"].replace("−", "-"), decimal_comma)
    if found is None or number is None:
        raise PublishedError(f"value {text!r} is not a finite number in digits")
    if found["percent"] or found["behind"]:
        if unit not in ("share", "percent", ACCURACY):
            raise PublishedError(f"value {text!r} is no {unit}")
        number, unit = (number / 100, unit) if unit == "share" else (number, "percent")
    least, most = RANGES[unit]
    if not least <= number <= most:
        raise PublishedError(f"value {text} is no {unit} ({least} to {most})")
    bound = (found["bound"] or " ")[0]
    return unit, number, -math.inf if bound in "<≤" else number, math.inf if bound in ">≥" else number


def _number(text: str, decimal_comma: bool) -> float | None:
    """A finite number; in a file with semicolons a comma may stand for the point, else between thousands."""
    if decimal_comma:
        text = text.replace(",", ".")
    elif _THOUSANDS.fullmatch(text):
        text = text.replace(",", "")
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def _length(name: str, text: str, decimal_comma: bool) -> float:
    """A length in tokens, NaN where it is empty: 4096, 4,096 or 4k."""
    if not text:
        return math.nan
    digits, times = text.lower().removesuffix("tokens").strip(), 1
    if digits[-1:] in ("k", "m"):
        digits, times = digits[:-1].strip(), 2 ** {"k": 10, "m": 20}[digits[-1]]
    length = _number(digits, decimal_comma and not _THOUSANDS.fullmatch(digits))
    if length is None or length <= 0:
        raise PublishedError(
            f"{name} {text!r} is not a positive number in digits, as 4096; leave it empty where it is unknown"
        )
    return length * times


def _arxiv(text: str) -> str:
    """The arXiv number that a text is, or has behind "arXiv:" or in an address; "" where there is none.

    >>> _arxiv("https://arxiv.org/abs/2512.07805v2"), _arxiv("2104.09864"), _arxiv("ALiBi 2022")
    ('2512.07805v2', '2104.09864', '')
    """
    found = re.search(r"(?:^|arxiv:\s*|arxiv\.org/\w+/)(\d{4}\.\d{4,5}(?:v\d+)?)(?!\d)", text, re.IGNORECASE)
    return found[1] if found else ""
