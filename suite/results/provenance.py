"""The provenance in a record: where, when and with what it was made, in the words of its JSON file.

A record from elsewhere may lack a key or hold another type, so code that reads a stranger's record checks each value.
A fact that a machine does not tell is None.
"""

from typing import Any, TypedDict


class Commit(TypedDict, total=False):
    """The commit of the source, or why it is not known."""

    commit: str  # 40 hexadecimal digits
    dirty: bool  # whether files differ from the commit
    no_commit: str  # the reason


class Kernels(TypedDict, total=False):
    """What computed on a CPU; empty if nothing asked for kernels."""

    kernels: str  # native or pytorch
    kernels_reason: str  # why not native


class Versions(TypedDict):
    """The software that made a record."""

    pebench: str | None
    torch: str
    python: str


class Parameters(TypedDict):
    """Numbers of learned parameters."""

    total: int
    encoding: int


class RunFacts(TypedDict, total=False):
    """What a run found beside its scores."""

    precision: str | None  # of the matrix products in training
    parameters: Parameters
    tokens: int  # of the whole training
    tokens_per_second: float  # of the training
    earlier_seconds: float  # of it, in processes that were stopped; the record's `seconds` count them
    final_loss: float | None
    flops_per_token: int | None  # of a forward pass
    ranks_before: list[int]  # numbers of ranks that began a resumed training
    base: str  # the record whose model was measured
    checkpoint: str  # the file of the trained model, in the records folder
    missing: dict[str, str]  # by name: why a file beside the record could not be written
    badges: dict[str, Any]  # of a certificate: measured facts of the encoding
    resumed_steps: int  # of an extension: steps that an earlier call had finished


class Provenance(Commit, Kernels, RunFacts, total=False):
    """Where, when and with what a record was made."""

    started: str  # ISO 8601, UTC
    seconds: float
    peak_memory_bytes: int | None
    versions: Versions
    platform: str
    cpu: str | None
    device: str | None
    threads: int
    ranks: int  # processes that share the training; the next three are of them
    micro_batch: int | None
    sharded: bool
    recompute: bool
    command: str
    task_fingerprint: str  # in records of fingerprint revision 1
