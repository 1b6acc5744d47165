"""The words and the exit codes of errors."""


def worded(e: Exception) -> str:
    """What is told of an error; of the system's own the file and its reason, without a number.

    Of an error that arose in a user's own file the line stands behind it.
    """
    from pebench.encodings.registry import own_place

    if known(e) is None:
        return f"{type(e).__name__}: {e}{own_place(e)}"
    if isinstance(e, FileNotFoundError) and e.filename is not None:
        return f"there is no {e.filename}"
    if isinstance(e, OSError) and e.filename is not None and e.strerror:
        return f"{e.filename}: {e.strerror}"
    return (e.strerror if isinstance(e, OSError) else None) or str(e)


def explained(e: Exception) -> int | None:
    """The exit code of an error that a user can cause, also in a file of their own; None for our own faults."""
    from pebench.encodings.registry import own_place

    code = known(e)
    return 2 if code is None and own_place(e) else code


def known(e: Exception) -> int | None:
    """The exit code of an error that says in its own words what to do; None for all others."""
    from pebench.encodings.registry import EncodingError, UnknownName
    from pebench.leaderboard.app.launch import LaunchError
    from pebench.leaderboard.board import BoardError
    from pebench.leaderboard.export.hub import PublishError
    from pebench.leaderboard.export.tables import DatasetError
    from pebench.leaderboard.reports.published import PublishedError
    from pebench.leaderboard.reports.trend import TrendError
    from pebench.leaderboard.submissions.report import SubmissionError
    from pebench.suite.extend.checkpoint import ModelError
    from pebench.suite.lm.model import LengthError
    from pebench.suite.results.record import RecordError
    from pebench.suite.runs.checkpoint import CheckpointError
    from pebench.suite.runs.selection import EnvironmentProblem
    from pebench.suite.submissions.accept import AcceptError
    from pebench.suite.submissions.reproduce import ReproduceError
    from pebench.suite.submissions.submission import SubmitError
    from pebench.suite.submissions.template import TemplateError
    from pebench.tasks.data.corpus import CorpusError

    missing = (
        CorpusError
        | CheckpointError
        | ModelError
        | OSError
        | EnvironmentProblem
        | BoardError
        | TrendError
        | LaunchError
        | DatasetError
        | PublishError
    )
    if isinstance(e, missing):
        return 3
    wrong = EncodingError | UnknownName | RecordError | TemplateError | LengthError
    if isinstance(e, wrong | SubmissionError | SubmitError | AcceptError | ReproduceError | PublishedError):
        return 2
    return None
