"""What a seed changes: how much the runs of one encoding differ in a task, beside how much encodings do."""

import numpy as np
import pandas as pd

from pebench.leaderboard.ranking import Ranking, averages
from pebench.suite.results.names import trained

FEWEST = 10  # encodings: of fewer, how well two seeds agree on their order says little


def spread(r: Ranking) -> pd.DataFrame:
    """A row for each task with two seeds or more of at least `FEWEST` encodings, those with every condition.

    Columns: `task`, and the number of its `encodings` and `seeds`. `within` is the standard deviation of one
    encoding's scores over seeds (root of the mean variance), `largest` its largest value, of the encoding `whose`.
    `between` is the standard deviation of the encodings' means. `agree_low` and `agree_high` are the rank
    correlations (Spearman) of two seeds' orders, NaN where a seed tells no two encodings apart.
    """
    rows = []
    for t, task in enumerate(r.data.tasks):
        cells = r.data.of_task(t)
        scores = pd.DataFrame(averages(r.data, cells)[0], index=r.data.encodings)
        scores = scores[r.data.has_cell[:, cells].all(axis=1)].dropna(axis=1, thresh=FEWEST).dropna()
        scores = scores[~scores.index.map(trained).duplicated()]  # one row of each training
        count, seeds = scores.shape
        if seeds < 2 or count < FEWEST:
            continue
        of_one = scores.std(axis=1)
        agree = scores.corr("spearman").to_numpy()[np.triu_indices(seeds, 1)]
        row = (task, count, seeds, np.sqrt((of_one**2).mean()), of_one.max(), of_one.idxmax())
        rows.append((*row, scores.mean(axis=1).std(), agree.min(), agree.max()))
    columns = [
        "task",
        "encodings",
        "seeds",
        "within",
        "largest",
        "whose",
        "between",
        "agree_low",
        "agree_high",
    ]
    return pd.DataFrame(rows, columns=columns).sort_values("task", ignore_index=True)


def to_markdown(r: Ranking) -> str:
    """The same as a Markdown table."""
    lines = [
        "| task | encodings | seeds | between seeds | largest | between encodings | two seeds' orders |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in spread(r).itertuples():
        ends = [f"{end:.2f}" for end in (row.agree_low, row.agree_high) if np.isfinite(end)] or ["-"]
        lines.append(
            f"| `{row.task}` | {row.encodings} | {row.seeds} | {row.within:.2f} | {row.largest:.2f} ({row.whose}) "
            f"| {row.between:.2f} | {' to '.join(dict.fromkeys(ends))} |"
        )
    return "\n".join(lines)
