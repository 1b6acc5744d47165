"""Load the published ranking and draw scores with their 95 % intervals: python examples/load_board.py [page.html]"""

import sys

import plotly.express as px

import pebench

PAGE = sys.argv[1] if len(sys.argv) > 1 else "board.html"

board = pebench.load()
print(board[["tier", "name", "score", "low", "high", "seeds"]].head(12).to_string(index=False))

ranked = board.dropna(subset="tier").assign(
    up=lambda rows: rows["high"] - rows["score"], down=lambda rows: rows["score"] - rows["low"]
)
if ranked.empty:
    raise SystemExit("no encoding has a rank: a rank needs two seeds in every task")
figure = px.scatter(
    ranked,
    x="score",
    y="name",
    color="family",
    error_x="up",
    error_x_minus="down",
    hover_data=["tier", "paper"],
)
figure.update_yaxes(categoryorder="array", categoryarray=ranked["name"][::-1], title=None)
figure.update_layout(height=200 + 18 * len(ranked), title="Score, 0 content-free to 1 oracle")
figure.write_html(PAGE)
print(f"wrote {PAGE}")
