"""The pictures: colours that everyone can tell apart, labels that do not lie on each other."""

import itertools
import math

import numpy as np
import pandas as pd
import pytest
from numpy.typing import NDArray

from pebench.leaderboard.app import figures
from pebench.leaderboard.app.figures import COLOURS, SYMBOLS, Looks, spread
from pebench.leaderboard.reports.agreement import Side

BACKGROUNDS = ("#ffffff", "#0e1117")  # streamlit's, light and dark

# Machado, Oliveira and Fernandes (2009), table 1: linear RGB as seen at a severity of 1.0 and of 0.6.
VISIONS = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
    "protanomaly": [
        [0.458064, 0.679578, -0.137642],
        [0.092785, 0.846313, 0.060902],
        [-0.007494, -0.016807, 1.024301],
    ],
    "deuteranomaly": [
        [0.547494, 0.607765, -0.155259],
        [0.181692, 0.781742, 0.036566],
        [-0.010410, 0.027275, 0.983136],
    ],
    "tritanomaly": [
        [1.017277, 0.027029, -0.044306],
        [-0.006113, 0.958479, 0.047634],
        [0.006379, 0.248708, 0.744913],
    ],
    "achromatopsia": [[0.2126, 0.7152, 0.0722]] * 3,
}
TO_XYZ = np.array(
    [[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]]
)
Array = NDArray[np.float64]


def linear(colour: str) -> Array:
    """Linear RGB of "#rrggbb"."""
    values = np.array([int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)])
    return np.where(values <= 0.04045, values / 12.92, ((values + 0.055) / 1.055) ** 2.4)


def lab(rgb: Array) -> Array:
    """CIE L*a*b* of linear RGB."""
    x = (TO_XYZ @ np.clip(rgb, 0, 1)) / (TO_XYZ @ np.ones(3))
    f = np.where(x > (6 / 29) ** 3, np.cbrt(x), x / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


@pytest.mark.parametrize("vision", VISIONS)
def test_no_two_colours_look_alike(vision: str) -> None:
    """2.3 is just noticeable. Without any colour lightness alone is left, and the symbols differ."""
    seen = [lab(np.array(VISIONS[vision]) @ linear(colour)) for colour in COLOURS]
    least = min(float(np.linalg.norm(a - b)) for a, b in itertools.combinations(seen, 2))
    assert least > (3.5 if vision == "achromatopsia" else 10)
    assert len(set(SYMBOLS[: len(COLOURS)])) == len(COLOURS)


def test_the_simulation_sees_what_is_known_to_look_alike() -> None:
    """Red and green of the same lightness, for who sees no red; nothing is alike to everyone."""
    pair = [lab(np.array(VISIONS["deuteranopia"]) @ linear(colour)) for colour in ("#b35900", "#6f7a00")]
    assert np.linalg.norm(pair[0] - pair[1]) < 10
    assert np.linalg.norm(lab(linear("#b35900")) - lab(linear("#6f7a00"))) > 25


@pytest.mark.parametrize("background", BACKGROUNDS)
@pytest.mark.parametrize("colour", COLOURS)
def test_every_colour_has_the_contrast_of_a_graphic(colour: str, background: str) -> None:
    """WCAG 2.2, 1.4.11: 3 to 1 against what is next to it, on both backgrounds."""
    light = sorted(float(TO_XYZ[1] @ linear(c)) + 0.05 for c in (colour, background))
    assert light[1] / light[0] >= 3


def test_rope_looks_the_same_in_every_figure() -> None:
    one, other = Looks(["fox", "rope"]), Looks(["a", "b", "c", "rope"])
    assert one.colour("rope") == other.colour("rope") == COLOURS[0]
    names = [f"e{n}" for n in range(5)]
    assert len({Looks(names).colour(name) for name in ["rope", *names]}) == 6


def test_labels_keep_their_distance_and_their_order() -> None:
    places = [0.5, 0.1, 0.5, 0.52, 0.9]
    found = spread(places, 0.05)
    assert sorted(range(5), key=found.__getitem__) == sorted(range(5), key=places.__getitem__)
    assert all(b - a >= 0.05 - 1e-9 for a, b in itertools.pairwise(sorted(found)))
    assert spread([], 0.1) == []


def test_costs_that_hardly_differ_have_ticks_too() -> None:
    columns = ["encoding", "family", "cost", "score", "low", "high", "comparable", "front"]
    rows = [(f"e{n}", "additive", 2304 + 48 * n, 0.5, 0.4, 0.6, True, n == 0) for n in range(3)]
    drawn = figures.cost_quality(pd.DataFrame(rows, columns=columns), "cache")
    assert len(drawn.layout.xaxis.tickvals) > 1
    alike = figures.cost_quality(pd.DataFrame([rows[0], rows[0]], columns=columns), "cache")
    low, high = alike.layout.xaxis.range
    assert low < math.log10(2304) < high


def test_a_legend_has_room_of_its_own_below_the_plot() -> None:
    few, many = (
        figures.differences(
            pd.DataFrame(
                [("all", f"e{n}", 0.1, 0.0, 0.2) for n in range(count)],
                columns=["task", "other", "difference", "low", "high"],
            ),
            "rope",
            Looks([f"e{n}" for n in range(count)]),
        ).layout
        for count in (1, 6)
    )
    assert many.height - few.height == many.margin.b - few.margin.b == 2 * figures.LINE


def curve(values: dict[str, list[float]]) -> pd.DataFrame:
    rows = [
        {"encoding": name, "length": 64 * 2**n, "value": v, "low": v - 0.01, "high": v + 0.01}
        for name, line in values.items()
        for n, v in enumerate(line)
    ]
    return pd.DataFrame(rows)


def test_every_line_has_its_name_at_its_end() -> None:
    frame = curve({"rope": [0.9, 0.1], "fox<b>": [0.9, 0.1]})
    drawn = figures.curves(frame, "length", "tokens", "exact match", Looks(["rope", "fox<b>"]), 64)
    labels = {
        label.text.split("</span> ")[-1]: label for label in drawn.layout.annotations if "■" in label.text
    }
    assert set(labels) == {"rope", "fox&lt;b&gt;"}
    assert {label.x for label in labels.values()} == {math.log10(128)}
    assert abs(labels["rope"].y - labels["fox&lt;b&gt;"].y) > 0.03
    assert drawn.layout.showlegend is False


def test_the_front_and_rope_are_named_and_what_has_no_rank_is_hollow() -> None:
    columns = ["encoding", "family", "cost", "score", "low", "high", "comparable", "front"]
    rows = [
        ("learned_ape", "absolute", 0.9, 0.6, 0.5, 0.7, False, False),
        ("alibi", "additive", 1.0, 0.5, 0.4, 0.6, True, True),
        ("rope", "multiplicative", 1.0, 0.2, 0.1, 0.3, True, False),
        ("slow", "additive", 9.0, 0.4, 0.3, 0.5, True, False),
    ]
    drawn = figures.cost_quality(pd.DataFrame(rows, columns=columns), "training step")
    assert {label.text for label in drawn.layout.annotations} == {"alibi", "rope"}
    cheapest = min(row[2] for row in rows)
    for label in drawn.layout.annotations:  # their ends are left of every mark, outside the axis
        assert label.ax == drawn.layout.xaxis.range[0] < math.log10(cheapest)
        assert (label.xanchor, label.ayref) == ("right", "y")
        assert drawn.layout.margin.l >= 8 * len(label.text)
    legend = [trace.name for trace in drawn.data if trace.showlegend is not False]
    assert legend == [
        "Pareto front",
        "absolute",
        "additive",
        "multiplicative",
        "hollow: no rank, or conditions are missing",
    ]
    traces = {trace.legendgroup: trace for trace in drawn.data if trace.showlegend is False}
    assert traces["absolute"].marker.symbol == ("cross-open",)
    assert "-open" not in "".join(traces["additive"].marker.symbol)


def test_methods_stand_at_their_places_and_equal_ones_share_a_mark() -> None:
    ours = {"none": 0.0, "yarn": 0.2, "ntk": 0.1, "ntk_dynamic": 0.1, "pi": -0.1}
    theirs = {"none": 0.0, "yarn": 3.0, "ntk": 3.1, "ntk_dynamic": 3.1, "pi": 1.5}
    _, marks = figures.agreement(Side("language_ends", "loss", ours, theirs, seeds=2, texts=4)).data
    assert dict(zip(marks.text, zip(marks.x, marks.y, strict=True), strict=True)) == {
        "yarn": (1, 3),
        "ntk, ntk_dynamic": (2.5, 1.5),
        "none": (4, 5),
        "pi": (5, 4),
    }
