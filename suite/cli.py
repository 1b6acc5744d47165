"""The command line. It may import everything, but only inside the command that needs it: `--help` is quick.

Exit codes: 0 fine, 1 a check failed, 2 wrong use, 3 something of the environment or the data is missing,
4 part of a sweep failed, 130 interrupted.
"""

import sys
from collections.abc import Callable
from typing import Annotated

import typer

from pebench.suite.commands import extend, models, publish, results, runs, start, submissions
from pebench.suite.commands.errors import explained, worded
from pebench.suite.commands.terminal import speak_plainly

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="A benchmark of positional encodings for causal Transformer language models.",
    epilog="Start with `pebench ls encodings`, `pebench data prepare`, `pebench run` and `pebench board`.",
)
data = typer.Typer(no_args_is_help=True, help="The real text that tasks are made of.")

PANELS: dict[str, dict[str, Callable[..., None]]] = {
    "Start": {
        "ls": start.ls,
        "show": start.show,
        "new": start.new,
        "check": start.check,
        "prove": start.prove_identities,
        "pictures": start.tabulate_pictures,
    },
    "Run": {
        "run": runs.run,
        "status": runs.status,
        "nodes": runs.show_nodes,
        "cell": runs.run_listed,
        "extend": extend.extend,
    },
    "Results": {
        "board": results.board,
        "compare": results.compare,
        "trend": results.show_trend,
        "validity": results.compare_with_published,
        "app": results.open_app,
    },
    "Trained models": {"generate": models.write_text, "harness": models.run_harness},
    "Submit": {
        "submit": submissions.submit,
        "validate": submissions.validate_folder,
        "accept": submissions.accept_folder,
        "reproduce": submissions.reproduce_record,
    },
    "Publish": {
        "build": publish.build,
        "export": publish.export,
        "site": publish.write_site,
        "push": publish.push,
    },
}
for panel, commands in PANELS.items():
    for name, command in commands.items():
        app.command(name, rich_help_panel=panel)(command)
data.command("prepare")(start.prepare)
data.command("tokenise")(start.tokenise)
app.add_typer(data, name="data", rich_help_panel="Start")


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


def main() -> None:
    """The entry point `pebench`."""
    speak_plainly()
    try:
        app()
    except Exception as e:
        code = explained(e)
        if code is None:
            raise
        typer.echo(f"pebench: {worded(e)}", err=True)
        sys.exit(code)


if __name__ == "__main__":
    main()
