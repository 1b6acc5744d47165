"""How to submit an encoding, step by step."""

import streamlit as st

from pebench.leaderboard.reports.submitting import SUBMIT


def show() -> None:
    st.title("Submit an encoding")
    st.markdown(SUBMIT)
