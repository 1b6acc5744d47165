"""What a search found: the divisors of a model's frequencies for one factor, kept as a file.

A result lies in the cache folder, where `pebench extend --search` writes it, or is published beside this file as
`longrope2_*.json`. It serves the model, the factor and the corpus that it names, and no other.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch

from pebench.encodings.base import Encoding
from pebench.encodings.longrope2_searched import NAME, Fitted
from pebench.suite.extend.checkpoint import Checkpoint, ModelError
from pebench.suite.results.cache import cache_folder
from pebench.suite.results.record import write_whole
from pebench.suite.runs.meaning import digest

PUBLISHED = Path(__file__).parent
FOLDER = "longrope2"  # of results, in the cache folder
SUFFIX = ".json"


@dataclass(frozen=True)
class Subject:
    """What a result is of: the sha256 of the model, the factor, and the sha256 of the corpus."""

    model: str
    factor: float
    corpus: str

    @property
    def name(self) -> str:
        """The name of its files, without a suffix."""
        return f"longrope2_{self.factor:g}_{digest(self.model, f'{self.factor:g}', self.corpus)[:16]}"


@dataclass(frozen=True)
class Found:
    """A result. Objectives are nats a token of the answers, on the validation texts of the search."""

    subject: Subject
    critical: int  # the plane from which on divisors are at least the factor
    divisors: tuple[float, ...]  # of all planes, the fastest first
    before: float  # the objective of `longrope2`, where the search starts
    after: float
    evaluations: int  # of candidates
    about: dict[str, Any]  # how, where and with what it was searched

    def __post_init__(self) -> None:
        ordered = all(a <= b for a, b in zip(self.divisors, self.divisors[1:], strict=False))
        beyond = self.divisors[self.critical :]
        if not (ordered and beyond and beyond[0] >= self.subject.factor and self.divisors[0] >= 1):
            raise ModelError(
                f"divisors must not fall from plane to plane, and from plane {self.critical} on not be below "
                f"{self.subject.factor:g}"
            )

    @property
    def used(self) -> str:
        """What a record's fingerprint counts of it."""
        return f"{self.subject.factor:g} {self.divisors!r}"

    def write(self, path: Path) -> None:
        """Write it whole or not at all."""
        write_whole(path, (json.dumps(asdict(self), indent=1) + "\n").encode())


def read(path: Path) -> Found:
    """The result in a file. ModelError where it is none."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        data["subject"], data["divisors"] = Subject(**data["subject"]), tuple(map(float, data["divisors"]))
        return Found(**{field.name: data[field.name] for field in fields(Found)})
    except (OSError, ValueError, KeyError, TypeError) as e:
        raise ModelError(f"{path} is no result of a search ({e}); remove it and search again") from e


def place(subject: Subject) -> Path:
    """Where the result of a search belongs."""
    return cache_folder() / FOLDER / f"{subject.name}{SUFFIX}"


def files(subject: Subject) -> Iterator[Path]:
    """The files that may hold a result: the user's own first, then the published ones."""
    own = place(subject)
    if own.is_file():
        yield own
    yield from sorted(PUBLISHED.glob(f"longrope2_*{SUFFIX}"))


def find(subject: Subject, profile: str) -> Found:
    """The result for this model, factor and corpus. ModelError with the command that makes it where there is none."""
    for file in files(subject):
        if (found := read(file)).subject == subject:
            return found
    raise ModelError(
        f"{NAME} needs a search on this model for the factor {subject.factor:g}, and there is no result of one; make "
        f"it with `pebench extend --search --profile {profile}` and the same --model and --corpus, or name other "
        "methods with --methods"
    )


def needs_search(method: str) -> bool:
    """Whether a method, or one of a sum, takes the divisors of a search.

    >>> needs_search("longrope2_searched+logn"), needs_search("longrope2")
    (True, False)
    """
    return NAME in method.split("+")


@dataclass(frozen=True)
class SearchedCheckpoint(Checkpoint):
    """A model whose RoPE knows the divisors that were found for it."""

    factor: float
    divisors: tuple[float, ...]

    def rope(self) -> Encoding:
        return Fitted.around(super().rope(), self.factor, torch.tensor(self.divisors))


def with_divisors(checkpoint: Checkpoint, factor: float, divisors: tuple[float, ...]) -> SearchedCheckpoint:
    """The same model in the same memory, with divisors for its RoPE."""
    return SearchedCheckpoint(checkpoint.folder, checkpoint.about, checkpoint.weights, factor, divisors)
