"""What one method scores on one text, and what it costs. Rows come in steps, so that a run can be continued."""

import itertools
import re
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

import torch
from torch import Tensor

from pebench.encodings.base import Encoding
from pebench.encodings.extension import claims, extended, methods
from pebench.suite.extend.branches import Branches
from pebench.suite.extend.checkpoint import Checkpoint
from pebench.suite.extend.items import DIGITS, Item, items, windows
from pebench.suite.extend.model import CHUNK, Model, Reader
from pebench.suite.extend.profiles import LOSS, NONE, RETRIEVAL, Track
from pebench.suite.results.record import ANSWER, Answer, Row

TIMINGS = 9  # of each kind, the two models in turn
DECODED = 8  # tokens


class Step(NamedTuple):
    """A part of a cell's measurements, by name."""

    name: str
    measure: Callable[[], tuple[list[Row], list[Answer]]]


class Session:
    """A model and one method: its readers stay between tasks, so that what texts share is read once."""

    def __init__(self, checkpoint: Checkpoint, method: str, track: Track, corpus: Path | None = None):
        self.checkpoint, self.method, self.track, self.corpus = checkpoint, method, track, corpus
        self.trained = checkpoint.about.trained
        methods()  # a method's claims are known when its file is loaded
        self.dynamic = claims(method).dynamic
        self.base = Model(checkpoint, checkpoint.rope())
        self.reader: tuple[float, Reader] | None = None

    def lengths(self) -> list[int]:
        """The lengths of the texts, in tokens."""
        return [round(self.trained * m) for m in self.track.lengths]

    def factor(self, length: int) -> float:
        """By how much a text of this length is extended."""
        if self.dynamic:
            return max(1.0, length / self.trained)
        return max(1.0, self.track.farthest)

    def reading(self, length: int) -> Reader:
        """The reader of texts of this length, questions and answers included."""
        factor = self.factor(length)
        if self.reader is None or self.reader[0] != factor:
            self.reader = (factor, Reader(self.extended(factor)))
        return self.reader[1]

    def extended(self, factor: float) -> Model:
        """The model with the method."""
        return self.base.with_encoding(encoding(self.checkpoint, self.method, factor))

    def steps(self, task: str, number: int) -> Iterator[Step]:
        """The steps of a task on text `number`."""
        if task == LOSS:
            yield Step("loss", lambda: (self.losses(self.window(number)), []))
        elif task == RETRIEVAL:
            every = enumerate(items(self.checkpoint, self.window(number), self.lengths(), number))
            for length, some in itertools.groupby(every, lambda each: each[1].condition["length"]):
                asked = list(some)
                yield Step(f"{length} tokens", lambda asked=asked: self.answered(asked))  # type: ignore[misc]
        else:
            yield Step("cost", lambda: (self.costs(), []))

    def window(self, number: int) -> Tensor:
        """Text `number`, the same for all methods of a profile."""
        return windows(self.checkpoint, max(self.lengths()), self.corpus)[number]

    def losses(self, window: Tensor) -> list[Row]:
        """The mean loss of each stretch of a text, in nats a token.

        A dynamic method reads a text of the trained length with factor 1, so stretches up to there are of such a text.
        """
        losses = self.token_losses(window)
        if self.dynamic:
            near = self.token_losses(window[: self.trained])
            losses = torch.cat([near, losses[len(near) :]])
        ends = [round(self.trained * m) for m in self.track.stretches]
        rows = list[Row]()
        for start, end in zip([0, *ends], ends, strict=False):
            part = losses[max(0, start - 1) : end - 1]  # of the tokens from `start` on; the first has none
            rows.append(Row("loss", float(part.double().mean()), len(part), {"start": start, "length": end}))
        return rows

    def token_losses(self, text: Tensor) -> Tensor:
        """-ln p (T - 1,) of all tokens (T,) of a text but the first."""
        reader = self.reading(len(text))
        reader.rewind(0)  # the states of all tokens are wanted
        states = reader(text)
        return self.base.losses(states[:-1], text[1:])

    def answered(self, asked: Sequence[tuple[int, Item]]) -> tuple[list[Row], list[Answer]]:
        """What greedy decoding says to questions about one text, and how much likelier right answers are than wrong.

        `asked` numbers them. They are read side by side. The first numbers of five digits and more count, as many as
        were asked for.
        """
        items = [item for _, item in asked]
        text, length = items[0].text, int(items[0].condition["length"])
        questions = [self.tokens(item.question) for item in items]
        if len(text) + max(len(q) + item.asked for q, item in zip(questions, items, strict=True)) > length:
            raise AssertionError(
                f"{len(text)} of {length} tokens: ROOM is too small for questions and answers"
            )
        branches = Branches(self.reading(length), text)
        numbers = [branches.add() for _ in items]
        last = [states[-1] for states in branches.read(list(zip(numbers, questions, strict=True)))]
        margins = self.margins(branches, numbers, last, items)
        said = branches.greedy(numbers, last, [item.asked for item in items])
        rows, answers = list[Row](), list[Answer]()
        for (number, item), tokens, margin in zip(asked, said, margins, strict=True):
            words = self.checkpoint.tokenizer.decode(tokens)
            told = re.findall(rf"\d{{{DIGITS},}}", words)[
                : len(item.answers)
            ]  # further ones would be further tries
            right = [answer in told for answer in item.answers]
            floor = 0.1 ** (DIGITS * len(right))
            rows += [
                Row("exact", float(all(right)), 1, item.condition, floor, 1.0),
                Row("found", sum(right) / len(right), len(right), item.condition),
            ]
            if margin is not None:
                rows.append(Row("margin", margin, 1, item.condition))
            answers.append(
                Answer(
                    condition=item.condition,
                    item=number,
                    asked=item.question.strip()[:ANSWER],
                    answer=" ".join(item.answers)[:ANSWER],
                    said=words.strip()[:ANSWER],
                    right=all(right),
                )
            )
        return rows, answers

    def margins(
        self, branches: Branches, numbers: Sequence[int], last: Sequence[Tensor], items: Sequence[Item]
    ) -> list[float | None]:
        """By how much ln p of the right answer is above the likeliest wrong one's; None where none is wrong."""
        choices = [
            (n, value) for n, item in enumerate(items) if item.wrong for value in (*item.answers, *item.wrong)
        ]
        chances = branches.likelihoods(
            [numbers[n] for n, _ in choices],
            [last[n] for n, _ in choices],
            [self.tokens(f" {v}") for _, v in choices],
        )
        found = list[float | None]([None] * len(items))
        for n, some in itertools.groupby(zip(choices, chances, strict=True), lambda each: each[0][0]):
            right, *wrong = (chance for _, chance in some)
            found[n] = right - max(wrong)
        return found

    def tokens(self, words: str) -> Tensor:
        """The tokens (N,) of some words."""
        return torch.tensor(self.checkpoint.encode(words), dtype=torch.long)

    def costs(self) -> list[Row]:
        """Time of reading a chunk and of decoding at the end of the longest text, over the unextended model's.

        The cache is filled with what a short text left in it, many times over: times depend on lengths alone. The two
        models take turns, and the median of the ratios in processor time counts.
        """
        self.reader, length = None, max(self.lengths())  # without what was read before
        models = [self.extended(self.factor(length)), self.base]
        readers = [filled(model, length - CHUNK - DECODED) for model in models]
        times = [[timed(reader) for reader in readers] for _ in range(TIMINGS)]
        rows = list[Row]()
        for kind, tokens in (("prefill", CHUNK), ("decode", DECODED)):
            ratio = median(mine[kind] / base[kind] for mine, base in times)
            speed = tokens / median(mine[kind] for mine, _ in times)
            rows.append(Row(f"{kind}_ratio", ratio, TIMINGS, {"length": length}))
            rows.append(Row(f"{kind}_speed", speed, TIMINGS, {"length": length}))
        held = readers[0].cache.bytes_per_token
        rows.append(Row("cache_bytes", held, 1, {"length": length}))
        return rows


def encoding(checkpoint: Checkpoint, method: str, factor: float) -> Encoding:
    """The model's RoPE, extended by a method."""
    rope = checkpoint.rope()
    return rope if method == NONE else extended(rope, method, factor).eval()


def filled(model: Model, length: int) -> Reader:
    """A reader whose cache holds so many tokens, whatever they are."""
    reader = Reader(model)
    first = torch.arange(CHUNK) % model.about.vocab
    reader(first)
    for layer in reader.cache.layers:
        assert layer.k is not None
        assert layer.v is not None
        repeats = -(-(length + CHUNK + DECODED) // CHUNK)
        layer.k, layer.v = (side[..., :CHUNK, :].repeat(1, 1, repeats, 1) for side in (layer.k, layer.v))
    reader.held = first.repeat(-(-length // CHUNK))[:length]
    reader.cache.length = length
    return reader


def timed(reader: Reader) -> dict[str, float]:
    """Processor seconds of reading one more chunk and of decoding a few tokens; the cache is left as it was."""
    held, model, cache = reader.held, reader.model, reader.cache
    began = time.process_time()
    model.read(held[:CHUNK], cache)
    read = time.process_time()
    for token in held[:DECODED].split(1):
        model.logits(model.read(token, cache))
    done = time.process_time()
    cache.length = len(held)
    return {"prefill": read - began, "decode": done - read}
