import os

import pytest
import torch

from pebench.tasks.corpus import CorpusError, prepare

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def books() -> None:
    """The corpus, prepared; in continuous integration it must be there."""
    try:
        prepare()
    except CorpusError as e:
        if "CI" in os.environ:
            raise
        pytest.skip(f"books-v1 is not prepared: {e}")
