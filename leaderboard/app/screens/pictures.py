"""The pictures of one encoding, under its facts."""

from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from pebench.leaderboard import about
from pebench.leaderboard.app import encoding_figures, links
from pebench.leaderboard.app.widgets import draw
from pebench.leaderboard.printing import plain


def show_pictures(folders: Sequence[Path], profile: str, name: str, asked: str) -> None:
    """What an encoding does to logits, and where its trained models look; `asked` is its name in a command."""
    st.subheader("Pictures")
    file = encoding_figures.newest(folders, profile, name)
    if file is None:
        if "@" in name:
            st.info(
                f"It has no model of its own: see {plain(name.partition('@')[0])}, whose model it extends."
            )
        else:
            texts = [task.name for task in about.tasks(profile) if task.family == "language" and task.steps]
            made = f": `pebench run --profile {profile} -e {asked} -t {texts[0]} --save`" if texts else ""
            st.info(
                f"No pictures in this folder. They are made beside a model when it is trained and saved{made}. A run "
                "that has its record trains no model again."
            )
        return
    try:
        points = encoding_figures.read(file)
    except encoding_figures.PictureError as e:
        st.warning(plain(str(e)))
        return
    layers = encoding_figures.layers(points)
    layer = links.pick(
        "Layer", layers, "layer", slug=encoding_figures.counted, format_func=encoding_figures.counted
    )
    st.markdown("**Logit by distance**, in a text that repeats one token, so that only positions differ.")
    draw(encoding_figures.logits(points, layer), "logit-by-distance")
    if encoding_figures.has(points, "angle"):
        st.markdown(
            "**The relative action**: how a token turns the planes of q and k, and what it does to lengths."
        )
        left, right = st.columns(2)
        with left:
            if encoding_figures.turns(points, layer):
                draw(encoding_figures.spectrum(points, layer), "spectrum")
            else:
                st.info("No plane is turned.")
        with right:
            draw(encoding_figures.stretch(points, layer), "stretch")
    else:
        st.caption("Its logits are not bilinear in q and k, so there is no action to take apart.")
    if encoding_figures.has(points, "frequency"):
        st.markdown("**Learned frequencies**.")
        draw(encoding_figures.frequencies(points, layer), "frequencies")
    if encoding_figures.has(points, "mass"):
        st.markdown("**Attention by distance** on training texts, of queries in the second half of a text.")
        draw(encoding_figures.masses(points), "mass")
