"""Commands that publish results."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pebench.suite.commands.common import (
    PATH,
    AnyProfile,
    Beside,
    Records,
    Shown,
    sources,
    tell,
)

if TYPE_CHECKING:
    from pebench.suite.results.record import Record


class ExportFormat(StrEnum):
    csv = "csv"
    parquet = "parquet"
    eee = "eee"


def readable(records: Path) -> "list[Record]":
    """The newest record of each run in a folder; files that are none are named.

    The published records of the track EXTEND lie in a folder of their own.
    """
    from pebench.leaderboard.extension import latest, places
    from pebench.suite.results.record import read_all

    read = [read_all(folder) for folder in dict.fromkeys([records, *places([records])])]
    for _, unreadable in read:
        for file in unreadable:
            typer.echo(f"left out: {file.path}: {file.reason}", err=True)
    return latest(record for found, _ in read for record in found)


def build(
    records: Records = Path("records"),
    out: Annotated[Path, typer.Option(help="The dataset's folder.", **PATH)] = Path("dataset"),
) -> None:
    """Write a Hugging Face dataset folder: parquet, card, Croissant metadata."""
    from importlib.metadata import version

    from pebench.leaderboard.export.dataset import build as build_folder

    rows = build_folder(readable(records), out, version("pebench"))
    typer.echo(f"wrote {out}: " + ", ".join(f"{n} {name}" for name, n in rows.items()))


def export(
    kind: Annotated[
        ExportFormat, typer.Option("--format", help="The format; eee writes logs of Every Eval Ever.")
    ] = ExportFormat.csv,
    records: Records = Path("records"),
    out: Annotated[Path, typer.Option(help="The folder to write.", **PATH)] = Path("export"),
) -> None:
    """Write all results as CSV, parquet or Every Eval Ever logs."""
    from pebench.leaderboard.export.dataset import export as export_files

    files = export_files(readable(records), out, kind.value)
    typer.echo(f"wrote {len(files)} files to {out}")


def write_site(
    out: Annotated[Path, typer.Argument(help="The folder of the pages.", **PATH)],
    records: Shown = None,
    beside: Beside = None,
    profile: AnyProfile = None,
    url: Annotated[
        str, typer.Option(help="Where the site will be served; previews of links to it need that.")
    ] = "",
) -> None:
    """Write the leaderboard as static pages, for GitHub Pages, a static Space or any web host."""
    from importlib.metadata import version

    from pebench.leaderboard.export.site import build as build_site

    if url and not url.startswith(("https://", "http://")):
        raise typer.BadParameter(f"{url!r} is no web address; write it in full, as https://example.org/board")

    made = build_site(
        sources(records, beside), profile and profile.upper(), out, version("pebench"), url, tell
    )
    typer.echo(f"wrote {out}: " + ", ".join(f"{n} {name}" for name, n in made.items()))


def push(
    repo: Annotated[str, typer.Argument(help="The repository: owner/name.")],
    folder: Annotated[
        Path | None,
        typer.Option(
            help="The folder that `pebench build` wrote; for a Space, that `pebench site` wrote.", **PATH
        ),
    ] = None,
    message: Annotated[str, typer.Option(help="The message of the commit.")] = "Results of pebench",
    private: Annotated[
        bool, typer.Option("--private", help="Make the repository private, if it is new.")
    ] = False,
    space: Annotated[bool, typer.Option("--space", help="Upload a site to a static Space.")] = False,
) -> None:
    """Upload a dataset folder, or a site, to the Hugging Face Hub."""
    from pebench.leaderboard.export.hub import push as upload

    usual = Path("site" if space else "dataset")
    typer.echo(upload(repo, folder or usual, message, private=private, space=space))
