import gc
import os
import signal
from collections.abc import Callable

import pytest
import torch
from hypothesis import settings

from pebench.tasks.data import corpus, tokens
from pebench.tasks.data.wheels import CorpusError
from pebench.tasks.lm_eval import questions

# Of the user's own: where records lie, how git signs, and that output is for a terminal (as GitHub's runners say).
KEPT = ("PEBENCH_CACHE", "PEBENCH_KILLS")
for name in list(os.environ):
    if (name.startswith(("PEBENCH_", "GIT_")) and name not in KEPT) or name in ("FORCE_COLOR", "PY_COLORS"):
        del os.environ[name]
os.environ |= {
    "_TYPER_FORCE_DISABLE_TERMINAL": "1",
    "GIT_CONFIG_GLOBAL": os.devnull,
    "GIT_CONFIG_NOSYSTEM": "1",
}
settings.register_profile("busy", deadline=None)  # three workers on two cores
settings.load_profile("busy")
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
