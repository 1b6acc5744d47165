from pebench.encodings.base import Encoding, Shape
from pebench.encodings.streams import build

TINY = Shape(layers=1, heads=2, head_dim=8, train_length=8)


def part(encoding: type[Encoding], *kinds: type[Encoding]) -> Encoding | None:
    """The first part of an encoding, or itself, that is of one of these classes; None where none is."""
    return next((found for found in build(encoding, TINY).modules() if isinstance(found, kinds)), None)
