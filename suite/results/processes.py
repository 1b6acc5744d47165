"""The environment of the Pythons that we start."""

import os

# Of our own process alone: a child would optimise asserts away, wait for a person, or run that person's file.
OURS = ("PYTHONOPTIMIZE", "PYTHONINSPECT", "PYTHONSTARTUP")


def environment(**more: str) -> dict[str, str]:
    """The environment of a Python that we start: it imports nothing from the working directory, and speaks UTF-8.

    An empty entry of PYTHONPATH means the working directory too; entries that name a folder stay.
    """
    given = {name: value for name, value in os.environ.items() if name not in OURS}
    folders = [folder for folder in given.pop("PYTHONPATH", "").split(os.pathsep) if folder]
    path = {"PYTHONPATH": os.pathsep.join(folders)} if folders else {}
    return {**given, **path, "PYTHONSAFEPATH": "1", "PYTHONUTF8": "1", **more}
