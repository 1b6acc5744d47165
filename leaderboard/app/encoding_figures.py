"""Pictures of an encoding: the tables that `pebench pictures` writes, and plotly figures of them.

A table lies beside each saved model; suite/proofs/probes.py says what its rows are.
"""

import math
from collections.abc import Iterable
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go

from pebench.leaderboard.app.figures import COLOURS, laid_out

COLUMNS = {"state": str, "picture": str, "layer": int, "head": int, "x": float, "y": float}
LARGEST = 10_000_000  # bytes of a table
STILL = 1e-6  # radians a token: smaller ones are rounding
OPACITY = {"start": 0.35, "trained": 1.0}


class PictureError(ValueError):
    """A file that is no table of pictures."""


def newest(folders: Iterable[Path], profile: str, name: str) -> Path | None:
    """The table beside this encoding's model that was saved last; language models first."""
    files = [file for one in folders for file in (one / "checkpoints" / profile).glob(f"*/{name}/*.csv")]
    order = sorted(files, key=lambda file: (file.parent.parent.name == "language", file.stat().st_mtime))
    return order[-1] if order else None


def read(file: Path) -> pd.DataFrame:
    """The points of a table. PictureError where it is none."""
    try:
        if not file.is_file() or file.stat().st_size > LARGEST:
            raise PictureError(f"{file} is no table of pictures: no regular file, or too large")
        points = pd.read_csv(file, dtype=COLUMNS)
    except (OSError, ValueError, OverflowError) as e:
        raise PictureError(f"{file} is no table of pictures: {e}") from e
    if list(points.columns) != list(COLUMNS) or not set(points["state"]) <= OPACITY.keys():
        raise PictureError(f"{file} is no table of pictures")
    return points[(points[["x", "y"]].abs() < math.inf).all(axis=1)]


def logits(points: pd.DataFrame, layer: int) -> go.Figure:
    """Logit against distance, a line for each head; faint before training."""
    figure = go.Figure()
    for (head, state), line in _chosen(points, "logit", layer).groupby(["head", "state"]):
        figure.add_scatter(x=line["x"], y=line["y"], mode="lines+markers", **_style(head, state, points))
    figure.update_xaxes(type="log", title="distance of the key (tokens)")
    figure.update_yaxes(title="logit minus the nearest key's")
    return laid_out(figure, 400)


def spectrum(points: pd.DataFrame, layer: int) -> go.Figure:
    """By how much a token turns each plane, a row of points for each head."""
    figure = go.Figure()
    shown = _chosen(points, "angle", layer)
    for (head, state), line in shown[shown["y"] > STILL].groupby(["head", "state"]):
        figure.add_scatter(x=line["x"], y=line["y"], mode="markers", **_style(head, state, points))
    figure.update_xaxes(title="plane")
    figure.update_yaxes(type="log", title="radians a token")
    return laid_out(figure, 400)


def stretch(points: pd.DataFrame, layer: int) -> go.Figure:
    """The singular values of the relative action against the distance: 1 where norms are kept."""
    figure = go.Figure()
    for (head, state), line in _chosen(points, "stretch", layer).groupby(["head", "state"]):
        figure.add_scatter(x=line["x"], y=line["y"], mode="markers", **_style(head, state, points))
    figure.update_xaxes(type="log", title="distance of the key (tokens)")
    figure.update_yaxes(title="singular values", rangemode="tozero")
    return laid_out(figure, 400)


def frequencies(points: pd.DataFrame, layer: int) -> go.Figure:
    """Learned frequencies before and after training."""
    figure = go.Figure()
    for (head, state), line in _chosen(points, "frequency", layer).groupby(["head", "state"]):
        figure.add_scatter(x=line["x"], y=line["y"], mode="lines+markers", **_style(head, state, points))
    figure.update_xaxes(title="plane")
    figure.update_yaxes(type="log", title="radians a token")
    return laid_out(figure, 400)


def masses(points: pd.DataFrame) -> go.Figure:
    """How much of the attention goes how far, a line for each layer."""
    figure = go.Figure()
    for layer, line in points[points["picture"] == "mass"].groupby("layer"):
        figure.add_scatter(
            x=[_range(low) for low in line["x"]],
            y=line["y"],
            mode="lines+markers",
            name=f"layer {counted(layer)}",
            line={"color": COLOURS[layer % len(COLOURS)]},
        )
    figure.update_xaxes(type="category", title="distance of the key (tokens)")
    figure.update_yaxes(title="share of the attention", rangemode="tozero")
    return laid_out(figure, 400)


def layers(points: pd.DataFrame) -> list[int]:
    """The layers that the table has."""
    return sorted(points["layer"].unique())


def counted(layer: int) -> str:
    """How a person counts layers."""
    return f"{layer + 1}"


def has(points: pd.DataFrame, picture: str) -> bool:
    """Whether the table has this picture."""
    return bool((points["picture"] == picture).any())


def turns(points: pd.DataFrame, layer: int) -> bool:
    """Whether this layer turns any plane."""
    return bool((_chosen(points, "angle", layer)["y"] > STILL).any())


def _chosen(points: pd.DataFrame, picture: str, layer: int) -> pd.DataFrame:
    return points[(points["picture"] == picture) & (points["layer"] == layer)]


def _style(head: int, state: str, points: pd.DataFrame) -> dict[str, object]:
    colour = COLOURS[max(head, 0) % len(COLOURS)]
    heads = "all heads" if head < 0 else f"head {head + 1}"
    both = points["state"].nunique() > 1
    return {
        "name": f"{heads}, {state}" if both else heads,
        "line": {"color": colour, "dash": "dot" if both and state == "start" else "solid"},
        "marker": {"color": colour, "size": 6},
        "opacity": OPACITY[state] if both else 1.0,
    }


def _range(low: float) -> str:
    """The distances from `low` to below its double.

    >>> _range(0), _range(1), _range(4)
    ('0', '1', '4 to 7')
    """
    return f"{low:.0f}" if low < 2 else f"{low:.0f} to {2 * low - 1:.0f}"
