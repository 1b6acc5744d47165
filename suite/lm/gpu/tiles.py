"""How the kernels are cut into tiles, by the chip, the dtype and the width of a head. Nothing here needs Triton."""

from dataclasses import dataclass, replace

import torch

from pebench.suite.lm.gpu.bias import COUNTED, PATH, WHOLE

HOPPER, BLACKWELL_AT_HOME = 90, 120  # from 90 on, and not in 120, tensor cores read shared memory


@dataclass(frozen=True)
class Tile:
    """How a kernel is cut: queries and keys of a tile, warps, and loads that are under way at a time."""

    queries: int
    keys: int
    warps: int = 4
    stages: int = 1
    depth: int = 128  # numbers of a head that are multiplied at a time

    def options(self) -> dict[str, int]:
        """As a launch takes them."""
        return {
            "BM": self.queries, "BN": self.keys, "DEPTH": self.depth, "num_warps": self.warps,
            "num_stages": self.stages,
        }  # fmt: skip


@dataclass(frozen=True)
class Plan:
    """The tiles of all kernels, and how many tiles of keys are a part."""

    forward: Tile
    queries: Tile  # of the sums before it too
    keys: Tile  # where sums run along the row, as many keys as in `queries`
    table: Tile
    part: int = 32


SMALL = Tile(16, 16, depth=16)
INTERPRETED = Plan(SMALL, SMALL, SMALL, SMALL, part=1)
FLOAT32 = Plan(SMALL, SMALL, SMALL, SMALL)
WIDE, COUNTING = Tile(16, 16, 8, depth=32), Tile(16, 16, 8, depth=16)
WIDE_FLOAT32 = Plan(WIDE, WIDE, WIDE, WIDE)
COUNTED_FLOAT32 = Plan(COUNTING, COUNTING, COUNTING, COUNTING)
SQUARE, EIGHT = Tile(32, 32), Tile(32, 32, 8)
# Float32 tensors aside: (are there sums along the row, are heads wider than 64, is the chip a Hopper).
PLANS = {
    (False, False, False): Plan(Tile(128, 64, 8, 2), Tile(64, 32), Tile(64, 32, 8), SQUARE),
    (False, True, False): Plan(
        Tile(128, 64, 8, 2, depth=32), Tile(64, 32), Tile(32, 32, 8, depth=64), SQUARE
    ),
    (False, False, True): Plan(Tile(128, 64, 8, 2), Tile(64, 32), Tile(64, 32, 8), SQUARE),
    (False, True, True): Plan(Tile(128, 64, 8, 2), Tile(64, 32), Tile(32, 32, 8, depth=64), SQUARE),
    (True, False, False): Plan(Tile(64, 32, 4, 2), Tile(64, 32, 8), SQUARE, SQUARE),
    (True, True, False): Plan(Tile(64, 32, 4, 2), Tile(32, 16), Tile(32, 16, depth=64), SQUARE),
    (True, False, True): Plan(Tile(64, 32, 4, 2), Tile(64, 32, 8), SQUARE, SQUARE),
    (True, True, True): Plan(
        Tile(64, 32, 4, 2), Tile(64, 32, 8, depth=64), Tile(32, 32, 8, depth=64), SQUARE
    ),
}


def planned(width: int, kind: int, dtype: torch.dtype, chip: int) -> Plan:
    """The default tiles for heads of this width on a chip of this compute capability, times ten.

    `benchmarks/kernels.py` tells what they take there.
    """
    wide = width > 64
    if dtype == torch.float32:
        return COUNTED_FLOAT32 if kind == COUNTED else WIDE_FLOAT32 if wide else FLOAT32
    hopper = HOPPER <= chip < BLACKWELL_AT_HOME
    plan = PLANS[kind != WHOLE, wide, hopper]
    if kind == COUNTED:
        return Plan(EIGHT, EIGHT if hopper or not wide else plan.queries, plan.keys, plan.table)
    if kind == PATH and wide and hopper:  # gates beside the products: at 64 registers are spilled
        return replace(plan, queries=replace(plan.queries, depth=32))
    return plan


def chip_of(device: torch.device) -> int:
    """A GPU's compute capability, times ten."""
    major, minor = torch.cuda.get_device_capability(device)
    return 10 * major + minor
