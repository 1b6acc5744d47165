"""What the review of a submission finds: checks with their problems, and how a stranger's text is quoted in them."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from pebench.suite.results.record import Record

SHOWN = 10  # problems of one check that are shown


class SubmissionError(ValueError):
    """A submission that cannot be looked at or made at all."""


@dataclass
class Check:
    """A check, with the problems that it found."""

    name: str
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.problems


@dataclass
class Report:
    """What was found in a submission. Its texts come from strangers: escape them."""

    name: str
    profile: str
    checks: list[Check]
    records: list[Record]
    notes: list[str]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


def problems_to_show(report: Report) -> Iterator[tuple[Check, list[str]]]:
    """Each check with its first problems, and the number of the others."""
    for check in report.checks:
        more = len(check.problems) - SHOWN
        yield check, check.problems[:SHOWN] + ([f"and {more} more"] if more > 0 else [])


def clip(text: str) -> str:
    """At most 200 characters of a text."""
    return text if len(text) <= 200 else f"{text[:200]}..."


def quote(value: object) -> str:
    """A stranger's value, short and with everything unusual escaped."""
    return ascii(value if not isinstance(value, str) else value[:80])
