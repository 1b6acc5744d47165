"""Notes in what is built which commit it was built of, so that a record of an installed package can name it."""

import json
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).parent
NAME = "built.json"


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


class BuildPy(build_py):
    """Into a wheel; an editable install asks git itself."""

    def run(self) -> None:
        super().run()
        if not self.editable_mode and (text := commit()):
            (Path(self.build_lib) / "pebench" / NAME).write_text(text, encoding="utf-8")


class Sdist(sdist):
    """Into a source distribution."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        if text := commit():
            (Path(base_dir) / NAME).write_text(text, encoding="utf-8")


setup(cmdclass={"build_py": BuildPy, "sdist": Sdist})
