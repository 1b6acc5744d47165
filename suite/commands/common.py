"""What several commands share: the console, options, and how lists of names are read."""

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from pebench.suite.results.cache import RECORDS

WIDE = 160  # columns in a pipe, where nobody's window is the limit


def console() -> Console:
    """A console as wide as the terminal, or wide enough for every table in a pipe."""
    screen = Console()
    return screen if screen.is_terminal else Console(width=WIDE)


def tell(line: str) -> None:
    """Print a line of progress, beside the output."""
    typer.echo(line, err=True)


@contextmanager
def uncollected() -> Iterator[None]:
    """No garbage collection: it takes a sixth of the time of large imports, and finds nothing in them."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def expanded(path: str | Path) -> Path:
    """A path with the home folder in the place of `~`, as `--records=~/r` and PEBENCH_RECORDS give it.

    BadParameter for an empty one, which would mean the working directory: often a variable of the shell is not set.
    """
    if not os.fspath(path):
        raise typer.BadParameter("an empty path; `.` is the working directory")
    return Path(os.path.expanduser(path))


def one_folder(path: str | Path) -> Path:
    """The folder that a command writes records into. BadParameter where PEBENCH_RECORDS names several, or published."""
    text = os.fspath(path)
    several = os.pathsep in text and not os.path.isdir(text)
    if text == os.environ.get(RECORDS) and (several or text == "published"):
        raise typer.BadParameter(
            f"{RECORDS}={text} is for commands that show results; name one folder with --records"
        )
    return expanded(path)


def refuse_empty(option: str) -> None:
    """An option that names nothing would mean everything: often a variable of the shell that is not set."""
    if not option.replace(",", "").strip():
        raise typer.BadParameter(f"{option!r} names nothing; leave the option out to mean all")


def refuse_two_forms(**asked: bool) -> None:
    """Output has one form. BadParameter where several are asked for, such as `json` and `csv`."""
    forms = [f"--{form}" for form, wanted in asked.items() if wanted]
    if len(forms) > 1:
        raise typer.BadParameter(f"{' and '.join(forms)} are different forms of the output; give one")


def filled(option: str | None) -> str | None:
    """An option that may be left out, but not be empty."""
    if option is not None:
        refuse_empty(option)
    return option


def shown_folder(path: str | Path) -> Path:
    """A folder of records to show; the word `published`, where no folder has that name, means the published ones."""
    from pebench.leaderboard.reading import folder_named

    text = os.fspath(path)
    return folder_named(text) if text == "published" and not os.path.isdir(text) else expanded(text)


def text_place(path: str | Path) -> Path:
    """The place of a text, which each run reads anew. BadParameter for a pipe or a device, which can be read once."""
    place = expanded(path)
    if place.exists() and not place.is_file() and not place.is_dir():
        raise typer.BadParameter(
            f"{path} is no file or folder, and every run reads the text anew; write it to a file"
        )
    return place


PATH: dict[str, Any] = {"parser": expanded, "metavar": "PATH"}
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
ProfileName = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        help="Which profile: `pebench ls profiles`. Default: the newest quick profile with published results.",
        show_default=False,
        callback=filled,
    ),
]
Records = Annotated[
    Path,
    typer.Option(
        help="The folder of the records.",
        envvar=RECORDS,
        show_default=True,
        **{**PATH, "parser": one_folder},
    ),
]
Corpus = Annotated[
    Path | None,
    typer.Option(
        help="Your own text instead of books-v1: a file, or a folder of .txt files. Tasks of tokens read a folder that "
        "`pebench data tokenise` wrote.",
        **{**PATH, "parser": text_place},
    ),
]
TheirEncoding = Annotated[
    str | None, typer.Option("--encoding", "-e", help="The encoding, if it is in a file: file.py:Class.")
]
Seeds = Annotated[int | None, typer.Option(min=1, max=1000, help="Seeds 0 to N-1; default: the profile's.")]
Jobs = Annotated[
    int | None,
    typer.Option(min=1, help="Runs at a time; default: the processor's cores, on a GPU by its memory too."),
]
Device = Annotated[str, typer.Option(help="The device: cpu, cuda, cuda:1 ...")]
Retry = Annotated[bool, typer.Option("--retry", help="Run again what failed before.")]
Stale = Annotated[
    bool, typer.Option("--stale", help="Load the model although code has changed since its training.")
]
Shown = Annotated[
    list[Path] | None,
    typer.Option(
        "--records",
        help="A folder of records; several are shown together. Default: those of PEBENCH_RECORDS, else records, else "
        "the published results, which `published` names too.",
        show_default=False,
        **{**PATH, "parser": shown_folder},
    ),
]


ModelFolder = Annotated[
    Path | None,
    typer.Option(
        "--model",
        help="The folder of a Llama-shaped checkpoint (config.json, safetensors, tokenizer.json). Default: SmolLM2, as "
        "`pebench data prepare --smollm2` makes it.",
        **PATH,
    ),
]


class Published(StrEnum):
    published = "published"


Beside = Annotated[
    Published | None, typer.Option(help="`published`: show these records beside the published ones.")
]


def usual(profile: str | None) -> str:
    """The profile that is named, else the usual one."""
    from pebench.leaderboard.about import USUAL

    return profile or USUAL


AnyProfile = Annotated[
    str | None,
    typer.Option(
        "--profile",
        "-p",
        help="The profile to show. Default: the profile with most records. Its newest version comes first once ten "
        "encodings have two seeds of every task there, and costs.",
        callback=filled,
    ),
]


def sources(records: list[Path] | None, beside: Published | None) -> list[Path]:
    """The folders to show: those that are named, the usual one, or, where there is none, the published results."""
    from pebench.leaderboard.about import PUBLISHED
    from pebench.leaderboard.reading import folder_named, folders_named

    usual = Path("records")
    given = records or list(map(folder_named, folders_named(os.environ.get(RECORDS, ""))))
    found = list(given) or ([usual] if usual.is_dir() else [])
    if not found:
        typer.echo("There is no folder `records` here: these are the published results.", err=True)
    if beside or not found:
        found.append(PUBLISHED)
    each = dict[Path, Path]()
    for folder in found:
        each.setdefault(folder.resolve(), folder)
    return [PUBLISHED if place == PUBLISHED.resolve() else folder for place, folder in each.items()]


def listed(options: list[str] | None) -> list[str]:
    """What an option names, with commas or several times, each once.

    >>> listed(["rope, alibi,rope,", "fox"])
    ['rope', 'alibi', 'fox']
    """
    for option in options or []:
        refuse_empty(option)
    parts = [part for option in options or [] for part in map(str.strip, option.split(","))]
    return list(dict.fromkeys(filter(None, parts)))


def specs(options: list[str] | None) -> list[str]:
    """The encodings that an option names. A comma in the path of a file that is there divides nothing."""
    from pebench.encodings.registry import names_a_file

    found = []
    for option in options or []:
        refuse_empty(option)
        parts = option.split(",")
        while parts:
            whole = (n for n in range(1, len(parts) + 1) if names_a_file(",".join(parts[:n]).strip()))
            n = next(whole, 1)
            found.append(",".join(parts[:n]).strip())
            del parts[:n]
    return list(dict.fromkeys(filter(None, found)))


class Machines(StrEnum):
    local = "local"
    ray = "ray"
    slurm = "slurm"


EngineName = Annotated[
    Machines, typer.Option("--engine", help="Where the runs are made: on this machine, on Ray or on Slurm.")
]
Address = Annotated[
    str | None, typer.Option(help="Ray: the cluster's address, HOST:PORT; default: the cluster here.")
]
Gpus = Annotated[
    float | None,
    typer.Option(min=0.01, help="Ray and Slurm: GPUs for each run; on Ray also a share such as 0.25."),
]
Mixed = Annotated[
    bool, typer.Option("--mixed", help="Ray: use nodes of different precision or PyTorch in one sweep.")
]
Ranks = Annotated[
    int | None,
    typer.Option(
        min=1, help="Processes that train one model together, by torchrun; on GPUs each has its own."
    ),
]
MicroBatch = Annotated[
    int | None,
    typer.Option(
        min=1, help="With --ranks: sequences in one forward pass of a process; a step then takes several."
    ),
]
Sharded = Annotated[
    bool,
    typer.Option("--sharded", help="With --ranks: split parameters and moments among the processes (FSDP2)."),
]
Recompute = Annotated[
    bool,
    typer.Option(
        "--recompute", help="With --ranks: recompute activations in the backward pass, to save memory."
    ),
]
Partition = Annotated[str | None, typer.Option(help="Slurm: the partition.")]
