"""The review as a comment for a pull request: the checks, then the encoding beside its neighbours on the board."""

from collections.abc import Iterable

from pebench.leaderboard.app import views
from pebench.leaderboard.board import Board, board_of
from pebench.leaderboard.entries import Entry
from pebench.leaderboard.printing import plain
from pebench.leaderboard.reports.claims import signed
from pebench.leaderboard.submissions.report import Report, problems_to_show
from pebench.suite.results.record import Record, newest


def to_markdown(report: Report, board: Iterable[Record]) -> str:
    """The report and the comparison as Markdown, in which every text of the submission is escaped."""
    lines = [
        f"### {safe(report.name or 'Submission')}: {'every check holds' if report.passed else 'refused'}",
        "",
    ]
    for check, problems in problems_to_show(report):
        lines.append(f"- {'✓' if check.passed else '✗'} {check.name}")
        lines += [f"  - {safe(problem)}" for problem in problems]
    lines += [f"- note: {safe(note)}" for note in report.notes]
    after = board_with(report, board)
    return "\n".join([*lines, "", *(comparison(after, report.name) if after else [])]) + "\n"


def safe(text: str) -> str:
    """Markdown that shows this text as it is, and calls nobody."""
    return plain(text).replace("@", "@\u200b").replace("www.", "www\u200b.")


def board_with(report: Report, board: Iterable[Record]) -> Board | None:
    """The board as it would be with this submission; None if a check failed."""
    if not report.passed:
        return None
    records = newest([*(r for r in board if r.profile == report.profile), *report.records])
    return board_of(records, report.profile, {report.profile: len(records)}, [])


def comparison(board: Board, name: str) -> list[str]:
    """An encoding beside its neighbours, the leader and RoPE, as lines of Markdown."""
    place = next(n for n, e in enumerate(board.entries) if e.name == name)
    chosen = [
        e for n, e in enumerate(board.entries) if n == 0 or abs(n - place) <= 2 or e.name in ("rope", "nope")
    ]
    header = ["tier", "encoding", "score", "95 %", *board.task_families, "coverage"]
    lines = [f"#### {safe(board.profile)}, {board.size}", ""]
    lines += [f"| {' | '.join(map(safe, header))} |", f"|{' --- |' * len(header)}"]
    for e in chosen:
        cells = [*_cells(e, board.task_families), f"{e.coverage:.0%}"]
        lines.append(f"| {' | '.join(f'**{cell}**' if e.name == name else cell for cell in cells)} |")
    differences = views.compare(board, name, [e.name for e in chosen if e.name != name])
    if len(differences):
        overall = differences[differences["task"] == "all"]
        lines += ["", f"Difference of {safe(name)}, paired by seed, with 95 % intervals:", ""]
        lines += [
            f"- {signed(d.difference, d.low, d.high)} to {safe(d.other)}"
            for d in overall.dropna(subset="difference").itertuples()
        ]
    entry = board.entries[place]
    return [*lines, *(["", f"No rank: {safe(entry.reason)}"] if entry.reason else []), ""]


def _cells(e: Entry, families: list[str]) -> list[str]:
    def share(value: float | None) -> str:
        return "-" if value is None else f"{value:.3f}"

    parts = (e.families.get(family) for family in families)
    interval = f"{share(e.low)} to {share(e.high)}"
    scores = [share(part.score if part else None) for part in parts]
    return [str(e.tier or "-"), safe(e.name), share(e.score), interval, *scores]
