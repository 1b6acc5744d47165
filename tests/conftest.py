import gc
import os
import signal

import pytest
import torch

from pebench.tasks.data.corpus import CorpusError, prepare

torch.set_num_threads(1)
gc.disable()  # a fifth of the time of the imports
if not torch.cuda.is_available():
    os.environ.setdefault(
        "TRITON_INTERPRET", "1"
    )  # Triton looks once, and another test may be the first to import it
# A shell that starts the tests in the background has SIGINT ignored, and the processes that we start would inherit it.
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_finish() -> None:
    """What is imported stays: the collector need not look at all of it again."""
    gc.freeze()
    gc.enable()


@pytest.fixture(scope="session")
def books() -> None:
    """The corpus, prepared; in continuous integration it must be there."""
    try:
        prepare()
    except CorpusError as e:
        if "CI" in os.environ:
            raise
        pytest.skip(f"books-v1 is not prepared: {e}")
