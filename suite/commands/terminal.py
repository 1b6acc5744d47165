"""Printing on every terminal, whatever its encoding."""

import io
import sys

PLAIN = {"✓": "+", "✗": "x", "×": "x", "−": "-", "–": "-", "—": "-", "’": "'", "…": "."}


def plain(error: UnicodeError) -> tuple[str, int]:
    """What stands for the characters that a terminal cannot show: a letter without its accent, a sign like it, or ?."""
    import unicodedata

    assert isinstance(error, UnicodeEncodeError)
    signs = []
    for char in error.object[error.start : error.end]:
        name = unicodedata.name(char, "")
        letter = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode()
        line = (
            "|" if "VERTICAL" in name and "HORIZONTAL" not in name else "-" if "HORIZONTAL" in name else "+"
        )
        signs.append(PLAIN.get(char) or letter or (line if name.startswith("BOX DRAWINGS") else "?"))
    return "".join(signs), error.end


def speak_plainly() -> None:
    """Print on every terminal: characters that its encoding lacks are replaced by ones that it has."""
    import codecs

    ascii = codecs.lookup("ascii")
    # Under a name of ours, because typer prints UTF-8 where it hears of ASCII.
    ours = codecs.CodecInfo(
        ascii.encode,
        ascii.decode,
        ascii.streamreader,
        ascii.streamwriter,
        ascii.incrementalencoder,
        ascii.incrementaldecoder,
        name="plain",
    )
    codecs.register(lambda name: ours if name == "plain" else None)
    codecs.register_error("plain", plain)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            plainest = codecs.lookup(stream.encoding).name == "ascii"
            stream.reconfigure(encoding="plain" if plainest else stream.encoding, errors="plain")
