import hashlib
import re
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pebench.suite.results.metrics import length_unit
from pebench.suite.runs.cell import ASKS
from pebench.tasks import TASKS, make
from pebench.tasks.base import IGNORE, AnswerTask, Task
from pebench.tasks.copy import Copy
from pebench.tasks.data.corpus import CorpusError
from pebench.tasks.data.text import random_windows
from pebench.tasks.language import Language
from pebench.tasks.language_ends import LanguageEnds
from pebench.tasks.language_tokens import TokenTask
from pebench.tasks.needle import DIGITS, KINDS, LEAD, SENTENCE, Needle
from pebench.tasks.needle_text import NeedleText
from pebench.tasks.throughput import Throughput, pairs

LEARNED = [  # those over tokens: test_token_tasks.py
    name
    for name, cls in TASKS.items()
    if issubclass(cls, Task) and not issubclass(cls, TokenTask) and name not in ASKS
]
ANSWERED = [name for name in LEARNED if issubclass(TASKS[name], AnswerTask)]
LENGTH = 64


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(params=LEARNED)
def task(request: pytest.FixtureRequest, books: None) -> Task:
    learned = make(request.param)
    assert isinstance(learned, Task)
    return learned


def test_the_oracle_scores_one_under_every_condition(task: Task) -> None:
    for condition in task.conditions(LENGTH, (1, 2, 8)):
        scores = task.measure(task.oracle(), condition, 4, rng())
        counted = [s for s in scores if s.floor is not None]
        assert counted
        for s in counted:
            assert s.ceiling is not None
            assert (s.value - s.floor) / (s.ceiling - s.floor) == pytest.approx(1.0)


def test_no_input_scores_no_more_than_the_floor(task: Task) -> None:
    def blind(tokens: torch.Tensor) -> torch.Tensor:
        return torch.zeros(*tokens.shape, task.vocab)

    for condition in task.conditions(LENGTH, (1, 2)):
        for s in task.measure(blind, condition, 16, rng()):
            if s.floor is not None and s.ceiling is not None:
                share = (s.value - s.floor) / (s.ceiling - s.floor)
                assert share < 0.05  # a blind guess may be lucky, but not often


def test_lengths_that_are_no_tokens_have_a_unit_of_their_own(task: Task) -> None:
    assert (task.context(LENGTH) == LENGTH) == (length_unit(task.name) == "tokens")


def test_the_byte_frequencies_score_the_language_floor(books: None) -> None:
    from pebench.tasks.language import unigram

    task = Language()
    (condition,) = task.conditions(LENGTH, (1,))
    frequencies = unigram(None).float() * torch.log(torch.tensor(2.0))
    bits = task.measure(lambda t: frequencies.expand(*t.shape, 256), condition, 4, rng())[0]
    assert bits.floor is not None
    assert bits.value == pytest.approx(bits.floor, rel=1e-5)


def test_batches_have_the_size_that_was_asked_for(task: Task) -> None:
    for seed in range(20):
        tokens, targets = task.training(LENGTH, 2048, rng(seed))
        assert tokens.shape == targets.shape
        assert tokens.dtype == targets.dtype == torch.int64
        assert 0 < tokens.numel() <= 2048
        assert tokens.shape[1] <= task.context(LENGTH)
        assert int(tokens.max()) < task.vocab
        assert (targets != IGNORE).any(1).all()


def test_the_same_generator_gives_the_same_tokens(task: Task) -> None:
    one, two, other = (task.training(LENGTH, 512, rng(seed)).tokens for seed in (1, 1, 2))
    assert torch.equal(one, two)
    assert one.shape != other.shape or not torch.equal(one, other)


DIGESTS = {
    "copy": "c45b80a06ba7ce9b",
    "reverse": "a4fdecb4025ab04a",
    "addition": "5d97ba12572f90ee",
    "flipflop": "dafbfa8cf572edf7",
    "permutation": "657776ab6e28c4fb",
    "sort": "eceb0a3ce6858e20",
    "recall": "d7fe9880c8a3c543",
    "latest": "03f9f36496bdaa8c",
    "needle": "a6fbc5b118e50e8b",
    "language": "5ad9b3501d29ee02",
    "copy_repeat": "ee3a09886cc1042a",
    "copy_unique": "700e51f7d4636b03",
    "flipflop_error": "dafbfa8cf572edf7",
    "indexing": "dff92f66c4763ffd",
    "language_ends": "5ad9b3501d29ee02",
    "needle_text": "4c9e7d078d5a3bcf",
    "parity": "3049307ca9dc3e3c",
    "recall_again": "f39665836eb0b0e8",
}


def test_every_task_has_a_digest() -> None:
    assert set(DIGESTS) == set(LEARNED)


@pytest.mark.parametrize(("name", "digest"), DIGESTS.items())
def test_tokens_are_equal_on_every_platform(name: str, digest: str, books: None) -> None:
    task = make(name)
    assert isinstance(task, Task)
    tokens = task.training(LENGTH, 1024, rng(3)).tokens
    assert hashlib.sha256(bytes(tokens.flatten().tolist())).hexdigest()[:16] == digest


def test_training_lengths_are_mixed_up_to_the_longest() -> None:
    lengths = {Copy().training(8, 64, rng(seed)).tokens.shape[1] for seed in range(200)}
    assert lengths == {2 * n + 1 for n in range(1, 9)}


@settings(max_examples=50, deadline=None)
@given(
    length=st.integers(2 * SENTENCE, 200),
    depth=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0]),
    seed=st.integers(0, 99),
)
def test_a_needle_stands_once_at_its_depth_and_is_asked_for(length: int, depth: float, seed: int) -> None:
    hay = torch.full((3, length), ord("x"))
    tokens, targets = Needle().hide(hay, 1, rng(seed), depth)
    for row, target in zip(tokens.tolist(), targets.tolist(), strict=True):
        text = bytes(row)
        answer = bytes(t for t in target if t != IGNORE)
        question = text[-(SENTENCE - 1) :][:LEAD]
        assert len(answer) == DIGITS
        assert text.count(question + answer) == 1
        assert text.index(question) == round(depth * (length - 2 * SENTENCE))


@settings(max_examples=50, deadline=None)
@given(length=st.integers(8 * SENTENCE, 300), kind=st.sampled_from(KINDS), seed=st.integers(0, 99))
def test_several_needles_stand_apart_and_are_asked_for(length: int, kind: str, seed: int) -> None:
    hay = torch.full((3, length), ord("x"))
    tokens, targets = Needle().hide(hay, 4, rng(seed), kind=kind)
    for row, target in zip(tokens.tolist(), targets.tolist(), strict=True):
        said = re.findall(r" (.) is (....)", bytes(row).decode() + str(target[-1] - ord("0")))
        needles, questions = said[:4], said[4:]
        answers = bytes(t for t in target if t != IGNORE).decode()
        assert answers == "".join(value for _, value in questions)
        assert len({key for key, _ in needles}) == (1 if kind == "multi_value" else 4)
        if kind == "multi_key":
            assert len(questions) == 1
            assert questions[0] in needles
        elif kind == "multi_query":
            assert sorted(questions) == sorted(needles)
        else:
            assert questions == needles


def test_windows_never_cross_two_documents(tmp_path: Path) -> None:
    for n, letter in enumerate("abcdefgh"):
        (tmp_path / f"{n}.txt").write_text(letter * 6000)
    windows = random_windows("train", 200, 1000, rng(), tmp_path)
    assert (windows == windows[:, :1]).all()
    assert len(windows[:, 0].unique()) > 3
    with pytest.raises(CorpusError, match="add longer ones"):
        random_windows("train", 1, 7000, rng(), tmp_path)


def test_language_scores_the_same_bytes_at_every_length(books: None) -> None:
    task = Language()
    counts = {task.measure(task.oracle(), c, 2, rng())[0].n for c in task.conditions(128, (1, 2, 4, 8))}
    assert counts == {2 * 4096}


def test_training_text_never_appears_in_the_test(books: None) -> None:
    task = Language()
    train = {bytes(row.tolist()) for row in task.stretches(50, "train")[:, :64]}
    test = {bytes(row.tolist()) for row in task.stretches(50, "test")[:, :64]}
    assert len(train) == len(test) == 50
    assert not train & test


class Clock:
    """A workload that takes as long as it is told to."""

    def __init__(self, seconds: list[float]):
        self.seconds = iter(seconds)

    def train(self, length: int) -> float:
        return next(self.seconds)

    prefill = decode = train

    def tokens(self, kind: str, length: int) -> int:
        return 10

    def cache_bytes(self, length: int) -> float:
        return 256.0


def test_ratios_are_medians_of_pairs() -> None:
    slow = Clock(3 * [99.0, 2.0, 4.0, 300.0])  # of each four the first is the warm-up
    fast = Clock(3 * [1.0, 1.0, 2.0, 10.0])
    scores = {s.metric: s.value for s in Throughput().measure(slow, fast, {"length": 8}, 3)}
    assert scores["train_ratio"] == scores["decode_ratio"] == 2.0
    assert scores["prefill_speed"] == 10 / 4.0


def test_timings_take_turns() -> None:
    order: list[str] = []
    pairs(lambda n: order.append("a") or 1.0, lambda n: order.append("b") or 1.0, 8, 3)
    assert "".join(order) == "abababab"


def test_the_last_bytes_of_a_window_are_scored_by_themselves(books: None) -> None:
    task, condition = LanguageEnds(), {"length": 256}

    def model(tokens: torch.Tensor) -> torch.Tensor:
        """Knows the byte from position 200 on, and says nothing before."""
        known = task.oracle()(tokens)
        return known * (torch.arange(tokens.shape[1]) >= 200)[None, :, None]

    scores = {s.metric: s for s in task.measure(model, condition, 2, rng()) if s.metric != "bits_at"}
    assert scores["bits_last"].value == pytest.approx(8 * (200 - 192) / 64)
    assert scores["bits_last"].n == 2 * 4096 // 4
    assert scores["bits_per_byte"].value == pytest.approx(8 * 200 / 256)


def test_a_text_with_needles_trains_both_in_equal_shares_and_scores_both(books: None) -> None:
    task = NeedleText()
    begun = [int(task.training(LENGTH, 512, rng(seed)).tokens[0, 0]) == 0 for seed in range(100)]
    assert 35 <= sum(begun) <= 65
    conditions = task.conditions(64, (1, 2))
    assert {c["kind"] for c in conditions} == {"single", "multi_key", "text"}
    metrics = {task.measure(task.oracle(), c, 8, rng())[0].metric for c in conditions if c["length"] == 64}
    assert metrics == {"exact", "bits_per_byte"}
