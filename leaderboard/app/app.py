"""The leaderboard in a browser: the list of its pages, each a file in screens."""

from collections.abc import Callable
from typing import Literal
from urllib.parse import urlsplit

import streamlit as st

from pebench.leaderboard.app import links
from pebench.leaderboard.app.links import PAGES, address
from pebench.leaderboard.app.screens import (
    claims,
    compare,
    cost,
    curves,
    encoding,
    extension,
    harness,
    identities,
    methodology,
    needle,
    overview,
    positions,
    submit,
    task,
    trend,
    validity,
)
from pebench.leaderboard.app.widgets import copy_link, empty_pages

# Where each page lies, its title, and what draws it.
ENTRIES: dict[str, tuple[str, Callable[[], None]]] = {
    "overview": ("Overview", overview.show),
    "task": ("One task", task.show),
    "encoding": ("One encoding", encoding.show),
    "compare": ("Compare", compare.show),
    "cost": ("Cost and quality", cost.show),
    "curves": ("Length curves", curves.show),
    "needle": ("Needle", needle.show),
    "positions": ("Loss by position", positions.show),
    "extension": ("Extended contexts", extension.show),
    "harness": ("Forced choice", harness.show),
    "trend": ("Other sizes", trend.show),
    "claims": ("GRAPE's claims", claims.show),
    "validity": ("Published orders", validity.show),
    "identities": ("Identities", identities.show),
    "methodology": ("How ranks work", methodology.show),
    "submit": ("Submit", submit.show),
}


def main() -> None:
    """Set up the pages and run the chosen one."""
    st.set_page_config("pebench", layout="wide")
    without = empty_pages()
    for path, (title, page) in ENTRIES.items():
        seen: Literal["visible", "hidden"] = "hidden" if path in without else "visible"
        PAGES[path] = st.Page(page, title=title, url_path=path, default=path == "overview", visibility=seen)
    chosen = st.navigation(list(PAGES.values()), expanded=True)
    path = urlsplit(st.context.url or "").path.rstrip("/").rpartition("/")[2]
    if path and path not in ENTRIES:
        links.absent("page", path, list(ENTRIES), "page")
    with address(chosen.url_path or "overview"):
        chosen.run()
    with st.sidebar:
        copy_link()


if __name__ == "__main__":
    main()
