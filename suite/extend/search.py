"""The search of `longrope2_searched`: by which number each frequency of a model is divided, for one factor.

LongRoPE2 is by Shang et al. (2025, arXiv:2502.20082). A copy of the paper's text was read; its search has no public
code. From the paper:
- The critical plane is searched between the plane that turns ten times in training and the first that turns less than
  once (algorithm 1). Planes from it on are divided by at least the factor s and at most 2 s, and by no less than the
  plane before them (equation 10, algorithm 2).
- Planes before it follow the base with which the critical plane is divided by its divisor: lambda_c^(m/c).
- Candidates compete by needle-driven perplexity: over the tokens of the answer alone, in validation books with
  "One of the special magic numbers for ... is" hidden in them. A divisor mutates with probability 0.3.

Ours, for minutes on a processor in the place of 64 candidates in 40 iterations:
- Each text hides eight numbers at even distances and asks for all at its end. The paper hides one at the beginning.
- All critical planes are tried with s itself, where the paper draws numbers from s to 2 s. The fixed `longrope2` is
  the first candidate. So the result is at least as good on the texts of the search.
- A mutation raises divisors, or lowers them, by exp(0.2 |z|) with z normal. Later ones rise with it, earlier ones fall
  with it. It moves the critical plane by one with probability 0.3. Parents stay in the race: (mu + lambda).
- A candidate is not read to the end where mu parents and rivals are better on the first texts.
The dot products grow as in `longrope2`: the paper names no temperature. Nothing is trained, and short texts are read
with the same divisors. The paper trains on, and reads short texts with the original RoPE.
"""

import json
import math
import platform
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from time import sleep
from typing import Any

import torch
from torch import Tensor

from pebench.encodings.base import Encoding
from pebench.encodings.extension import critical_plane, extended, turning
from pebench.encodings.longrope2_searched import NAME, LongRoPE2Searched
from pebench.encodings.streams import stream
from pebench.suite.experiment.clock import clock
from pebench.suite.extend.checkpoint import Checkpoint, ModelError, frequencies, short_name
from pebench.suite.extend.items import ask, hidden, keys, numbers, said
from pebench.suite.extend.model import Model, fastest
from pebench.suite.extend.searched import Found, Subject, place, read, with_divisors
from pebench.suite.results.record import make_folder, settle
from pebench.suite.runs.cell import Began
from pebench.suite.runs.fingerprint import KERNELS, UNCOUNTED, code_of
from pebench.suite.runs.machine import processor
from pebench.suite.runs.meaning import Place, digest
from pebench.tasks.data.corpus import byte_tensor, identity
from pebench.tasks.data.system import Lock

MOST = 2.0  # the largest divisor over the factor
CHANGED = 0.3  # the share of divisors that a mutation changes
STEP = 0.2  # the deviation of their logarithms
DIGITS = 4  # of a divisor behind the point, so that a file holds it exactly
PAUSE = 1.0  # seconds between two looks at what other processes have read
Tell = Callable[[str], None]


@dataclass(frozen=True)
class Budget:
    """How much is tried. A reading is one text by one candidate; a candidate takes one to `texts` of them."""

    texts: int = 2
    needles: int = 8  # in each text
    parents: int = 3
    children: int = 3  # of a generation
    generations: int = 3


@dataclass(frozen=True)
class Candidate:
    """A critical plane, and the divisors of the planes from it on."""

    critical: int
    beyond: tuple[float, ...]

    @property
    def divisors(self) -> tuple[float, ...]:
        """The divisors of all planes: before the critical one as of a larger base.

        >>> Candidate(2, (4.0, 5.0)).divisors
        (1.0, 2.0, 4.0, 5.0)
        """
        before = (self.beyond[0] ** (plane / self.critical) for plane in range(self.critical))
        return (*before, *self.beyond)

    @property
    def key(self) -> str:
        """Its name in the file of losses."""
        return f"{self.critical}: {' '.join(map(repr, self.beyond))}"


@dataclass(frozen=True)
class Text:
    """A validation book with numbers hidden in it and asked for at its end: tokens (T,), the answers' places (N,)."""

    tokens: Tensor
    answers: Tensor


class Search:
    """A search in progress. Each reading is a line of a file at once, so that processes share and continue the work."""

    def __init__(
        self,
        checkpoint: Checkpoint,
        factor: float,
        corpus: Path | None,
        budget: Budget,
        seed: int,
        tell: Tell,
    ):
        self.checkpoint, self.factor = checkpoint, factor
        self.budget, self.seed, self.tell = budget, seed, tell
        self.planes = frequencies(checkpoint.about)
        self.criticals = criticals(self.planes, checkpoint.about.trained)
        self.start = fixed(self.planes, factor, checkpoint.about.trained)
        self.books, self.code = identity(corpus), code()
        self.subject = Subject(checkpoint.sha256, factor, self.books["sha256"])
        self.settings = digest(self.code, repr(budget), str(seed), str(fastest()))
        self.result = place(self.subject)
        # Threads change the rounding: readings of one search are of one number of them.
        readings = digest(self.settings, str(torch.get_num_threads()))
        self.folder = self.result.with_name(f"{self.result.stem}_{readings[:16]}")
        self.texts = texts(checkpoint, factor, corpus, budget, seed)
        self.model = Model(checkpoint, checkpoint.rope())
        self.losses = dict[str, dict[int, float]]()  # of each candidate, by the number of the text
        self.made = 0  # readings of this process

    def run(self) -> Found:
        """Search to the end, and write the result; at once where it is there, of the same search."""
        if (old := self.earlier()) is not None:
            self.tell("this search is done already")
            return old
        began = Began()
        make_folder(self.folder)
        self.learn()
        if self.readings:
            self.tell(f"{self.readings} readings are done already")
        best = self.survivors([], [self.start])
        best = self.survivors(best, [flat(each, len(self.planes), self.factor) for each in self.criticals])
        for generation in range(self.budget.generations):
            best = self.survivors(best, self.children(best, generation))
        if (old := self.earlier()) is not None:
            return old
        found = Found(
            subject=self.subject,
            critical=best[0].critical,
            divisors=best[0].divisors,
            before=self.mean(self.start, len(self.texts)),
            after=self.mean(best[0], len(self.texts)),
            evaluations=len(self.losses),
            about=self.about(began),
        )
        found.write(self.result)
        for lock in self.folder.glob("*.lock"):
            with suppress(OSError):
                lock.unlink()
        return found

    def earlier(self) -> Found | None:
        """The result of this very search, where it is there, with whatever number of threads it was made."""
        old = read(self.result) if self.result.is_file() else None
        return old if old and old.about.get("settings") == self.settings else None

    def children(self, parents: list[Candidate], generation: int) -> list[Candidate]:
        """Mutations of the parents in turn, the same in each search of this seed."""
        found = []
        for number in range(self.budget.children):
            rng = torch.Generator().manual_seed(stream(self.seed, f"longrope2 {generation} {number}"))
            found.append(mutated(parents[number % len(parents)], self.factor, self.criticals, rng))
        return found

    def survivors(self, parents: list[Candidate], others: list[Candidate]) -> list[Candidate]:
        """The best of both, the best first. Others are read on where few are better on the first texts."""
        most = self.budget.parents
        others = [each for each in dict.fromkeys(others) if each not in parents]
        for n in range(1, len(self.texts) + 1):
            self.measure(others, n - 1)
            worst = sorted(self.mean(each, n) for each in (*parents, *others))[:most][-1]
            others = [each for each in others if self.mean(each, n) <= worst]
        return sorted([*parents, *others], key=lambda each: self.mean(each, len(self.texts)))[:most]

    def mean(self, candidate: Candidate, n: int) -> float:
        """The objective on the first n texts: nats a token."""
        return math.fsum(self.losses[candidate.key][text] for text in range(n)) / n

    def measure(self, candidates: list[Candidate], text: int) -> None:
        """Read a text with each of these candidates that no process has read it with, and wait for other processes."""
        waiting = False
        while left := [each for each in candidates if text not in self.losses.get(each.key, {})]:
            if not any([self.take(each, text) for each in left]):
                if not waiting:
                    self.tell("waiting for the readings of another process")
                waiting = True
                sleep(PAUSE)
            self.learn()

    def take(self, candidate: Candidate, text: int) -> bool:
        """Read a text with a candidate; False where another process does."""
        lock = Lock(self.folder / f"{digest(candidate.key, str(text))[:16]}.lock")
        if not lock.acquire(wait=False):
            return False
        try:
            self.learn()
            if text not in self.losses.get(candidate.key, {}):
                began = clock()
                value = loss(self.model.with_encoding(self.encoding(candidate)), self.texts[text])
                self.keep(candidate, text, value)
                self.made += 1
                self.tell(
                    f"reading {self.readings} of at most {self.most}: critical plane "
                    f"{candidate.critical}, text {text + 1} of {len(self.texts)}, {value:.4f} nats a token, "
                    f"{clock() - began:.0f} s"
                )
        finally:
            lock.release()
        return True

    @property
    def readings(self) -> int:
        """How many are known, of all processes."""
        return sum(map(len, self.losses.values()))

    @property
    def kept(self) -> Path:
        """The file of all readings."""
        return self.folder / "readings.jsonl"

    def keep(self, candidate: Candidate, text: int, value: float) -> None:
        """Write a reading behind the others. Its line begins anew, as a killed process may have left half of one."""
        line = json.dumps({"candidate": candidate.key, "text": text, "loss": value})
        with self.kept.open("ab") as file:
            file.write(f"\n{line}\n".encode())
            file.flush()
            settle(file.fileno())
        self.losses.setdefault(candidate.key, {})[text] = value

    def learn(self) -> None:
        """Take over what all processes have read."""
        try:
            lines = self.kept.read_text(encoding="utf-8", errors="replace").split("\n")
        except FileNotFoundError:
            return
        for line in filter(None, lines):
            with suppress(ValueError, KeyError, TypeError):  # half a line
                row = json.loads(line)
                self.losses.setdefault(str(row["candidate"]), {})[int(row["text"])] = float(row["loss"])

    def encoding(self, candidate: Candidate) -> Encoding:
        """The model's RoPE as a run of the track has it with these divisors."""
        rope = with_divisors(self.checkpoint, self.factor, candidate.divisors).rope()
        return extended(rope, NAME, self.factor).eval()

    @property
    def most(self) -> int:
        """The largest number of readings, ties aside."""
        flats = len({self.start.critical, *self.criticals})
        parents, (texts, children) = self.budget.parents, (len(self.texts), self.budget.children)
        generation = children + (texts - 1) * min(parents, children)
        return flats + (texts - 1) * min(parents + 1, flats) + self.budget.generations * generation

    def about(self, began: Began) -> dict[str, Any]:
        """How, where and with what it was searched."""
        return {
            "model": short_name(self.checkpoint.folder),
            "corpus": self.books["name"],
            "split": "valid",
            "length": len(self.texts[0].tokens),
            "start": {"critical": self.start.critical, "divisors": list(self.start.divisors)},
            "budget": asdict(self.budget),
            "seed": self.seed,
            "readings": self.readings,
            "own_readings": self.made,  # of the process that wrote this
            "losses": {key: [by_text[n] for n in sorted(by_text)] for key, by_text in self.losses.items()},
            "settings": self.settings,
            "code": self.code,
            **began.commit,
            "started": began.date.isoformat(timespec="seconds"),
            "seconds": round(clock() - began.clock, 2),
            "precision": "bfloat16" if fastest() == torch.bfloat16 else "float32",
            "threads": torch.get_num_threads(),
            "cpu": processor(),
            "platform": f"{platform.system()} {platform.machine()}",
            "torch": torch.__version__,
        }


def search(
    checkpoint: Checkpoint,
    factor: float,
    corpus: Path | None,
    tell: Tell,
    budget: Budget | None = None,
    seed: int = 0,
) -> Found:
    """The divisors for texts `factor` times as long as the model's training, kept in the cache folder.

    An interrupted search goes on behind its last reading, and several processes share one. ModelError where
    validation books are too short.
    """
    if not factor > 1:
        raise ModelError(f"there is nothing to search for a factor of {factor:g}; choose one above 1")
    return Search(checkpoint, float(factor), corpus, budget or Budget(), seed, tell).run()


def code() -> str:
    """SHA-256 of the code that a search depends on."""
    roots = {Place(cls.__module__, cls.__name__) for cls in (Search, LongRoPE2Searched)}
    return digest(code_of((), (*UNCOUNTED, *KERNELS)).hash(roots))


def criticals(planes: Tensor, length: int) -> range:
    """The planes that may be critical: from the first of fewer than ten turns in training to the first of none."""
    last = len(planes) - 1
    first, stop = (int(turning(planes, length, turns)) for turns in (10, 1))
    return range(min(max(first, 1), last), min(max(stop, 1), last) + 1)


def flat(critical: int, planes: int, factor: float) -> Candidate:
    """The candidate that divides all planes from the critical one on by the factor."""
    return Candidate(critical, (factor,) * (planes - critical))


def fixed(planes: Tensor, factor: float, length: int) -> Candidate:
    """What `longrope2` does, without a search."""
    return flat(int(critical_plane(planes, length)), len(planes), factor)


def mutated(parent: Candidate, factor: float, allowed: range, rng: torch.Generator) -> Candidate:
    """Another candidate near a parent: the critical plane may move by one, and some divisors rise, or some fall."""
    planes = len(parent.divisors)
    while True:
        moves, way, rises = torch.rand(3, generator=rng).tolist()
        step = 0 if moves >= CHANGED else 1 if way < 0.5 else -1
        critical = min(max(parent.critical + step, allowed.start), allowed.stop - 1)
        old = torch.tensor(parent.divisors, dtype=torch.float64)
        changed = torch.rand(planes, generator=rng) < CHANGED
        size = (STEP * torch.randn(planes, generator=rng, dtype=torch.float64).abs()).exp()
        if rises < 0.5:
            new = torch.where(changed, old * size, old)[critical:].cummax(0).values
        else:
            new = torch.where(changed, old / size, old)[critical:].flip(0).cummin(0).values.flip(0)
        low, high = factor, MOST * factor
        child = Candidate(critical, tuple(min(high, max(low, round(x, DIGITS))) for x in new.tolist()))
        if child != parent:
            return child


def texts(
    checkpoint: Checkpoint, factor: float, corpus: Path | None, budget: Budget, seed: int
) -> list[Text]:
    """The beginnings of the first validation books that are long enough, with their numbers hidden."""
    length = round(factor * checkpoint.about.trained)
    found = [
        asked(
            checkpoint,
            book,
            length,
            budget.needles,
            torch.Generator().manual_seed(stream(seed, f"needles {n}")),
        )
        for n, book in zip(range(budget.texts), long_books(checkpoint, length, corpus), strict=False)
    ]
    if not found:
        raise ModelError(
            f"no book of the validation split has {length} tokens; use other text, or a smaller L by --trained N"
        )
    return found


def long_books(checkpoint: Checkpoint, length: int, corpus: Path | None) -> Iterator[Tensor]:
    """The first tokens (length,) of each validation book that has so many."""
    for book in byte_tensor("valid", corpus):
        tokens = torch.tensor(
            checkpoint.encode(bytes(book.tolist()).decode(errors="ignore")), dtype=torch.long
        )
        if len(tokens) >= length:
            yield tokens[:length]


def asked(checkpoint: Checkpoint, book: Tensor, length: int, needles: int, rng: torch.Generator) -> Text:
    """A text of `length` tokens with numbers hidden at even distances, and a question for each in random order.

    ModelError where they do not fit.
    """
    pairs = list(zip(keys(needles, rng), numbers(needles, rng), strict=True))
    facts = [(n / needles, said(*pair)) for n, pair in enumerate(pairs)]
    order = [pairs[n] for n in torch.randperm(needles, generator=rng).tolist()]
    spoken = [(checkpoint.encode(ask(key)), checkpoint.encode(f" {value}")) for key, value in order]
    end = [part for question, answer in spoken for part in (question, answer)]
    room = sum(map(len, end)) + sum(len(checkpoint.encode(fact)) for _, fact in facts)
    if 2 * room > length:
        raise ModelError(
            f"{needles} hidden numbers take {room} of {length} tokens; use a model of longer texts"
        )
    tokens = torch.cat([hidden(checkpoint, book[: length - room], facts), *map(torch.tensor, end)])
    right = torch.cat([torch.full((len(part),), n % 2 == 1) for n, part in enumerate(end)])
    return Text(tokens, length - len(right) + right.nonzero()[:, 0])


def loss(model: Model, text: Text) -> float:
    """-ln p of the answers' tokens in a text, the mean."""
    states = model.read(text.tokens[:-1], model.cache())
    return float(model.losses(states[text.answers - 1], text.tokens[text.answers]).double().mean())
