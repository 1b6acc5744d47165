"""The command line. It may import everything, but only inside the command that needs it: `--help` is quick.

Exit codes: 0 fine, 1 a check failed, 2 wrong use, 3 something of the environment or the data is missing,
4 part of a sweep failed, 130 interrupted.
"""

import io
import json
import math
import os
import sys
from collections import Counter
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pebench.leaderboard.submissions.validate import Report
    from pebench.suite.experiment.profiles import Profile
    from pebench.suite.results.record import Record

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A benchmark of positional encodings for causal Transformer language models.",
    epilog="Start with `pebench ls encodings`, `pebench run --profile SMOKE` and `pebench board`.",
)
data = typer.Typer(no_args_is_help=True, help="The real text that tasks are made of.")
app.add_typer(data, name="data")

WIDE = 160  # columns in a pipe, where nobody's window is the limit


def console() -> Console:
    """A console as wide as the terminal, or wide enough for every table in a pipe."""
    screen = Console()
    return screen if screen.is_terminal else Console(width=WIDE)


def tell_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        typer.echo(f"pebench {version('pebench')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=tell_version, is_eager=True)
    ] = False,
) -> None:
    """What stands before the command."""


class Listing(StrEnum):
    encodings = "encodings"
    tasks = "tasks"
    profiles = "profiles"


def expanded(path: str | Path) -> Path:
    """A path with the home folder in the place of `~`, as `--records=~/r` and PEBENCH_RECORDS give it."""
    return Path(os.path.expanduser(path))


PATH: dict[str, Any] = {"parser": expanded, "metavar": "PATH"}
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ProfileName = Annotated[str, typer.Option("--profile", "-p", help="Which profile: `pebench ls profiles`.")]
Records = Annotated[
    Path, typer.Option(help="The folder of the records.", envvar="PEBENCH_RECORDS", show_default=True, **PATH)
]
Corpus = Annotated[
    Path | None,
    typer.Option(help="Your own text (a file, or a folder of .txt files) in the place of books-v1.", **PATH),
]
TheirEncoding = Annotated[
    str | None, typer.Option("--encoding", "-e", help="Its encoding, where that is in a file: file.py:Class.")
]
Seeds = Annotated[int | None, typer.Option(min=1, help="Seeds 0 to N-1; default: the profile's.")]
Jobs = Annotated[int | None, typer.Option(min=1, help="Runs at a time; default: the processor's cores.")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1 ...")]
Retry = Annotated[bool, typer.Option("--retry", help="Run again what failed before.")]


class Machines(StrEnum):
    local = "local"
    ray = "ray"
    slurm = "slurm"


EngineName = Annotated[Machines, typer.Option("--engine", help="The machines that make the runs.")]
Address = Annotated[
    str | None, typer.Option(help="Ray: the cluster's address, HOST:PORT; default: the one here.")
]
Gpus = Annotated[
    float | None,
    typer.Option(min=0.01, help="Ray and Slurm: GPUs of a run, for Ray also a share such as 0.25."),
]
Mixed = Annotated[
    bool, typer.Option("--mixed", help="Ray: use nodes of different precision or PyTorch in one sweep.")
]
Partition = Annotated[str | None, typer.Option(help="Slurm: the partition.")]


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
    if what is Listing.encodings:
        typer.echo(
            "Sums: rope+fox. Longer texts on the weights of what has frequencies: rope@pi, @ntk, @yarn."
        )


def list_encodings() -> list[dict[str, Any]]:
    from pebench.encodings.registry import names, resolve

    fields = ("family", "kernel", "paper", "title")
    return [{"name": name, **{field: resolve(name)[1].card()[field] for field in fields}} for name in names()]


def list_tasks() -> list[dict[str, Any]]:
    from pebench.suite.results.metrics import length_unit
    from pebench.tasks import TASKS

    return [
        {"name": name, "family": task.family, "length": f"in {length_unit(name)}", "title": task.title}
        for name, task in TASKS.items()
    ]


def list_profiles() -> list[dict[str, Any]]:
    from pebench.suite.experiment.profiles import PROFILES

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

    from pebench.encodings.registry import resolve, source_text

    name, cls = resolve(name)
    card = {"name": name, **cls.card()}
    if as_json:
        typer.echo(json.dumps(card, indent=1))
        return
    screen = console()
    screen.print(f"[bold]{name}[/]  {card['title']}", highlight=False)
    facts = f"family {card['family']}, kernel {card['kernel']}, {card['paper']}\n{card['formula']}\n"
    screen.print(facts, highlight=False, markup=False)
    screen.print(Syntax(source_text(cls), "python", background_color="default"))


@app.command()
def new(
    name: Annotated[str, typer.Argument(help="Lower case, digits and underscores.")],
    folder: Annotated[Path, typer.Option(help="Where to write it.", **PATH)] = Path(),
) -> None:
    """Write a file with a new encoding that passes the check, to change into yours."""
    from pebench.encodings.registry import FOLDER, UnknownName, resolve
    from pebench.suite.submissions.template import TemplateError, encoding_file

    text, cls = encoding_file(name)
    with suppress(UnknownName):
        resolve(name)
        raise TemplateError(f"there is an encoding {name!r} already: `pebench show {name}`")
    if (FOLDER / f"{name}.py").exists():
        raise TemplateError(f"{name!r} is the name of a module of pebench; choose another name")
    path = folder / f"{name}.py"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise TemplateError(f"{path} exists; choose another name or remove it") from None
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

    from pebench.encodings.registry import demand_acceptable, resolve
    from pebench.suite.proofs.certificate import certify

    torch.set_num_threads(1)
    name, cls = resolve(name)
    demand_acceptable(name, cls)
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


@app.command("prove")
def prove_identities(
    as_json: AsJson = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the table to this JSON file.", **PATH)
    ] = None,
) -> None:
    """Show the exact identities between encodings, each with its largest error; some must not hold."""
    from pebench.suite.proofs.prove import document, prove
    from pebench.suite.results.record import write_whole

    identities = prove()
    wrong = [i for i in identities if not i.proven]
    text = json.dumps(document(identities), indent=1)
    if out:
        write_whole(out, f"{text}\n".encode())
    if as_json:
        typer.echo(text)
    else:
        table = Table(box=None, header_style="bold", pad_edge=False)
        for column in ("", "identity", "source", "computed in", "largest error", "tolerance"):
            table.add_column(column, overflow="fold")
        for i in identities:
            mark = "[green]✓[/]" if i.proven else "[red]✗[/]"
            equal = i.statement if i.expected else f"NOT: {i.statement}"
            numbers = (i.precision, f"{i.error:.1e}", f"{i.tolerance:.0e}")
            table.add_row(mark, Text(equal), Text(i.source), *numbers)
        console().print(table)
        typer.echo(f"{len(identities) - len(wrong)} of {len(identities)} identities come out as documented")
    raise typer.Exit(1 if wrong else 0)


@app.command("pictures")
def tabulate_pictures(
    name: Annotated[str, typer.Argument(help="A registered encoding, or file.py:Class.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="A trained model with it, as in `generate`: before and after training.", **PATH),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write it here; default: print it.", **PATH)
    ] = None,
) -> None:
    """Tabulate pictures of an encoding: logit by distance, spectrum, learned frequencies, attention mass."""
    import torch

    from pebench.encodings.registry import resolve
    from pebench.suite.experiment.profiles import PROFILES
    from pebench.suite.proofs import probes as pictures
    from pebench.suite.results.record import write_whole
    from pebench.suite.runs.checkpoint import config, load
    from pebench.tasks import make
    from pebench.tasks.base import Task

    torch.set_num_threads(1)
    if checkpoint is None:
        points = pictures.untrained(resolve(name)[1])
    else:
        lm, about = load(checkpoint, name), config(checkpoint)
        task = make(about.task)
        assert isinstance(task, Task)
        length = PROFILES[about.profile].plans[about.task].recipe.length
        points = pictures.trained(lm, pictures.texts(task, length))
    if out:
        write_whole(out, pictures.to_csv(points).encode())
    else:
        typer.echo(pictures.to_csv(points), nl=False)


@data.command()
def prepare(
    harness: Annotated[
        bool, typer.Option("--harness", help="The questions of `pebench harness` instead (86 MB download).")
    ] = False,
) -> None:
    """Fetch, verify and cache the corpus books-v1; a second call returns at once."""
    from pebench.tasks.data.corpus import identity
    from pebench.tasks.data.corpus import prepare as prepare_books
    from pebench.tasks.lm_eval import questions as harness_data

    def tell(line: str) -> None:
        typer.echo(line, err=True)

    if harness:
        typer.echo(f"the questions of {len(harness_data.SOURCES)} tasks are in {harness_data.prepare(tell)}")
        return
    folder = prepare_books(tell)
    typer.echo(f"{identity()['name']} ({identity()['sha256'][:12]}) is ready in {folder}")


def token_count(text: str) -> int:
    """A number of tokens as a person writes it.

    >>> token_count("10B"), token_count("2.5m"), token_count("5_000"), token_count("300k")
    (10000000000, 2500000, 5000, 300000)
    """
    number, unit = (text[:-1], text[-1].upper()) if text[-1:].upper() in UNITS else (text, "")
    try:
        count = float(number) * UNITS.get(unit, 1)
    except ValueError:
        count = math.nan
    if not 1 <= count <= 1e15:
        raise typer.BadParameter(f"{text!r} is no number of tokens: 10B, 500M, 20k or 5000")
    return round(count)


UNITS = {"K": 10**3, "M": 10**6, "B": 10**9}


@data.command()
def tokenise(
    source: Annotated[
        str,
        typer.Argument(
            help="A dataset of the Hub (HuggingFaceFW/fineweb-edu), or a file or folder of parquet, JSON lines or .txt."
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder of the shards.", **PATH)],
    name: Annotated[str, typer.Option(help="The dataset's configuration, such as sample-10BT.")] = "",
    revision: Annotated[str, typer.Option(help="The dataset's revision: a commit, tag or branch.")] = "",
    tokens: Annotated[
        int | None,
        typer.Option(parser=token_count, metavar="N", help="About so many: 10B, 500M; default: all."),
    ] = None,
    text: Annotated[str, typer.Option(help="The column that holds the text.")] = "text",
    as_json: AsJson = False,
) -> None:
    """Tokenise text into shards with GPT-2's encoding, in the GRAPE reference's format; a second call continues."""
    from pebench.tasks.data.tokens import Source, identity
    from pebench.tasks.data.tokens import tokenise as write_shards

    def tell(line: str) -> None:
        typer.echo(line, err=True)

    try:
        write_shards(Source(source, name, revision, text), out, tokens, progress=tell)
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command continues behind the last whole shard", err=True)
        raise
    about = identity(out)
    if as_json:
        typer.echo(json.dumps(about, indent=1))
    else:
        typer.echo(f"{about['tokens']:,} tokens of {about['name']} ({about['sha256'][:12]}) are in {out}")


def listed(options: list[str] | None) -> list[str]:
    """What an option names, with commas or several times, each once.

    >>> listed(["rope, alibi,rope,", "fox"])
    ['rope', 'alibi', 'fox']
    """
    parts = [part for option in options or [] for part in map(str.strip, option.split(","))]
    return list(dict.fromkeys(filter(None, parts)))


def specs(options: list[str] | None) -> list[str]:
    """The encodings that an option names. A comma in the path of a file that is there divides nothing."""
    from pebench.encodings.registry import names_a_file

    found = []
    for option in options or []:
        parts = option.split(",")
        while parts:
            whole = (n for n in range(1, len(parts) + 1) if names_a_file(",".join(parts[:n]).strip()))
            n = next(whole, 1)
            found.append(",".join(parts[:n]).strip())
            del parts[:n]
    return list(dict.fromkeys(filter(None, found)))


def chosen(
    profile: "Profile", encodings: list[str] | None, tasks: list[str] | None
) -> tuple[list[str], list[str]]:
    """The encodings and tasks that the options name, checked; certificates belong to every full sweep."""
    from pebench.encodings.registry import UnknownName, names, resolve
    from pebench.suite.runs.cell import CERTIFICATE

    wanted_specs = specs(encodings) or list(profile.encodings) or names()
    for spec in wanted_specs:
        resolve(spec)
    known = [CERTIFICATE, *profile.plans]
    wanted = listed(tasks) or known
    for task in wanted:
        if task not in known:
            raise UnknownName("task", task, known)
    return wanted_specs, wanted


def demand_data(tasks: list[str], corpus: Path | None = None) -> None:
    """Say what to do where the data of these tasks are missing, before anything runs."""
    from pebench.tasks import TASKS
    from pebench.tasks.data.corpus import byte_tensor
    from pebench.tasks.lm_eval import questions as harness_data

    if any(task in TASKS and TASKS[task].reads_text for task in tasks):
        byte_tensor("valid", corpus)
    if "harness_grape" in tasks:
        for name in harness_data.SOURCES:
            harness_data.questions(name)


def demand_device(name: str) -> None:
    """Say what to do where there is no such device, before anything runs."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError:
        raise EnvironmentProblem(f"no device {name!r}; there are cpu, cuda, cuda:1 ...") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise EnvironmentProblem("no CUDA device is available here; run with --device cpu")


def profile_named(name: str) -> "Profile":
    from pebench.encodings.registry import UnknownName
    from pebench.suite.experiment.profiles import PROFILES

    if name.upper() not in PROFILES:
        raise UnknownName("profile", name, PROFILES)
    return PROFILES[name.upper()]


@app.command()
def run(
    profile: ProfileName = "QUICK",
    encodings: Annotated[
        list[str] | None,
        typer.Option(
            "--encodings",
            "-e",
            help="Names, rope@yarn, rope+fox or file.py:Class, with commas or -e again; default: the profile's.",
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", "-t", help="Tasks, with commas or -t again; default: all."),
    ] = None,
    seeds: Seeds = None,
    seed: Annotated[int | None, typer.Option(min=0, help="This seed alone.")] = None,
    jobs: Jobs = None,
    records: Records = Path("records"),
    corpus: Corpus = None,
    device: Device = "cpu",
    retry: Retry = False,
    save: Annotated[
        bool, typer.Option("--save", help="Keep the trained models of all tasks, not of language alone.")
    ] = False,
    engine: EngineName = Machines.local,
    address: Address = None,
    gpus: Gpus = None,
    mixed: Mixed = False,
    partition: Partition = None,
    time: Annotated[str | None, typer.Option(help="Slurm: the time limit of a run, such as 2:00:00.")] = None,
    sbatch: Annotated[
        list[str] | None,
        typer.Option(
            "--sbatch", help="Slurm: a further option of sbatch, such as --account=mine; repeatable."
        ),
    ] = None,
) -> None:
    """Train and measure; what has its record already is kept, so a second call continues."""
    from pebench.suite.results.metrics import counted
    from pebench.suite.runs.existing import AGAIN
    from pebench.suite.runs.runner import cells, sweep

    plan = profile_named(profile)
    chosen_specs, wanted = chosen(plan, encodings, tasks)
    if engine is Machines.local:
        demand_device(device)
        demand_data(wanted, corpus)
    numbers = [seed] if seed is not None else list(range(seeds or plan.seeds))
    every = cells(plan, chosen_specs, wanted, numbers, corpus.resolve() if corpus else None)
    screen = console()
    if engine is Machines.slurm:
        from pebench.suite.runs.engines.slurm import Options, submit_runs

        given = Options(device, gpus, partition, time, jobs, tuple(sbatch or ()))
        typer.echo(submit_runs(every, records, given, retry, save))
        return
    options: dict[str, Any] = {"device": device, "retry": retry, "save": save, "console": screen}
    if engine is Machines.ray:
        from pebench.suite.runs.engines.ray import Ray

        options["engine"] = Ray(every, records, plan.timeout, device, address, gpus or 1.0, mixed, jobs)
    outcomes = sweep(plan, every, records, jobs, **options).run()
    failed = sum(outcomes[name] for name in (*AGAIN, "lost"))
    ended = ", ".join(f"{n} {outcome}" for outcome, n in outcomes.most_common())
    typer.echo(f"{counted(sum(outcomes.values()), 'run')} in {records}: {ended}")
    if outcomes["diverged"]:
        typer.echo(
            "what diverged is a result, and its record names the step; a new attempt would too", err=True
        )
    if failed:
        typer.echo("`pebench status` names what failed; `pebench run --retry` tries it again", err=True)
    raise typer.Exit(4 if failed else 0)


@app.command("nodes")
def show_nodes(
    profile: ProfileName = "QUICK",
    encodings: Annotated[list[str] | None, typer.Option("--encodings", "-e", help="As in `run`.")] = None,
    tasks: Annotated[list[str] | None, typer.Option("--tasks", "-t", help="As in `run`.")] = None,
    corpus: Corpus = None,
    device: Device = "cpu",
    engine: EngineName = Machines.local,
    address: Address = None,
    gpus: Gpus = None,
    mixed: Mixed = False,
    partition: Partition = None,
    as_json: AsJson = False,
) -> None:
    """Check the machines before they get runs: code, text, precision, memory, GPU; exit code 3 where one fails."""
    from pebench.suite.results.metrics import counted
    from pebench.suite.runs.preflight import expected, state
    from pebench.suite.runs.runner import cells

    plan = profile_named(profile)
    chosen_specs, wanted = chosen(plan, encodings, tasks)
    every = cells(plan, chosen_specs, wanted, [0], corpus.resolve() if corpus else None)
    with console().status("asking the nodes") if sys.stderr.isatty() and not as_json else Console(quiet=True):
        if engine is Machines.ray:
            from pebench.suite.runs.engines.ray import Ray

            found = Ray(every, Path(), plan.timeout, device, address, gpus or 1.0, mixed).states()
        elif engine is Machines.slurm:
            from pebench.suite.runs.engines.slurm import states_of_nodes

            found = states_of_nodes(every, device, gpus, partition)
        else:
            found = {"this machine": state(expected(every), device)}
    if as_json:
        typer.echo(json.dumps([{"node": name, **facts} for name, facts in found.items()], indent=1))
    else:
        table = Table(box=None, header_style="bold", pad_edge=False)
        columns = ("torch", "precision", "kernels", "processors", "memory", "gpus", "device", "processor")
        for column in ("", "node", *columns):
            table.add_column(column, overflow="fold")
        for name, facts in found.items():
            shown = {**facts, "memory": f"{facts['memory'] / 2**30:.1f} GiB"} if "memory" in facts else facts
            mark = "[red]✗[/]" if facts["faults"] else "[green]✓[/]"
            table.add_row(mark, Text(name), *(Text(str(shown.get(column, "?"))) for column in columns))
        console().print(table)
        for name, facts in found.items():
            for fault in facts["faults"]:
                typer.echo(f"{name}: {fault}")
    good = sum(not facts["faults"] for facts in found.values())
    typer.echo(f"{good} of {counted(len(found), 'node')} can make these runs", err=as_json)
    raise typer.Exit(0 if good == len(found) else 3)


@app.command("cell")
def run_listed(
    listing: Annotated[Path, typer.Argument(help="A list that `run --engine slurm` wrote.", **PATH)],
    number: Annotated[int, typer.Argument(min=0, help="Which run of it, from 0.")],
) -> None:
    """Make one run of a list: the command of each task of a Slurm array."""
    from pebench.suite.runs.engines.slurm import run_one

    raise typer.Exit(run_one(listing, number, console()))


@app.command()
def status(
    profile: ProfileName = "QUICK",
    encodings: Annotated[list[str] | None, typer.Option("--encodings", "-e", help="As in `run`.")] = None,
    tasks: Annotated[list[str] | None, typer.Option("--tasks", "-t", help="As in `run`.")] = None,
    seeds: Seeds = None,
    records: Records = Path("records"),
    corpus: Corpus = None,
    as_json: AsJson = False,
) -> None:
    """Show which runs of a sweep are done, missing, stale (of other code) or failed."""
    from pebench.suite.results.metrics import counted
    from pebench.suite.runs.engines.slurm import left_out
    from pebench.suite.runs.runner import cells, states

    plan = profile_named(profile)
    chosen_specs, wanted = chosen(plan, encodings, tasks)
    sweep = cells(plan, chosen_specs, wanted, list(range(seeds or plan.seeds)), corpus)
    found = list(states(sweep, records))
    if as_json:
        rows = [
            {"encoding": c.name, "task": c.task, "seed": c.seed, "state": state, "record": os.fspath(c.path)}
            for c, state in found
        ]
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    table.add_column("encoding", no_wrap=True, overflow="fold")
    for column in wanted:
        table.add_column(column, overflow="fold")
    for name in dict.fromkeys(c.name for c, _ in found):
        columns = [
            Counter(state for c, state in found if (c.name, c.task) == (name, task)) for task in wanted
        ]
        table.add_row(name, *map(done_of_all, columns))
    console().print(table)
    total = Counter(state for _, state in found)
    typer.echo(
        f"{counted(len(found), 'run')}: {', '.join(f'{n} {state}' for state, n in total.most_common())}"
    )
    for node, why in left_out(records):
        typer.echo(f"{node} was left out: {why}", err=True)


def done_of_all(states: Counter[str]) -> str:
    """How many runs are measured, of how many, and what became of others: 2/3, or 1/3 1 failed."""
    others = [f"{n} {state}" for state, n in states.items() if state not in ("measured", "missing")]
    return " ".join([f"{states['measured']}/{states.total()}", *others])


Shown = Annotated[
    list[Path] | None,
    typer.Option(
        "--records",
        help="A folder of records; several are shown together. Default: records, else the published results.",
        envvar="PEBENCH_RECORDS",
        show_default=False,
        **PATH,
    ),
]


class Published(StrEnum):
    published = "published"


Beside = Annotated[
    Published | None, typer.Option(help="`published`: show these records beside the published ones.")
]


def sources(records: list[Path] | None, beside: Published | None) -> list[Path]:
    """The folders to show: those that are named, the usual one, or, where there is none, the published results."""
    from pebench.leaderboard.about import PUBLISHED

    usual = Path("records")
    found = list(records) if records else [usual] if usual.is_dir() else []
    if not found:
        typer.echo("There is no folder `records` here: these are the published results.", err=True)
    if (beside or not found) and PUBLISHED.resolve() not in [folder.resolve() for folder in found]:
        found.append(PUBLISHED)
    return [PUBLISHED if folder.resolve() == PUBLISHED.resolve() else folder for folder in found]


AnyProfile = Annotated[
    str | None, typer.Option("--profile", "-p", help="Default: the one with most records.")
]


@app.command()
def board(
    records: Shown = None,
    beside: Beside = None,
    profile: AnyProfile = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", "-t", help="Rank on these tasks alone, with commas or -t again."),
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    order: Annotated[
        str, typer.Option("--order", help="Of the rows: mean, standardised or median-rank.")
    ] = "mean",
) -> None:
    """Print the ranking."""
    from pebench.leaderboard.board import make_board
    from pebench.leaderboard.printing import ordered, print_board, to_csv, to_json, to_markdown

    table = ordered(make_board(sources(records, beside), profile and profile.upper(), listed(tasks)), order)
    if as_json:
        typer.echo(json.dumps(to_json(table), indent=1))
    elif as_csv:
        typer.echo(to_csv(table), nl=False)
    elif as_markdown:
        typer.echo(to_markdown(table))
    else:
        print_board(table, console())


@app.command()
def compare(
    first: Annotated[str, typer.Argument(help="An encoding on the board.")],
    second: Annotated[str, typer.Argument(help="The one that it is compared with.")],
    records: Shown = None,
    beside: Beside = None,
    profile: AnyProfile = None,
    as_json: AsJson = False,
) -> None:
    """Compare two encodings, overall and task by task: differences paired by seed, with 95 % intervals."""
    from pebench.encodings.registry import UnknownName
    from pebench.leaderboard.app.views import compare as compared
    from pebench.leaderboard.board import make_board

    table = make_board(sources(records, beside), profile and profile.upper())
    known = table.ranking.data.encodings
    for name in (first, second):
        if name not in known:
            raise UnknownName("encoding on this board", name, known)
    rows = compared(table, first, [second]).drop(columns="other")
    if as_json:
        typer.echo(rows.to_json(orient="records", indent=1))
        return
    shown = Table(
        box=None, header_style="bold", pad_edge=False, title=f"{first} minus {second}, {table.profile}"
    )
    for column in ("", "difference", "95 %", "p", "seeds"):
        shown.add_column(column, justify="left" if not column else "right")
    for row in rows.itertuples():
        shown.add_row(
            row.task,
            f"{row.difference:+.3f}",
            f"{row.low:+.3f} to {row.high:+.3f}",
            f"{row.p:.2g}",
            f"{row.seeds}",
        )
    console().print(shown)
    typer.echo("Paired by seed, on the conditions that both have; the p-values are of single comparisons.")


@app.command("validity")
def compare_with_published(
    records: Shown = None,
    profile: AnyProfile = None,
    published: Annotated[
        Path | None,
        typer.Option(
            help="A CSV of tables of your own, in the place of ours; columns as in leaderboard/published.csv."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the order of the board with published tables: what agrees, what contradicts, what cannot be told."""
    from pebench.encodings.registry import names
    from pebench.leaderboard.board import make_board
    from pebench.leaderboard.reports.published import FILE, read
    from pebench.leaderboard.reports.validity import print_validity, to_json, validity

    tables = read(published or FILE)
    found = validity(make_board(sources(records, None), profile and profile.upper()), tables, names())
    if as_json:
        typer.echo(json.dumps(to_json(found), indent=1))
    else:
        print_validity(found, console())


Stale = Annotated[
    bool, typer.Option("--stale", help="Load it although code has changed since it was trained.")
]


def finite(value: float) -> float:
    """An option's number, which must not be infinite or nan."""
    if not math.isfinite(value):
        raise typer.BadParameter(f"{value} is no finite number")
    return value


@app.command("generate")
def write_text(
    checkpoint: Annotated[
        Path, typer.Argument(help="A trained model: FOLDER/checkpoints/.../*.safetensors.", **PATH)
    ],
    prompt: Annotated[str, typer.Option(help="What the text begins with.")] = "",
    tokens: Annotated[int, typer.Option(min=1, help="How many bytes to write.")] = 256,
    temperature: Annotated[
        float, typer.Option(min=0, callback=finite, help="0 takes the likeliest byte.")
    ] = 0.8,
    seed: Annotated[int, typer.Option(min=0, max=2**64 - 1, help="Of the random choices.")] = 0,
    encoding: TheirEncoding = None,
    stale: Stale = False,
) -> None:
    """Let a trained model write, byte by byte through its cache."""
    import codecs

    import torch

    from pebench.suite.lm.generate import Sampling, generate, shown
    from pebench.suite.lm.model import LengthError
    from pebench.suite.runs.checkpoint import CheckpointError, config, load
    from pebench.tasks.language import BEGIN

    torch.set_num_threads(1)
    lm, about = load(checkpoint, encoding, stale), config(checkpoint)
    if not about.reads_bytes:
        raise CheckpointError(f"{checkpoint} knows the symbols of {about.task!r}, not text")
    text = list(prompt.encode(errors="surrogateescape"))
    read = [BEGIN, *text] if about.task == "language" or not text else text
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    rng = torch.Generator().manual_seed(seed)
    written, why = 0, ""
    try:
        for byte in generate(lm, read, tokens, Sampling(temperature), rng):
            typer.echo(shown(decoder.decode(bytes([byte]))), nl=False)
            sys.stdout.flush()
            written += 1
    except LengthError as e:
        if not written:
            raise
        why = f"stopped after {written} bytes: {e}"
    typer.echo(shown(decoder.decode(b"", final=True)))
    if why:
        typer.echo(why, err=True)


@app.command("harness")
def run_harness(
    checkpoint: Annotated[
        Path, typer.Option(help="A trained model of a text task, as in `generate`.", **PATH)
    ],
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", "-t", help="Names with commas, or -t again; default: forced choice."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="The first N questions of each task.")] = None,
    max_length: Annotated[
        int | None, typer.Option(min=2, help="Bytes that the model reads at most; default: as in training.")
    ] = None,
    online: Annotated[bool, typer.Option("--online", help="lm-eval's own tasks, from the hub.")] = False,
    encoding: TheirEncoding = None,
    stale: Stale = False,
    device: Device = "cpu",
    as_json: AsJson = False,
) -> None:
    """Measure a trained model on the tasks of lm-eval: forced choices, needles, bits per byte."""
    os.environ.setdefault("TQDM_DISABLE", "1")  # lm-eval's bars; read when it is imported

    from pebench.suite.runs.harness import FORCED_CHOICE, CheckpointLM, above_chance, measure

    demand_device(device)
    lm = CheckpointLM(checkpoint, encoding, max_length, device, stale)
    measured = []
    for result in measure(lm, listed(tasks) or list(FORCED_CHOICE), limit, online):
        typer.echo(f"{result.task}: {result.questions} questions", err=True)
        measured.append(result)
    if as_json:
        rows = [{**m._asdict(), "scores": [s._asdict() for s in m.scores]} for m in measured]
        typer.echo(json.dumps({"max_length": lm.max_length, "tasks": rows}, indent=1))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("task", "questions", "metric", "value", "chance", "", "cut inputs"):
        table.add_column(
            column, justify="right" if column in ("questions", "value", "cut inputs") else "left"
        )
    for m in measured:
        for s in m.scores:
            chance = "" if s.floor is None else f"{s.floor:.3f}"
            verdict = "" if s.floor is None else "above chance" if above_chance(s) else "at chance"
            row = (m.task, f"{m.questions}", s.metric, f"{s.value:.3f}", chance, verdict, f"{m.cut}")
            table.add_row(*row)
    console().print(table)
    typer.echo(f"The model reads at most {lm.max_length} bytes: of longer inputs the last ones.")


Encoding = Annotated[str, typer.Argument(help="Your file: my_encoding.py, or my_encoding.py:Class.")]


@app.command()
def submit(
    encoding: Encoding,
    profile: ProfileName = "QUICK",
    seeds: Seeds = None,
    records: Records = Path("records"),
    out: Annotated[
        Path | None, typer.Option(help="The folder to pack; default: submissions/NAME.", **PATH)
    ] = None,
    jobs: Jobs = None,
    device: Device = "cpu",
    retry: Retry = False,
) -> None:
    """Check an encoding, run the whole profile, compare it, and pack the folder of a pull request."""
    from pebench.leaderboard.submissions.validate import to_markdown
    from pebench.suite.results.metrics import counted
    from pebench.suite.runs.cell import CERTIFICATE
    from pebench.suite.runs.machine import commit, cores
    from pebench.suite.runs.runner import duration, estimate, sweep
    from pebench.suite.submissions import submission

    plan = submission.propose(encoding, profile_named(profile), seeds)
    demand_data(list(plan.profile.plans))
    demand_device(device)
    folder = out or Path("submissions", plan.name)
    submission.demand_alike(plan, records)
    todo = submission.missing(plan, records)
    seconds, unknown = estimate(todo, standing(records))
    typer.echo(
        f"{plan.name}: profile {plan.profile.name}, {counted(plan.seeds, 'seed')}, "
        f"{counted(len(plan.cells), 'run')}, {len(todo)} to make"
        + (f"; about {duration(seconds / (jobs or cores()))}" if todo else "")
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
    from pebench.leaderboard.board import PUBLISHED
    from pebench.suite.results.record import read_all

    folders = {folder.resolve() for folder in (records, PUBLISHED) if folder.is_dir()}
    return [record for folder in sorted(folders) for record in read_all(folder)[0]]


def judged(folder: Path, among: "list[Record]") -> "Report":
    """What `validate` finds in a submission among these records, by this checkout's profiles and encodings."""
    from pebench.encodings.registry import FOLDER
    from pebench.leaderboard.board import PUBLISHED
    from pebench.leaderboard.submissions.validate import Rules, taken_names, validate
    from pebench.suite.experiment.profiles import PROFILES
    from pebench.suite.submissions.submission import once, setups

    rules = {name: Rules(p.seeds, setups(p), once(p)) for name, p in PROFILES.items()}
    return validate(folder, rules, taken_names(FOLDER), among, standing(PUBLISHED))


@app.command("validate")
def validate_folder(
    folder: Annotated[Path, typer.Argument(help="A submission, as `pebench submit` packs it.", **PATH)],
    records: Records = Path("records"),
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print it for a pull request.")] = False,
) -> None:
    """Check a submission without running anything of it, and compare it with the board."""
    from pebench.leaderboard.submissions.validate import to_markdown, told

    among = standing(records)
    report = judged(folder, among)
    if as_markdown:
        typer.echo(to_markdown(report, among))
    else:
        for one, problems in told(report):
            typer.echo(f"{'✓' if one.passed else '✗'} {one.name}")
            for problem in problems:
                typer.echo(f"  {problem}")
        for note in report.notes:
            typer.echo(f"note: {note}")
    raise typer.Exit(0 if report.passed else 1)


@app.command("reproduce")
def reproduce_record(
    record: Annotated[Path, typer.Argument(help="A record file.", **PATH)],
    encoding: TheirEncoding = None,
    corpus: Corpus = None,
    device: Device = "cpu",
    mark: Annotated[
        Path | None, typer.Option(help="Add a mark to this JSON file, where it is reproduced.", **PATH)
    ] = None,
    records: Annotated[
        Path | None,
        typer.Option(
            help="Where seeds tell how far another processor may be off; default: published.", **PATH
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run a record again and say: equal, within seed spread (on another kind of machine), or different (exit code 1).

    Another kind of processor rounds differently and trains another model from the same seed. There the numbers may
    differ as those of two seeds do.
    """
    from pebench.leaderboard.board import PUBLISHED
    from pebench.suite.submissions.reproduce import add_mark, marks_of, reproduce

    demand_device(device)
    if mark:
        marks_of(mark)  # an unfit file is told before the run, not after it
    text = corpus.resolve() if corpus else None
    _, result, stated = reproduce(record, encoding or "", text, device, records or PUBLISHED)
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
                f"the differences are {result.over_seeds:.2f} of those between two seeds (root mean square)"
            )
        if result.verdict == "different" and result.machine:
            typer.echo(
                "The machines differ, and round differently: run it again on a machine like the first."
            )
    if mark and result.verdict != "different":
        add_mark(stated, mark)
    raise typer.Exit(1 if result.verdict == "different" else 0)


class ExportFormat(StrEnum):
    csv = "csv"
    parquet = "parquet"
    eee = "eee"


def readable(records: Path) -> "list[Record]":
    """The newest record of each run in a folder; files that are none are named."""
    from pebench.suite.results.record import newest, read_all

    found, unreadable = read_all(records)
    for file in unreadable:
        typer.echo(f"left out: {file.path}: {file.reason}", err=True)
    return newest(found)


@app.command()
def build(
    records: Records = Path("records"),
    out: Annotated[Path, typer.Option(help="The dataset's folder.", **PATH)] = Path("dataset"),
) -> None:
    """Write a Hugging Face dataset folder: parquet, card, Croissant metadata."""
    from importlib.metadata import version

    from pebench.leaderboard.export.dataset import build as build_folder

    rows = build_folder(readable(records), out, version("pebench"))
    typer.echo(f"wrote {out}: " + ", ".join(f"{n} {name}" for name, n in rows.items()))


@app.command()
def export(
    kind: Annotated[
        ExportFormat, typer.Option("--format", help="eee: Every Eval Ever logs.")
    ] = ExportFormat.csv,
    records: Records = Path("records"),
    out: Annotated[Path, typer.Option(help="Where to write.", **PATH)] = Path("export"),
) -> None:
    """Write all results as CSV, parquet or Every Eval Ever logs."""
    from pebench.leaderboard.export.dataset import export as export_files

    files = export_files(readable(records), out, kind.value)
    typer.echo(f"wrote {len(files)} files to {out}")


@app.command("site")
def write_site(
    out: Annotated[Path, typer.Argument(help="The folder of the pages.", **PATH)],
    records: Shown = None,
    beside: Beside = None,
    profile: AnyProfile = None,
) -> None:
    """Write the leaderboard as static pages, for GitHub Pages, a static Space or any web host."""
    from importlib.metadata import version

    from pebench.leaderboard.export.site import build as build_site

    made = build_site(sources(records, beside), profile and profile.upper(), out, version("pebench"))
    typer.echo(f"wrote {out}: " + ", ".join(f"{n} {name}" for name, n in made.items()))


@app.command()
def push(
    repo: Annotated[str, typer.Argument(help="The repository: owner/name.")],
    folder: Annotated[
        Path | None,
        typer.Option(help="As `pebench build` or, for a Space, `pebench site` writes it.", **PATH),
    ] = None,
    message: Annotated[str, typer.Option(help="Of the commit.")] = "Results of pebench",
    private: Annotated[bool, typer.Option("--private", help="If the repository is made.")] = False,
    space: Annotated[bool, typer.Option("--space", help="A site, to a static Space.")] = False,
) -> None:
    """Upload a dataset folder, or a site, to the Hugging Face Hub."""
    from pebench.leaderboard.export.hub import push as upload

    usual = Path("site" if space else "dataset")
    typer.echo(upload(repo, folder or usual, message, private=private, space=space))


@app.command("app")
def open_app(
    records: Shown = None,
    beside: Beside = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: a free one.")] = None,
    host: Annotated[str, typer.Option(help="Where to listen; 0.0.0.0 lets others see it.")] = "127.0.0.1",
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
) -> None:
    """Browse the leaderboard in the browser."""
    from pebench.leaderboard.app.launch import run_app

    raise typer.Exit(run_app(sources(records, beside), port, browser, host))


class EnvironmentProblem(RuntimeError):
    """Something that the command needs is not on this machine."""


def explained(e: Exception) -> int | None:
    """The exit code of an error that a user can cause; None for one that only we can."""
    from pebench.encodings.registry import EncodingError, UnknownName
    from pebench.leaderboard.app.launch import LaunchError
    from pebench.leaderboard.board import BoardError
    from pebench.leaderboard.export.dataset import DatasetError
    from pebench.leaderboard.export.hub import PublishError
    from pebench.leaderboard.reports.published import PublishedError
    from pebench.leaderboard.submissions.validate import SubmissionError
    from pebench.suite.lm.model import LengthError
    from pebench.suite.results.record import RecordError
    from pebench.suite.runs.checkpoint import CheckpointError
    from pebench.suite.submissions.reproduce import ReproduceError
    from pebench.suite.submissions.submission import SubmitError
    from pebench.suite.submissions.template import TemplateError
    from pebench.tasks.data.corpus import CorpusError

    missing = (
        CorpusError
        | CheckpointError
        | OSError
        | EnvironmentProblem
        | BoardError
        | LaunchError
        | DatasetError
        | PublishError
    )
    if isinstance(e, missing):
        return 3
    wrong = EncodingError | UnknownName | RecordError | TemplateError | LengthError
    if isinstance(e, wrong | SubmissionError | SubmitError | ReproduceError | PublishedError):
        return 2
    return None


PLAIN = {"✓": "+", "✗": "x", "×": "x", "−": "-", "–": "-", "—": "-", "’": "'", "…": "."}


def plain(error: UnicodeError) -> tuple[str, int]:
    """What stands for the characters that a terminal cannot show: a letter without its accent, a sign like it, or ?."""
    import unicodedata

    assert isinstance(error, UnicodeEncodeError)
    signs = []
    for char in error.object[error.start : error.end]:
        name = unicodedata.name(char, "")
        letter = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
        line = (
            "|" if "VERTICAL" in name and "HORIZONTAL" not in name else "-" if "HORIZONTAL" in name else "+"
        )
        signs.append(PLAIN.get(char) or letter or (line if name.startswith("BOX DRAWINGS") else "?"))
    return "".join(signs), error.end


def speak_plainly() -> None:
    """Print on every terminal: what is not in its encoding is replaced by what is."""
    import codecs

    ascii = codecs.lookup("ascii")
    # Under a name of ours, because typer prints UTF-8 where it hears of ASCII.
    ours = codecs.CodecInfo(
        ascii.encode,
        ascii.decode,
        ascii.streamreader,
        ascii.streamwriter,
        ascii.incrementalencoder,
        ascii.incrementaldecoder,
        name="plain",
    )
    codecs.register(lambda name: ours if name == "plain" else None)
    codecs.register_error("plain", plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            plainest = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding="plain" if plainest else stream.encoding, errors="plain")


def main() -> None:
    """The entry point `pebench`."""
    speak_plainly()
    try:
        app()
    except Exception as e:
        code = explained(e)
        if code is None:
            raise
        typer.echo(f"pebench: {e}", err=True)
        sys.exit(code)


if __name__ == "__main__":
    main()
