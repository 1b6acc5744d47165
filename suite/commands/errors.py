"""The words and the exit codes of errors.

Classes are known by their names: an error is told at once, and no module is imported for it that did not raise it.
"""

import sys
from types import ModuleType

MISSING, WRONG = 3, 2  # exit codes
CODES = {
    "pebench.tasks.data.wheels.CorpusError": MISSING,
    "pebench.suite.runs.checkpoint.CheckpointError": MISSING,
    "pebench.suite.extend.checkpoint.ModelError": MISSING,
    "pebench.suite.runs.selection.EnvironmentProblem": MISSING,
    "pebench.leaderboard.reading.BoardError": MISSING,
    "pebench.leaderboard.reports.trend.TrendError": MISSING,
    "pebench.leaderboard.app.launch.LaunchError": MISSING,
    "pebench.leaderboard.export.tables.DatasetError": MISSING,
    "pebench.leaderboard.export.hub.PublishError": MISSING,
    "pebench.leaderboard.printing.OrderError": WRONG,
    "pebench.encodings.registry.EncodingError": WRONG,
    "pebench.encodings.registry.UnknownName": WRONG,
    "pebench.suite.results.record.RecordError": WRONG,
    "pebench.suite.submissions.template.TemplateError": WRONG,
    "pebench.suite.lm.model.LengthError": WRONG,
    "pebench.leaderboard.submissions.report.SubmissionError": WRONG,
    "pebench.suite.submissions.submission.SubmitError": WRONG,
    "pebench.suite.submissions.accept.AcceptError": WRONG,
    "pebench.suite.submissions.reproduce.ReproduceError": WRONG,
    "pebench.leaderboard.reports.published.PublishedError": WRONG,
}


def worded(e: Exception) -> str:
    """What is told of an error; of the system's own the file and its reason, without a number.

    Of an error that arose in a user's own file the line stands behind it.
    """
    if known(e) is None:
        return f"{type(e).__name__}: {e}{own_place(e)}"
    if isinstance(e, FileNotFoundError) and e.filename is not None:
        return f"there is no {e.filename}"
    if isinstance(e, OSError) and e.filename is not None and e.strerror:
        return f"{e.filename}: {e.strerror}"
    return (e.strerror if isinstance(e, OSError) else None) or str(e)


def explained(e: Exception) -> int | None:
    """The exit code of an error that a user can cause, also in a file of their own; None for our own faults."""
    code = known(e)
    return WRONG if code is None and own_place(e) else code


def known(e: Exception) -> int | None:
    """The exit code of an error that says in its own words what to do; None for all others."""
    names = [f"{cls.__module__}.{cls.__qualname__}" for cls in type(e).__mro__]
    code = next((CODES[name] for name in names if name in CODES), None)
    return MISSING if code is None and isinstance(e, OSError) else code


def own_place(e: Exception) -> str:
    """The line of a user's own file in which an error arose; empty where no such file was loaded."""
    registry: ModuleType | None = sys.modules.get("pebench.encodings.registry")
    return str(registry.own_place(e)) if registry else ""
