"""Commands to begin with: what there is, a new encoding, its proofs, the data."""

import json
import math
import shlex
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from pebench.suite.commands.common import (
    PATH,
    AsJson,
    Corpus,
    console,
    filled,
    tell,
    uncollected,
)

if TYPE_CHECKING:
    from pebench.suite.proofs.certificate import Check


class Listing(StrEnum):
    encodings = "encodings"
    tasks = "tasks"
    profiles = "profiles"
    extensions = "extensions"


def ls(what: Annotated[Listing, typer.Argument(help="What to list.")], as_json: AsJson = False) -> None:
    """List encodings, tasks, profiles, or methods of context extension."""
    listings = {
        "encodings": list_encodings,
        "tasks": list_tasks,
        "profiles": list_profiles,
        "extensions": list_extensions,
    }
    rows = listings[what]()
    if as_json:
        typer.echo(json.dumps(rows, indent=1))
        return
    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(Text(", ".join(v) if isinstance(v, list) else str(v)) for v in row.values()))
    console().print(table)
    if what is Listing.encodings:
        typer.echo(
            "Sums: rope+fox. Longer texts on trained weights: rope@pi, @ntk, @yarn and others; `pebench ls extensions`."
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


def list_extensions() -> list[dict[str, Any]]:
    from pebench.encodings.extension import Retuned, claims, methods

    return [
        {
            "name": name,
            "changes": "frequencies" if issubclass(cls, Retuned) else "distances or logits",
            "trained length": "unchanged" if claims(name).within else "",
            "paper": cls.paper,
            "title": cls.title,
        }
        for name, cls in sorted(methods().items())
    ]


def show(
    name: Annotated[str, typer.Argument(help="A registered encoding, or file.py:Class.")],
    as_json: AsJson = False,
) -> None:
    """Show an encoding: description, formula, source, claims."""
    from rich.syntax import Syntax

    from pebench.encodings.registry import resolve, source_text

    name, cls = resolve(name)
    card = {"name": name, **cls.card()}
    if as_json:
        typer.echo(json.dumps(card, indent=1))
        return
    screen = console()
    screen.print(Text.assemble((name, "bold"), f"  {card['title']}"))
    facts = f"family {card['family']}, kernel {card['kernel']}, {card['paper']}\n{card['formula']}\n"
    screen.print(facts, highlight=False, markup=False)
    screen.print(Syntax(source_text(cls), "python", background_color="default"))


def new(
    name: Annotated[str, typer.Argument(help="The new name: lower-case letters, digits and underscores.")],
    folder: Annotated[Path, typer.Option(help="Where to write it.", **PATH)] = Path(),
    extension: Annotated[
        bool, typer.Option("--extension", help="Write a method of context extension, for `pebench extend`.")
    ] = False,
) -> None:
    """Write a file with a working encoding, to change into yours."""
    from pebench.encodings.extension import methods
    from pebench.encodings.registry import FOLDER, UnknownName, resolve
    from pebench.leaderboard.about import USUAL
    from pebench.suite.submissions.template import TemplateError, encoding_file, method_file

    text, cls = method_file(name) if extension else encoding_file(name)
    if extension and name in methods():
        raise TemplateError(f"there is a method {name!r} already: `pebench check --extension {name}`")
    with suppress(UnknownName):
        resolve(name)
        raise TemplateError(f"there is an encoding {name!r} already: `pebench show {name}`")
    if (FOLDER / f"{name}.py").exists():
        raise TemplateError(f"{name!r} is the name of a module of pebench; choose another name")
    if not folder.is_dir():
        raise TemplateError(f"there is no folder {folder}; make it first")
    path = folder / f"{name}.py"
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise TemplateError(f"{path} exists; choose another name or remove it") from None
    spec = shlex.quote(f"{'./' if str(path).startswith('-') else ''}{path}:{cls}")  # no option
    proof = f"pebench check --extension {spec}" if extension else f"pebench check {spec}"
    tried = f"pebench extend -m none -m {spec}" if extension else f"pebench run --profile {USUAL} -e {spec}"
    typer.echo(f"wrote {path}\nnext: {proof}\n      {tried}")


@uncollected()
def check(
    name: Annotated[str, typer.Argument(help="A registered encoding, or file.py:Class.")],
    extension: Annotated[
        bool,
        typer.Option("--extension", help="NAME is a method of context extension, such as yarn or yarn+logn."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Prove in seconds, without training, that an encoding is correct."""
    import torch

    torch.set_num_threads(1)
    shown: AbstractContextManager[object] = nullcontext()
    if sys.stderr.isatty() and not as_json:
        shown = console().status(f"checking {name}")
    if extension:
        from pebench.suite.extend.certificate import certify_method
        from pebench.suite.extend.trial import method_named

        name = method_named(name)
        with shown:
            checks = certify_method(name)
    else:
        from pebench.encodings.registry import demand_acceptable, resolve
        from pebench.suite.proofs.beside import certificate
        from pebench.suite.proofs.hooks import demand_hooks
        from pebench.suite.proofs.walks import kernels_equal_their_definition

        name, cls = resolve(name)
        demand_acceptable(name, cls)
        made = certificate(name, cls)
        demand_hooks(name, cls)
        with shown:
            checks = made()
            walks = kernels_equal_their_definition(cls) if all(c.passed for c in checks) else None
            checks += [walks] if walks else []
    demand_room(checks)
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


def demand_room(checks: "Sequence[Check]") -> None:
    """EnvironmentProblem where a check failed and the folder of temporary files is full: that says nothing of it."""
    from pebench.suite.runs.machine import disk_faults
    from pebench.suite.runs.selection import EnvironmentProblem

    if not all(c.passed for c in checks) and (full := disk_faults(Path(tempfile.gettempdir()))):
        raise EnvironmentProblem(
            f"a check may have failed for want of room: {full[0]}; make room, or name another folder with TMPDIR"
        )


def prove_identities(
    as_json: AsJson = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write the table to this JSON file.", **PATH)
    ] = None,
) -> None:
    """Measure the exact identities between encodings, and the largest error of each. Some must not hold."""
    from pebench.suite.proofs.prove import document, prove
    from pebench.suite.results.record import write_out

    identities = prove()
    wrong = [i for i in identities if not i.proven]
    text = json.dumps(document(identities), indent=1)
    if out:
        write_out(out, f"{text}\n".encode())
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


def tabulate_pictures(
    name: Annotated[str, typer.Argument(help="A registered encoding, or file.py:Class.")],
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="A trained model: adds what training changed.", **PATH),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="Write it here; default: print it.", **PATH)
    ] = None,
    corpus: Corpus = None,
) -> None:
    """Print an encoding's curves as a table: logit by distance, spectrum, learned frequencies, attention mass."""
    import torch

    from pebench.encodings.registry import resolve
    from pebench.suite.proofs import probes as pictures
    from pebench.suite.results.record import write_out
    from pebench.suite.runs.cell import task_of
    from pebench.suite.runs.checkpoint import config, load

    torch.set_num_threads(1)
    if checkpoint is None:
        points = pictures.untrained(resolve(name)[1])
    else:
        lm, about = load(checkpoint, name), config(checkpoint)
        points = pictures.trained(lm, pictures.texts(task_of(about, corpus), about.train_length))
    if out:
        write_out(out, pictures.to_csv(points).encode())
    else:
        typer.echo(pictures.to_csv(points), nl=False)


def prepare(
    harness: Annotated[
        bool, typer.Option("--harness", help="Fetch the questions of `pebench harness` instead (86 MB).")
    ] = False,
    smollm2: Annotated[
        bool,
        typer.Option("--smollm2", help="Fetch the model of `pebench extend` instead: SmolLM2-135M (93 MB)."),
    ] = False,
) -> None:
    """Fetch, verify and cache the corpus books-v1; a second call returns at once."""
    from pebench.tasks.data.corpus import identity
    from pebench.tasks.data.corpus import prepare as prepare_books
    from pebench.tasks.lm_eval import questions as harness_data

    if harness and smollm2:
        raise typer.BadParameter("--harness and --smollm2 are two downloads; give one at a time")
    if harness:
        typer.echo(f"the questions of {len(harness_data.SOURCES)} tasks are in {harness_data.prepare(tell)}")
        return
    if smollm2:
        from pebench.suite.extend import smollm2 as pretrained

        folder = pretrained.prepare(tell)
        typer.echo(f"SmolLM2-135M-Instruct ({pretrained.LICENCE}, {pretrained.SOURCE}) is ready in {folder}")
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


def tokenise(
    source: Annotated[
        str,
        typer.Argument(
            help="A dataset of the Hub (HuggingFaceFW/fineweb-edu), or a file or folder of parquet, JSON lines, .txt.",
            callback=filled,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The folder of the shards.", **PATH)],
    name: Annotated[str, typer.Option(help="The dataset's configuration, such as sample-10BT.")] = "",
    revision: Annotated[str, typer.Option(help="The dataset's revision: a commit, tag or branch.")] = "",
    tokens: Annotated[
        int | None,
        typer.Option(
            parser=token_count, metavar="N", help="Roughly how many tokens to write: 10B, 500M; default: all."
        ),
    ] = None,
    text: Annotated[str, typer.Option(help="The column that holds the text.")] = "text",
    as_json: AsJson = False,
) -> None:
    """Tokenise text into shards with GPT-2's encoding, in the GRAPE reference's format; a second call continues."""
    from pebench.tasks.data.tokens import MANIFEST, Source, identity
    from pebench.tasks.data.tokens import tokenise as write_shards

    try:
        write_shards(Source(source, name, revision, text), out, tokens, progress=tell)
    except KeyboardInterrupt:
        kept = (out / MANIFEST).is_file()
        typer.echo(
            "interrupted; the same command continues behind the last whole shard"
            if kept
            else "interrupted before the first whole shard; the same command begins anew",
            err=True,
        )
        raise
    about = identity(out)
    if as_json:
        typer.echo(json.dumps(about, indent=1))
    else:
        typer.echo(f"{about['tokens']:,} tokens of {about['name']} ({about['sha256'][:12]}) are in {out}")
