"""Commands that train and measure, and look at the machines for it."""

import json
import os
import sys
from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from pebench.suite.commands.common import (
    PATH,
    Address,
    AsJson,
    Corpus,
    Device,
    EngineName,
    Gpus,
    Jobs,
    Machines,
    MicroBatch,
    Mixed,
    Partition,
    ProfileName,
    Ranks,
    Recompute,
    Records,
    Retry,
    Seeds,
    Sharded,
    console,
    listed,
    specs,
    usual,
)


def run(
    profile: ProfileName = None,
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
    seed: Annotated[int | None, typer.Option(min=0, help="Run this seed only.")] = None,
    jobs: Jobs = None,
    records: Records = Path("records"),
    corpus: Corpus = None,
    device: Device = "cpu",
    retry: Retry = False,
    save: Annotated[
        bool,
        typer.Option(
            "--save",
            help="Save the trained model of every task. Default: of language, language_tokens, and of those that "
            "other runs measure.",
        ),
    ] = False,
    ranks: Ranks = None,
    micro_batch: MicroBatch = None,
    sharded: Sharded = False,
    recompute: Recompute = False,
    engine: EngineName = Machines.local,
    address: Address = None,
    gpus: Gpus = None,
    mixed: Mixed = False,
    partition: Partition = None,
    time: Annotated[str | None, typer.Option(help="Slurm: the time limit of a run, such as 2:00:00.")] = None,
    sbatch: Annotated[
        list[str] | None,
        typer.Option("--sbatch", help="Slurm: another option of sbatch, such as --account=mine; repeatable."),
    ] = None,
) -> None:
    """Train and measure encodings. A run that has its record is skipped, so a second call continues."""
    if engine is Machines.local and ranks is None:
        from pebench.suite.runs.engines.forkserver import begin

        begin()
    from pebench.suite.experiment.profiles import profile_named
    from pebench.suite.experiment.sharing import Sharing
    from pebench.suite.results.metrics import counted
    from pebench.suite.results.record import AGAIN
    from pebench.suite.runs.runner import cells, sweep
    from pebench.suite.runs.selection import chosen, demand_data, demand_device, device_named

    if ranks is None and (micro_batch or sharded or recompute):
        raise typer.BadParameter("--micro-batch, --sharded and --recompute are of --ranks N; give it too")
    if seed is not None and seeds is not None:
        raise typer.BadParameter("--seed N is one seed and --seeds N are the first N; give one of them")
    demand_engine(
        engine,
        {
            "address": address,
            "mixed": mixed,
            "gpus": gpus,
            "partition": partition,
            "time": time,
            "sbatch": sbatch,
        },
    )
    sharing = Sharing(ranks, micro_batch, sharded, recompute) if ranks else None
    plan = profile_named(usual(profile))
    chosen_specs, wanted = chosen(plan, specs(encodings), listed(tasks))
    warn_of_hidden_input(chosen_specs)
    device_named(device)
    if engine is Machines.local:
        demand_device(device, sharing)
        demand_data(wanted, corpus, plan.plans)
    numbers = [seed] if seed is not None else list(range(seeds or plan.seeds))
    every = cells(plan, chosen_specs, wanted, numbers, corpus.resolve() if corpus else None)
    screen = console()
    if engine is Machines.slurm:
        from pebench.suite.runs.engines.slurm import Options, submit_runs

        given = Options(device, gpus, partition, time, jobs, tuple(sbatch or ()), sharing)
        typer.echo(submit_runs(every, records, given, retry, save))
        return
    options: dict[str, Any] = {"device": device, "retry": retry, "save": save, "console": screen}
    if engine is Machines.ray:
        from pebench.suite.runs.engines.ray import Ray

        options["engine"] = Ray(
            every, records, plan.timeout, device, address, gpus or 1.0, mixed, jobs, sharing
        )
    outcomes = sweep(plan, every, records, jobs, sharing, **options).run()
    failed, others = sum(outcomes[name] for name in (*AGAIN, "lost")), outcomes["elsewhere"]
    ended = ", ".join(f"{n} {outcome}" for outcome, n in outcomes.most_common())
    typer.echo(f"{counted(sum(outcomes.values()), 'run')} in {records}: {ended}")
    if outcomes["diverged"]:
        typer.echo(
            "what diverged is a result, and its record names the step; a new attempt would too", err=True
        )
    if failed:
        typer.echo(
            "the record of what failed holds the reason; the same command with --retry tries it again",
            err=True,
        )
    if others:
        typer.echo(
            f"another sweep is making {counted(others, 'run')} of these; the same command once more makes what that "
            "leaves",
            err=True,
        )
    raise typer.Exit(4 if failed else 0)


def warn_of_hidden_input(chosen: list[str]) -> None:
    """Say which files can be run but not submitted: a record does not count what they read."""
    from pebench.encodings.registry import EncodingError, demand_acceptable, extension_of, resolve

    for spec in chosen:
        try:
            demand_acceptable(*resolve(extension_of(spec)[0]))
        except EncodingError as e:
            typer.echo(
                f"note: {e}. It runs, but cannot be submitted; what it reads of this machine may change while its "
                "records stay",
                err=True,
            )


ENGINES = {
    "address": (Machines.ray,),
    "mixed": (Machines.ray,),
    "gpus": (Machines.ray, Machines.slurm),
    "partition": (Machines.slurm,),
    "time": (Machines.slurm,),
    "sbatch": (Machines.slurm,),
}  # by the option that is of these alone


def demand_engine(engine: Machines, given: dict[str, object]) -> None:
    """BadParameter where an option is of another engine: without it a sweep would start on the wrong machines."""
    for option, value in given.items():
        if value and engine not in ENGINES[option]:
            engines = " or ".join(f"--engine {one.value}" for one in ENGINES[option])
            raise typer.BadParameter(f"--{option} is of {engines}; give that too, or leave --{option} out")


def show_nodes(
    profile: ProfileName = None,
    encodings: Annotated[list[str] | None, typer.Option("--encodings", "-e", help="As in `run`.")] = None,
    tasks: Annotated[list[str] | None, typer.Option("--tasks", "-t", help="As in `run`.")] = None,
    corpus: Corpus = None,
    device: Device = "cpu",
    engine: EngineName = Machines.local,
    address: Address = None,
    gpus: Gpus = None,
    mixed: Mixed = False,
    partition: Partition = None,
    sbatch: Annotated[
        list[str] | None,
        typer.Option(
            "--sbatch", help="Slurm: an option of the jobs that ask, such as --account=mine; repeatable."
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Check machines before they get runs: code, text, precision, memory, GPU. Exit code 3 if one fails."""
    from pebench.suite.experiment.profiles import profile_named
    from pebench.suite.results.metrics import counted
    from pebench.suite.runs.preflight import expected, state
    from pebench.suite.runs.runner import cells
    from pebench.suite.runs.selection import chosen, device_named

    demand_engine(
        engine, {"address": address, "mixed": mixed, "gpus": gpus, "partition": partition, "sbatch": sbatch}
    )
    device_named(device)
    plan = profile_named(usual(profile))
    chosen_specs, wanted = chosen(plan, specs(encodings), listed(tasks))
    every = cells(plan, chosen_specs, wanted, [0], corpus.resolve() if corpus else None)
    with console().status("asking the nodes") if sys.stderr.isatty() and not as_json else Console(quiet=True):
        if engine is Machines.ray:
            from pebench.suite.runs.engines.ray import Ray

            found = Ray(every, Path(), plan.timeout, device, address, gpus or 1.0, mixed).states()
        elif engine is Machines.slurm:
            from pebench.suite.runs.engines.slurm import states_of_nodes

            found = states_of_nodes(every, device, gpus, partition, tuple(sbatch or ()))
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


def run_listed(
    listing: Annotated[Path, typer.Argument(help="A list that `run --engine slurm` wrote.", **PATH)],
    number: Annotated[int, typer.Argument(min=0, help="The number of the run, from 0.")],
) -> None:
    """Make one run of a list. Each task of a Slurm array calls this command."""
    from pebench.suite.runs.engines.slurm import run_one

    raise typer.Exit(run_one(listing, number, console()))


def status(
    profile: ProfileName = None,
    encodings: Annotated[list[str] | None, typer.Option("--encodings", "-e", help="As in `run`.")] = None,
    tasks: Annotated[list[str] | None, typer.Option("--tasks", "-t", help="As in `run`.")] = None,
    seeds: Seeds = None,
    records: Records = Path("records"),
    corpus: Corpus = None,
    as_json: AsJson = False,
) -> None:
    """Show which runs of a sweep are done, missing, stale (made by other code) or failed."""
    from pebench.suite.experiment.profiles import profile_named
    from pebench.suite.results.metrics import counted
    from pebench.suite.runs.engines.slurm import left_out
    from pebench.suite.runs.runner import cells, states
    from pebench.suite.runs.selection import chosen

    plan = profile_named(usual(profile))
    chosen_specs, wanted = chosen(plan, specs(encodings), listed(tasks))
    sweep = cells(plan, chosen_specs, wanted, list(range(seeds or plan.seeds)), corpus)
    if not records.is_dir():
        typer.echo(f"there is no folder {records} yet", err=True)
    found = list(states(sweep, records))
    if as_json:
        rows = [
            {"encoding": c.name, "task": c.task, "seed": c.seed, "state": state, "record": os.fspath(c.path)}
            for c, state in found
        ]
        typer.echo(json.dumps(rows, indent=1))
        return
    done = {
        name: [
            done_of_all(Counter(state for c, state in found if (c.name, c.task) == (name, task)))
            for task in wanted
        ]
        for name in dict.fromkeys(c.name for c, _ in found)
    }
    screen = console()
    table = Table("encoding", *wanted, box=None, header_style="bold", pad_edge=False)
    for name, cells_done in done.items():
        table.add_row(name, *cells_done)
    if screen.measure(table, options=screen.options.update(max_width=10_000)).maximum > screen.width:
        table = Table("encoding", "runs", box=None, header_style="bold", pad_edge=False)
        for name, cells_done in done.items():
            parts = zip(wanted, cells_done, strict=True)
            table.add_row(name, ", ".join(f"{task} {part}" for task, part in parts))
    screen.print(table)
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
