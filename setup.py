"""Puts two things into a wheel: the commit that it was built of, which records name, and the published results."""

import json
import subprocess
import tarfile
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).parent
NAME = "built.json"
PUBLISHED = ("elsewhere", "extended", "records")  # folders in leaderboard/


def commit() -> str:
    """The JSON of the commit and whether files differ from it; empty where this is no checkout."""
    if (HERE / NAME).is_file():  # a source distribution
        return (HERE / NAME).read_text(encoding="utf-8")
    if not (HERE / ".git").exists():
        return ""
    git = ["git", "-C", str(HERE)]
    head = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True)
    changes = subprocess.run(
        [*git, "status", "--porcelain", "--untracked-files=no"], capture_output=True, text=True
    )
    if head.returncode or changes.returncode:
        return ""
    return json.dumps({"commit": head.stdout.strip(), "dirty": bool(changes.stdout.strip())}) + "\n"


def pack(archive: Path) -> None:
    """Write the published results as one file: alike texts in one stream take a tenth. Same files, same bytes."""
    with tarfile.open(archive, "w:xz", preset=9) as tar:
        for part in PUBLISHED:
            for path in sorted((HERE / "leaderboard" / part).rglob("[!.]*")):
                if path.suffix in (".json", ".csv"):
                    about = tarfile.TarInfo(path.relative_to(HERE / "leaderboard").as_posix())
                    about.size = path.stat().st_size
                    with path.open("rb") as file:
                        tar.addfile(about, file)


class BuildPy(build_py):
    """Into a wheel; an editable install asks git itself, and reads the folders."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return
        package = Path(self.build_lib) / "pebench"
        if text := commit():
            (package / NAME).write_text(text, encoding="utf-8")
        pack(package / "leaderboard" / "published.tar.xz")


class Sdist(sdist):
    """Into a source distribution."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        if text := commit():
            (Path(base_dir) / NAME).write_text(text, encoding="utf-8")


setup(cmdclass={"build_py": BuildPy, "sdist": Sdist})
