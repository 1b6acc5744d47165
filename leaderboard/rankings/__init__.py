"""The published rankings as CSV files, one a profile. They come with an installed package; records do not.

`python -m pebench.leaderboard.reports` writes them, and a test compares them with the committed records.
"""

from pathlib import Path

import pandas as pd

from pebench.leaderboard.board import BoardError

FOLDER = Path(__file__).parent


def published(profile: str) -> pd.DataFrame:
    """The published ranking of a profile, with the columns of `printing.to_frame`. BoardError where there is none."""
    known = sorted(file.stem for file in FOLDER.glob("*.csv"))
    if profile.upper() not in known:
        raise BoardError(f"no published ranking of the profile {profile!r}; there are: {', '.join(known)}")
    return pd.read_csv(FOLDER / f"{profile.upper()}.csv", dtype_backend="numpy_nullable")
