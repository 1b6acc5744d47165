"""The published results of an installed package, unpacked into the user's cache."""

import io
import os
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pebench.leaderboard import shipped
from pebench.leaderboard.board import make_board
from pebench.leaderboard.reading import BoardError
from pebench.suite.results import cache
from tests.publishing import publish

FILES = {f"records/QUICK/copy/rope/{n}.json": f"{{{n}}}" for n in range(200)} | {"extended/a.json": "{}"}


def packed() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:xz") as archive:
        for name, text in FILES.items():
            about = tarfile.TarInfo(name)
            about.size = len(text)
            archive.addfile(about, io.BytesIO(text.encode()))
    return data.getvalue()


def held(folder: Path) -> dict[str, str]:
    found = (path for path in folder.rglob("*.json"))
    return {path.relative_to(folder).as_posix(): path.read_text() for path in found}


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with an archive, and a cache folder of its own."""
    archive = tmp_path / "package" / "published.tar.xz"
    archive.parent.mkdir()
    archive.write_bytes(packed())
    monkeypatch.setattr(shipped, "ARCHIVE", archive)
    monkeypatch.setenv("PEBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    for function in (shipped.folder, cache.temporary_folder):
        function.cache_clear()
    yield tmp_path
    for function in (shipped.folder, cache.temporary_folder):
        function.cache_clear()


def test_an_archive_is_unpacked_once_into_the_cache(installed: Path) -> None:
    folder = shipped.folder()
    assert folder.parent == installed / "cache"
    assert held(folder) == FILES
    before = folder.stat().st_ino
    shipped.folder.cache_clear()
    assert shipped.folder().stat().st_ino == before
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_a_folder_that_lost_a_file_is_unpacked_again(installed: Path) -> None:
    folder = shipped.folder()
    (folder / "extended/a.json").unlink()
    shipped.folder.cache_clear()
    assert held(shipped.folder()) == FILES
    (folder / shipped.COUNT).write_text("many")
    shipped.folder.cache_clear()
    assert held(shipped.folder()) == FILES
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_several_at_once_find_one_whole_folder(installed: Path) -> None:
    target = installed / "cache/one"
    with ThreadPoolExecutor(6) as pool:
        folders = list(pool.map(lambda _: held(shipped.unpacked(packed(), target)), range(6)))
    assert folders == [FILES] * 6
    assert [path.name for path in target.parent.iterdir()] == ["one"]


def test_a_new_archive_has_a_folder_of_its_own(installed: Path) -> None:
    first = shipped.folder()
    shipped.ARCHIVE.write_bytes(packed() + b"\0" * 4)
    shipped.folder.cache_clear()
    assert shipped.folder() != first
    assert held(first) == held(shipped.folder()) == FILES


def test_without_a_cache_it_is_the_temporary_folder_and_without_that_none(
    installed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (installed / "file").touch()
    monkeypatch.setenv("PEBENCH_CACHE", str(installed / "file" / "cache"))
    folder = shipped.folder()
    assert folder.parent == installed / f"pebench-{os.getuid()}"
    assert held(folder) == FILES
    for function in (shipped.folder, cache.temporary_folder):
        function.cache_clear()
    monkeypatch.setattr(shipped, "temporary_folder", lambda: installed / "file")
    assert shipped.folder() == installed / "package"


def test_who_can_write_nothing_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    publish(monkeypatch, tmp_path / "records")
    with pytest.raises(BoardError, match="set PEBENCH_CACHE to a folder that can be written"):
        make_board(tmp_path / "records")
