"""The functions of `import pebench`: the suite and the leaderboard as a notebook uses them."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from pebench.encodings.base import Encoding
    from pebench.suite.proofs.certificate import Check
    from pebench.suite.results.record import Record


def load(profile: str | None = None) -> "pd.DataFrame":
    """The published ranking: one row an encoding, best first.

    Without a profile it is the one that `pebench board` shows. An installed package holds the published records too.
    BoardError where a profile has none.
    """
    from pebench.leaderboard.about import PUBLISHED

    return board(PUBLISHED, profile)


def records(folder: str | Path = "records") -> "list[Record]":
    """The newest record of each run in a folder. A file that is no record is left out, with a warning."""
    from pebench.suite.results.record import newest, read_all

    found, unreadable = read_all(existing(folder))
    for file in unreadable:
        warnings.warn(f"left out: {file.path}: {file.reason}", stacklevel=2)
    return newest(found)


def board(folder: str | Path = "records", profile: str | None = None) -> "pd.DataFrame":
    """The ranking of the records in a folder: one row an encoding, best first.

    Without a profile it is the one with most records, or its newer version where that is measured widely. BoardError
    where there is nothing to rank.
    """
    from pebench.leaderboard.board import make_board
    from pebench.leaderboard.printing import to_frame

    return to_frame(make_board(existing(folder), profile_of(profile)))


def resolve(spec: str) -> "tuple[str, type[Encoding]]":
    """The name and class of a registered name, of a sum such as `rope+fox`, or of `path/to/file.py:Class`.

    Each of them extended at evaluation time by a method: `rope@yarn`. UnknownName or EncodingError where there is
    none that can be run.
    """
    from pebench.encodings import registry

    if not isinstance(spec, str):
        raise TypeError(f"spec: give a name such as 'rope', or 'file.py:Class', not {spec!r}")
    return registry.resolve(spec)


def check(encoding: "str | type[Encoding]") -> "list[Check]":
    """The certificate of an encoding: a list of checks, each with `name`, `passed`, `measured` and `detail`.

    The encoding is a name, file.py:Class, or a class. It takes seconds and trains nothing. EncodingError where its
    file could not be submitted, or a hook returns something else than the protocol says.
    """
    import torch

    from pebench.encodings.base import Encoding
    from pebench.encodings.registry import demand_acceptable
    from pebench.suite.proofs.certificate import certify
    from pebench.suite.proofs.hooks import demand_hooks

    if isinstance(encoding, str):
        name, cls = resolve(encoding)
    elif isinstance(encoding, type) and issubclass(encoding, Encoding):
        name, cls = encoding.__name__.lower(), encoding
    else:
        raise TypeError(
            f"encoding: give a name, 'file.py:Class', or a subclass of pebench.Encoding, not {encoding!r}"
        )
    demand_acceptable(name, cls)
    demand_hooks(name, cls)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the sizes are small: more threads wait for one another
    try:
        return certify(name, cls)
    finally:
        torch.set_num_threads(threads)


def run(
    encoding: str | Sequence[str],
    profile: str | None = None,
    tasks: str | Sequence[str] = (),
    seeds: int | Sequence[int] | None = None,
    folder: str | Path = "records",
    *,
    jobs: int | None = None,
    device: str = "cpu",
    retry: bool = False,
) -> "list[Record]":
    """Train and measure encodings in worker processes, as `pebench run` does; returns their records.

    A run that has its record is not made again, and an interrupted call continues where it stopped.
    `encoding` is one name or file.py:Class, or several. `profile` is the command's where it is None. `tasks` is empty
    for all of the profile. `seeds` is a number of seeds, or the seeds themselves; None takes the profile's. Progress is
    printed to the terminal or below the notebook's cell.

    UnknownName, EncodingError, CorpusError, EnvironmentProblem or ValueError say what to change before anything runs.
    """
    from rich.console import Console

    from pebench.leaderboard.about import USUAL
    from pebench.suite.experiment.profiles import profile_named
    from pebench.suite.runs import runner
    from pebench.suite.runs.selection import chosen, demand_data, demand_device

    if jobs is not None and (not isinstance(jobs, int) or jobs < 1):
        raise ValueError(
            f"jobs is a number of runs at a time, 1 or more, or None for all processors, not {jobs!r}"
        )
    if not encoding:
        raise ValueError("encoding names nothing; give 'rope', 'file.py:Class', or several in a list")
    settings = profile_named(profile_of(profile) or USUAL)
    specs, wanted = chosen(settings, listed("encoding", encoding), listed("tasks", tasks))
    numbers = seeds_of(settings.seeds if seeds is None else seeds)
    demand_device(device)
    demand_data(wanted)
    cells = runner.cells(settings, specs, wanted, numbers, None)
    place = Path(folder).expanduser()
    runner.sweep(settings, cells, place, jobs, device=device, retry=retry, console=Console()).run()
    return [record for cell in cells if (record := runner.existing(cell, place))]


def profile_of(name: str | None) -> str | None:
    """A profile's name in capitals; None where none is given. TypeError for anything else."""
    if name is not None and not isinstance(name, str):
        raise TypeError(f"profile: give a name such as 'STANDARD_2', or None, not {name!r}")
    return name.upper() if name else None


def listed(what: str, names: str | Sequence[str]) -> list[str]:
    """One name or several, as a list. TypeError for anything else: a worker process finds an encoding by its name."""
    given = [names] if isinstance(names, str) else list(names) if isinstance(names, Sequence) else [names]
    if wrong := [name for name in given if not isinstance(name, str)]:
        raise TypeError(f"{what}: give names such as 'rope', or 'file.py:Class', not {wrong[0]!r}")
    return list(dict.fromkeys(given))


def seeds_of(seeds: int | Sequence[int]) -> list[int]:
    """The seeds 0 to N - 1 of a number N, or those that are given. ValueError where there is none."""
    several = isinstance(seeds, Sequence) and not isinstance(seeds, str)
    numbers = list(seeds if several else range(seeds) if isinstance(seeds, int) else ())  # type: ignore[arg-type]
    if not numbers or any(not isinstance(n, int) or n < 0 for n in numbers):
        raise ValueError(f"seeds is a number of seeds, 1 or more, or a list of whole numbers, not {seeds!r}")
    return numbers


def existing(folder: str | Path) -> Path:
    """The folder as a path. FileNotFoundError where there is none."""
    path = Path(folder).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(f"there is no folder {path}; `pebench run` or pebench.run() makes one")
    return path
