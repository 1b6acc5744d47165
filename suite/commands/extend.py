"""The command of the track EXTEND: a pretrained model, read beyond its training."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pebench.suite.commands.common import AsJson, Corpus, ModelFolder, Records, listed, specs, tell

if TYPE_CHECKING:
    from pebench.suite.extend.checkpoint import Checkpoint
    from pebench.suite.extend.run import Run


def extend(
    profile: Annotated[str, typer.Option("--profile", "-p", help="EXTEND_QUICK or EXTEND.")] = "EXTEND_QUICK",
    methods: Annotated[
        list[str] | None,
        typer.Option(
            "--methods",
            "-m",
            help="none, yarn, yarn+logn, file.py:Class ..., with commas or -m again; default: the profile's.",
        ),
    ] = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", "-t", help="extend_loss, extend_retrieval, extend_cost; default: all."),
    ] = None,
    model: ModelFolder = None,
    trained: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="N",
            help="The tokens that count as the model's training length L, for models of longer texts than books have. "
            "Default, and the largest: max_position_embeddings of its config.json.",
        ),
    ] = None,
    records: Records = Path("records"),
    corpus: Corpus = None,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Runs at a time, each in a process of its own; default: as many as cores and memory hold.",
        ),
    ] = None,
    threads: Annotated[
        int, typer.Option(min=1, help="Threads of a run. Two runs at a time of one thread each are faster.")
    ] = 1,
    status: Annotated[bool, typer.Option("--status", help="List the missing runs, and run nothing.")] = False,
    search: Annotated[
        bool,
        typer.Option(
            "--search",
            help="Search the divisors of longrope2_searched on validation books, for the model and the profile's "
            "longest text, and run nothing.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Read a pretrained model beyond its training length with each method of context extension.

    It measures loss by position, retrieval of hidden numbers, and cost. Each method and text becomes a record.
    A second call continues, and several calls share the work. `pebench board --profile EXTEND_QUICK` shows the results.
    `--search` prepares the method longrope2_searched: for SmolLM2, an hour of a processor and more.
    """
    from collections import Counter
    from contextlib import closing

    import torch

    from pebench.encodings.registry import UnknownName
    from pebench.suite.commands.helpers import BUSY, DONE, Order, at_once, beside, here
    from pebench.suite.extend.profiles import TASKS, track_named
    from pebench.suite.extend.run import done, loaded, named, runs, shortened, tidy, unsearched

    if search and (methods or tasks or status):
        raise typer.BadParameter("--search runs nothing: leave --methods, --tasks and --status out")
    torch.set_num_threads(threads)
    track, wanted = track_named(profile), listed(tasks)
    for task in wanted:
        if task not in TASKS:
            raise UnknownName("task of this track", task, TASKS)
    chosen = named(specs(methods), track)
    checkpoint = loaded(model)
    if trained is not None:
        checkpoint = shortened(checkpoint, trained)
    if search:
        search_divisors(checkpoint, track.farthest, corpus, as_json)
        return
    left_out = {} if methods else unsearched(checkpoint, track, chosen, corpus)
    if not status:
        for method, reason in left_out.items():
            typer.echo(f"{method} is left out: {reason}", err=True)
    measured = [m for m in chosen if m not in left_out]
    todo = runs(checkpoint, track, measured, wanted, corpus)
    left = [run for run in todo if not done(run, records)]
    typer.echo(f"{track.name}: {len(todo)} runs, {len(todo) - len(left)} of them done", err=True)
    if apart := sum(has_others(run, records) for run in left):
        typer.echo(
            f"{apart} of the others {'has a record' if apart == 1 else 'have records'} whose code, model, text or "
            "precision differs",
            err=True,
        )
    shows = f"`pebench board --profile {track.name} --records {records}`"
    busy, failed, texts = list[str](), list[str](), Counter(run.text for run in left)
    try:
        if not status:
            tidy(todo, records)
            at_a_time = min(jobs or at_once(checkpoint, track, threads), len(left))
            if at_a_time > 1:
                order = Order(
                    track.name,
                    specs(methods) or measured,
                    wanted,
                    str(model) if model else None,
                    trained,
                    str(corpus) if corpus else None,
                    str(records),
                    threads,
                )
                ends = beside(order, left, at_a_time, tell)
            else:
                ends = here(left, records, tell)
            with closing(ends):
                for n, each in enumerate(ends, 1):
                    if each.how == BUSY:
                        busy.append(each.run.title)
                        tell(f"{each.run.title}: another process is making it")
                    elif each.how == DONE:
                        tell(f"{each.run.title}: done in {each.seconds:.0f} s ({n} of {len(left)})")
                        texts[each.run.text] -= 1
                        if not texts[each.run.text] and n < len(left):
                            tell(f"text {each.run.text} is read; {shows} has it")
                    else:
                        failed.append(each.run.title)
                        tell(f"{each.run.title}: failed: {each.reason}")
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command continues behind the last finished step", err=True)
        raise
    if as_json:
        rows = [
            {
                "method": run.method,
                "task": run.task,
                "text": run.text,
                "done": done(run, records),
            }
            for run in todo
        ]
        typer.echo(json.dumps({"profile": track.name, "runs": rows, "left_out": left_out}, indent=1))
    elif status:
        for method, reason in left_out.items():
            typer.echo(f"{method} (all runs): {reason}")
        for run in left:
            typer.echo(run.title)
    elif failed:
        typer.echo(f"{len(failed)} of {len(left)} runs failed; the same command tries them again", err=True)
    elif not busy:
        typer.echo(f"all {'other ' if left_out else ''}runs are done; {shows} shows them")
    if failed:
        raise typer.Exit(4)


def has_others(run: "Run", records: Path) -> bool:
    """Whether the folder has a record of this method, task and text whose scores depend on something else."""
    return any((records / run.path).parent.glob(f"{run.text}-*.json"))


def search_divisors(checkpoint: "Checkpoint", factor: float, corpus: Path | None, as_json: bool) -> None:
    """Search, and say what was found and where it is kept."""
    from dataclasses import asdict

    from pebench.suite.extend.search import search
    from pebench.suite.extend.searched import place

    try:
        found = search(checkpoint, factor, corpus, lambda line: typer.echo(line, err=True))
    except KeyboardInterrupt:
        typer.echo("interrupted; the same command continues behind the last finished reading", err=True)
        raise
    if as_json:
        typer.echo(json.dumps(asdict(found), indent=1))
        return
    typer.echo(
        f"critical plane {found.critical}, divisors {', '.join(f'{x:.4g}' for x in found.divisors)}\n"
        f"answers: {found.after:.4f} nats a token, by longrope2 {found.before:.4f}; {found.evaluations} candidates\n"
        f"kept in {place(found.subject)}"
    )
