"""Do methods of context extension order alike on our small models and on a pretrained one?

Both sides are differences from the model without the method: of a small model's score beyond its training length, and
of the pretrained model's loss or found numbers beyond its own. Each pair of methods that both sides measured agrees if
the two differences lie in the same order. Few methods carry no test, so none is given.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pebench.leaderboard.about import EXTENDED
from pebench.leaderboard.board import Board
from pebench.leaderboard.reports.extension import BASE, Quantity, Track, make_tracks, profiles
from pebench.leaderboard.reports.published import BEYOND
from pebench.leaderboard.reports.quantities import Quantity as Ours
from pebench.leaderboard.reports.quantities import measured, size, trained_at
from pebench.suite.results.metrics import counted

ENCODING = "rope"
# Our task, the pretrained model's quantity in words, and whether more of it is better.
SIDES = (("language", "loss", "loss", -1), ("needle", "retrieval", "found numbers", +1))


@dataclass(frozen=True)
class Side:
    """One of our tasks beside the pretrained model's quantity of the same kind; values of a method minus none's."""

    task: str
    kind: str
    ours: dict[str, float]  # by method: score beyond L
    theirs: dict[str, float]  # by method: better is larger
    seeds: int  # of the method with fewest
    texts: int

    @property
    def methods(self) -> list[str]:
        """Those that both sides measured, the unextended model too."""
        return [name for name in self.theirs if name in self.ours]

    @property
    def about(self) -> str:
        """What the pretrained model's difference is; more is better."""
        return "none's loss minus its own" if self.kind == "loss" else "found numbers minus none's"

    @property
    def agreeing(self) -> tuple[int, int]:
        """Pairs of methods in the same order on both sides, and all pairs without a tie."""
        pairs = [
            (self.ours[a] - self.ours[b]) * (self.theirs[a] - self.theirs[b])
            for a, b in itertools.combinations(self.methods, 2)
        ]
        return sum(x > 0 for x in pairs), sum(x != 0 for x in pairs)

    @property
    def smallest(self) -> float:
        """The smallest difference between two methods on the pretrained model."""
        return min(abs(self.theirs[a] - self.theirs[b]) for a, b in itertools.combinations(self.methods, 2))


def sides(board: Board, track: Track) -> list[Side]:
    """The tasks of which both sides measured at least two methods beyond the unextended model."""
    found = []
    for task, field, kind, sign in SIDES:
        ours = measured(board, Ours(task, BEYOND))
        gaps = {
            line.method: ours.gap(f"{ENCODING}@{line.method}", ENCODING)
            for line in track.lines
            if line.method != BASE
        }
        known = {method: gap for method, gap in gaps.items() if gap is not None}
        theirs: Mapping[str, Quantity] = {
            line.method: getattr(line, field)["beyond"]
            for line in track.lines
            if "beyond" in getattr(line, field)
        }
        differences = {
            name: sign * q.difference
            for name, q in theirs.items()
            if q.difference is not None and name in known
        }
        if len(differences) >= 2:
            found.append(
                Side(
                    task,
                    kind,
                    {BASE: 0.0} | {name: known[name].difference for name in differences},
                    {BASE: 0.0} | differences,
                    min(known[name].seeds for name in differences),
                    min(theirs[name].texts for name in differences),
                )
            )
    return found


def told(board: Board, track: Track, shared: Sequence[Side]) -> str:
    """A paragraph and a table for each task that both sides measured, as Markdown."""
    if not shared:
        return (
            f"`{track.profile}` and `{board.profile}` share fewer than two methods beside the unextended model, so "
            "nothing can be compared."
        )
    return "\n\n".join(paragraph(board, track, side) for side in shared)


def paragraph(board: Board, track: Track, side: Side) -> str:
    """What one task says, and the differences in a table."""
    same, pairs = side.agreeing
    small = f"{size(board, side.task)}, {trained_at(board, side.task)}, {counted(side.seeds, 'seed')}"
    large = f"{track.model}, L = {track.trained:,} tokens, {counted(side.texts, 'text')}"
    rows = [
        f"| {name.replace('_', chr(92) + '_')} | {side.ours[name]:+.3f} | {side.theirs[name]:+.3f} |"
        for name in sorted(side.methods, key=lambda name: -side.theirs[name])
    ]
    return "\n".join(
        [
            f"**`{side.task}` beyond L and {side.kind} beyond L** (`{track.profile}`): {same} of {pairs} pairs of "
            f"methods have the same order by the sign of their difference, which no test supports. The smallest "
            f"difference on the pretrained model is {side.smallest:.3f}. Small models: {small}. Pretrained: {large}. "
            f"{counted(len(side.methods), 'method')} are too few for a test.",
            "",
            f"| method | small: score minus rope's | pretrained: {side.about} |",
            "|---|---|---|",
            *rows,
        ]
    )


def published(board: Board) -> str:
    """The published tracks beside a board, as Markdown."""
    tracks = [make_tracks([EXTENDED], profile)[0] for profile in profiles([EXTENDED])]
    return "\n\n".join(told(board, track, sides(board, track)) for each in tracks for track in each)
