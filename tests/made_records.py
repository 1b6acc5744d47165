"""Records as a sweep would write them, from a made-up law: no training, any size, the same every time."""

import itertools
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pebench.suite.results.record import Record, Row, write

CARDS: dict[str, dict[str, Any]] = {
    "nope": {"title": "No positional encoding", "family": "none", "kernel": "fused"},
    "sinusoidal": {"title": "Absolute sinusoids", "family": "absolute", "kernel": "fused"},
    "learned_ape": {"title": "Learned absolute positions", "family": "absolute", "kernel": "fused"},
    "rope": {"title": "Rotary position embedding", "family": "multiplicative", "kernel": "fused"},
    "alibi": {"title": "Attention with linear biases", "family": "additive", "kernel": "fused"},
    "t5_bias": {"title": "T5 relative bias", "family": "additive", "kernel": "masked"},
    "fox": {"title": "Forgetting attention", "family": "additive", "kernel": "fused"},
    "grape_m_nonctx": {"title": "Multiplicative GRAPE", "family": "multiplicative", "kernel": "fused"},
    "grape_a_qk": {
        "title": "Additive GRAPE, query and key",
        "family": "additive",
        "kernel": "fused",
    },
    "grape_ap": {"title": "Path-integral GRAPE", "family": "path-integral", "kernel": "own"},
    "stick_breaking": {"title": "Stick-breaking attention", "family": "contextual", "kernel": "own"},
}
SKILL = {name: skill for name, skill in zip(CARDS, (3, 0.4, 0.2, 1, 4, 3.4, 6, 1.2, 6.3, 6, 5), strict=True)}
TASKS = {"copy": "copying", "needle": "needle", "language": "language"}
STANDARD_TASKS = {
    **TASKS,
    "reverse": "copying",
    "addition": "arithmetic",
    "flipflop": "state tracking",
    "permutation": "state tracking",
    "sort": "sorting",
    "recall": "recall",
    "latest": "recall",
    "harness": "language",
}
FAMILIES = {**STANDARD_TASKS, "throughput": "cost"}
KINDS = ("multi_key", "multi_query", "multi_value")
QUESTIONS = ("needles", "books")
TRAIN_LENGTH = 64
LENGTHS = (64, 128, 256, 512)
DEPTHS = (0.0, 0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Sweep:
    """What to make: each encoding's skill decides how slowly it fades beyond the training length."""

    skills: dict[str, float]
    seeds: int = 3
    lengths: Sequence[int] = LENGTHS
    depths: Sequence[float] = DEPTHS
    tasks: Collection[str] = tuple(TASKS)
    profile: str = "QUICK"
    seed_spread: float = 0.03
    answers: int = 256

    def records(self) -> list[Record]:
        cells = itertools.product(self.skills, range(self.seeds))
        return [record for name, seed in cells for record in self._cell(name, seed)]

    def _cell(self, name: str, seed: int) -> Iterable[Record]:
        rng = np.random.default_rng([seed, *name.encode()])
        for task in self.tasks:
            shift = rng.normal(scale=self.seed_spread)
            yield self.record(name, task, seed, tuple(self._rows(name, task, shift, rng)))
        if seed == 0:
            yield self.record(name, "throughput", seed, tuple(self._costs(name)))
            yield self.record(name, "certificate", seed, tuple(checks(reads=card(name)["kernel"] == "own")))

    def record(
        self, name: str, task: str, seed: int, rows: tuple[Row, ...], fingerprint: str = "ab" * 8
    ) -> Record:
        return Record(name, task, self.profile, seed, fingerprint, rows, **facts(name, task, seed))

    def _rows(self, name: str, task: str, shift: float, rng: np.random.Generator) -> Iterable[Row]:
        """Rows with floor and ceiling, and those that only describe."""

        def quality(length: int, depth: float = 0.5) -> float:
            far = np.log2(length / TRAIN_LENGTH) / (1 + self.skills[name])
            return float(np.clip(0.97 * np.exp(-far * (1.3 - abs(depth - 0.5))) + shift, 0.01, 0.99))

        def share(metric: str, p: float, **condition: float | str) -> Row:
            right = rng.binomial(self.answers, p) / self.answers
            return Row(metric, right, self.answers, dict(condition), floor=0.0, ceiling=1.0)

        for length in self.lengths:
            if name == "learned_ape" and length > 2 * TRAIN_LENGTH:
                continue  # undefined there: missing, not zero
            if task == "needle":
                for depth in self.depths:
                    yield share("exact", quality(length, depth), length=length, kind="single", depth=depth)
                for kind in KINDS:
                    yield share("exact", quality(length), length=length, kind=kind, needles=2)
            elif task == "language":
                bits = 4.2 - 2 * quality(length) + rng.normal(scale=0.01)
                yield Row("bits_per_byte", bits, 20_000, {"length": length}, floor=4.2, ceiling=1.0)
                for position in range(0, length, max(1, length // 8)):
                    near = 4.2 - 2 * quality(max(position, TRAIN_LENGTH)) + 1 / (1 + position)
                    yield Row("bits_at", near, 2_000, {"length": length, "position": position})
            elif task == "harness":
                for n, asked in enumerate(QUESTIONS):
                    condition = {"length": length, "task": asked}
                    right = rng.binomial(self.answers, 0.25 + 0.3 * n * quality(length)) / self.answers
                    yield Row("accuracy", right, self.answers, condition, floor=0.25, ceiling=1.0)
                    bits = 4.4 - 2 * quality(length)
                    yield Row("bits_per_byte", bits, 8_000, condition, floor=4.4, ceiling=0.0)
            else:
                yield share("exact", quality(length), length=length)
                tokens = self.answers * 8
                yield Row("per_token", min(1.0, quality(length) + 0.01), tokens, {"length": length})
        yield Row("gate", quality(TRAIN_LENGTH), self.answers)

    def _costs(self, name: str) -> Iterable[Row]:
        slow = {"fused": 1.0, "masked": 1.3, "own": 1.9}[card(name)["kernel"]]
        for length in self.lengths:
            for n, metric in enumerate(("train_ratio", "prefill_ratio", "decode_ratio")):
                yield Row(metric, 1.0 if name == "rope" else slow + 0.02 * n, 20, {"length": length})
            yield Row("train_speed", 30_000 / slow, 20, {"length": length})
            yield Row("cache_bytes", 1024.0, 1, {"length": length})


def card(name: str) -> dict[str, Any]:
    """What a record says about an encoding."""
    known = CARDS.get(name, {"title": f"Made up: {name}", "family": "additive", "kernel": "fused"})
    return {
        **known,
        "paper": "arXiv:2104.09864",
        "formula": r"\ell_{ij} = q_i^\top R\big((j-i)\theta\big)\,k_j / \sqrt d",
        "about": f"A made-up card of {name}.\n\nIts numbers follow a law, not a training.",
        "relative": True,
        "norm_preserving": known["kernel"] == "fused",
        "source": f'@register("{name}")\nclass Made(Encoding):\n    """Only a test."""\n',
        "file": f"{name}.py",
    }


def facts(name: str, task: str, seed: int) -> dict[str, dict[str, Any]]:
    """The card, setup and provenance of a record."""
    family = FAMILIES.get(task, "certificate")
    return {
        "card": card(name),
        "setup": {
            "task_family": family,
            "task_title": f"The task {task}",
            "gate": 0.9,
            "train_length": TRAIN_LENGTH,
            "steps": 300,
            "batch": 32,
            "learning_rate": 0.002,
            "model": {"layers": 2, "width": 64, "heads": 2, "vocab": 256},
            "corpus": {"name": "books-v1", "sha256": "0" * 64},
        },
        "provenance": {
            "started": f"2026-01-02T03:{seed:02}:05+00:00",
            "seconds": 61.5,
            "tokens": 614_400,
            "tokens_per_second": 9990.2,
            "peak_memory_bytes": 400_000_000,
            "parameters": {"total": 131_072, "encoding": 0 if name in ("rope", "alibi", "nope") else 64},
            "versions": {"pebench": "0.1.0", "torch": "2.13.0", "python": "3.11.2"},
            "platform": "Linux-6.1-x86_64",
            "cpu": "A made-up processor",
            "device": "cpu",
            "threads": 1,
            "precision": "fp32",
            "commit": "1234567890abcdef",
            "dirty": False,
            "command": f"pebench run --profile QUICK -e {name} -t {task} --seeds {seed + 1}",
            "final_loss": 0.12,
        },
    }


def checks(failed: str = "", reads: bool = False) -> Iterable[Row]:
    """A certificate in which at most one check fails; `reads`: the encoding sees the content."""
    for name in ("the future is hidden", "cache equals full forward", "every parameter learns", "compiles"):
        yield Row("pass", float(name != failed), 1, {"check": name, "detail": "largest error 3e-7"})
    yield Row("pass", 1.0, 1, {"check": "reads content", "detail": "yes (2.1e-01)" if reads else "no"})


def write_sweep(folder: Path, skills: dict[str, float] | None = None, **sizes: Any) -> Path:
    """Write a whole sweep into a records folder and return the folder."""
    for record in Sweep(skills or SKILL, **sizes).records():
        write(record, folder)
    return folder


def write_failure(folder: Path, name: str, task: str, outcome: str, reason: str) -> Path:
    """Write one record that has a reason instead of rows."""
    return write(
        Record(name, task, "QUICK", 0, "cd" * 8, (), outcome, reason, **facts(name, task, 0)), folder
    )


if __name__ == "__main__":
    import sys

    write_sweep(Path(sys.argv[1]))
