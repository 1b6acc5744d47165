"""Plotly figures from data frames. An encoding looks the same in all figures of a board.

Text from records is escaped, because plotly reads a little HTML in labels.
"""

import html
import math
from collections.abc import Iterable, Sequence

import pandas as pd
import plotly.graph_objects as go

from pebench.leaderboard.ranking import WHOLE

# Okabe and Ito's colours (2008) without the yellow and the black, which vanish on one of the two backgrounds.
COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#8C6BB1", "#8A8A00")
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x")
GREY = "#888888"


class Looks:
    """Colour, dash and symbol of each encoding, of names in the board's order: neighbours on it differ in colour."""

    def __init__(self, names: Iterable[str]):
        self.place = {name: n for n, name in enumerate(names)}

    def colour(self, name: str) -> str:
        return COLOURS[self.place[name] % len(COLOURS)]

    def dash(self, name: str) -> str:
        return DASHES[self.place[name] // len(COLOURS) % len(DASHES)]

    def symbol(self, name: str) -> str:
        return SYMBOLS[self.place[name] // len(COLOURS) % len(SYMBOLS)]


def laid_out(figure: go.Figure, height: int, **layout: object) -> go.Figure:
    """What all figures share: margins, legend, transparent backgrounds; a long legend makes them taller."""
    figure.update_layout(
        height=height + 8 * max(0, len(figure.data) - 8),
        margin={"l": 8, "r": 8, "t": 24, "b": 8},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure.update_layout(**layout)


def _bars(rows: pd.DataFrame, middle: str) -> dict[str, object]:
    up, down = rows["high"] - rows[middle], rows[middle] - rows["low"]
    return {"type": "data", "array": up, "arrayminus": down, "thickness": 1, "width": 3}


def scores(frame: pd.DataFrame) -> go.Figure:
    """Score and 95 % interval of each encoding (board.to_frame), best on top, a band for each tier.

    Hollow where conditions lack.
    """
    shown = frame.dropna(subset="score")
    figure = go.Figure()
    figure.add_scatter(
        x=shown["score"],
        y=shown["name"],
        mode="markers",
        marker={
            "size": 10,
            "color": [GREY if lacks else COLOURS[0] for lacks in shown["tier"].isna()],
            "symbol": ["circle-open" if partial else "circle" for partial in shown["coverage"] < WHOLE],
        },
        error_x={**_bars(shown, "score"), "color": GREY},
    )
    below = len(shown)
    for n, (tier, rows) in enumerate(shown.groupby("tier", dropna=False)):
        top, below = below, below - len(rows)
        if n % 2 == 0:
            figure.add_hrect(
                below - 0.5, top - 0.5, fillcolor=GREY, opacity=0.15, line_width=0, layer="below"
            )
        figure.add_annotation(
            x=1,
            xref="paper",
            xanchor="left",
            y=(top + below - 1) / 2,
            text="no rank" if pd.isna(tier) else f"tier {tier}",
            showarrow=False,
        )
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=list(shown["name"])[::-1])
    figure.update_xaxes(title="score (0: without reading the input, 1: oracle)")
    return laid_out(figure, 120 + 26 * len(shown), margin_r=56)


def curves(
    frame: pd.DataFrame, x: str, unit: str, y_title: str, looks: Looks, trained_to: float | None = None
) -> go.Figure:
    """Value against length or position (columns encoding, x, value, low, high), bars from seed to seed.

    `unit` is what x counts.
    """
    figure = go.Figure()
    for name, rows in frame.groupby("encoding", sort=False):
        figure.add_scatter(
            x=rows[x],
            y=rows["value"],
            mode="lines+markers",
            name=name,
            line={"color": looks.colour(name), "dash": looks.dash(name), "width": 2},
            marker={"symbol": looks.symbol(name), "size": 7},
            error_y=_bars(rows, "value"),
        )
    places = sorted(frame[x].unique())
    log = bool(places) and places[0] > 0
    if log:
        figure.update_xaxes(type="log", tickvals=places, ticktext=[f"{place:g}" for place in places])
    if trained_to is not None and places and places[0] <= trained_to <= places[-1]:
        figure.add_vline(x=trained_to, line={"dash": "dot", "color": GREY})
        # On a logarithmic axis plotly places lines by value, but labels by the value's logarithm.
        at = math.log10(trained_to) if log else trained_to
        label = {"text": " trained to here", "showarrow": False, "font": {"color": GREY}}
        figure.add_annotation(x=at, y=0, yref="paper", xanchor="left", yanchor="bottom", **label)
    figure.update_xaxes(title=f"{x} ({unit})")
    figure.update_yaxes(title=y_title)
    return laid_out(figure, 460)


def heat_map(frame: pd.DataFrame, title: str) -> go.Figure:
    """Length against place of one encoding (columns length, place, value), from 0 to 1."""
    grid = frame.pivot(index="place", columns="length", values="value").reindex(frame["place"].unique())
    figure = go.Figure()
    figure.add_heatmap(
        z=grid.to_numpy(),
        x=[f"{length:g}" for length in grid.columns],
        y=list(grid.index),
        zmin=0,
        zmax=1,
        colorscale="Viridis",
        colorbar={"thickness": 10},
        hovertemplate="length %{x}, %{y}: %{z:.2f}<extra></extra>",
    )
    # Plotly would take "512" for a number and stretch the axis.
    figure.update_xaxes(type="category", title="length")
    figure.update_yaxes(type="category", autorange="reversed")
    return laid_out(figure, 130 + 24 * len(grid), title={"text": title, "font": {"size": 14}}, margin_t=36)


def cost_quality(frame: pd.DataFrame, cost_title: str, looks: Looks) -> go.Figure:
    """Cost against score with intervals, and the Pareto front (views.cost_quality)."""
    figure = go.Figure()
    front = frame[frame["front"]]
    figure.add_scatter(
        x=front["cost"], y=front["score"], mode="lines", name="Pareto front",
        line={"shape": "hv", "dash": "dot", "color": GREY}, hoverinfo="skip",
    )  # fmt: skip
    for row in frame.itertuples():
        figure.add_scatter(
            x=[row.cost],
            y=[row.score],
            mode="markers",
            name=row.encoding,
            marker={"color": looks.colour(row.encoding), "symbol": looks.symbol(row.encoding), "size": 11},
            error_y={"array": [row.high - row.score], "arrayminus": [row.score - row.low], "thickness": 1},
        )
    # Costs are ratios, and most lie near 1; plotly's own ticks would say 8 where it is 0.8.
    ticks = [digit * 10.0**power for power in range(-3, 9) for digit in (1, 1.5, 2, 3, 5, 7)]
    text = [f"{tick:g}" for tick in ticks]
    figure.update_xaxes(type="log", tickvals=ticks, ticktext=text, title=cost_title)
    figure.update_yaxes(title="score")
    return laid_out(figure, 460)


def answers(frame: pd.DataFrame, looks: Looks) -> go.Figure:
    """Accuracy against bits per byte of the right answer (views.forced_choice), with the line of chance."""
    figure = go.Figure()
    for row in frame.itertuples():
        figure.add_scatter(
            x=[row.bits_per_byte],
            y=[row.accuracy],
            mode="markers",
            name=row.encoding,
            marker={
                "color": looks.colour(row.encoding),
                "symbol": looks.symbol(row.encoding) + ("" if row.verdict == "above chance" else "-open"),
                "size": 11,
            },
        )
    figure.add_hline(y=frame["chance"].mean(), line={"dash": "dot", "color": GREY})
    figure.update_xaxes(title="bits per byte of the right answer (lower is better)")
    figure.update_yaxes(title="accuracy (hollow: at chance)")
    return laid_out(figure, 420, showlegend=True)


def differences(frame: pd.DataFrame, first: str, looks: Looks) -> go.Figure:
    """Paired differences with 95 % intervals (views.compare); right of zero `first` is better."""
    figure = go.Figure()
    for other, rows in frame.groupby("other", sort=False):
        figure.add_scatter(
            x=rows["difference"],
            y=rows["task"].map(html.escape),
            mode="markers",
            orientation="h",  # a row of its own for each other, side by side within a task
            offsetgroup=other,
            name=f"minus {other}",
            marker={"color": looks.colour(other), "symbol": looks.symbol(other), "size": 10},
            error_x={
                "array": rows["high"] - rows["difference"],
                "arrayminus": rows["difference"] - rows["low"],
            },
        )
    figure.add_vline(x=0, line={"color": GREY, "dash": "dot"})
    order = list(dict.fromkeys(frame["task"].map(html.escape)))
    figure.update_yaxes(type="category", categoryorder="array", categoryarray=order[::-1])
    figure.update_xaxes(title=f"score of {first} minus the other's")
    return laid_out(figure, 160 + 60 * len(order), scattermode="group", showlegend=True)


def critical_difference(ranks: pd.Series, distance: float, cliques: Sequence[tuple[int, int]]) -> go.Figure:
    """The diagram of Demsar (2006, figure 1): mean ranks on a line, best on the left, and bars over those groups
    that Nemenyi's test does not separate. `ranks` ascending (index: encoding), `cliques` as in ranking.cliques.
    """
    count, half = len(ranks), (len(ranks) + 1) // 2
    first, last = 1.0, float(max(2, count))
    top = -0.5 * len(cliques) - 0.8  # of the names, below the bars
    figure = go.Figure()
    for n, (name, rank) in enumerate(ranks.items()):
        on_left = n < half
        y = top - (n if on_left else count - 1 - n)
        edge, label = (first, f"{name} {rank:.1f}") if on_left else (last, f"{rank:.1f} {name}")
        figure.add_scatter(
            x=[rank, rank, edge],
            y=[0, y, y],
            mode="lines",
            line={"color": COLOURS[0] if n == 0 else GREY, "width": 1.5},
            hovertemplate=f"{html.escape(str(name))}: {rank:.2f}<extra></extra>",
        )
        figure.add_annotation(
            x=edge,
            y=y,
            text=html.escape(label),
            showarrow=False,
            xanchor="right" if on_left else "left",
            xshift=-3 if on_left else 3,
        )
    for n, (i, j) in enumerate(cliques):
        figure.add_scatter(
            x=[ranks.iloc[i] - 0.03, ranks.iloc[j] + 0.03],
            y=[-0.5 * (n + 1)] * 2,
            mode="lines",
            line={"width": 5, "color": COLOURS[3]},
            hoverinfo="skip",
        )
    if distance < last - first:
        figure.add_scatter(
            x=[first, first + distance], y=[1.3] * 2, mode="lines+markers",
            line={"color": GREY, "width": 2}, marker={"symbol": "line-ns-open", "size": 9}, hoverinfo="skip",
        )  # fmt: skip
        text = f"critical difference {distance:.2f}"
        figure.add_annotation(x=first + distance / 2, y=1.4, text=text, showarrow=False, yanchor="bottom")
    figure.add_hline(y=0, line={"color": GREY, "width": 1})
    ticks = list(range(1, count + 1, max(1, -(-count // 6))))
    for tick in ticks:
        figure.add_annotation(x=tick, y=0.05, text=str(tick), showarrow=False, yanchor="bottom")
    names = 12 + 6 * (4 + max(len(str(name)) for name in ranks.index))  # pixels that they take on each side
    figure.update_xaxes(visible=False, range=[first - 0.1, last + 0.1])
    figure.update_yaxes(visible=False, range=[top - half, 2.4])
    return laid_out(
        figure, 110 + 24 * half + 12 * len(cliques), showlegend=False, margin_l=names, margin_r=names
    )
