"""The pages of the static site, one function each."""

import html
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from pebench.leaderboard import about, extension, ranking, table
from pebench.leaderboard.app import figures, rows, views
from pebench.leaderboard.board import Board
from pebench.leaderboard.entries import Entry
from pebench.leaderboard.export.formulas import mathml
from pebench.leaderboard.export.page import (
    MISSING,
    Page,
    Site,
    coded,
    listed,
    opened,
    paragraphs,
    plain_table,
    ranking_table,
    script,
    slug,
)
from pebench.leaderboard.printing import spanned_days, to_frame, unranked
from pebench.leaderboard.reports import claims, sentences
from pebench.leaderboard.reports.method import METHOD
from pebench.leaderboard.reports.submitting import SUBMIT
from pebench.leaderboard.reports.trend import Trend, TrendError, by_quantity, legend
from pebench.leaderboard.reports.validity import Validity
from pebench.leaderboard.reports.verdicts import verdict
from pebench.suite.results.record import Unreadable


def overview(site: Site) -> Page:
    """The first page, of the folder of its version."""
    page, board = Page("index.html", "Positional encodings, ranked"), site.board
    page.add(f"<p>{html.escape(views.measured_what(board))}</p>")
    page.add("<details><summary>In short: what these records say</summary><ul>")
    page.add(*(f"<li>{coded(sentence)}</li>" for sentence in sentences.in_short(board)), "</ul></details>")
    page.add(
        ways(site, "../"),
        f"<p class=facts>{html.escape(views.news(board, site.version))}</p>",
    )
    ranking_table(page, "overview", board)
    page.add(f"<p class=facts>{rows.CAPTION}</p>")
    page.add("<h2>Scores with 95 % intervals</h2>")
    page.figure(
        "scores",
        figures.titled(figures.scores(to_frame(board)), views.scale(board)),
        "The score of each encoding with its 95 % interval.",
    )
    notes = [f"No rank: {names}: {reason}." for names, reason in unranked(board)] + board.notes
    page.add("<ul class=facts>", *(f"<li>{html.escape(note)}</li>" for note in notes), "</ul>")
    return page


def ways(site: Site, root: str) -> str:
    """The questions as links; `root` leads to the site's root, where other versions lie."""
    links = (f'<a href="{path}">{html.escape(text)}</a>' for text, path in questions(site, root))
    return f'<div class="questions">{"".join(links)}</div>'


def answering(board: Board) -> set[str]:
    """The pages of tasks and of costs that a board has."""
    return {f"tasks/{name}.html" for name in views.ranked_tasks(board)} | (
        {"cost.html"} if priced(board) else set()
    )


def questions(site: Site, root: str) -> list[tuple[str, str]]:
    """What visitors ask, and the page of this site that answers it. A question that no page answers is left out."""
    board = site.board

    def where(asked: views.Question) -> str | None:
        profile = asked.query.get("profile", board.profile)
        pages = site.offered.get(profile)
        if pages is None:  # a version after this one, which a site of this profile has not
            return None
        start = "" if profile == board.profile else f"{root}{profile}/"
        if tasks := asked.query.get("tasks"):
            first = min(tasks, key=lambda task: [*views.RETRIEVAL, "language"].index(about.family(task)))
            return f"{start}tasks/{first}.html" if f"tasks/{first}.html" in pages else None
        if asked.page == "cost" and "cost.html" not in pages:
            return None
        if "sort" in asked.query:
            return f"{start}index.html#sort={asked.query['sort']}"
        return f"{start}{'index' if asked.page == 'overview' else asked.page}.html"

    return [(asked.words, path) for asked in views.questions(board) if (path := where(asked))]


def tasks(site: Site) -> Page:
    """The list of all tasks."""
    page = Page("tasks.html", "Tasks")
    for name in views.ranked_tasks(site.board):
        facts = about.task(site.board.profile, name)
        rule = facts.rule.partition("\n\n")[0] if facts else ""
        page.add(
            f'<h2><a href="tasks/{name}.html">{html.escape(about.title(name))}</a></h2>', paragraphs(rule)
        )
        if facts:
            page.add(f"<p class=facts>{html.escape(views.sizes(facts))}</p>")
    return page


def task(site: Site, name: str, against: Validity) -> Page:
    """One task: rule, items, ranking, curve, validity."""
    board, title = site.board, about.title(name)
    page, facts = Page(f"tasks/{name}.html", title), about.task(site.board.profile, name)
    trained = facts.trained if facts else 0
    if facts:
        page.add(f"<p class=facts>{html.escape(views.sizes(facts))}</p>", paragraphs(facts.rule))
    for item in about.items(board.profile, name) if facts else ():
        page.add(
            f"<h2>{html.escape(opened(views.multiple(item, trained)))}</h2>",
            f"<pre>{html.escape(views.question(item))}</pre>",
        )
        if item.right:
            page.add(f"<p>Right answer: <strong>{html.escape(item.right)}</strong></p>")
        said = views.answered(board, name, table.label(item.condition))
        if not said.empty:
            plain_table(page, f"answers-{name}-{item.multiple}", said)
    alone = site.alone(name)
    page.add("<h2>Ranked by this task</h2>", f"<p>{html.escape(views.first_tier(alone))}</p>")
    ranking_table(page, f"task-{name}", alone)
    metrics = [metric for found, metric in views.measured(board, "length") if found == name]
    if metrics and facts:
        frame = views.by_length(board, name, metrics[0], views.few(board))
        if not frame.empty:
            looks = figures.Looks(views.few(board))
            drawn = figures.curves(
                frame, "length", facts.unit, views.better(metrics[0]), looks, views.train_length(board, name)
            )
            page.add("<h2>Along the length</h2>")
            figures.titled(drawn, views.scale(board, name))
            page.figure(f"curve-{name}", drawn, f"{title}: {metrics[0]} against length.")
    found = views.task_validity(against, name)
    page.add("<h2>Agreement with published tables</h2>")
    if found.empty:
        page.add("<p>No published table measures the same for encodings of this board.</p>")
    else:
        plain_table(page, f"validity-{name}", found)
    return page


def encoding(site: Site, entry: Entry) -> Page:
    """One encoding, down to its runs."""
    board, card = site.board, site.board.cards[entry.name]
    page = Page(f"encodings/{slug(entry.name)}.html", entry.title or entry.name, entry.title)
    parts = views.one(board, entry.name)
    page.add(
        f"<p class=facts>{html.escape(f'{entry.name} · {entry.family} · kernel {entry.kernel} · {entry.paper}')}</p>"
    )
    page.add(f"<p>{html.escape(views.standing(entry))}</p>")
    place = html.escape(views.standing(entry), quote=True)
    page.add(f'<p><img src="{page.up}badges/{slug(entry.name)}.svg" alt="{place}"></p>')
    for key in ("formula", "about"):
        text = card.get(key)
        if isinstance(text, str) and text:
            page.add(mathml(text) if key == "formula" else paragraphs(text))
    for title, name, frame in (
        ("Quantities, each with an order of its own", "quantities", views.quantities(entry)),
        ("Task families", "families", parts["families"]),
        ("Cost, over RoPE's", "costs", views.costs(entry)),
        ("Certificate", "certificate", parts["certificate"]),
        (
            "Runs",
            "runs",
            parts["runs"][["task", "seed", "outcome", "learned", "started", "seconds", "commit", "file"]],
        ),
    ):
        if len(frame):
            page.add(f"<h2>{html.escape(title)}</h2>")
            known = {"value": rows.titled("value", "%.4g")}
            plain_table(page, f"{slug(entry.name)}-{name}", frame, rows.frame_table(shortened(frame), known))
    source = card.get("source")
    if isinstance(source, str) and source:
        page.add(f"<details><summary>Source</summary><pre>{html.escape(source)}</pre></details>")
    return page


def shortened(frame: pd.DataFrame) -> pd.DataFrame:
    """Minutes and the beginning of a commit's hash are enough to read."""
    long = {name: size for name, size in (("started", 16), ("commit", 10)) if name in frame}
    return frame.assign(**{name: frame[name].str[:size] for name, size in long.items()})


def pairs(board: Board) -> dict[str, Any]:
    """All paired differences: by the places of both encodings, rows of task, difference, interval, p, seeds.

    And the verdict on each pair, in sentences.
    """
    names = [entry.name for entry in board.entries if entry.name in board.ranking.data.encodings]
    named: dict[str, int] = {}
    found: dict[str, list[list[Any]]] = {}
    said: dict[str, list[str]] = {}
    for a, first in enumerate(names):
        for b, second in enumerate(names[a + 1 :], a + 1):
            frame = ranking.differences(board.ranking, first, second)
            said[f"{a} {b}"] = verdict(board, first, second)
            found[f"{a} {b}"] = [
                [
                    named.setdefault(row.task, len(named)),
                    *(rows.number(x, 4) for x in (row.difference, row.low, row.high, row.p)),
                    row.seeds,
                ]
                for row in frame.itertuples()
            ]
    return {"names": names, "tasks": list(named), "pairs": found, "verdicts": said}


def compare(site: Site) -> Page:
    """Two encodings against each other, chosen on the page."""
    page, table = Page("compare.html", "Compare"), pairs(site.board)
    page.data["pairs"] = table
    page.add(
        '<div id="compare"><p><label>Is <select></select></label> <label>better than <select></select></label>?</p>'
        '<p class="absent" role="alert"></p><ul class="verdict" role="status"></ul><div data-pairs></div></div>',
        "<p class=facts>Paired by seed, on the conditions that both have, with 95 % intervals. The p-values are of "
        "single comparisons; tiers correct for all pairs.</p>",
        script("pairs", table),
        f'<p class="json"><a href="{page.up}data/pairs.json">All pairs as JSON</a></p>',
    )
    return page


def priced(board: Board) -> bool:
    """Whether some cost was measured; else its page would be empty."""
    return bool(views.cost_metrics(board))


def cost(site: Site) -> Page:
    """Cost against quality."""
    page, board = Page("cost.html", "Cost and quality"), site.board
    for metric in views.cost_metrics(board):
        frame = views.cost_quality(board, metric)
        page.add(f"<h2>{html.escape(opened(views.better(metric)))}</h2>")
        page.figure(
            f"cost-{metric}",
            figures.titled(figures.cost_quality(frame, views.better(metric)), views.scale(board)),
            f"Score against {metric}.",
        )
        plain_table(page, f"cost-{metric}", frame)
    return page


def methods(tracks: Sequence[extension.Track], unreadable: Sequence[Unreadable]) -> Page:
    """Methods of context extension on pretrained models: loss by position, hidden numbers, cost."""
    models = ", ".join(dict.fromkeys(each.model for each in tracks))
    days = spanned_days(day for each in tracks for day in each.dates.split(" to "))
    page = Page("extension.html", "Extended contexts", f"Methods of context extension on {models}.", days)
    for file in unreadable:
        page.add(f"<p class=facts>{html.escape(f'Left out: {file.path}: {file.reason}')}</p>")
    for n, track in enumerate(tracks):
        name = f"extension-{n}"
        page.add(f"<h2>{html.escape(extension.heading(track))}</h2>")
        page.add(*(f"<p>{html.escape(note)}</p>" for note in track.notes))
        shown = rows.frame_table(extension.numbers(track), rows.METHODS, intervals=extension.ENDS)
        plain_table(page, name, extension.to_frame([track]), shown)
        page.add(
            *(
                f"<p class=facts>{html.escape(text)}</p>"
                for text in (extension.LEGEND, *extension.told(track))
            )
        )
        method_curves(page, f"{name}-loss", track)
        columns, kinds = extension.kind_table(track)
        if kinds:
            page.add(f"<h3>{html.escape(extension.BY_KIND)}</h3>")
            plain_table(page, f"{name}-kinds", pd.DataFrame(kinds, columns=columns))
        costs = extension.cost_frame(track)
        if len(costs):
            page.add("<h3>Cost</h3>")
            plain_table(page, f"{name}-cost", costs, rows.frame_table(costs, rows.METHOD_COSTS))
    return page


def method_curves(page: Page, name: str, track: extension.Track) -> None:
    """Loss and single needles found of a track's methods, by length."""
    for title, frame, axis, words in (
        ("Loss by position", extension.losses_by_method(track), extension.LOSS_AXIS, extension.LOSS_CURVES),
        (
            "Single needles found, by length",
            extension.levels_by_length(track),
            extension.FOUND_AXIS,
            extension.FOUND_CURVES,
        ),
    ):
        if len(frame):
            page.add(f"<h3>{title}</h3>")
            page.figure(
                f"{name}-{len(page.parts)}", figures.method_curves(track, frame, axis), f"{title}: {axis}."
            )
            page.add(f"<p class=facts>{html.escape(words)}</p>")


def of_sizes(records: Sequence[Path]) -> dict[str, Trend]:
    """The trend over the sizes of models, by the titles of quantity and task; empty where there is one size."""
    with suppress(TrendError):
        return {f"{title}, {task}": found for (title, task), found in by_quantity(records).items()}
    return {}


def sizes(trends: Mapping[str, Trend]) -> Page:
    """Whether differences of encodings hold at another size of the model."""
    page = Page("trend.html", "Does it hold at another size?")
    page.add(
        "<p>The first minus the second, in score, with 95 % intervals over seeds. "
        f"{legend('<em>{}</em>')}</p>"
    )
    for n, (title, found) in enumerate(trends.items()):
        page.add(f"<h2>{title}</h2>", f"<p class=facts>{html.escape(views.sizes_compared(found))}</p>")
        page.add(*([f"<p class=facts>{html.escape(found.doubt)}</p>"] if found.doubt else []))
        frame = views.trend_lines(found)
        ends = {name: (f"{name}_low", f"{name}_high") for name in found.profiles} | {"slope": ("low", "high")}
        plain_table(page, f"trend-{n}", frame, rows.frame_table(frame, intervals=ends))
    return page


def claim(site: Site) -> Page:
    """The claims of the GRAPE paper."""
    page, frame = Page("claims.html", "Orders in the GRAPE paper's tables"), claims.judged(site.board)
    ours = coded(claims.ours(site.board).title)
    page.add(
        f"<p>The paper (arXiv:2512.07805) measures {html.escape(claims.PAPER)}. A verdict stands only on "
        f"{ours}, corrected for the number of claims (Holm, 5 %). <em>Not separated</em> does not "
        "mean equal.</p>"
    )
    for quantity, models in dict(zip(frame["quantity"], frame["models"], strict=True)).items():
        page.add(f"<p class=facts>{coded(f'{quantity}: {models}.')}</p>")
    plain_table(page, "claims", frame, rows.claims_table(frame))
    return page


def agreement(site: Site, against: Validity) -> Page:
    """The board against published tables."""
    page = Page("validity.html", "Held against published tables")
    page.add(
        "<p>Pairs of encodings that published tables separate, and whether this board separates them in the same "
        "direction. tau: +1 the same order, -1 the opposite; its interval is over sources.</p>"
    )
    plain_table(page, "validity", views.kinds(against))
    for note in against.notes:
        page.add(f"<p class=facts>{coded(note)}</p>")
    return page


def method() -> Page:
    """How a rank comes about."""
    page = Page("method.html", "How a rank comes about")
    page.add(listed(METHOD))
    return page


def submit() -> Page:
    """How to submit an encoding."""
    page = Page("submit.html", "Submit an encoding")
    page.add(listed(SUBMIT))
    return page


def missing(site: Site) -> Page:
    """What a web host shows for an address that there is not, at whatever depth."""
    page = Page(MISSING, "There is no such page")
    page.up = f"{site.url}/" if site.url else ""
    page.add(
        f'<p>Perhaps the encoding has left the board. <a href="{page.up}index.html">All encodings</a>.</p>'
    )
    return page
