"""Published tables of encodings: a CSV file of one form, read and checked.

`leaderboard/published.csv` is our transcription. Any other file of the same form can take its place. One row is one
encoding's value in one table. Columns: see COLUMNS. Grades: A read in the paper's text or data, B in an excerpt,
C in a note that quotes the paper, M from memory.
"""

import csv
import difflib
import io
import math
import re
from collections.abc import Container, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

FILE = Path(__file__).parents[1] / "published.csv"
REQUIRED = ("source", "table", "kind", "encoding", "value", "unit", "better")
OPTIONAL = ("arxiv", "trained_at", "read_at", "size", "grade")
COLUMNS = (*REQUIRED, *OPTIONAL)
GRADES = ("A", "B", "C", "M")
AT, BEYOND = "at L", "beyond L"
LARGEST = 64 * 2**20  # bytes

# What a table measures -> the task of ours that asks the same, or nearly; "" is the average of all tasks.
SUBJECTS = {
    "downstream": "language",
    "perplexity": "language",
    "bits": "language",
    "copy": "copy",
    "reverse": "reverse",
    "addition": "addition",
    "sort": "sort",
    "needle": "needle",
    "recall": "recall",
    "indexing": "recall",
    "latest": "latest",
    "flipflop": "flipflop",
    "counting": "flipflop",
    "parity": "flipflop",
    "permutation": "permutation",
    "composition": "",
}
# A board without that task is asked for the one that took its place (`STANDARD_2`).
SUCCESSORS = {
    "downstream": "language_ends",
    "perplexity": "language_ends",
    "bits": "language_ends",
    "copy": "copy_unique",
    "needle": "needle_text",
    "recall": "recall_again",
    "indexing": "indexing",
    "latest": "recall_again",
    "flipflop": "flipflop_error",
    "parity": "parity",
}


def task_of(subject: str, measured: Container[str]) -> str:
    """The task of ours that asks the same as a published subject, or its successor where only that was measured.

    >>> task_of("perplexity", {"language"}), task_of("perplexity", {"language_ends"}), task_of("perplexity", ())
    ('language', 'language_ends', 'language')
    """
    newer = SUCCESSORS.get(subject, "")
    return newer if SUBJECTS[subject] not in measured and newer in measured else SUBJECTS[subject]


KINDS = tuple(f"{subject} {phase}" for subject in SUBJECTS for phase in (AT, BEYOND))

# The smallest published difference that counts, at L and beyond L; of perplexities a share of the smaller one.
MARGINS = {"share": (0.05, 0.05), "percent": (2.0, 2.0), "bits": (0.01, 0.04), "perplexity": (0.005, 0.03)}
DOWNSTREAM_MARGINS = MARGINS | {
    "share": (0.01, 0.01),
    "percent": (1.0, 1.0),
}  # averages over several test sets
UNITS = tuple(MARGINS)
SHORT_UNITS = {"pct": "percent", "%": "percent", "ppl": "perplexity", "bpb": "bits", "bits per byte": "bits"}

# The other form that is read: our task, the phase and a short name of the quantity, in the place of kind and unit.
SHORT_FORM = ("our_task", "phase", "quantity")
SHORT_PHASES = {"iid": AT, "id": AT, "at l": AT, "ood": BEYOND, "beyond l": BEYOND}
SHORT_QUANTITIES = {
    "down": ("downstream", "percent"),
    "ppl": ("perplexity", "perplexity"),
    "pplx": ("perplexity", "perplexity"),
    "bits": ("bits", "bits"),
    "pct": ("", "percent"),
    "share": ("", "share"),
}  # -> the subject, "" for the task's own, and the unit

# Names in papers, in lower case without punctuation -> ours.
ALIASES = {
    "rotary": "rope",
    "rope10k": "rope",
    "rope10000": "rope",
    "ropebase10k": "rope",
    "ropebase10000": "rope",
    "ropetheta10000": "rope",
    "rope500000": "rope_500k",
    "ropebase500k": "rope_500k",
    "ropebase500000": "rope_500k",
    "ropetheta500000": "rope_500k",
    "roformer": "rope",
    "nopos": "nope",
    "no": "nope",
    "without": "nope",
    "wo": "nope",
    "none": "nope",
    "alibibias": "alibi",
    "linearbias": "alibi",
    "attentionwithlinearbiases": "alibi",
    "t5": "t5_bias",
    "t5s": "t5_bias",
    "t5rpe": "t5_bias",
    "t5rpb": "t5_bias",
    "t5relative": "t5_bias",
    "t5relativepositionbias": "t5_bias",
    "t5relativepositionalbias": "t5_bias",
    "t5srelativepositionbias": "t5_bias",
    "t5srpe": "t5_bias",
    "t5srelativepe": "t5_bias",
    "t5relativebias": "t5_bias",
    "t5srelativebias": "t5_bias",
    "kerple": "kerple_log",
    "kerplelogarithmic": "kerple_log",
    "dapekerple": "dape",
    "dapekerplelog": "dape",
    "forgettingtransformer": "fox",
    "foxllama": "fox",
    "forgetting": "fox",
    "sinusoid": "sinusoidal",
    "sin": "sinusoidal",
    "sincos": "sinusoidal",
    "sinusoidalape": "sinusoidal",
    "absolutesinusoidal": "sinusoidal",
    "learned": "learned_ape",
    "learnable": "learned_ape",
    "learnedabsolute": "learned_ape",
    "contextual": "cope",
    "polar": "pope",
    "transformerxl": "transformer_xl",
    "txl": "transformer_xl",
    "relativepe": "shaw",
    "shawrpe": "shaw",
    "randomised": "randomized",
    "randomizedrope": "randomized",
    "randomisedrope": "randomized",
    "positioninterpolation": "rope@pi",
    "pi": "rope@pi",
    "ropepi": "rope@pi",
    "linearinterpolation": "rope@pi",
    "ntk": "rope@ntk",
    "ntkaware": "rope@ntk",
    "ropentk": "rope@ntk",
    "ntkrope": "rope@ntk",
    "ntkawarerope": "rope@ntk",
    "yarn": "rope@yarn",
    "ropeyarn": "rope@yarn",
    "foxrope": "rope+fox",
    "ropefox": "rope+fox",
    "grapea": "grape_a_qk",
    "additivegrape": "grape_a_qk",
    "grapem": "grape_m_nonctx",
    "multiplicativegrape": "grape_m_nonctx",
    "pathintegralgrape": "grape_ap",
    "grapemctx": "grape_m_ctx",
    "grapemnonctx": "grape_m_nonctx",
    "stickbreakingattention": "stick_breaking",
    "pathattention": "path",
    "scalablesoftmax": "ssmax",
    "selective": "selective_rope",
}
# Words and references that name no encoding.
FILLERS = (
    *("position", "positional", "encoding", "encodings", "embedding", "embeddings", "pe"),
    *("vanilla", "standard", "original", "baseline"),
)
REFERENCE = r"\[[\d, ]+\]|\((ours|(19|20)[0-3]\d|[^()]*(et al|, *(19|20)[0-3]\d)[^()]*)\)|\bet al\b"
AMBIGUOUS = {
    "ape": "sinusoidal or learned_ape",
    "absolute": "sinusoidal or learned_ape",
    "rpe": "shaw or t5_bias",
}


class PublishedError(ValueError):
    """A table of published results that cannot be read, with the line and the remedy."""


class Published(NamedTuple):
    """Checked rows, and what was noticed on the way.

    `rows` has COLUMNS, `phase` (at L, beyond L), `task` (ours, "" for all), `source_id` (arXiv number, else source)
    and `line`; numbers are floats, NaN where empty.
    """

    rows: pd.DataFrame
    notes: list[str]


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
    rows = []
    for number, cells in lines_of(text, separator):
        if len(cells) > len(header):
            raise PublishedError(
                f"line {number} has {len(cells)} fields and the header {len(header)}; quote a field that holds "
                f"{separator!r}"
            )
        cells = [*cells, *[""] * (len(header) - len(cells))]
        named_cells = dict(zip(header, cells, strict=True))
        if short:
            named_cells |= _kind_and_unit(named_cells, number)
        rows.append(_row(named_cells, number, separator == ";"))
    if not rows:
        raise PublishedError("has a header and no rows")
    frame = pd.DataFrame(rows)
    unknown = [name for name in header if name and name not in (*COLUMNS, *SHORT_FORM * short)]
    notes = [f"columns without a meaning here, not read: {', '.join(unknown)}"] if unknown else []
    return Published(frame, notes)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    return ((n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip())


def _header(line: str) -> tuple[str, list[str]]:
    """The separator, and the names of the columns in lower case."""
    separator = max(",;\t", key=line.count)
    header = [name.strip().lower() for name in next(csv.reader([line], delimiter=separator))]
    if twice := sorted({name for name in header if name and header.count(name) > 1}):
        raise PublishedError(f"names a column twice: {', '.join(twice)}")
    return separator, header


def _kind_and_unit(cells: dict[str, str], line: int) -> dict[str, str]:
    """What a row of the short form says, in the words of the long one."""
    quantity = SHORT_QUANTITIES.get(cells["quantity"].lower())
    if quantity is None:
        raise PublishedError(
            f"line {line}: unknown quantity {cells['quantity']!r}; it is one of {', '.join(SHORT_QUANTITIES)}"
        )
    phase = SHORT_PHASES.get(cells["phase"].lower())
    if phase is None:
        raise PublishedError(f"line {line}: unknown phase {cells['phase']!r}; it is 'iid' or 'ood'")
    subject, unit = quantity
    return {"kind": f"{subject or cells['our_task'] or 'composition'} {phase}", "unit": unit}


def lines_of(text: str, separator: str) -> Iterator[tuple[int, list[str]]]:
    """The fields of each row with the number of its last line, header and empty rows left out."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    header = True
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                if not header:
                    yield reader.line_num, [cell.strip() for cell in cells]
                header = False
    except csv.Error as e:
        raise PublishedError(f"line {reader.line_num} is no CSV: {e}") from None


def _row(cells: dict[str, str], line: int, decimal_comma: bool) -> dict[str, object]:
    """One checked row."""

    def wrong(what: str) -> PublishedError:
        return PublishedError(f"line {line}: {what}")

    row: dict[str, object] = {name: cells.get(name, "") for name in COLUMNS}
    for name in ("source", "table", "kind", "encoding", "value", "unit", "better"):
        if not row[name]:
            raise wrong(f"{name} is empty; leave out a row that has none")
    kind = _chosen(cells["kind"], KINDS)
    if kind is None:
        near = difflib.get_close_matches(
            " ".join(cells["kind"].lower().split()), [k.lower() for k in KINDS], 1, 0.5
        )
        hint = f"; did you mean {KINDS[[k.lower() for k in KINDS].index(near[0])]!r}?" if near else ""
        raise wrong(
            f"unknown kind {cells['kind']!r}{hint} A kind is one of {', '.join(SUBJECTS)}, then 'at L' or 'beyond L'"
        )
    unit = _chosen(SHORT_UNITS.get(cells["unit"].lower(), cells["unit"]), UNITS)
    if unit is None:
        raise wrong(f"unknown unit {cells['unit']!r}; a unit is one of {', '.join(UNITS)}")
    better = _chosen(cells["better"], ("higher", "lower"))
    if better is None:
        raise wrong(f"better is {cells['better']!r}; it is 'higher' or 'lower'")
    if unit in ("perplexity", "bits") and better == "higher":
        raise wrong(f"{unit} is better when lower, and better says 'higher'")
    grade = cells.get("grade", "").upper()
    if grade and grade not in GRADES:
        raise wrong(f"grade {cells['grade']!r} is none of {', '.join(GRADES)}")
    value = _number(cells["value"], decimal_comma)
    if value is None:
        raise wrong(
            f"value {cells['value']!r} is not a finite number in digits; leave out a row that has none"
        )
    low, high = {"share": (0, 1), "percent": (0, 100), "bits": (0, math.inf), "perplexity": (1, math.inf)}[
        unit
    ]
    if not low <= value <= high:
        raise wrong(f"value {cells['value']} is no {unit} ({low} to {high})")
    phase = AT if kind.endswith(AT) else BEYOND
    lengths = {}
    for name in ("trained_at", "read_at"):
        text = cells.get(name, "")
        length = _number(text, decimal_comma) if text else math.nan
        if length is None or length <= 0:
            raise wrong(
                f"{name} {text!r} is not a positive number in digits, as 4096; leave it empty where it is unknown"
            )
        lengths[name] = length
    trained, asked = lengths["trained_at"], lengths["read_at"]
    if (phase == AT and asked > trained) or (phase == BEYOND and asked <= trained):
        raise wrong(f"kind says {phase!r}, but it was trained at {trained:g} and read at {asked:g}")
    arxiv = re.sub(r"^arxiv:", "", cells.get("arxiv", ""), flags=re.IGNORECASE)
    if arxiv and not re.fullmatch(r"\d{4}\.\d{4,5}(v\d+)?", arxiv):
        raise wrong(
            f"arxiv {cells['arxiv']!r} is no number as 2104.09864; leave it empty where there is none"
        )
    row |= {"kind": kind, "unit": unit, "better": better, "grade": grade, "value": value, **lengths}
    row |= {"arxiv": arxiv, "phase": phase, "line": line}
    row["source_id"] = re.sub(r"v\d+$", "", arxiv) or cells["source"]
    return row


def _chosen(text: str, known: Iterable[str]) -> str | None:
    """The one of these that the text names, whatever its case and spaces."""
    return next((name for name in known if name.lower() == " ".join(text.lower().split())), None)


def _number(text: str, decimal_comma: bool) -> float | None:
    """A finite number; in a file with semicolons a comma may stand for the point."""
    try:
        value = float(text.replace(",", ".") if decimal_comma else text)
    except ValueError:
        return None
    return value if math.isfinite(value) and "_" not in text else None


def named(name: str, known: Iterable[str]) -> str:
    """Our name of an encoding that a paper names; "" where there is none.

    A name counts without references and FILLERS. Where it ends in parentheses, "Rotary Embedding (RoPE)", both parts
    must name the same encoding, if the whole names none.

    >>> [named(n, ["rope", "t5_bias", "kerple_log"]) for n in ("RoPE", "T5's RPE", "KERPLE (log)", "Mamba")]
    ['rope', 't5_bias', 'kerple_log', '']
    >>> [named(n, ["alibi", "fox"]) for n in ("ALiBi (Press et al., 2022)", "Rotary PE (RoPE)", "FoX (Pro)")]
    ['alibi', 'rope', '']
    """
    by_plain = ALIASES | {_plain(ours): ours for ours in [*ALIASES.values(), *known]}

    def found(text: str) -> str:
        words = [word for word in re.findall(r"[^\W_]+", text.lower()) if word not in FILLERS]
        return by_plain.get(_plain(text)) or by_plain.get(_plain("".join(words)), "")

    name = re.sub(REFERENCE, "", name)
    parts = re.fullmatch(r"(.+)\((.+)\)\s*", name)
    inside = found(parts[2]) if parts else ""
    return found(name) or (inside if parts and found(parts[1]) == inside else "")


def _plain(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())


def margin(kind: str, unit: str) -> float:
    """The smallest difference of two published values that counts; of perplexities it is a share of the smaller."""
    at, beyond = (DOWNSTREAM_MARGINS if kind.startswith("downstream") else MARGINS)[unit]
    return at if kind.endswith(AT) else beyond
