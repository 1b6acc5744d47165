"""The data of our lm-eval tasks, made of the test split of books-v1: any lm-eval model can be measured on them.

They are text, not bytes, so windows of books are taken where they are valid UTF-8. lm-eval calls `books` and
`questions`, which the YAML files in the folder `lm_eval` name.
"""

import json
import random
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from pebench.suite.results.cache import cache_folder
from pebench.tasks.base import Condition
from pebench.tasks.data.corpus import CorpusError, byte_tensor
from pebench.tasks.data.text import random_windows
from pebench.tasks.data.wheels import build_once, sha256, silent
from pebench.tasks.language import Language
from pebench.tasks.lm_eval import questions as harness_data
from pebench.tasks.needle import DEPTHS, DIGITS, Needle

if TYPE_CHECKING:
    from datasets import Dataset

NAME = "lm-eval-v3"  # of the folder in the cache: other data get another name
YAML = Path(__file__).parent
LENGTHS = (256, 1024, 4096, 16384)  # bytes, the question and the answer included
PER_DEPTH = 20
CHOICES = 10  # of a needle's question
STRETCHES, PASSAGES = 64, 500
CONTEXT, PASSAGE = 256, 64  # bytes before a passage, and in it
Row = dict[str, Any]


def needles(length: int) -> Iterator[Row]:
    """Questions of the task `needle`, each with ten numbers to choose from: chance is 0.1."""
    task, wrong = Needle(), random.Random(length)
    for depth in DEPTHS:
        rng = torch.Generator().manual_seed(1000 * length + round(100 * depth))  # other windows at each depth
        where: Condition = {"length": length, "kind": "single", "depth": depth}
        batch = task.examples(where, 4 * PER_DEPTH, rng, "test")
        texts = torch.cat([batch.tokens, batch.targets[:, -1:]], dim=1)
        for text in valid(texts, PER_DEPTH):
            answer = text[-DIGITS:]
            others = [f"{n:0{DIGITS}}" for n in wrong.sample(range(10**DIGITS), CHOICES)]
            gold = wrong.randrange(CHOICES)
            numbers = [other for other in others if other != answer][: CHOICES - 1]
            numbers.insert(gold, answer)
            # The space before the digits goes with them: other models' tokens begin with it.
            yield {
                "context": text[: -DIGITS - 1],
                "choices": [f" {number}" for number in numbers],
                "gold": gold,
                "depth": depth,
            }


def passkeys(length: int) -> Iterator[Row]:
    """A pass key in a book, in the words of Mohtashami and Jaggi (2023, arXiv:2305.16300)."""
    digits = random.Random(length)
    opening = (
        "There is an important info hidden inside a lot of irrelevant text. Find it and memorize it. I will quiz "
        "you about the important information there.\n\n"
    )
    for depth in DEPTHS:
        rng = torch.Generator().manual_seed(1000 * length + round(100 * depth))  # other windows at each depth
        for text in valid(random_windows("test", 4 * PER_DEPTH, length, rng, None), PER_DEPTH):
            key = f"{digits.randrange(10_000, 100_000)}"
            told = f"\nThe pass key is {key}. Remember it. {key} is the pass key.\n"
            asked = "\n\nWhat is the pass key? The pass key is"
            room = length - len(opening) - len(told) - len(asked) - len(f" {key}")
            hay = text.encode()[: max(0, room)].decode(errors="ignore")
            place = round(depth * len(hay))
            yield {
                "context": opening + hay[:place] + told + hay[place:] + asked,
                "answer": key,
                "depth": depth,
            }


def stretches() -> Iterator[Row]:
    """Pieces of the books, as the task `language` cuts them, without cut characters at their ends."""
    for stretch in Language().stretches(STRETCHES, "test"):
        yield {"text": bytes(stretch.tolist()).decode(errors="ignore")}


def passages() -> Iterator[Row]:
    """Which of four passages of one book stands behind this text? Chance is 0.25.

    Passages are of one length and begin with the space before a word, so nothing but their meaning tells.
    """
    rng = random.Random(0)
    documents = [bytes(document.tolist()) for document in byte_tensor("test")]
    sizes = [len(document) for document in documents]
    found = 0
    while found < PASSAGES:
        [document] = rng.choices(documents, sizes)
        places = [rng.randrange(CONTEXT, len(document) - PASSAGE) for _ in range(4)]
        starts = [document.find(b" ", place) for place in places]
        if any(not CONTEXT <= start <= len(document) - PASSAGE for start in starts):
            continue
        try:
            context = document[starts[0] - CONTEXT : starts[0]].decode()
            choices = [document[start : start + PASSAGE].decode() for start in starts]
        except UnicodeDecodeError:
            continue
        if len(set(choices)) < len(choices):
            continue
        right = choices[0]
        rng.shuffle(choices)
        found += 1
        yield {"context": context, "choices": choices, "gold": choices.index(right)}


def valid(texts: torch.Tensor, n: int) -> list[str]:
    """The first n of these bytes (rows, length) that are UTF-8 from end to end, as text."""
    found = []
    for row in texts.tolist():
        try:
            found.append(bytes(row).decode())
        except UnicodeDecodeError:
            continue
    assert len(found) >= n, f"only {len(found)} of {len(texts)} windows are UTF-8"
    return found[:n]


MAKERS: dict[str, Callable[[], Iterator[Row]]] = {
    **{f"needle_{length}": partial(needles, length) for length in LENGTHS},
    **{
        f"passkey_{length}": partial(passkeys, length) for length in LENGTHS[1:]
    },  # its words alone are 230 bytes
    "books": stretches,
    "passages": passages,
}
SHA256 = {
    "needle_256": "a63bda4029c056e25f1f61bed37c44ec13890a956507b9ddbd3c6239a1365126",
    "needle_1024": "01d189a21c783f380b83dc389ed6a4d3b8ac81c3c0aa6ee875ef1c8175cdf311",
    "needle_4096": "310eeb442daa732ab526793a237f12f5c815707aae3e72dcf96ad45d24b3803c",
    "needle_16384": "3d192f39fc7a7c63d3639bb73f4f19335edaa0c62364b91bfa7521c0065840c7",
    "passkey_1024": "4e4474f8ea809de74fa10cdb1d815d549014b20734f28f3e3a312ba557f73542",
    "passkey_4096": "dd7c14994263817473ad443689c9b6e18c906e94a2ab7db50ba3f5c47f24df37",
    "passkey_16384": "83d9691db2a7eb5db79eeef58f503972759ebd2bc4938d51594f460c7b8075a2",
    "books": "f7e10bb08da6695750e1908a9e8fb34e9fa8766f7bd5d4616b63412c0b528345",
    "passages": "61d05e844fb4d7303c2288d4dceca580fc6fafb8ae1c335521d39348820d8f12",
}


def books(file: str, **metadata: object) -> "dict[str, Dataset]":
    """The rows of one of our own tasks, for lm-eval, which adds the metadata of the task to the call.

    They are made in the cache folder on first use. CorpusError names missing data.
    """
    folder = cache_folder() / NAME
    build_once(folder, _is_whole, _build, "copy it from another machine", silent)
    return _dataset([json.loads(line) for line in (folder / f"{file}.jsonl").read_bytes().splitlines()])


def questions(task: str, **metadata: object) -> "dict[str, Dataset]":
    """The questions of one of GRAPE's seven tasks, for lm-eval, out of the cache. CorpusError where they are not."""
    rows = [
        {
            "context": question.contexts[0],
            "contexts": list(question.contexts),
            # lm-eval counts an answer's characters without the space before it, so that is the delimiter.
            "choices": [choice.removeprefix(" ") for choice in question.choices],
            "gold": question.gold,
        }
        for question in harness_data.questions(task)
    ]
    return _dataset(rows)


def _dataset(rows: list[Row]) -> "dict[str, Dataset]":
    from datasets import Dataset  # here, because importing it takes longer than all the rest

    return {"test": Dataset.from_list(rows)}


def _is_whole() -> bool:
    folder = cache_folder() / NAME
    try:
        return all(sha256((folder / f"{name}.jsonl").read_bytes()) == SHA256[name] for name in MAKERS)
    except OSError:
        return False


def _build(folder: Path) -> None:
    for name, make in MAKERS.items():
        data = "".join(f"{json.dumps(row)}\n" for row in make()).encode()
        if sha256(data) != SHA256[name]:
            raise CorpusError(
                f"{name} has another sha256 than {Path(__file__).name} says; this is a fault of pebench, please "
                "report it"
            )
        (folder / f"{name}.jsonl").write_bytes(data)
