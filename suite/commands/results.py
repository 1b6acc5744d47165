"""Commands that show results."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer
from rich.table import Table

from pebench.suite.commands.common import (
    PATH,
    AnyProfile,
    AsJson,
    Beside,
    Shown,
    console,
    listed,
    refuse_two_forms,
    sources,
)

if TYPE_CHECKING:
    from pebench.leaderboard.extension import Track
    from pebench.suite.results.record import Unreadable


def board(
    records: Shown = None,
    beside: Beside = None,
    profile: AnyProfile = None,
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", "-t", help="Rank on these tasks only, with commas or -t again."),
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
    as_markdown: Annotated[bool, typer.Option("--markdown", help="Print a Markdown table.")] = False,
    order: Annotated[
        str,
        typer.Option(
            "--order",
            help="The order of the rows: mean, standardised, median-rank, learns, at-L, beyond or keeps.",
        ),
    ] = "mean",
) -> None:
    """Print the ranking. The profiles EXTEND and EXTEND_QUICK rank methods that extend a pretrained model."""
    from pebench.leaderboard import extension
    from pebench.leaderboard.board import make_board
    from pebench.leaderboard.printing import ordered, print_board, to_csv, to_json, to_markdown

    refuse_two_forms(json=as_json, csv=as_csv, markdown=as_markdown)
    if extension.is_track(profile):
        if tasks or order != "mean":
            raise typer.BadParameter(f"{profile} has no ranks: leave out --tasks and --order")
        found = extension.make_tracks(sources(records, beside), str(profile))
        print_track(*found, as_json, as_csv, as_markdown)
        return
    table = ordered(make_board(sources(records, beside), profile and profile.upper(), listed(tasks)), order)
    if as_json:
        typer.echo(json.dumps(to_json(table), indent=1))
    elif as_csv:
        typer.echo(to_csv(table), nl=False)
    elif as_markdown:
        typer.echo(to_markdown(table))
    else:
        print_board(table, console())


def print_track(
    tracks: "list[Track]", unreadable: "list[Unreadable]", as_json: bool, as_csv: bool, as_markdown: bool
) -> None:
    """Print the board of the track EXTEND."""
    from pebench.leaderboard import extension
    from pebench.leaderboard.printing import safe_csv

    if as_json:
        typer.echo(json.dumps(extension.to_json(tracks, unreadable), indent=1))
    elif as_csv:
        typer.echo(safe_csv(extension.to_frame(tracks)), nl=False)
    elif as_markdown:
        typer.echo(extension.to_markdown(tracks))
    else:
        extension.print_tracks(tracks, console())
    if not as_json:
        for file in unreadable:
            typer.echo(f"unreadable and left out: {file.path}: {file.reason}", err=True)


def compare(
    first: Annotated[str, typer.Argument(help="An encoding on the board.")],
    second: Annotated[str, typer.Argument(help="The encoding to compare it with.")],
    records: Shown = None,
    beside: Beside = None,
    profile: AnyProfile = None,
    as_json: AsJson = False,
) -> None:
    """Compare two encodings, overall and task by task: differences paired by seed, with 95 % intervals."""
    from pebench.encodings.registry import UnknownName
    from pebench.leaderboard.app.views import compare as compared
    from pebench.leaderboard.board import make_board
    from pebench.leaderboard.reading import BoardError, elsewhere
    from pebench.leaderboard.reports.verdicts import verdict

    folders = sources(records, beside)
    table = make_board(folders, profile and profile.upper())
    known = table.ranking.data.encodings
    if first == second:
        raise typer.BadParameter(f"{first} stands on both sides; give two encodings")
    for name in (first, second):
        others = [f"--profile {other}" for other in elsewhere(folders, name) if other != table.profile]
        if name not in known and others:
            raise BoardError(
                f"no score of {name} in {table.profile}; it has results with {' or '.join(others)}"
            )
        if name not in known:
            raise UnknownName("encoding on this board", name, known)
    rows = compared(table, first, [second]).drop(columns="other")
    if as_json:
        typer.echo(rows.to_json(orient="records", indent=1))
        return
    for sentence in verdict(table, first, second):
        typer.echo(sentence)
    shown = Table(
        box=None, header_style="bold", pad_edge=False, title=f"{first} minus {second}, {table.profile}"
    )
    for column in ("", "difference", "95 %", "p", "seeds"):
        shown.add_column(column, justify="left" if not column else "right")
    known = rows["p"].notna()
    for row, sure in zip(rows.itertuples(), known, strict=True):
        shown.add_row(
            row.task,
            f"{row.difference:+.3f}" if row.seeds else "-",
            f"{row.low:+.3f} to {row.high:+.3f}" if sure else "-",
            f"{row.p:.2g}" if sure else "-",
            f"{row.seeds}",
        )
    console().print(shown)
    typer.echo("Paired by seed, on the conditions that both have; the p-values are of single comparisons.")
    if previews := [e.name for e in table.entries if e.preview and e.name in (first, second)]:
        typer.echo(
            f"-: fewer than two seeds in some task of {' and '.join(previews)}, so nothing tells how far another "
            "training would move the difference."
        )
    elif not known.all():
        typer.echo("-: the two share no seed.")


def show_trend(
    records: Shown = None,
    beside: Beside = None,
    profiles: Annotated[
        list[str] | None,
        typer.Option(
            "--profile",
            "-p",
            help="Two or more profiles, with commas or -p again. Default: all that can be compared.",
        ),
    ] = None,
    quantity: Annotated[
        Literal["score", "at_length", "beyond"],
        typer.Option(help="The scores to compare: all, at the training length, or beyond it."),
    ] = "score",
    tasks: Annotated[
        list[str] | None,
        typer.Option("--tasks", "-t", help="Compare on these tasks alone, with commas or -t again."),
    ] = None,
    as_json: AsJson = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print CSV.")] = False,
) -> None:
    """Compare sizes of the model: does each difference of two encodings hold, and how does it change?"""
    from pebench.leaderboard.printing import safe_csv
    from pebench.leaderboard.reports.trend import legend, of_folder, to_frame, to_json, to_markdown

    refuse_two_forms(json=as_json, csv=as_csv)
    chosen = [profile.upper() for profile in listed(profiles)]
    found = of_folder(sources(records, beside), chosen, quantity, listed(tasks))
    if as_json:
        typer.echo(json.dumps(to_json(found), indent=1))
    elif as_csv:
        typer.echo(safe_csv(to_frame(found)), nl=False)
    else:
        typer.echo(f"{to_markdown(found)}\n\n{legend()}")


def compare_with_published(
    records: Shown = None,
    profile: AnyProfile = None,
    published: Annotated[
        Path | None,
        typer.Option(
            help="Your own CSV of tables instead of ours; columns as in leaderboard/published.csv.", **PATH
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Compare the order of the board with published tables: agreement, contradiction, or not separable."""
    from pebench.encodings.registry import names
    from pebench.leaderboard.board import make_board
    from pebench.leaderboard.reports.published import FILE, read
    from pebench.leaderboard.reports.validity import validity
    from pebench.leaderboard.reports.validity_tables import print_validity, to_json

    tables = read(published or FILE)
    found = validity(make_board(sources(records, None), profile and profile.upper()), tables, names())
    if as_json:
        typer.echo(json.dumps(to_json(found), indent=1))
    else:
        print_validity(found, console())


def open_app(
    records: Shown = None,
    beside: Beside = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="The port. Default: a free one.")] = None,
    host: Annotated[
        str, typer.Option(help="The address to listen on; 0.0.0.0 lets other machines see the app.")
    ] = "127.0.0.1",
    browser: Annotated[bool, typer.Option(help="Open the browser.")] = True,
) -> None:
    """Show the leaderboard in the browser."""
    from pebench.leaderboard.app.launch import run_app

    raise typer.Exit(run_app(sources(records, beside), port, browser, host))
