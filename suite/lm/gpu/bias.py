"""What a walk over tiles of keys adds to the scaled products of q and k. Nothing here needs Triton."""

from dataclasses import dataclass

from torch import Tensor

EVERYWHERE = 2**30  # the window of a query that sees all
WHOLE, PATH, COUNTED, BROKEN = range(4)  # `KIND` of the kernels


@dataclass(frozen=True)
class Bias:
    """What a walk adds, and which keys it sees: matrices (B, H, T or S, *), a table (H, S), slopes (H,)."""

    kind: int = WHOLE
    window: int = EVERYWHERE
    qc: Tensor | None = None
    kc: Tensor | None = None
    table: Tensor | None = None
    p: Tensor | None = None
    r: Tensor | None = None
    e: Tensor | None = None
    slopes: Tensor | None = None

    def tensors(self) -> tuple[Tensor | None, ...]:
        """In the order of the operator's arguments."""
        return self.qc, self.kc, self.table, self.p, self.r, self.e, self.slopes

    @property
    def source(self) -> str:
        """What it adds, in words."""
        if self.kind != WHOLE:
            return ("path sums", "counts", "stick")[self.kind - 1]
        given = {
            "columns": self.qc is not None,
            "table": self.table is not None,
            "window": self.window < EVERYWHERE,
        }
        return " + ".join(name for name, there in given.items() if there) or "nothing"
