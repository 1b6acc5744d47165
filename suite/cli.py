"""The command line. It may import everything, but only inside the command that needs it: `--help` is quick.

Exit codes: 0 fine, 1 a check failed, 2 wrong use, 3 something of the environment or the data is missing,
4 part of a sweep failed, 130 interrupted.
"""

import json
import os
import sys
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from pebench.suite.profiles import Profile

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A benchmark of positional encodings for causal Transformer language models.",
    epilog="Start with `pebench ls encodings`, `pebench run --profile SMOKE` and `pebench board`.",
)
data = typer.Typer(no_args_is_help=True, help="The real text that tasks are made of.")
app.add_typer(data, name="data")

WIDE = 140  # columns in a pipe, where nobody's window is the limit


def console() -> Console:
    """A console as wide as the terminal, or wide enough for every table in a pipe."""
    screen = Console()
    return screen if screen.is_terminal else Console(width=WIDE)


class Listing(StrEnum):
    encodings = "encodings"
    tasks = "tasks"
    profiles = "profiles"


AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ProfileName = Annotated[str, typer.Option("--profile", "-p", help="Which profile: `pebench ls profiles`.")]
Records = Annotated[
    Path, typer.Option(help="The folder of the records.", envvar="PEBENCH_RECORDS", show_default=True)
]
Corpus = Annotated[
    Path | None,
    typer.Option(help="Your own text (a file, or a folder of .txt files) in the place of books-v1."),
]
Names = Annotated[str, typer.Option(help="Comma-separated names; default: all of the profile.")]


@app.command("ls")
def ls(what: Annotated[Listing, typer.Argument(help="What to list.")], as_json: AsJson = False) -> None:
    """List encodings, tasks or profiles."""
    rows = {"encodings": list_encodings, "tasks": list_tasks, "profiles": list_profiles}[what]()
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(", ".join(v) if isinstance(v, list) else str(v) for v in row.values()))
    console().print(table)


def list_encodings() -> list[dict[str, Any]]:
    from pebench.encodings.registry import names, resolve

    fields = ("family", "kernel", "paper", "title")
    return [{"name": name, **{field: resolve(name)[1].card()[field] for field in fields}} for name in names()]


def list_tasks() -> list[dict[str, Any]]:
    from pebench.tasks import TASKS

    return [{"name": name, "family": task.family, "title": task.title} for name, task in TASKS.items()]


def list_profiles() -> list[dict[str, Any]]:
    from pebench.suite.profiles import PROFILES

    return [
        {
            "name": p.name,
            "encodings": list(p.encodings) or "all",
            "tasks": list(p.plans),
            "seeds": p.seeds,
            "about": p.about,
        }
        for p in PROFILES.values()
    ]


@app.command()
def show(
    name: Annotated[str, typer.Argument(help="A registered encoding, or file.py:Class.")],
    as_json: AsJson = False,
) -> None:
    """Show an encoding: what it is, its formula, its source."""
    from rich.syntax import Syntax

    from pebench.encodings.registry import resolve, source

    name, cls = resolve(name)
    card = {"name": name, **cls.card()}
    if as_json:
        typer.echo(json.dumps(card, indent=1))
        return
    screen = console()
    screen.print(f"[bold]{name}[/]  {card['title']}", highlight=False)
    facts = f"family {card['family']}, kernel {card['kernel']}, {card['paper']}\n{card['formula']}\n"
    screen.print(facts, highlight=False, markup=False)
    screen.print(Syntax(source(cls).read_text(encoding="utf-8"), "python", background_color="default"))


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Lower case, digits and underscores.")],
    folder: Annotated[Path, typer.Option(help="Where to write it.")] = Path(),
) -> None:
    """Write a file with a new encoding that passes the check, to change into yours."""
    from pebench.encodings.registry import UnknownName, resolve
    from pebench.suite.template import TemplateError, encoding_file

    try:
        resolve(name)
    except UnknownName:
        text, cls = encoding_file(name)
    else:
        raise TemplateError(f"there is an encoding {name!r} already: `pebench show {name}`")
    path = folder / f"{name}.py"
    if path.exists():
        raise TemplateError(f"{path} exists; choose another name or remove it")
    path.write_text(text, encoding="utf-8")
    typer.echo(
        f"wrote {path}\nnext: pebench check {path}:{cls}\n      pebench run --profile QUICK -e {path}:{cls}"
    )


@app.command()
def check(
    name: Annotated[str, typer.Argument(help="A registered encoding, or file.py:Class.")],
    as_json: AsJson = False,
) -> None:
    """Prove an encoding correct, in seconds and without training: its certificate."""
    import torch

    from pebench.encodings.registry import resolve
    from pebench.suite.certificate import certify

    torch.set_num_threads(1)
    name, cls = resolve(name)
    with console().status(f"checking {name}") if sys.stderr.isatty() and not as_json else Console(quiet=True):
        checks = certify(name, cls)
    failed = [c for c in checks if not c.passed]
    if as_json:
        rows = [
            {"check": c.name, "passed": c.passed, "measured": c.measured, "detail": c.detail} for c in checks
        ]
        typer.echo(json.dumps({"encoding": name, "passed": not failed, "checks": rows}, indent=1))
    else:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in ("", "check", "measured"):
            table.add_column(column)
        for c in checks:
            table.add_row("[green]✓[/]" if c.passed else "[red]✗[/]", c.name, str(c.measured))
        console().print(table)
        for c in failed:
            console().print(f"{c.name}: {c.detail}", style="red", markup=False)
        typer.echo(f"{name}: {len(checks) - len(failed)} of {len(checks)} checks hold")
    raise typer.Exit(1 if failed else 0)


@data.command()
def prepare() -> None:
    """Fetch, verify and cache the corpus books-v1; a second call returns at once."""
    from pebench.tasks.corpus import identity
    from pebench.tasks.corpus import prepare as prepare_books

    folder = prepare_books(lambda line: typer.echo(line, err=True))
    typer.echo(f"{identity()['name']} ({identity()['sha256'][:12]}) is ready in {folder}")


def chosen(profile: "Profile", encodings: str, tasks: str) -> tuple[list[str], list[str]]:
    """The encodings and tasks that the options name, checked; certificates belong to every full sweep."""
    from pebench.encodings.registry import UnknownName, names, resolve
    from pebench.suite.cell import CERTIFICATE

    specs = encodings.split(",") if encodings else list(profile.encodings) or names()
    for spec in specs:
        resolve(spec)
    known = [CERTIFICATE, *profile.plans]
    wanted = tasks.split(",") if tasks else known
    for task in wanted:
        if task not in known:
            raise UnknownName("task", task, known)
    return specs, wanted


def profile_named(name: str) -> "Profile":
    from pebench.encodings.registry import UnknownName
    from pebench.suite.profiles import PROFILES

    if name.upper() not in PROFILES:
        raise UnknownName("profile", name, PROFILES)
    return PROFILES[name.upper()]


@app.command()
def run(
    profile: ProfileName = "QUICK",
    encodings: Annotated[
        str,
        typer.Option(
            "--encodings", "-e", help="Names or file.py:Class, with commas; default: the profile's."
        ),
    ] = "",
    tasks: Annotated[str, typer.Option("--tasks", "-t", help="Tasks, with commas; default: all.")] = "",
    seeds: Annotated[int | None, typer.Option(min=1, help="Seeds 0 to N-1; default: the profile's.")] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="This seed alone.")] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Runs at a time; default: the processor's cores.")
    ] = None,
    records: Records = Path("records"),
    corpus: Corpus = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")] = "cpu",
    retry: Annotated[bool, typer.Option("--retry", help="Run again what failed before.")] = False,
) -> None:
    """Train and measure; what has its record already is kept, so a second call continues."""
    import psutil
    import torch

    from pebench.suite.runner import Sweep, cells
    from pebench.tasks import TASKS
    from pebench.tasks.corpus import byte_tensor

    plan = profile_named(profile)
    specs, wanted = chosen(plan, encodings, tasks)
    if torch.device(device).type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem("no CUDA device is available here; run with --device cpu")
    if any(task in TASKS and TASKS[task].reads_text for task in wanted):
        byte_tensor("valid", corpus)  # says what to do where the text is missing, before anything runs
    numbers = [seed] if seed is not None else list(range(seeds or plan.seeds))
    workers = jobs or len(os.sched_getaffinity(0))
    sweep = Sweep(
        cells=cells(plan, specs, wanted, numbers, corpus.resolve() if corpus else None),
        folder=records,
        jobs=workers,
        timeout=plan.timeout,
        memory=int(0.9 * psutil.virtual_memory().total / workers),
        device=device,
        retry=retry,
        console=console(),
    )
    outcomes = sweep.run()
    failed = sum(outcomes[name] for name in ("failed", "timed out", "out of memory", "diverged"))
    counted = ", ".join(f"{n} {outcome}" for outcome, n in outcomes.most_common())
    typer.echo(f"{sum(outcomes.values())} runs in {records}: {counted}")
    if failed:
        typer.echo("`pebench status` names what failed; `pebench run --retry` tries it again", err=True)
    raise typer.Exit(4 if failed else 0)


@app.command()
def status(
    profile: ProfileName = "QUICK",
    encodings: Annotated[str, typer.Option("--encodings", "-e", help="As in `run`.")] = "",
    tasks: Annotated[str, typer.Option("--tasks", "-t", help="As in `run`.")] = "",
    seeds: Annotated[int | None, typer.Option(min=1, help="As in `run`.")] = None,
    records: Records = Path("records"),
    corpus: Corpus = None,
    as_json: AsJson = False,
) -> None:
    """Show which runs of a sweep are done, missing, stale (of other code) or failed."""
    from collections import Counter

    from pebench.suite.runner import cells, states

    plan = profile_named(profile)
    specs, wanted = chosen(plan, encodings, tasks)
    sweep = cells(plan, specs, wanted, list(range(seeds or plan.seeds)), corpus)
    found = list(states(sweep, records))
    if as_json:
        rows = [
            {"encoding": c.name, "task": c.task, "seed": c.seed, "state": state, "record": os.fspath(c.path)}
            for c, state in found
        ]
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("encoding", *wanted):
        table.add_column(column)
    for name in dict.fromkeys(c.name for c, _ in found):
        columns = [
            Counter(state for c, state in found if (c.name, c.task) == (name, task)) for task in wanted
        ]
        table.add_row(name, *(", ".join(f"{n} {s}" for s, n in counts.items()) for counts in columns))
    console().print(table)


@app.command()
def board(
    records: Records = Path("records"),
    profile: Annotated[
        str | None, typer.Option("--profile", "-p", help="Default: the one with most records.")
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
) -> None:
    """Print the ranking."""
    from pebench.leaderboard.board import make_board, print_board, to_csv, to_json, to_markdown

    table = make_board(records, profile and profile.upper())
    if as_json:
        typer.echo(json.dumps(to_json(table), indent=1))
    elif as_csv:
        typer.echo(to_csv(table), nl=False)
    elif as_markdown:
        typer.echo(to_markdown(table))
    else:
        print_board(table, console())


@app.command("app")
def open_app(
    records: Records = Path("records"),
    port: Annotated[int | None, typer.Option(help="Default: a free one.")] = None,
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
) -> None:
    """Browse the leaderboard in the browser."""
    from pebench.leaderboard.launch import run_app

    raise typer.Exit(run_app(records, port, browser))


class EnvironmentProblem(RuntimeError):
    """Something that the command needs is not on this machine."""


def explained(e: Exception) -> int | None:
    """The exit code of an error that a user can cause; None for one that only we can."""
    from pebench.encodings.registry import EncodingError, UnknownName
    from pebench.leaderboard.board import BoardError
    from pebench.suite.record import RecordError
    from pebench.suite.template import TemplateError
    from pebench.tasks.corpus import CorpusError

    if isinstance(e, CorpusError | OSError | EnvironmentProblem | BoardError):
        return 3
    if isinstance(e, EncodingError | UnknownName | RecordError | TemplateError):
        return 2
    return None


def main() -> None:
    """The entry point `pebench`."""
    try:
        app()
    except KeyboardInterrupt:
        typer.echo("interrupted; a second call continues", err=True)
        sys.exit(130)
    except BrokenPipeError:  # the reader of our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(0)
    except Exception as e:
        code = explained(e)
        if code is None:
            raise
        typer.echo(f"pebench: {e}", err=True)
        sys.exit(code)


if __name__ == "__main__":
    main()
