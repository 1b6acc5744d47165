"""The exact identities between encodings, as `pebench prove` measured them."""

import json
from pathlib import Path

import pandas as pd
import streamlit as st

from pebench.leaderboard.app.widgets import download, show_frame

# `pebench prove -o leaderboard/identities.json` writes it; a test compares it with the claims.
TABLE = Path(__file__).parents[2] / "identities.json"


def show() -> None:
    st.title("Identities")
    st.caption(
        "Encodings that are equal by theory, each computed in two ways. The error is the largest difference of two "
        "numbers. Rows that must not hold are faults of papers or reference codes."
    )
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    frame = as_frame(table)
    st.metric("As documented", f"{len(frame[frame['as documented']])} of {len(frame)}")
    scientific = st.column_config.NumberColumn(format="%.1e")
    columns = {"largest error": scientific, "tolerance": scientific}
    show_frame(frame, columns)
    download(frame, "identities")
    versions = ", ".join(f"{name} {number}" for name, number in table["versions"].items())
    st.caption(f"Measured with {versions}; `pebench prove` measures them again, in seconds.")


def as_frame(table: dict[str, list[dict[str, object]]]) -> pd.DataFrame:
    """The table of `pebench prove --json`, as a person reads it."""
    frame = pd.DataFrame(table["identities"])
    frame["must"] = frame["expected"].map({True: "hold", False: "not hold"})
    names = {
        "must": "must",
        "proven": "as documented",
        "statement": "identity",
        "source": "source",
        "precision": "computed in",
        "error": "largest error",
        "tolerance": "tolerance",
    }
    return frame[list(names)].rename(columns=names)
