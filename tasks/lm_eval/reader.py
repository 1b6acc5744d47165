"""A language model as lm-eval sees one, and what it scores in a forced choice.

The only module of the tasks that imports lm-eval, which takes seconds: import it where it is used.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.task import Task
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager
from torch import Tensor

from pebench.tasks.base import TOKENS_AT_ONCE, Condition, LanguageModel, Score
from pebench.tasks.language import BEGIN
from pebench.tasks.lm_eval.books import YAML

PREFIX = "pebench_"  # of our tasks' names in lm-eval

Pair = tuple[tuple[str, str], list[int], list[int]]  # context and answer, as text and as bytes


class Piece(NamedTuple):
    """`read` goes in, and the last len(answer) of it predict `answer`."""

    request: int
    read: list[int]
    answer: list[int]


class Reader(TemplateLM):
    """A language model over bytes that reads at most `max_length` of them, and of longer inputs the last ones.

    `cut` counts the inputs that it did not see whole. `begins`: trained with `BEGIN` in front of each text,
    which then is the first of those bytes.
    """

    def __init__(self, model: LanguageModel, begins: bool, max_length: int):
        super().__init__()
        self.model = model
        self.begins = begins
        self.max_length = max_length
        self.cut = 0

    @property
    def eot_token_id(self) -> int:
        return BEGIN

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **options: Any) -> list[int]:
        return list(string.encode(errors="replace"))

    def loglikelihood(self, requests: list[Instance], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """As lm-eval says, but the bytes of the answer are exactly those asked for: no space moves into it."""
        pairs = [
            ((context, answer), self.tok_encode(context), self.tok_encode(answer))
            for context, answer in (request.args for request in requests)
        ]
        return self._loglikelihood_tokens(pairs)

    def _loglikelihood_tokens(self, requests: list[Pair], **options: Any) -> list[tuple[float, bool]]:
        """The log-likelihood (nats) of each answer, and whether it is the one of greedy decoding."""
        pieces = [
            piece
            for n, (_, context, answer) in enumerate(requests)
            for piece in self.pieces(n, context, answer)
        ]
        total, greedy = [0.0] * len(requests), [True] * len(requests)
        for piece, (log_likelihood, likeliest) in zip(pieces, self.scored(pieces), strict=True):
            total[piece.request] += log_likelihood
            greedy[piece.request] &= likeliest
        return list(zip(total, greedy, strict=True))

    def loglikelihood_rolling(self, requests: list[Instance], disable_tqdm: bool = False) -> list[float]:
        """The log-likelihood (nats) of whole texts, in windows of `max_length`, as the task `language` has them."""
        texts: list[tuple[tuple[str, str], list[int], list[int]]] = [
            (("", text), [], self.tok_encode(text)) for (text,) in (request.args for request in requests)
        ]
        return [log_likelihood for log_likelihood, _ in self._loglikelihood_tokens(texts)]

    def pieces(self, request: int, context: list[int], answer: list[int]) -> Iterator[Piece]:
        """An answer in pieces of at most `max_length`, each behind as many of the bytes before it as fit."""
        text, cut = context + answer, False
        for start in range(len(context), len(text), self.max_length):
            end = min(start + self.max_length, len(text))
            head = [BEGIN] if self.begins or start == 0 else []
            first = max(0, end - 1 - (self.max_length - len(head)))
            cut |= first > 0
            yield Piece(request, head + text[first : end - 1], text[start:end])
        self.cut += cut and bool(context)  # a text without context is meant to be read in windows

    def scored(self, pieces: list[Piece]) -> list[tuple[float, bool]]:
        """The log-likelihood of each piece's answer, and whether each of its bytes is the likeliest."""
        found: list[tuple[float, bool]] = [(0.0, True)] * len(pieces)
        order = sorted(range(len(pieces)), key=lambda n: len(pieces[n].read))
        while order:
            rows = max(1, TOKENS_AT_ONCE // len(pieces[order[-1]].read))
            batch, order = order[-rows:], order[:-rows]  # the longest first
            tokens = torch.zeros(len(batch), max(len(pieces[n].read) for n in batch), dtype=torch.int64)
            asked = torch.zeros_like(tokens, dtype=torch.bool)
            for row, n in enumerate(batch):
                end = len(pieces[n].read)  # what is behind it is hidden from it
                tokens[row, :end] = torch.tensor(pieces[n].read)
                asked[row, end - len(pieces[n].answer) : end] = True
            logits = self.model(tokens)[asked]
            answers = torch.tensor([byte for n in batch for byte in pieces[n].answer])
            log_likelihood = logits.double().log_softmax(-1).gather(1, answers[:, None])[:, 0]
            likeliest = logits.argmax(-1) == answers
            sizes = [len(pieces[n].answer) for n in batch]
            parts = zip(batch, log_likelihood.split(sizes), likeliest.split(sizes), strict=True)
            for n, values, right in parts:
                found[n] = (values.sum().item(), bool(right.all()))
        return found

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        raise NotImplementedError(
            "a function of tokens scores answers, and `pebench harness` lets models write"
        )


def forced_choice(
    reader: Reader, name: str, limit: int, condition: Condition, unigram: Tensor | None = None
) -> list[Score]:
    """The scores of a reader on the first `limit` questions of one of our tasks."""
    with quiet():
        manager = TaskManager(include_path=YAML, include_defaults=False)
        [(title, task)] = manager.load([PREFIX + name])["tasks"].items()
        results = evaluate(reader, {"tasks": {title: task}}, limit=limit, bootstrap_iters=0)
    return choice_scores(task, results["samples"][title], condition, unigram)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what lm-eval, datasets and the hub's client log below an error to themselves."""
    loggers = [logging.getLogger(name) for name in ("lm_eval", "datasets", "huggingface_hub")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def choice_scores(
    task: Task, samples: list[dict[str, Any]], condition: Condition, unigram: Tensor | None = None
) -> list[Score]:
    """Accuracy, accuracy by log-likelihood per character where the task has it, and bits per byte of the answer.

    With `unigram` (256,), log2 of byte frequencies, the bits have the floor that those score.
    """
    n, nats, size, chance = len(samples), 0.0, 0, 0.0
    floor, ceiling = (None, None) if unigram is None else (0.0, 0.0)
    for sample in samples:
        gold = task.doc_to_text(sample["doc"]) if task.multiple_input else sample["target"]
        gold = gold if isinstance(gold, list) else [gold]  # several may be right
        asked = [arguments[1] for arguments in sample["arguments"]]
        likelihoods = {right: sample["filtered_resps"][right][0] for right in gold}
        best = max(gold, key=likelihoods.__getitem__)
        nats -= likelihoods[best]
        size += len(answer := asked[best].encode())
        if unigram is not None and floor is not None:
            floor -= unigram[torch.tensor([*answer])].sum().item()
        chance += len(gold) / len(asked)
    found = [
        Score(name, sum(sample[metric] for sample in samples) / n, n, condition, chance / n, 1.0)
        for name, metric in (("accuracy", "acc"), ("accuracy_per_character", "acc_norm"))
        if metric in samples[0]
    ]
    size = max(1, size)
    floor = None if floor is None else floor / size
    return [*found, Score("bits_per_byte", nats / math.log(2) / size, size, condition, floor, ceiling)]
