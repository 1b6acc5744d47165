"""How one model is trained by several processes, in words: `ranks.py` does it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Sharing:
    """How ranks share a training. None of it changes what is computed, but for rounding."""

    ranks: int = 1
    micro_batch: int | None = None  # rows of one forward pass of one rank; None: all of its rows at once
    sharded: bool = (
        False  # each rank keeps its share of parameters and moments (FSDP2), not all of them (DDP)
    )
    recompute: bool = False  # a block keeps its input alone, and computes the rest again in the backward pass

    def options(self) -> str:
        """The same as options of `pebench run`."""
        given = {"--micro-batch": self.micro_batch, "--sharded": self.sharded, "--recompute": self.recompute}
        more = (f" {name}" + ("" if value is True else f" {value}") for name, value in given.items() if value)
        return f" --ranks {self.ranks}{''.join(more)}"
