"""The profiles of the track: which methods, how many texts, how far."""

from dataclasses import dataclass

from pebench.encodings.registry import UnknownName

NONE = "none"  # the method that changes nothing
LOSS, RETRIEVAL, COST = "extend_loss", "extend_retrieval", "extend_cost"
TASKS = {
    LOSS: "Loss by position of a book",
    RETRIEVAL: "Numbers hidden in a book",
    COST: "Cost over the unextended model",
}


@dataclass(frozen=True)
class Track:
    """The measurements of each method. Lengths are multiples of the model's training length."""

    name: str
    about: str
    methods: tuple[str, ...]
    texts: int
    lengths: tuple[float, ...]  # of the texts in which numbers are hidden
    stretches: tuple[float, ...]  # ends of the stretches whose mean loss is told

    @property
    def farthest(self) -> float:
        """The longest text: the factor of all methods but the dynamic ones."""
        return max(self.lengths)

    def cells(self) -> list[tuple[str, int]]:
        """Tasks with the numbers of their texts, in the order of running."""
        read = [(task, text) for text in range(self.texts) for task in (LOSS, RETRIEVAL)]
        return [*read, (COST, 0)]


EXTEND = Track(
    name="EXTEND",
    about="a pretrained model read at up to 4 times its training length by every method, a text of each of four books",
    methods=(
        *(NONE, "pi", "ntk", "ntk_dynamic", "yarn", "yarn_frequencies", "llama3", "longrope2"),
        *("longrope2_searched", "self_extend", "rerope", "dual_chunk", "streaming", "dropped", "yarn+logn"),
    ),
    texts=4,  # as many test books hold a text of that length: two of one book are not independent
    lengths=(1 / 8, 1 / 4, 1 / 2, 1, 2, 4),
    stretches=(1 / 8, 1 / 4, 1 / 2, 3 / 4, 1, 1.25, 1.5, 2, 2.5, 3, 4),
)
EXTEND_QUICK = Track(
    name="EXTEND_QUICK",
    about="a pretrained model read at up to twice its training length by four methods, two texts",
    methods=(NONE, "ntk", "yarn", "dual_chunk"),
    texts=2,
    lengths=(1 / 4, 1, 2),
    stretches=(1 / 8, 1 / 4, 1 / 2, 3 / 4, 1, 1.25, 1.5, 2),
)
TRACKS = {track.name: track for track in (EXTEND_QUICK, EXTEND)}


def track_named(name: str) -> Track:
    """The profile of this name, in any case. UnknownName names the nearest one."""
    if name.upper() not in TRACKS:
        raise UnknownName("profile of this track", name, TRACKS)
    return TRACKS[name.upper()]
