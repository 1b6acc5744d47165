"""Texts and questions: windows of held-out books, and numbers hidden in them.

Books are of the test split: no method was searched on them. The pretrained model may have read them in its
training, and all methods share that. Windows do not overlap. Each length has one text with all its needles, so that it
is read once for all questions.
"""

import functools
import itertools
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from pebench.encodings.streams import stream
from pebench.suite.extend.checkpoint import Checkpoint, ModelError
from pebench.suite.results.record import Condition
from pebench.tasks.data.corpus import byte_tensor

KEYS = (
    *(
        "Lisbon",
        "Nairobi",
        "Oslo",
        "Kyoto",
        "Quito",
        "Cairo",
        "Dublin",
        "Havana",
        "Madrid",
        "Prague",
        "Seoul",
    ),
    *("Tunis", "Vienna", "Warsaw", "Zagreb", "Athens"),
)
THINGS = (  # each of a sentence of its own
    "password of the old safe",
    "telephone number of the bakery",
    "licence plate of the red car",
    "serial number of the telescope",
    "price of the silver watch",
    "population of the island",
    "height of the tallest tower",
    "depth of the frozen lake",
    "code of the garden gate",
    "weight of the bronze statue",
    "distance to the lighthouse",
    "length of the longest tunnel",
    "age of the fallen meteorite",
    "capacity of the concert hall",
    "salary of the night watchman",
    "temperature of the blast furnace",
)
DIGITS = 5
NEEDLES = 4  # keys with one value
DEPTHS = tuple((n + 0.5) / len(THINGS) for n in range(len(THINGS)))  # of single needles
SEVERAL = (0.125, 0.375, 0.625, 0.875)  # of the four keys
SAME = (0.25, 0.5, 0.75)  # of the values of one key
WRONG = 3  # answers beside the right one in a forced choice: other needles' of its kind
SNAP = 64  # tokens within which a needle moves back to the end of a sentence
ROOM = 448  # tokens kept for needles, question and answer


class Item(NamedTuple):
    """A question about a text. Its answers are right if they are the first numbers that are said, in any order."""

    condition: Condition
    text: Tensor  # with its needles, without the question
    question: str
    answers: tuple[str, ...]
    wrong: tuple[str, ...] = ()  # of a forced choice; empty where several answers are right

    @property
    def asked(self) -> int:
        """How many tokens are decoded: a number has a space, its digits and what separates it from the next."""
        return (DIGITS + 3) * len(self.answers) if len(self.answers) > 1 else DIGITS + 2


def windows(checkpoint: Checkpoint, length: int, corpus: Path | None = None) -> list[Tensor]:
    """All windows (length,) of the test books, a window of each book in turn. ModelError where there are none."""
    books = [book[: len(book) // length * length].view(-1, length) for book in books_of(checkpoint, corpus)]
    most = max(map(len, books), default=0)
    if not most:
        raise ModelError(
            f"no book of the test split has {length} tokens; use a shorter profile or other text"
        )
    return [book[n] for n in range(most) for book in books if n < len(book)]


@functools.cache
def _tokens(folder: Path, tokenizer: Callable[[str], list[int]], corpus: Path | None) -> tuple[Tensor, ...]:
    texts = (bytes(book.tolist()).decode(errors="ignore") for book in byte_tensor("test", corpus))
    return tuple(torch.tensor(tokenizer(text), dtype=torch.long) for text in texts)


def books_of(checkpoint: Checkpoint, corpus: Path | None) -> tuple[Tensor, ...]:
    """The tokens of each test book."""
    return _tokens(checkpoint.folder, checkpoint.encode, corpus)


def items(checkpoint: Checkpoint, window: Tensor, lengths: list[int], number: int) -> Iterator[Item]:
    """The questions of text `number`, the longest first."""
    for length in sorted(lengths, reverse=True):
        rng = torch.Generator().manual_seed(stream(number, f"extend {length}"))
        yield from questions(checkpoint, window[: length - ROOM], length, rng)


def questions(checkpoint: Checkpoint, hay: Tensor, length: int, rng: torch.Generator) -> Iterator[Item]:
    """All questions about one text: single needles, each of four keys, all four, and the three values of a fifth.

    A single needle is a sentence of its own form. The sentences of the five keys are alike.
    """
    things = [THINGS[i] for i in torch.randperm(len(THINGS), generator=rng).tolist()]
    *names, last = keys(NEEDLES + 1, rng)
    sizes = (len(THINGS), NEEDLES, len(SAME))
    values = iter(numbers(sum(sizes), rng))
    single, own, same = (list(itertools.islice(values, size)) for size in sizes)
    facts = [(depth, stated(*pair)) for depth, *pair in zip(DEPTHS, things, single, strict=True)]
    facts += [(depth, said(*pair)) for depth, *pair in zip(SEVERAL, names, own, strict=True)]
    facts += [(depth, said(last, value)) for depth, value in zip(SAME, same, strict=True)]
    text = hidden(checkpoint, hay, facts)
    for kind, depths, asked, right in (
        ("single", DEPTHS, map(ask_thing, things), single),
        ("multi_key", SEVERAL, map(ask, names), own),
    ):
        for n, (depth, question, value) in enumerate(zip(depths, asked, right, strict=True)):
            condition: Condition = {"length": length, "kind": kind, "depth": depth}
            wrong = tuple(right[(n + each) % len(right)] for each in range(1, WRONG + 1))
            yield Item(condition, text, question, (value,), wrong)
    whole = f"{', '.join(names[:-1])}, and {names[-1]}"
    yield Item({"length": length, "kind": "multi_query"}, text, ask_all(whole), tuple(own))
    yield Item({"length": length, "kind": "multi_value"}, text, ask_all(last), tuple(same))


def room(checkpoint: Checkpoint) -> int:
    """How many tokens needles, the longest question and its answers take at most, about."""
    value = "0" * DIGITS
    sentences = [stated(thing, value) for thing in THINGS]
    sentences += [said(key, value) for key in KEYS[: NEEDLES + len(SAME)]]
    question = ask_all(", ".join(KEYS[:NEEDLES]))
    return sum(len(checkpoint.encode(text)) for text in (*sentences, question)) + NEEDLES * (DIGITS + 3)


def stated(thing: str, value: str) -> str:
    """The sentence of a single needle."""
    return f" The {thing} is {value}."


def ask_thing(thing: str) -> str:
    """What the text is continued with, to be answered by a single needle's number."""
    return f"\n\nWhat is the {thing}?\nThe {thing} is"


def said(key: str, value: str) -> str:
    """The sentence of a key."""
    return f" One of the special magic numbers for {key} is: {value}."


def ask(key: str) -> str:
    """The same for the number of a key."""
    return f"\n\nWhat is the special magic number for {key}?\nThe special magic number for {key} is:"


def ask_all(keys: str) -> str:
    """The same for the numbers of several keys, or for all of one."""
    return (
        f"\n\nWhat are all the special magic numbers for {keys}?\nThe special magic numbers for {keys} are:"
    )


def keys(n: int, rng: torch.Generator) -> list[str]:
    """Different names."""
    return [KEYS[i] for i in torch.randperm(len(KEYS), generator=rng)[:n].tolist()]


def numbers(n: int, rng: torch.Generator) -> list[str]:
    """Different numbers of five digits; none begins with 0."""
    low, high = 10 ** (DIGITS - 1), 10**DIGITS
    found = dict[str, None]()
    while len(found) < n:
        found[str(int(torch.randint(low, high, (), generator=rng)))] = None
    return list(found)


def hidden(checkpoint: Checkpoint, hay: Tensor, facts: list[tuple[float, str]]) -> Tensor:
    """The text with each sentence at its depth (0 the beginning, 1 the end), behind the end of a sentence."""
    parts, start = list[Tensor](), 0
    for depth, sentence in sorted(facts):
        place = max(start, sentence_end(checkpoint, hay, round(depth * len(hay))))
        parts += [hay[start:place], torch.tensor(checkpoint.encode(sentence), dtype=torch.long)]
        start = place
    return torch.cat([*parts, hay[start:]])


def sentence_end(checkpoint: Checkpoint, hay: Tensor, place: int) -> int:
    """The last place behind a full stop, at most SNAP tokens back; the place itself where none is near."""
    for n in range(place, max(0, place - SNAP), -1):
        if (checkpoint.tokenizer.id_to_token(int(hay[n - 1])) or "").endswith("."):
            return n
    return place
