"""What a record may say: the metrics, their units, which way is better, what lengths count. Standard library only."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Metric:
    """One kind of number in a record."""

    title: str
    unit: str
    better: Literal["higher", "lower"]
    about: str

    @property
    def possible(self) -> tuple[float, float]:
        """The least and the largest value that a measurement can give."""
        return _POSSIBLE.get(self.unit, (-math.inf, math.inf))


_POSSIBLE = {
    "share": (0.0, 1.0),
    "0 or 1": (0.0, 1.0),
    **dict.fromkeys(("bits", "nats/token", "x RoPE", "tokens/s", "bytes/token"), (0.0, math.inf)),
}  # by unit; a margin, decades and a normalised score may be negative


METRICS: dict[str, Metric] = {
    "exact": Metric("exact match", "share", "higher", "answers with every token right"),
    "per_token": Metric("token accuracy", "share", "higher", "answer tokens that are right"),
    "accuracy": Metric("accuracy", "share", "higher", "questions whose right answer is the likeliest"),
    "accuracy_per_character": Metric(
        "accuracy per character",
        "share",
        "higher",
        "questions whose right answer is the likeliest per character",
    ),
    "bits_per_byte": Metric(
        "bits per byte", "bits", "lower", "mean negative log2-likelihood of the next byte"
    ),
    "loss": Metric("loss", "nats/token", "lower", "mean negative ln-likelihood of the next token"),
    "bits_at": Metric("bits by position", "bits", "lower", "bits per byte of the bytes at these positions"),
    "bits_last": Metric(
        "bits of the last bytes", "bits", "lower", "bits per byte of the last 64 bytes of each window"
    ),
    "log_error": Metric(
        "log error", "decades", "higher", "-log10 of the share of reads that are wrong, half a read added"
    ),
    "found": Metric("found", "share", "higher", "asked numbers that stand in the answer"),
    "margin": Metric(
        "forced-choice margin",
        "nats",
        "higher",
        "ln-likelihood of the right answer over the likeliest wrong one",
    ),
    "gate": Metric("gate", "score", "higher", "normalised score on the training distribution (validation)"),
    "train_ratio": Metric("training step", "x RoPE", "lower", "time of a training step over RoPE's"),
    "prefill_ratio": Metric("prefill", "x RoPE", "lower", "time of a forward pass over RoPE's"),
    "decode_ratio": Metric("decode", "x RoPE", "lower", "time of one cached token over RoPE's"),
    "train_speed": Metric("training speed", "tokens/s", "higher", "tokens trained a second"),
    "prefill_speed": Metric("prefill speed", "tokens/s", "higher", "tokens read a second"),
    "decode_speed": Metric(
        "decoding speed", "tokens/s", "higher", "tokens decoded a second, through the cache"
    ),
    "cache_bytes": Metric("cache", "bytes/token", "lower", "bytes that the cache holds for a token"),
    "pass": Metric("check", "0 or 1", "higher", "a check of the certificate holds"),
}

YARDSTICK = "rope"  # the encoding whose times the costs are over
RATIOS = ("train_ratio", "prefill_ratio", "decode_ratio")

# The tasks of `pebench extend`: their records are of methods on a pretrained model, and have a board of their own.
EXTENDING = ("extend_loss", "extend_retrieval", "extend_cost")
EXTEND_PROFILES = ("EXTEND_QUICK", "EXTEND")

# What the lengths of a task count, where that is not tokens.
_LENGTHS = {
    "copy": "symbols",
    "reverse": "symbols",
    "addition": "digits",
    "flipflop": "instructions",
    "permutation": "generators",
    "sort": "items",
    "recall": "slots",
    "latest": "assignments",
    "copy_repeat": "symbols",
    "copy_unique": "symbols",
    "flipflop_error": "instructions",
    "indexing": "symbols",
    "parity": "bits",
    "recall_again": "slots",
}


def length_unit(task: str) -> str:
    """What a length in a task's conditions, and the length that it is trained at, counts.

    >>> length_unit("addition"), length_unit("language")
    ('digits', 'tokens')
    """
    return _LENGTHS.get(task, "tokens")


def counted(number: int, noun: str) -> str:
    """How many of them.

    >>> counted(1, "run"), counted(3, "run")
    ('1 run', '3 runs')
    """
    return f"{number} {noun}{'s' * (number != 1)}"


def listed(names: Sequence[str]) -> str:
    """Names in a sentence.

    >>> listed(["a"]), listed(["a", "b", "c"])
    ('a', 'a, b and c')
    """
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
