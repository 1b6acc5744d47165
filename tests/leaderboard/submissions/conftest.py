import shutil
from pathlib import Path

import pytest

from pebench.suite.results.record import Record, read_all
from tests.made_submission import standing, submitted


@pytest.fixture(scope="session")
def board(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return read_all(standing(tmp_path_factory.mktemp("board")))[0]


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return submitted(tmp_path_factory.mktemp("whole"))[2]


@pytest.fixture
def folder(whole: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(whole, tmp_path / "my_idea"))
