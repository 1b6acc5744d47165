"""Lays the packages out for mkdocstrings, before mkdocs starts.

mkdocstrings follows regular packages only, and `encodings/` has no `__init__.py`: it gets links that have one.
"""

import shutil
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
API = ROOT / "build/api/pebench"


def on_startup(**_: Any) -> None:
    """Called by mkdocs once."""
    shutil.rmtree(API, ignore_errors=True)
    (API / "encodings").mkdir(parents=True)
    for file in (ROOT / "pebench").glob("*.py"):
        shutil.copy(file, API)
    (API / "encodings/__init__.py").touch()
    for file in (ROOT / "encodings").glob("*.py"):
        (API / "encodings" / file.name).symlink_to(file)
    for part in ("tasks", "suite", "leaderboard"):
        (API / part).symlink_to(ROOT / part)
