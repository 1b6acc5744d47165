"""Commands on the way of a result from its author to the board."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pebench.suite.commands.common import (
    PATH,
    AsJson,
    Corpus,
    Device,
    Jobs,
    ModelFolder,
    ProfileName,
    Records,
    Retry,
    Seeds,
    TheirEncoding,
    console,
    usual,
)

if TYPE_CHECKING:
    from pebench.leaderboard.submissions.report import Report
    from pebench.suite.results.record import Record


Encoding = Annotated[str, typer.Argument(help="Your file: my_encoding.py, or my_encoding.py:Class.")]


def submit(
    encoding: Encoding,
    profile: ProfileName = None,
    seeds: Seeds = None,
    records: Records = Path("records"),
    out: Annotated[
        Path | None, typer.Option(help="The folder to pack; default: submissions/NAME.", **PATH)
    ] = None,
    jobs: Jobs = None,
    device: Device = "cpu",
    retry: Retry = False,
) -> None:
    """Check an encoding, make the runs of a profile, compare it, and pack a folder for a pull request."""
    from pebench.leaderboard.about import PUBLISHED
    from pebench.leaderboard.submissions.comment import to_markdown
    from pebench.suite.experiment.profiles import profile_named
    from pebench.suite.results.metrics import counted
    from pebench.suite.results.record import CERTIFICATE
    from pebench.suite.runs.machine import commit, runs_at_once
    from pebench.suite.runs.runner import duration, estimate, sweep
    from pebench.suite.runs.selection import demand_data, demand_device
    from pebench.suite.submissions import submission

    plan = submission.propose(encoding, profile_named(usual(profile)), seeds)
    if any(PUBLISHED.glob(f"*/*/{plan.name}/*.json")):
        raise submission.SubmitError(
            f"the board has {plan.name!r} already, and a submission is of a new encoding; `pebench run -e {encoding}` "
            "makes more of its runs"
        )
    demand_data(list(plan.profile.plans))
    demand_device(device)
    folder = out or Path("submissions", plan.name)
    submission.demand_alike(plan, records)
    todo = submission.missing(plan, records, retry)
    seconds, unknown = estimate(todo, standing(records))
    typer.echo(
        f"{plan.name}: profile {plan.profile.name}, {counted(plan.seeds, 'seed')}, "
        f"{counted(len(plan.cells), 'run')}, {len(todo)} to make"
        + (f"; about {duration(seconds / min(jobs or runs_at_once(device), len(todo)))}" if todo else "")
        + (f", without (no record tells the time): {', '.join(unknown)}" if unknown else "")
    )
    if todo and commit().get("dirty") is not False:
        typer.echo(
            "note: these runs will be of no clean commit, and `pebench validate` refuses them", err=True
        )
    certificate = [cell for cell in plan.cells if cell.task == CERTIFICATE]
    for part in (certificate, plan.cells):
        sweep(plan.profile, part, records, jobs, device=device, retry=retry, console=console()).run()
        if not submission.holds(certificate[0], records):
            typer.echo(f"the certificate does not hold; `pebench check {encoding}` says why", err=True)
            raise typer.Exit(1)
    unfilled = submission.pack(plan, records, folder)
    among = standing(records)
    report = judged(folder, among)
    typer.echo(to_markdown(report, among))
    typer.echo(f"packed {folder}")
    if unfilled:
        typer.echo(
            f"fill {', '.join(unfilled)} in {folder / 'card.json'}, then: pebench validate {folder}", err=True
        )
    raise typer.Exit(0 if report.passed else 1)


def standing(records: Path) -> "list[Record]":
    """What a submission stands beside: these records, and those that this checkout publishes."""
    from pebench.leaderboard.about import PUBLISHED
    from pebench.suite.results.record import read_all

    folders = {folder.resolve() for folder in (records, PUBLISHED) if folder.is_dir()}
    found = []
    for folder in sorted(folders):
        readable, unreadable = read_all(folder)
        found += readable
        for file in unreadable:
            typer.echo(f"left out: {file.path}: {file.reason}", err=True)
    return found


def judged(folder: Path, among: "list[Record]") -> "Report":
    """What `validate` finds in a submission among these records, by this checkout's profiles and encodings."""
    from pebench.encodings.registry import FOLDER
    from pebench.leaderboard.about import PUBLISHED
    from pebench.leaderboard.submissions.completeness import Rules
    from pebench.leaderboard.submissions.origin import taken_names
    from pebench.leaderboard.submissions.validate import validate
    from pebench.suite.experiment.profiles import PROFILES
    from pebench.suite.submissions.submission import once, setups

    rules = {name: Rules(p.seeds, setups(p), once(p)) for name, p in PROFILES.items()}
    return validate(folder, rules, taken_names(FOLDER), among, standing(PUBLISHED))


def validate_folder(
    folder: Annotated[Path, typer.Argument(help="The folder that `pebench submit` packed.", **PATH)],
    records: Records = Path("records"),
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print Markdown, for a comment on a pull request.")
    ] = False,
) -> None:
    """Check a submission without running anything of it, and compare it with the board."""
    from pebench.leaderboard.submissions.comment import to_markdown
    from pebench.leaderboard.submissions.report import problems_to_show

    among = standing(records)
    report = judged(folder, among)
    if as_markdown:
        typer.echo(to_markdown(report, among))
    else:
        for one, problems in problems_to_show(report):
            typer.echo(f"{'✓' if one.passed else '✗'} {one.name}")
            for problem in problems:
                typer.echo(f"  {problem}")
        for note in report.notes:
            typer.echo(f"note: {note}")
    raise typer.Exit(0 if report.passed else 1)


def accept_folder(
    folder: Annotated[Path, typer.Argument(help="The folder of the submission, in your checkout.", **PATH)],
) -> None:
    """Move a submission that passes `validate` into this checkout, and regenerate the documents."""
    from pebench.encodings.registry import FOLDER
    from pebench.leaderboard.about import PUBLISHED
    from pebench.leaderboard.reports.documents import write as write_documents
    from pebench.leaderboard.submissions.report import problems_to_show
    from pebench.suite.results.metrics import counted
    from pebench.suite.submissions.accept import accept, demand_checkout

    demand_checkout(FOLDER.parent)
    report = judged(folder, standing(PUBLISHED))
    if not report.passed:
        for one, problems in problems_to_show(report):
            for problem in problems:
                typer.echo(f"✗ {one.name}: {problem}", err=True)
        typer.echo(f"not accepted: {folder} stays as it is; `pebench validate {folder}` shows all", err=True)
        raise typer.Exit(1)
    made = accept(folder, report.records, FOLDER.parent, write_documents)
    moved = sum(file.startswith("leaderboard/records/") for file in made)
    typer.echo(f"{counted(moved, 'record')} in leaderboard/records")
    for file in made:
        if not file.startswith("leaderboard/records/"):
            typer.echo(file)
    typer.echo(f"next: make test; git add -A; git commit -m 'Accept {report.name}'")


def reproduce_record(
    record: Annotated[Path, typer.Argument(help="A record file.", **PATH)],
    encoding: TheirEncoding = None,
    corpus: Corpus = None,
    model: ModelFolder = None,
    device: Device = "cpu",
    mark: Annotated[
        Path | None,
        typer.Option(help="Note the record as verified in this JSON file, if it is reproduced.", **PATH),
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(
            help="The records whose seeds say how far another processor may be off; default: the published ones.",
            **PATH,
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a record again and say what came out; a different result ends with exit code 1.

    Verdicts: equal, within tolerance (times; another library), within seed spread (another kind of machine), different.

    Another kind of processor rounds differently and trains another model from the same seed. There the numbers may
    differ as between two seeds. A record of the track EXTEND reads its pretrained model again: --model where it is not
    SmolLM2.
    """
    from pebench.leaderboard.about import PUBLISHED
    from pebench.suite.runs.selection import demand_device
    from pebench.suite.submissions.reproduce import add_mark, marks_of, reproduce, run_again

    demand_device(device)
    if mark:
        marks_of(mark)  # an unfit file is told before the run, not after it
    text = corpus.resolve() if corpus else None
    screen = Console(stderr=True, quiet=as_json and not sys.stderr.isatty())
    _, result, stated = reproduce(
        record,
        encoding or "",
        text,
        device,
        records or PUBLISHED,
        rerun=partial(run_again, console=screen),
        model=model,
        console=screen,
    )
    if as_json:
        typer.echo(json.dumps(stated, indent=1))
    else:
        for difference in result.machine:
            typer.echo(difference)
        if result.reason:
            typer.echo(result.reason)
        for d in [d for d in result.differences if d.verdict == "different"][:20]:
            typer.echo(f"{d.metric} ({d.condition}): {d.then} then, {d.now} now; allowed {d.allowed:.3g}")
        equal = result.compared - len(result.differences)
        typer.echo(f"{result.verdict}: {equal} of {result.compared} numbers are bitwise equal")
        if result.verdict != "equal":
            typer.echo(f"tolerance: {result.tolerance}")
        if result.over_seeds is not None:
            typer.echo(
                f"the root mean square of the differences is {result.over_seeds:.2f} times two seeds' difference"
            )
        if result.verdict == "different" and result.machine:
            typer.echo(
                "The machines differ, and round differently: run it again on a machine like the first."
            )
    if mark and result.verdict != "different":
        add_mark(stated, mark)
    raise typer.Exit(1 if result.verdict == "different" else 0)
