import gc
import os
import signal
from collections.abc import Callable

import pytest
import torch

from pebench.tasks.data import corpus, tokens
from pebench.tasks.data.wheels import CorpusError
from pebench.tasks.lm_eval import questions

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
    """The corpus in the user's own cache."""
    demand(corpus.prepare)


@pytest.fixture(scope="session")
def harness_questions() -> None:
    """The questions of GRAPE's harness tasks in the user's own cache."""
    demand(questions.prepare)


@pytest.fixture(scope="session")
def bpe() -> None:
    """GPT-2's tokenizer in the user's own cache."""
    demand(tokens.prepare_tokenizer)


def demand(prepare: Callable[[], object]) -> None:
    """Prepare data that tests need. Without a network they are skipped; with CI set they fail."""
    try:
        prepare()
    except CorpusError as e:
        if "CI" in os.environ:
            raise
        pytest.skip(str(e))
