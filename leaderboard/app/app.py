"""The leaderboard in a browser: the list of its pages, each a file in screens."""

from collections.abc import Callable

import streamlit as st

from pebench.leaderboard.app.screens import (
    claims,
    compare,
    cost,
    curves,
    encoding,
    harness,
    identities,
    methodology,
    needle,
    overview,
    positions,
    submit,
    validity,
)
from pebench.leaderboard.app.widgets import PAGES

# Where each page lies, its title, and what draws it.
ENTRIES: dict[str, tuple[str, Callable[[], None]]] = {
    "overview": ("Overview", overview.show),
    "curves": ("Length curves", curves.show),
    "needle": ("Needle", needle.show),
    "positions": ("Loss by position", positions.show),
    "harness": ("Forced choice", harness.show),
    "cost": ("Cost and quality", cost.show),
    "compare": ("Compare", compare.show),
    "encoding": ("One encoding", encoding.show),
    "claims": ("GRAPE's claims", claims.show),
    "validity": ("Published orders", validity.show),
    "identities": ("Identities", identities.show),
    "methodology": ("How ranks work", methodology.show),
    "submit": ("Submit", submit.show),
}


def main() -> None:
    """Set up the pages and run the chosen one."""
    st.set_page_config("pebench", layout="wide")
    for path, (title, page) in ENTRIES.items():
        PAGES[path] = st.Page(page, title=title, url_path=path, default=path == "overview")
    st.navigation(list(PAGES.values())).run()


if __name__ == "__main__":
    main()
