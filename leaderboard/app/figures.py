"""Plotly figures from data frames. An encoding looks the same in all figures of a board.

Text from records is escaped, because plotly reads a little HTML in labels.
"""

import html
import math
from collections.abc import Iterable, Sequence

import pandas as pd
import plotly.graph_objects as go
from scipy.optimize import isotonic_regression

from pebench.leaderboard.extension import Track
from pebench.leaderboard.ranking import WHOLE
from pebench.leaderboard.reports.agreement import Side
from pebench.leaderboard.reports.trend import Trend

# Told apart in eight kinds of colour vision, and three times as light or dark as either background (tests).
COLOURS = ("#0072B2", "#AE3E00", "#008767", "#C25E99", "#8182D9", "#8A9E00")
DASHES = ("solid", "dash", "dot", "dashdot")
SYMBOLS = ("circle", "square", "diamond", "triangle-up", "cross", "x", "star")
FAMILIES = ("multiplicative", "additive", "path-integral", "contextual", "absolute", "none")  # of encodings
GREY = "#888888"
LINE, AXIS = 22, 56  # pixels: of a line of the legend, of an axis with its title
SCORE = "score (0: input not read, 1: oracle)"
NEAREST = 0.11  # of the axis: labels of ticks that are nearer would overlap on a phone


class Looks:
    """Colour, dash and symbol of the encodings of one figure; rope, in most of them, always has the first colour."""

    def __init__(self, names: Iterable[str]):
        order = dict.fromkeys(["rope", *names])
        self.place = {name: n for n, name in enumerate(order)}

    def colour(self, name: str) -> str:
        return COLOURS[self.place[name] % len(COLOURS)]

    def dash(self, name: str) -> str:
        return DASHES[self.place[name] // len(COLOURS) % len(DASHES)]

    def symbol(self, name: str) -> str:
        return SYMBOLS[self.place[name] % len(SYMBOLS)]


def family_looks(families: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Colour and symbol of each family: the same on all boards for those that pebench knows."""
    known = [*FAMILIES, *sorted(set(families) - set(FAMILIES))]
    return {family: (COLOURS[n % len(COLOURS)], SYMBOLS[n % len(SYMBOLS)]) for n, family in enumerate(known)}


def laid_out(figure: go.Figure, height: int, **layout: object) -> go.Figure:
    """What all figures share: margins, transparent backgrounds, a legend below, where no tool bar lies over it.

    The legend has room of its own under the plot, as much as it takes on a phone: two entries a line.
    """
    entries = sum(bool(trace.name) and trace.showlegend is not False for trace in figure.data)
    shown = layout.get("showlegend", entries > 1)
    lines = -(-entries // 2) if shown else 0
    figure.update_layout(
        height=height + LINE * lines,
        margin={"l": 8, "r": 8, "t": 52, "b": 8 if not lines else AXIS + LINE * lines},
        legend={"orientation": "h", "yref": "container", "yanchor": "bottom", "y": 0, "x": 0},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
    )
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return figure.update_layout(**layout)


def method_curves(track: Track, frame: pd.DataFrame, y_title: str) -> go.Figure:
    """A curve for each method of context extension over the length, its colour the same on all figures of a track."""
    looks = Looks(line.method for line in track.lines)
    known = {end: frame[end].fillna(frame["value"]) for end in ("low", "high")}
    drawn = frame.assign(**known).rename(columns={"method": "encoding"})
    return curves(drawn, "length", "tokens", y_title, looks, track.trained)


def titled(figure: go.Figure, text: str) -> go.Figure:
    """The figure with what was measured above it, in two lines: one would be cut on a phone."""
    title = {
        "text": html.escape(text).replace(": ", "<br>", 1),
        "font": {"size": 12},
        "x": 0,
        "xanchor": "left",
        "y": 1,
        "yanchor": "top",
    }
    return figure.update_layout(title=title | {"pad": {"t": 16, "l": 8}})


def spread(places: Sequence[float], least: float) -> list[float]:
    """Places of labels in the same order, at least so far apart, as near to where they were as can be.

    >>> [round(place, 2) for place in spread([0.5, 0.5, 0.9], 0.1)]
    [0.45, 0.55, 0.9]
    """
    if not places:
        return []
    order = sorted(range(len(places)), key=lambda n: places[n])
    steps = [least * n for n in range(len(places))]
    moved = isotonic_regression([places[n] - step for n, step in zip(order, steps, strict=True)]).x
    found = dict(zip(order, moved + steps, strict=True))
    return [float(found[n]) for n in range(len(places))]


def far_enough(places: Sequence[float], least: float, first: Sequence[float] = ()) -> list[float]:
    """The places that are at least so far from each other; `first` and the ends are kept before the others.

    >>> far_enough([0, 1, 2, 9, 10], 2)
    [0, 2, 10]
    """
    kept: list[float] = []
    for place in [*first, *places[-1:], *places]:
        if all(abs(place - other) >= least for other in kept):
            kept.append(place)
    return sorted(kept)


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
    figure.update_xaxes(title=SCORE)
    return laid_out(figure, 120 + 26 * len(shown), margin_r=56)


def curves(
    frame: pd.DataFrame, x: str, unit: str, y_title: str, looks: Looks, trained_to: float | None = None
) -> go.Figure:
    """Value against length or position (columns encoding, x, value, low, high), bars from seed to seed.

    Each line has its name at its end. `unit` is what x counts.
    """
    figure = go.Figure()
    places = sorted(frame[x].unique())
    log = bool(places) and places[0] > 0
    ends: dict[str, tuple[float, float]] = {}
    for name, rows in frame.groupby("encoding", sort=False):
        last = rows.sort_values(x).iloc[-1]
        ends[name] = (last[x], last["value"])
        figure.add_scatter(
            x=rows[x],
            y=rows["value"],
            mode="lines+markers",
            name=html.escape(name),
            line={"color": looks.colour(name), "dash": looks.dash(name), "width": 2},
            marker={"symbol": looks.symbol(name), "size": 7},
            error_y=_bars(rows, "value"),
        )
    apart = 0.05 * (frame["high"].max() - frame["low"].min())
    at = spread([value for _, value in ends.values()], apart)
    for (name, (end, _)), y in zip(ends.items(), at, strict=True):
        # On a logarithmic axis plotly places lines by value, but labels by the value's logarithm.
        mark = (
            f'<span style="color:{looks.colour(name)}">■</span>'  # coloured words would be too pale to read
        )
        label = {"text": f"{mark} {html.escape(name)}", "showarrow": False, "font": {"size": 13}}
        figure.add_annotation(x=math.log10(end) if log else end, y=y, xanchor="left", xshift=10, **label)
    if places:  # a range of its own: labels at the ends would stretch the axis that plotly chooses
        scaled = [math.log10(place) for place in places] if log else places
        wide = scaled[-1] - scaled[0]
        figure.update_xaxes(range=[scaled[0] - 0.04 * wide, scaled[-1] + 0.04 * wide] if wide else None)
        if log:
            trained = [math.log10(place) for place in places if place == trained_to]
            ticks = far_enough(scaled, NEAREST * wide, trained)
            figure.update_xaxes(
                type="log", tickvals=[10**t for t in ticks], ticktext=[f"{10**t:g}" for t in ticks]
            )
    if trained_to is not None and places and places[0] <= trained_to <= places[-1]:
        figure.add_vline(x=trained_to, line={"dash": "dot", "color": GREY})
        label = {"text": " trained to here", "showarrow": False}
        start = math.log10(trained_to) if log else trained_to
        figure.add_annotation(x=start, y=0, yref="paper", xanchor="left", yanchor="bottom", **label)
    figure.update_xaxes(title=f"{x} ({unit})")
    figure.update_yaxes(title=y_title)
    room = 16 + 8 * max((len(name) for name in ends), default=0)
    return laid_out(figure, 460, showlegend=False, margin_r=room)


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
    return laid_out(figure, 130 + 24 * len(grid), title={"text": title, "font": {"size": 14}}, margin_t=40)


def cost_quality(frame: pd.DataFrame, cost_title: str) -> go.Figure:
    """Cost against score with intervals, families as colours, and the Pareto front (views.cost_quality).

    The front and rope are named. A hollow mark has no rank, or lacks conditions.
    """
    figure = go.Figure()
    front = frame[frame["front"]]
    figure.add_scatter(
        x=front["cost"], y=front["score"], mode="lines", name="Pareto front",
        line={"shape": "hv", "dash": "dot", "color": GREY}, hoverinfo="skip",
    )  # fmt: skip
    looks = family_looks(frame["family"])
    for family, rows in frame.groupby("family", sort=False):
        colour, symbol = looks[family]
        figure.add_scatter(
            x=rows["cost"],
            y=rows["score"],
            mode="markers",
            showlegend=False,
            legendgroup=html.escape(family),
            text=rows["encoding"].map(html.escape),
            marker={
                "color": colour,
                "symbol": [symbol if ranked else f"{symbol}-open" for ranked in rows["comparable"]],
                "size": 10,
            },
            error_y={**_bars(rows, "score"), "color": GREY, "width": 0},
            hovertemplate="%{text}: cost %{x:.3g}, score %{y:.3f}<extra></extra>",
        )
        entry = {"color": colour, "symbol": symbol, "size": 10}
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name=html.escape(family),
            legendgroup=html.escape(family),
            marker=entry,
        )
    if not frame["comparable"].all():
        entry = {"color": GREY, "symbol": "circle-open", "size": 10}
        figure.add_scatter(
            x=[None],
            y=[None],
            mode="markers",
            name="hollow: no rank, or conditions are missing",
            marker=entry,
        )
    # The names stand left of all marks: on the front nothing is cheaper and as good, so no mark lies on their lines.
    named = frame[frame["front"] | (frame["encoding"] == "rope")].sort_values("score")
    low, high = (math.log10(frame["cost"].agg(end)) for end in ("min", "max"))
    left, right = low - 0.04 * (high - low or 1), high + 0.04 * (high - low or 1)
    tall = max(1e-6, frame[["high", "score"]].max(axis=None) - frame[["low", "score"]].min(axis=None))
    for row, y in zip(named.itertuples(), spread(list(named["score"]), 0.045 * tall), strict=True):
        figure.add_annotation(
            x=math.log10(row.cost), y=row.score, ax=left, ay=y, axref="x", ayref="y", xanchor="right", xshift=-4,
            text=html.escape(row.encoding), arrowhead=0, arrowwidth=1, arrowcolor=GREY, standoff=6,
        )  # fmt: skip
    # Costs are ratios, and most lie near 1; plotly's own ticks would say 8 where it is 0.8.
    ticks = [digit * 10.0**power for power in range(-3, 9) for digit in (1, 1.2, 1.5, 2, 3, 5, 7)]
    shown = far_enough(
        [math.log10(tick) for tick in ticks if low <= math.log10(tick) <= high], NEAREST * (high - low), [0.0]
    )
    if len(shown) < 2:  # costs that hardly differ
        shown = far_enough(sorted({math.log10(cost) for cost in frame["cost"]}), NEAREST * (high - low))
    text = {"tickvals": [10**tick for tick in shown], "ticktext": [f"{10**tick:.4g}" for tick in shown]}
    figure.update_xaxes(type="log", range=[left, right], title=cost_title, **text)
    figure.update_yaxes(title=SCORE, side="right")
    room = 16 + 8 * max((len(name) for name in named["encoding"]), default=0)
    return laid_out(figure, 520, showlegend=True, margin_l=room)


def trend(frame: pd.DataFrame, found: Trend) -> go.Figure:
    """The difference of each pair (views.largest_gaps) against the parameters of the models, named at its end."""
    figure, last = go.Figure(), []
    for n, (_, row) in enumerate(frame.iterrows()):
        gaps = [row[profile] for profile in found.profiles]
        pair = html.escape(f"{row['better']} - {row['worse']}")
        colour, dash = COLOURS[n % len(COLOURS)], DASHES[n // len(COLOURS) % len(DASHES)]
        figure.add_scatter(
            x=found.parameters, y=gaps, mode="lines+markers", name=pair,
            line={"color": colour, "dash": dash, "width": 2}, marker={"symbol": SYMBOLS[n % len(SYMBOLS)], "size": 7},
        )  # fmt: skip
        last.append((gaps[-1], pair, colour))
    heights = [gap for trace in figure.data for gap in trace.y]
    apart = 0.05 * (max(heights, default=1.0) - min(heights, default=0.0))
    for (_, pair, colour), y in zip(last, spread([gap for gap, _, _ in last], apart), strict=True):
        text = f'<span style="color:{colour}">■</span> {pair}'
        figure.add_annotation(
            x=math.log10(found.parameters[-1]), y=y, xanchor="left", xshift=10, text=text, showarrow=False
        )
    figure.add_hline(y=0, line={"color": GREY, "dash": "dot"})
    ticks = [f"{n / 1e6:.2f} M<br>{name}" for name, n in zip(found.profiles, found.parameters, strict=True)]
    low, high = math.log10(min(found.parameters)), math.log10(max(found.parameters))
    ends = [low - 0.08 * (high - low), high + 0.08 * (high - low)]
    figure.update_xaxes(type="log", tickvals=found.parameters, ticktext=ticks, title="parameters", range=ends)
    figure.update_yaxes(title="difference of scores")
    room = 24 + 7 * max((len(pair) for _, pair, _ in last), default=0)
    return laid_out(figure, 480, showlegend=False, margin_r=room)


def agreement(side: Side) -> go.Figure:
    """The place of each method of context extension on small models and on the pretrained one; best is 1."""
    names = pd.Index(side.methods, name="method")
    values = pd.DataFrame({"small": side.ours, "pretrained": side.theirs}).reindex(names)
    places = (
        values.rank(ascending=False).reset_index().groupby(["small", "pretrained"])["method"].agg(", ".join)
    )
    x, y = (places.index.get_level_values(level) for level in places.index.names)
    last, figure = len(names), go.Figure()
    figure.add_scatter(
        x=[1, last], y=[1, last], mode="lines", line={"color": GREY, "dash": "dot"}, hoverinfo="skip"
    )
    figure.add_scatter(
        x=x,
        y=y,
        mode="markers+text",
        text=[html.escape(alike) for alike in places],
        textposition=["middle left" if place > (last + 1) / 2 else "middle right" for place in x],
        marker={"color": COLOURS[0], "size": 10},
    )
    figure.update_xaxes(
        title=f"place on small models, by {side.task} beyond L (1: best)", range=[0.3, last + 0.7]
    )
    figure.update_yaxes(
        title=f"place on the pretrained model,<br>by {side.kind} beyond L", range=[last + 0.7, 0.3]
    )
    return laid_out(figure, 460, showlegend=False)


JUDGED = {"above chance": "", "not above chance": "-open"}  # how a mark is filled


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
                "symbol": looks.symbol(row.encoding) + JUDGED.get(row.verdict, "-open-dot"),
                "size": 11,
            },
        )
    figure.add_hline(y=frame["chance"].mean(), line={"dash": "dot", "color": GREY})
    figure.update_xaxes(title="bits per byte of the right answer (lower is better)")
    figure.update_yaxes(title="accuracy (filled: above chance, hollow: not above, with a dot: not judged)")
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
    """The diagram of Demsar (2006, figure 1): mean ranks on a line, best on the left, and bars over groups that
    Nemenyi's test does not separate. `ranks` ascending (index: encoding), `cliques` as in ranking.cliques.
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
