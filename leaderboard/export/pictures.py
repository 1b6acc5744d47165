"""Pictures that stand outside the board: a badge for an encoding's own page, a card for social networks."""

import html
import io

from PIL import Image, ImageDraw, ImageFont

from pebench.leaderboard.board import Board
from pebench.leaderboard.entries import Entry

SIZE = (1200, 630)  # pixels, as the networks ask
PAPER, TEXT, QUIET, MARK = "#ffffff", "#1a1c22", "#5b6070", "#0072b2"


def badge(entry: Entry, profile: str) -> str:
    """An SVG that says the tier of an encoding: `pebench STANDARD | tier 1`."""
    left, right = f"pebench {profile}", f"tier {entry.tier}" if entry.tier else "not ranked"
    widths = [10 + round(6.6 * len(text)) for text in (left, right)]
    colour = MARK if entry.tier == 1 else QUIET
    words = html.escape(f"{entry.name}: {left}, {right}", quote=True)
    middles = (widths[0] / 2, widths[0] + widths[1] / 2)
    texts = "".join(
        f'<text x="{x:g}" y="14" fill="#ffffff" text-anchor="middle">{html.escape(text)}</text>'
        for x, text in zip(middles, (left, right), strict=True)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{sum(widths)}" height="20" role="img" aria-label="{words}">'
        f'<title>{words}</title><rect width="{sum(widths)}" height="20" rx="3" fill="#3b3f4a"/>'
        f'<rect x="{widths[0]}" width="{widths[1]}" height="20" rx="3" fill="{colour}"/>'
        f'<g font-family="Verdana,DejaVu Sans,sans-serif" font-size="11">{texts}</g></svg>\n'
    )


def social_card(board: Board) -> bytes:
    """A PNG of the best encodings with their intervals."""
    picture = Image.new("RGB", SIZE, PAPER)
    draw = ImageDraw.Draw(picture)
    draw.text((60, 48), "Positional encodings, ranked", TEXT, ImageFont.load_default(58))
    draw.text((60, 124), f"pebench {board.profile}: {board.size}", QUIET, ImageFont.load_default(30))
    best = [
        e
        for e in board.entries
        if e.rank and e.score is not None and e.low is not None and e.high is not None
    ][:7]
    left, width = 460, 640
    for n, entry in enumerate(best):
        y = 200 + 56 * n
        assert entry.score is not None
        assert entry.low is not None
        assert entry.high is not None
        draw.text((60, y), entry.name[:24], TEXT, ImageFont.load_default(30))
        draw.line((left, y + 20, left + width, y + 20), "#d5d8df", 2)
        ends = [left + width * min(1.0, max(0.0, x)) for x in (entry.low, entry.high)]
        draw.rectangle((ends[0], y + 12, ends[1], y + 28), "#8cc0e0")
        x = left + width * min(1.0, max(0.0, entry.score))
        draw.ellipse((x - 9, y + 11, x + 9, y + 29), MARK)
    draw.text((left, 592), "0: without reading the input", QUIET, ImageFont.load_default(22))
    draw.text((left + width, 592), "1: an oracle", QUIET, ImageFont.load_default(22), anchor="ra")
    buffer = io.BytesIO()
    picture.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
