"""Commands that train and measure."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from pebench.suite.commands.common import (
    AsJson,
    Corpus,
    Device,
    Jobs,
    ProfileName,
    Records,
    Retry,
    Seeds,
    console,
    listed,
    specs,
)

if TYPE_CHECKING:
    pass


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
) -> None:
    """Train and measure; what has its record already is kept, so a second call continues."""
    from pebench.suite.experiment.profiles import profile_named
    from pebench.suite.results.metrics import counted
    from pebench.suite.results.record import AGAIN
    from pebench.suite.runs.runner import cells, sweep
    from pebench.suite.runs.selection import chosen, demand_data, demand_device

    plan = profile_named(profile)
    chosen_specs, wanted = chosen(plan, specs(encodings), listed(tasks))
    demand_device(device)
    demand_data(wanted, corpus)
    numbers = [seed] if seed is not None else list(range(seeds or plan.seeds))
    every = cells(plan, chosen_specs, wanted, numbers, corpus.resolve() if corpus else None)
    options = {"device": device, "retry": retry, "save": save, "console": console()}
    outcomes = sweep(plan, every, records, jobs, **options).run()
    failed = sum(outcomes[name] for name in AGAIN)
    ended = ", ".join(f"{n} {outcome}" for outcome, n in outcomes.most_common())
    typer.echo(f"{counted(sum(outcomes.values()), 'run')} in {records}: {ended}")
    if outcomes["diverged"]:
        typer.echo(
            "what diverged is a result, and its record names the step; a new attempt would too", err=True
        )
    if failed:
        typer.echo("`pebench status` names what failed; `pebench run --retry` tries it again", err=True)
    raise typer.Exit(4 if failed else 0)


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
    from pebench.suite.experiment.profiles import profile_named
    from pebench.suite.results.metrics import counted
    from pebench.suite.runs.runner import cells, states
    from pebench.suite.runs.selection import chosen

    plan = profile_named(profile)
    chosen_specs, wanted = chosen(plan, specs(encodings), listed(tasks))
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


def done_of_all(states: Counter[str]) -> str:
    """How many runs are measured, of how many, and what became of others: 2/3, or 1/3 1 failed."""
    others = [f"{n} {state}" for state, n in states.items() if state not in ("measured", "missing")]
    return " ".join([f"{states['measured']}/{states.total()}", *others])
