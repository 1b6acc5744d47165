"""lm-eval and our checkpoints: a model class for any of its tasks, and the measuring of forced-choice tasks.

Importing this module registers the model: `lm_eval.simple_evaluate(model="pebench", model_args={"checkpoint":
"...", "max_length": 512}, tasks=...)`. Our own tasks are in the folder `pebench.tasks.harness_books.YAML`.
"""

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from lm_eval.api.instance import Instance
from lm_eval.api.model import TemplateLM
from lm_eval.api.registry import register_model
from lm_eval.api.task import Task
from lm_eval.evaluator import evaluate
from lm_eval.tasks import TaskManager

from pebench.encodings.registry import UnknownName
from pebench.suite import checkpoint as checkpoints
from pebench.suite.checkpoint import CheckpointError
from pebench.suite.generate import generate
from pebench.suite.model import LM, LengthError
from pebench.suite.training import precision
from pebench.tasks.base import TOKENS_AT_ONCE, Score
from pebench.tasks.corpus import CorpusError
from pebench.tasks.harness_books import YAML
from pebench.tasks.language import BEGIN

PREFIX = "pebench_"  # of our tasks' names in lm-eval
FORCED_CHOICE = (
    *("arc_easy", "arc_challenge", "hellaswag", "openbookqa", "piqa", "winogrande", "sciq"),
    "passages",
)
ANSWER = 256  # bytes that a task may generate where it does not say


Pair = tuple[tuple[str, str], list[int], list[int]]  # context and answer, as text and as bytes


class Piece(NamedTuple):
    """`read` goes in, and the last len(answer) of it predict `answer`."""

    request: int
    read: list[int]
    answer: list[int]


class ByteLM(TemplateLM):
    """A standard LM over bytes as lm-eval sees models.

    It reads at most `max_length` bytes (default: its training length), and of longer inputs the last ones;
    `cut` counts the inputs of which it did not see all. `begins`: trained with `BEGIN` in front of each text,
    which then is the first of those bytes.
    """

    def __init__(self, lm: LM, begins: bool, max_length: int | None = None, seed: int = 0):
        super().__init__()
        limit = lm.encoding.max_length
        length = max_length or lm.encoding.shape.train_length
        if lm.size.vocab != 256:
            raise CheckpointError(
                "this model reads the symbols of its task, not bytes; take one of a text task"
            )
        if length < 2:
            raise LengthError(f"a maximum of {length} bytes leaves nothing to read; give at least 2")
        if limit is not None and length > limit:
            raise LengthError(f"a maximum of {length} bytes, but this encoding is defined up to {limit}")
        self.lm = lm.eval()
        self.begins = begins
        self.max_length = length
        self.rng = torch.Generator().manual_seed(seed)
        self.cut = 0
        self._device = next(lm.parameters()).device

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

    def generate_until(self, requests: list[Instance], disable_tqdm: bool = False) -> list[str]:
        return [self.continued(*request.args) for request in requests]

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

    @torch.no_grad()
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
            with precision(self._device):
                logits = self.lm(tokens.to(self._device), asked=asked.to(self._device)).float().cpu()
            answers = torch.tensor([byte for n in batch for byte in pieces[n].answer])
            log_likelihood = logits.double().log_softmax(-1).gather(1, answers[:, None])[:, 0]
            likeliest = logits.argmax(-1) == answers
            sizes = [len(pieces[n].answer) for n in batch]
            parts = zip(batch, log_likelihood.split(sizes), likeliest.split(sizes), strict=True)
            for n, values, right in parts:
                found[n] = (values.sum().item(), bool(right.all()))
        return found

    def continued(self, context: str, options: dict[str, Any]) -> str:
        """What is generated behind a context, until one of the strings `until` or `max_gen_toks` bytes."""
        ends = options.get("until") or []
        stops = [stop.encode() for stop in ([ends] if isinstance(ends, str) else ends) if stop]
        n = min(int(options.get("max_gen_toks", ANSWER)), self.max_length // 2)  # half is the context's
        temperature = float(options.get("temperature", 0.0)) if options.get("do_sample") else 0.0
        text = self.tok_encode(context)
        head = [BEGIN] if self.begins or not text else []
        room = self.max_length - n - len(head) + 1  # the last byte is not read
        self.cut += len(text) > room
        said = bytearray()
        for byte in generate(self.lm, head + text[-room:], n, temperature, self.rng):
            said.append(byte)
            places = [place for stop in stops if (place := said.find(stop)) >= 0]
            if places:
                return said[: min(places)].decode(errors="replace")
        return said.decode(errors="replace")


@register_model("pebench")
class CheckpointLM(ByteLM):
    """A checkpoint of pebench. CheckpointError and LengthError say why it cannot be measured."""

    def __init__(
        self,
        checkpoint: str | Path,
        encoding: str | None = None,
        max_length: int | None = None,
        device: str = "cpu",
        stale: bool = False,
        batch_size: int | str | None = None,  # lm-eval's; here memory bounds a batch
        max_batch_size: int | None = None,
    ):
        path = Path(checkpoint)
        lm = checkpoints.load(path, encoding, stale).to(device)
        super().__init__(lm, checkpoints.config(path).task == "language", max_length)


class Measured(NamedTuple):
    """One task: how many of its questions were asked, how many inputs were cut, and the scores."""

    task: str
    questions: int
    cut: int
    scores: list[Score]


def tasks() -> list[str]:
    """The names of our tasks, as `measure` takes them."""
    names = TaskManager(include_path=YAML, include_defaults=False).all_subtasks
    return [name.removeprefix(PREFIX) for name in names]


def measure(
    lm: ByteLM, names: list[str], limit: int | None = None, online: bool = False
) -> Iterator[Measured]:
    """Measure tasks through lm-eval, one after another, on their first `limit` questions (None: all).

    Offline the names are ours, and the questions come out of the cache: UnknownName, or CorpusError where
    they are not prepared. `online` the names are lm-eval's own, with its loaders: CorpusError where it
    cannot have them.
    """
    with quiet():
        manager = TaskManager(include_path=None if online else YAML, include_defaults=online)
        known = manager.all_tasks if online else [n.removeprefix(PREFIX) for n in manager.all_subtasks]
        for name in names:
            if name not in known:
                raise UnknownName("harness task", name, known)
        for name in names:
            for title, task in loaded(manager, name, online).items():
                cut = lm.cut
                results = evaluate(lm, {"tasks": {title: task}}, limit=limit, bootstrap_iters=0)
                asked = results["n-samples"][title]["effective"]
                yield Measured(
                    title.removeprefix(PREFIX), asked, lm.cut - cut, scores(title, task, results, asked)
                )


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


def loaded(manager: TaskManager, name: str, online: bool) -> dict[str, Task]:
    """The tasks of this name: one, or in lm-eval's groups several."""
    if not online:
        return manager.load([PREFIX + name])["tasks"]
    try:
        return manager.load([name])["tasks"]
    except Exception as e:  # the loaders of the hub, of data sets and of tasks raise what they like
        raise CorpusError(
            f"lm-eval cannot load {name!r}: {type(e).__name__}: {e}. It needs the network and the Hugging Face "
            f"hub; without --online, {', '.join(FORCED_CHOICE)} are asked from local data "
            "(`pebench data prepare --harness`)"
        ) from e


def scores(title: str, task: Task, results: dict[str, Any], asked: int) -> list[Score]:
    """The scores of one task: of a forced choice with the level of chance, else what lm-eval reports."""
    condition: dict[str, int | float | str] = {"task": title.removeprefix(PREFIX)}
    if task.OUTPUT_TYPE == "multiple_choice":
        return choice_scores(task, results["samples"][title], condition)
    return [
        Score(metric.partition(",")[0], float(value), asked, condition)
        for metric, value in results["results"][title].items()
        if "," in metric and isinstance(value, int | float) and "_stderr," not in metric
    ]


def choice_scores(
    task: Task, samples: list[dict[str, Any]], condition: dict[str, int | float | str]
) -> list[Score]:
    """Accuracy, accuracy by log-likelihood per character where the task has it, and bits per byte of the answer."""
    n, nats, size, chance = len(samples), 0.0, 0, 0.0
    for sample in samples:
        gold = task.doc_to_text(sample["doc"]) if task.multiple_input else sample["target"]
        gold = gold if isinstance(gold, list) else [gold]  # several may be right
        asked = [arguments[1] for arguments in sample["arguments"]]
        likelihoods = {right: sample["filtered_resps"][right][0] for right in gold}
        best = max(gold, key=likelihoods.__getitem__)
        nats -= likelihoods[best]
        size += len(asked[best].encode())
        chance += len(gold) / len(asked)
    found = [
        Score(name, sum(sample[metric] for sample in samples) / n, n, condition, chance / n, 1.0)
        for name, metric in (("accuracy", "acc"), ("accuracy_per_character", "acc_norm"))
        if metric in samples[0]
    ]
    return [*found, Score("bits_per_byte", nats / math.log(2) / max(1, size), size, condition)]


def above_chance(score: Score) -> bool:
    """Whether an accuracy is above its chance level: one-sided, at 5 %, by the normal approximation."""
    assert score.floor is not None
    return score.value - score.floor > 1.645 * math.sqrt(score.floor * (1 - score.floor) / score.n)
