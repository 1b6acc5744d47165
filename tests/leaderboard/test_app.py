import ast
import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import socket
import subprocess
import sys
import termios
import time
import urllib.parse
import urllib.request
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from pebench.leaderboard import about, board
from pebench.leaderboard.about import PUBLISHED
from pebench.leaderboard.app import app, launch, links, rows, views, widgets
from pebench.suite.results.cache import RECORDS
from pebench.suite.results.record import Answer, write
from tests.edited_tracks import LOSS, RETRIEVAL, edited, of_another
from tests.in_process import exit_code
from tests.leaderboard.test_board import HOSTILE, hostile
from tests.made_records import SKILL, STANDARD_TASKS, TRAIN_LENGTH, Sweep, checks, write_failure, write_sweep
from tests.ports import unused_port
from tests.publishing import publish
from tests.walks import some

TIMEOUT = 120


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without waiting for a browser, and without the links of another test's app."""
    monkeypatch.setattr(widgets, "HEAD_START", 0.0)
    monkeypatch.setattr(links, "PAGES", {})
    monkeypatch.setattr(widgets, "PAGES", {})


ALL = ("logit", "angle", "stretch", "frequency", "mass")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sweep(tmp_path_factory.mktemp("records"))


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As many tasks, encodings and seeds as STANDARD has."""
    skills = SKILL | {f"made_{n}": n / 4 for n in range(13)}
    return write_sweep(tmp_path_factory.mktemp("wide"), skills, profile="STANDARD", tasks=STANDARD_TASKS)


def one_page(name: str) -> None:
    from pebench.leaderboard.app.app import ENTRIES
    from pebench.leaderboard.app.links import address

    with address(name):
        ENTRIES[name][1]()


def opened(monkeypatch: pytest.MonkeyPatch, folder: Path, name: str) -> AppTest:
    monkeypatch.setenv(RECORDS, str(folder))
    page = AppTest.from_function(one_page, default_timeout=TIMEOUT, args=(name,)).run()
    assert not page.exception, page.exception
    return page


def table_of(page: AppTest) -> dict[str, Any]:
    """The ranking that table.js is given to draw."""
    (table,) = (table for table in tables_of(page) if not table.get("plain"))
    return table


def tables_of(page: AppTest) -> list[dict[str, Any]]:
    return [json.loads(table.proto.json) for table in page.get("bidi_component")]


def column_of(table: dict[str, Any], title: str) -> list[Any]:
    """The values of a column of a plain table."""
    key = next(column["key"] for column in table["columns"] if column["title"] == title)
    return [row[key] for row in table["rows"]]


def names_of(page: AppTest) -> list[str]:
    return [row["name"] for row in table_of(page)["rows"]]


def said(page: AppTest) -> str:
    parts = (page.markdown, page.caption, page.title, page.warning, page.error, page.info)
    return "\n".join(str(element.value) for part in parts for element in part)


@pytest.mark.parametrize("name", some(app.ENTRIES, "trend"))
def test_a_page_of_a_small_folder_shows_without_an_exception(monkeypatch, folder, name):
    page = opened(monkeypatch, folder, name)
    assert page.title
    assert not page.error


@pytest.mark.parametrize("name", [name for name in app.ENTRIES if name != "trend"])
def test_a_page_shows_a_whole_benchmark(monkeypatch, wide, name):
    page = opened(monkeypatch, wide, name)
    assert page.title
    assert not page.error
    apart = ("No pictures in this folder", "pebench extend")  # made by commands of their own
    assert not [info.value for info in page.info if not any(said in info.value for said in apart)]


def test_the_page_of_extended_contexts_shows_the_published_records(monkeypatch):
    page = opened(monkeypatch, PUBLISHED, "extension")
    assert [header.value for header in page.header] == ["Loss by position", "Hidden numbers", "Cost"]
    assert {"none", "yarn", "ntk", "dual_chunk"} <= set(column_of(tables_of(page)[0], "method"))
    assert any("told apart" in caption.value or "single needles" in caption.value for caption in page.caption)
    assert any('"share found"' in chart.proto.spec for chart in page.get("plotly_chart"))
    assert any("decode, tokens/s" in str(table) for table in tables_of(page))
    assert not page.info


def test_a_folder_of_extended_contexts_alone_has_its_page_and_names_it_elsewhere(monkeypatch, tmp_path):
    for record in [edited(method, 0, task) for method in ("none", "ntk") for task in (LOSS, RETRIEVAL)]:
        write(record, tmp_path)
    page = opened(monkeypatch, tmp_path, "extension")
    assert [header.value for header in page.header] == ["Loss by position", "Hidden numbers"]
    assert set(column_of(tables_of(page)[0], "method")) == {"none", "ntk"}
    assert not page.error
    other = opened(monkeypatch, tmp_path, "overview")
    assert "pebench board --profile EXTEND_QUICK" in other.error[0].value.replace("\\", "")


def test_every_kept_item_of_a_task_can_be_chosen(monkeypatch, tmp_path):
    for record in Sweep({"rope": 1.0, "fox": 4.0}, seeds=2).records():
        said = tuple(
            Answer(
                condition={"length": length},
                item=item,
                asked=f"item {item} of {length}",
                answer=f"right {item}",
                said=f"{record.encoding} {item}",
                right=False,
            )
            for length in (64, 128)
            for item in range(3)
        )
        write(replace(record, answers=said if record.task == "copy" else ()), tmp_path)
    page = opened(monkeypatch, tmp_path, "task")
    condition = next(chosen for chosen in page.selectbox if chosen.label == "Condition")
    assert condition.options == ["length 64", "length 128"]
    condition.set_value("length 128")
    item = next(chosen for chosen in page.button_group if chosen.label == "Item")
    item.set_value(2).run()
    assert "item 2 of 128" in [code.value for code in page.code]
    assert any("right 2" in part.value for part in page.markdown)
    assert any("fox 2" in str(table) for table in tables_of(page))


def test_two_models_of_one_name_are_held_against_the_board_beside_each_other(monkeypatch, tmp_path):
    write_sweep(tmp_path, SKILL)
    for method, share in (
        ("ntk", 0.9),
        ("yarn", 0.8),
    ):  # of the score beyond L; at L they read the training of rope
        for r in Sweep({"rope": SKILL["rope"]}).records():
            rows = (
                replace(row, value=share * row.value)
                if row.condition.get("length", 0) > TRAIN_LENGTH
                else row
                for row in r.rows
            )
            write(replace(r, encoding=f"rope@{method}", rows=tuple(rows)), tmp_path)
    mine = [edited(method) for method in ("none", "ntk", "yarn")]
    for record in [*mine, *(of_another(r, "model", r.setup["model"]["name"], "f" * 64) for r in mine)]:
        write(record, tmp_path)
    page = opened(monkeypatch, tmp_path, "validity")
    texts = [part.value.replace("\\", "") for part in page.markdown if "Pretrained:" in part.value]
    assert len(texts) == len(page.get("plotly_chart")) == 2
    assert "ffffffff, L = " in texts[1] or "ffffffff, L = " in texts[0]


@pytest.mark.walks
def test_a_hundred_thousand_rows_cost_the_server_little(monkeypatch, tmp_path):
    """A quarter of a second of the processor; all else of the first visit is the browser's."""
    skills = {f"e{n:02}": n / 8 for n in range(40)}
    records = Sweep(skills, depths=[n / 200 for n in range(200)], tasks=STANDARD_TASKS).records()
    made = board.board_of(records, "QUICK", {"QUICK": len(records)}, [])
    assert len(made.scores) > 100_000
    monkeypatch.setattr(widgets, "cached_board", lambda folders, profile, tasks, changed: made)
    opened(monkeypatch, tmp_path, "overview")  # libraries are imported
    seconds = list[float]()
    for _ in range(3):
        begin = time.process_time()
        page = opened(monkeypatch, tmp_path, "overview")
        seconds.append(time.process_time() - begin)
    assert min(seconds) < 1.5
    assert len(names_of(page)) == 40


def test_two_sizes_make_a_page_of_the_trend(monkeypatch, tmp_path):
    for record in [*Sweep(SKILL).records(), *Sweep(SKILL, profile="LARGE").records()]:
        parameters = {"total": 1_000_000 if record.profile == "LARGE" else 200_000, "encoding": 0}
        write(replace(record, provenance=record.provenance | {"parameters": parameters}), tmp_path)
    page = opened(monkeypatch, tmp_path, "trend")
    told = said(page).replace("\\", "")
    assert (
        "Sizes: QUICK 0.20 M parameters (seeds: 3; learning rate 0.002; fp32), LARGE 1.00 M parameters (seeds: 3; "
        "learning rate 0.002; fp32)." in told
    )
    assert not page.info
    assert len(page.dataframe[0].value) == 11 * 10 // 2
    page.multiselect(key="pairs").set_value(["rope"]).run()
    assert len(page.dataframe[0].value) == 10
    page.selectbox(key="of_task").set_value("copy").run()
    assert "steps and tokens: copy." in said(page).replace("\\", "")
    assert not page.error


def test_an_encoding_without_a_score_is_told_in_the_comparison(monkeypatch, tmp_path):
    """The overview lets a visitor tick it."""
    every = Sweep({"rope": 1.0, "fox": 6.0, "alibi": 3.0}).records()
    for record in every:
        if record.encoding != "alibi" or record.task == "certificate":
            write(record, tmp_path)
    monkeypatch.setenv(RECORDS, str(tmp_path))
    page = AppTest.from_function(one_page, default_timeout=TIMEOUT, args=("compare",))
    page.query_params["first"] = "rope"
    page.query_params["others"] = "alibi"
    page.run()
    assert not page.exception
    assert not page.error
    assert "alibi has no score yet" in page.info[0].value


def test_a_comparison_with_itself_leaves_the_others(monkeypatch, folder):
    page = opened(monkeypatch, folder, "compare")
    page.multiselect(key="others").set_value(["rope", "fox"]).run()
    page.selectbox(key="first").set_value("rope").run()
    assert not page.exception
    assert page.multiselect(key="others").value == ["rope", "fox"]
    assert not page.error


def test_a_family_of_two_tasks_has_one_column(folder):
    made = board.make_board(folder)
    keys = [
        c["key"] for c in rows.board_table(made, str, families=["needle", "copying", "needle"])["columns"]
    ]
    assert len(keys) == len(set(keys))


def test_a_search_for_nothing_finds_no_missing_number():
    data = rows.frame_table(pd.DataFrame({"method": ["ntk", "none"], "value": [None, 1.0]}))
    assert ["none" in row["search"] for row in data["rows"]] == [False, True]


def test_a_page_that_would_be_empty_is_left_out_of_the_menu(monkeypatch, folder, tmp_path):
    made = board.make_board(folder)
    assert views.empty_pages(made) == {"harness", "trend"}
    copy_alone = board.make_board(write_sweep(tmp_path, {"rope": 1.0, "fox": 6.0}, tasks=["copy"]))
    assert views.empty_pages(copy_alone) == {"harness", "trend", "needle", "positions"}


def test_the_questions_name_only_tasks_that_the_board_has(folder, tmp_path):
    whole = board.make_board(folder)
    asked = {q.words: q.query for q in views.questions(whole)}
    assert asked["Which finds things in long texts?"] == {"tasks": ["needle"], "sort": "score"}
    assert asked["Which keeps its score beyond the training length?"] == {"tasks": "", "sort": "keeps"}
    assert not views.needle_question(whole)
    copy_alone = board.make_board(write_sweep(tmp_path, {"rope": 1.0, "fox": 6.0}, tasks=["copy"]))
    words = [q.words for q in views.questions(copy_alone)]
    assert not {"Which finds things in long texts?", "Which models language best?"} & set(words)
    assert not any("version" in word for word in words)
    asked = views.questions(replace(copy_alone, profiles={"QUICK": 5, "QUICK_2": 3}))
    assert asked[-1] == ("The next version: QUICK_2, 3 runs", "overview", {"profile": "QUICK_2"})


def test_costs_that_a_version_has_not_measured_are_asked_of_the_version_before():
    records = [r for r in Sweep({"rope": 1.0, "fox": 6.0}, tasks=["copy"]).records() if r.task == "copy"]
    unpriced = board.board_of(records, "QUICK", {"QUICK": len(records)}, [])
    assert "train_ratio" not in [column["key"] for column in rows.board_columns(unpriced, [])]
    assert not any("cost" in q.words for q in views.questions(unpriced))
    later = replace(unpriced, profile="QUICK_2", profiles={"QUICK": 5, "QUICK_2": 3})
    asked = {q.words: (q.page, q.query) for q in views.questions(later)}
    assert asked["What does it cost in QUICK?"] == ("cost", {"profile": "QUICK"})
    assert asked["The version before: QUICK, 5 runs"] == ("overview", {"profile": "QUICK"})
    where = ("overview", {"profile": "QUICK", "tasks": ["needle"]})
    assert asked["Which finds a needle in a book, in QUICK?"] == where
    (maps,) = views.needle_maps(later)
    assert (maps.page, maps.query) == ("needle", {"profile": "QUICK"})


def test_the_first_screen_is_of_the_newest_version_that_can_answer(monkeypatch, tmp_path):
    """A version with fewer records than the one before it, as STANDARD_2 has."""
    write_sweep(tmp_path, SKILL)
    write_sweep(tmp_path, SKILL, seeds=2, profile="QUICK_2", tasks=["copy", "language"])
    page = opened(monkeypatch, tmp_path, "overview")
    assert page.selectbox(key="profile").value == board.make_board(tmp_path).profile == "QUICK_2"
    assert page.query_params["profile"] == "QUICK_2"
    assert "QUICK_2: 11 encodings, 2 seeds" in said(page).replace("\\", "")
    old = opened(monkeypatch, tmp_path, "needle")
    assert "Nothing in this profile was measured" in said(old)


def test_the_first_tier_is_told_with_intervals_and_seeds(folder):
    made = board.make_board(folder)
    best = [entry for entry in made.entries if entry.tier == 1]
    told = views.first_tier(made)
    assert "95 % intervals over 3 seeds or more" in told
    for entry in best[:5]:
        assert f"{entry.name} {entry.score:.2f} ({entry.low:.2f} to {entry.high:.2f})" in told
    rest = sum(entry.rank is not None for entry in made.entries) - len(best)
    assert f"{rest} encodings are in lower tiers." in told
    assert views.first_tier(replace(made, entries=[replace(e, tier=None) for e in made.entries])) == ""


def test_an_item_says_how_much_longer_than_in_training_it_is():
    for profile, name in (("STANDARD", "copy"), ("STANDARD_2", "copy_unique")):
        facts = about.task(profile, name)
        for item in about.items(profile, name):
            words, length = views.multiple(item, facts.trained).rsplit(": ", 1)
            assert length == str(item.condition["length"])
            times = 1 if words == "training length" else float(words.removesuffix(" times as long"))
            assert times == pytest.approx(int(length) / facts.trained, rel=0.005)


def test_a_task_without_answers_leads_to_a_task_of_its_family_that_has_some(folder):
    made = board.make_board(folder)
    found = views.answering(made, "recall", [("STANDARD_2", "recall_again"), ("STANDARD_2", "sort")])
    assert [(one.page, one.query) for one in found] == [
        ("task", {"profile": "STANDARD_2", "task": "recall_again"})
    ]


@pytest.fixture(scope="module")
def evil(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return hostile(write_sweep(tmp_path_factory.mktemp("evil"), {"rope": 1.0, "fox": 6.0}))


@pytest.mark.parametrize("name", app.ENTRIES)
def test_a_hostile_record_is_shown_as_text(monkeypatch, evil, name):
    page = opened(monkeypatch, evil, name)
    if name == "encoding":
        page.selectbox(key="encoding").set_value("evil").run()
        assert not page.exception
        assert page.title[0].value != HOSTILE
        (formula,) = page.latex
        assert formula.value.count("\n") == 2  # the lines of its two ends: it cannot leave its block
        assert formula.value.count("$") == 4
    for trap in ("<script>", "[x](java", "![i](http", "**b**"):
        assert trap not in said(page)


@pytest.mark.parametrize(
    "name", some(sorted(set(app.ENTRIES) - {"submit", "identities"}), "overview", "task")
)
def test_an_empty_folder_is_an_error_with_the_remedy(monkeypatch, tmp_path, name):
    page = opened(monkeypatch, tmp_path, name)
    assert len(page.error) == 1
    assert "pebench run" in page.error[0].value.replace("\\", "")


@pytest.fixture(scope="module")
def unscored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("unscored")
    write(Sweep({"rope": 1.0}).record("rope", "certificate", 0, tuple(checks())), place)
    write_failure(place, "fox", "copy", "out of memory", "killed at 4 GiB")
    return place


@pytest.mark.parametrize("name", app.ENTRIES)
def test_a_board_without_scores_breaks_no_page(monkeypatch, unscored, name):
    opened(monkeypatch, unscored, name)


def test_the_whole_app_starts_on_the_overview(monkeypatch, folder):
    monkeypatch.setenv(RECORDS, str(folder))
    page = AppTest.from_file(app.__file__, default_timeout=TIMEOUT).run()
    assert not page.exception
    assert page.title[0].value == "Positional encodings, ranked"


def test_the_recipe_of_a_space_shows_the_published_results(monkeypatch, folder):
    recipe = (Path(__file__).parents[2] / "docs" / "releasing.md").read_text(encoding="utf-8")
    variables = re.search(r"^ENV (.*)$", recipe, re.MULTILINE)
    assert variables is not None
    for part in variables[1].split():
        monkeypatch.setenv(*part.split("="))
    command = re.search(r"^CMD (.*)$", recipe, re.MULTILINE)
    assert command is not None
    given = {}
    monkeypatch.setattr(launch, "run_app", lambda folders, port, browser, host: given.update(locals()) or 0)
    assert exit_code(monkeypatch, *json.loads(command[1])[1:]) == 0
    assert given["folders"] == [about.PUBLISHED]
    assert (given["port"], given["browser"], given["host"]) == (7860, False, "0.0.0.0")
    publish(monkeypatch, folder)
    page = AppTest.from_file(app.__file__, default_timeout=TIMEOUT).run()
    assert not page.exception
    assert len(names_of_main(page)) == 11
    assert "records" not in page.session_state  # no box for another folder


def names_of_main(page: AppTest) -> list[str]:
    """The rows of the table of the whole app, which has the button that copies the link beside it."""
    (table,) = (
        json.loads(part.proto.json) for part in page.get("bidi_component") if "rows" in part.proto.json
    )
    return [row["name"] for row in table["rows"]]


def test_filters_narrow_the_table_and_a_link_carries_its_view(monkeypatch, folder):
    page = opened(monkeypatch, folder, "overview")
    assert len(names_of(page)) == 11
    page.selectbox(key="seeds").set_value(3).run()
    assert len(names_of(page)) == 11
    page.button_group(key="family").set_value(["multiplicative"]).run()
    assert set(names_of(page)) == {"rope", "grape_m_nonctx"}
    page.button_group(key="kernel").set_value(["own"]).run()
    assert [info.value for info in page.info] == ["No encoding passes these filters."]
    page = AppTest.from_function(one_page, default_timeout=TIMEOUT, args=("overview",))
    page.query_params |= {"sort": "train_ratio", "order": "ascending", "search": "grape"}
    page.run()
    data = table_of(page)
    assert (data["sort"], data["descending"], data["search"]) == ("train_ratio", False, "grape")
    assert dict(page.query_params).items() >= {
        ("sort", "train_ratio"),
        ("order", "ascending"),
        ("search", "grape"),
    }


def test_a_choice_of_tasks_ranks_again(monkeypatch, folder):
    page = opened(monkeypatch, folder, "overview")
    whole = {row["name"]: row["score"]["score"] for row in table_of(page)["rows"]}
    page.button_group(key="tasks").set_value(["needle"]).run()
    part = {row["name"]: row["score"]["score"] for row in table_of(page)["rows"]}
    assert part != whole
    assert "Ranked on Needle in a book alone." in said(page)
    assert {row["tier"] for row in table_of(page)["rows"]} > {1}


def test_a_task_is_told_with_an_item_and_ranked_alone(monkeypatch, folder):
    monkeypatch.setenv(RECORDS, str(folder))
    page = AppTest.from_function(one_page, default_timeout=TIMEOUT, args=("task",))
    page.query_params["task"] = "needle"
    page.run()
    assert not page.exception
    assert page.title[0].value == "Needle in a book"
    assert "[" in page.code[0].value
    assert "Right answer" in said(page)
    assert len(names_of(page)) == 11


def test_ones_own_row_is_marked_beside_the_published_ones(monkeypatch, folder, tmp_path):
    publish(monkeypatch, folder)
    mine = write_sweep(tmp_path, {"mine": 6.1})
    monkeypatch.setenv(RECORDS, os.pathsep.join([str(mine), "published"]))
    page = AppTest.from_function(one_page, default_timeout=TIMEOUT, args=("overview",)).run()
    assert not page.exception
    assert {row["name"] for row in table_of(page)["rows"] if row["own"]} == {"mine"}
    assert len(names_of(page)) == 12


def test_an_app_that_others_can_reach_reads_no_other_folder(monkeypatch, folder, tmp_path):
    monkeypatch.setenv(launch.OPEN_VARIABLE, "1")
    monkeypatch.setenv(RECORDS, str(folder))
    page = AppTest.from_function(one_page, default_timeout=TIMEOUT, args=("overview",))
    page.query_params["records"] = str(write_sweep(tmp_path, {"secret": 1.0}))
    page.run()
    assert "secret" not in names_of(page)
    assert not [box for box in page.text_input if box.key == "records"]
    assert "no choice named records" in said(page)
    opened(monkeypatch, folder, "encoding")  # it looks for pictures in the folders of the board


@pytest.mark.parametrize(
    ("host", "reached"),
    [("127.0.0.1", False), ("localhost", False), ("::1", False), ("0.0.0.0", True), ("::", True)],
)
def test_it_knows_who_can_reach_it(host, reached, monkeypatch):
    assert launch.is_open(host) == reached
    assert launch.options(8501, host)["server.address"] == host

    def unknown(*_, **__):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(launch.LaunchError, match=r"no address.*0\.0\.0\.0"):
        launch.is_open("no.such.host.invalid")
    with pytest.raises(launch.LaunchError, match=r"no address.*0\.0\.0\.0"):
        launch.run_app([Path()], host="no.such.host.invalid")


def test_a_host_that_is_another_machine_s_is_not_called_a_port_in_use() -> None:
    with pytest.raises(launch.LaunchError, match=r"192\.0\.2\.1:8501 cannot be listened on .*0\.0\.0\.0"):
        launch.free_port(None, "192.0.2.1")


def test_a_link_reproduces_a_view(monkeypatch, folder):
    monkeypatch.setenv(RECORDS, str(folder))
    page = AppTest.from_function(one_page, default_timeout=TIMEOUT, args=("encoding",))
    page.query_params["encoding"] = "fox"
    page.run()
    assert page.title[0].value == "Forgetting attention"


WRONG = [  # page, what a link names that there is not, what is said instead
    ("encoding", {"encoding": "rop"}, "no encoding “rop” on this board. Did you mean rope"),
    (
        "encoding",
        {"encoding": "rope", "profile": "QUIK"},
        "no profile “QUIK” on this board. Did you mean QUICK?",
    ),
    ("encoding", {"encoding": "rope", "file": "x"}, "no record “x”"),
    (
        "compare",
        {"first": "rope", "others": ["alibi", "fxo"]},
        "no encoding “fxo” on this board. Did you mean fox?",
    ),
    ("compare", {"first": "Alibis"}, "Did you mean alibi"),
    ("curves", {"encodings": "none"}, "no encoding “none”"),
    (
        "curves",
        {"curve": "copy.exactly"},
        "no task and metric “copy.exactly” on this board. Did you mean copy.exact",
    ),
    ("needle", {"map": "needles"}, "no task and metric “needles”"),
    ("positions", {"length": "7"}, "no text length “7” on this board. There are: 512, 256, 128, 64."),
    ("cost", {"cost": "money"}, "no cost “money”"),
    ("overview", {"family": "familiar"}, "no family “familiar”"),
    ("overview", {"sort": "beauty"}, "no column “beauty”"),
    ("overview", {"order": "up"}, "no order “up”"),
    ("overview", {"tasks": "needles"}, "no task “needles” on this board. Did you mean needle"),
    ("task", {"task": "cope"}, "no task “cope” on this board. Did you mean copy"),
    ("overview", {"certified": "perhaps"}, "no answer to certified “perhaps”"),
]


@pytest.mark.parametrize(("name", "link", "words"), WRONG)
def test_a_link_to_what_there_is_not_says_so_and_shows_nothing_else(monkeypatch, folder, name, link, words):
    monkeypatch.setenv(RECORDS, str(folder))
    page = AppTest.from_function(one_page, default_timeout=TIMEOUT, args=(name,))
    for key, value in link.items():
        page.query_params[key] = value
    page.run()
    assert not page.exception
    assert words in page.error[0].value.replace("\\", "")
    assert len(page.error) == 1
    for kind in ("arrow_data_frame", "dataframe", "plotly_chart", "bidi_component", "metric"):
        assert not page.get(kind)
    assert {key: page.query_params[key] for key in link} == link  # a reload says it again


def test_a_link_to_an_encoding_of_another_profile_names_that_profile(monkeypatch, tmp_path):
    folder = write_sweep(tmp_path, {"rope": 1.0, "fox": 2.0, "alibi": 3.0})
    write_sweep(tmp_path, {"rope": 1.0, "cope": 2.0}, profile="STANDARD")
    monkeypatch.setenv(RECORDS, str(folder))
    page = AppTest.from_function(one_page, default_timeout=TIMEOUT, args=("encoding",))
    page.query_params |= {"encoding": "cope", "profile": "QUICK"}
    page.run()
    assert not page.exception
    assert "no encoding “cope” on this board. It has results in STANDARD." in page.error[0].value


@pytest.mark.parametrize("spelling", ["rope+fox", "rope fox", "ROPE+FOX"])
def test_a_plus_may_have_become_a_space(monkeypatch, tmp_path, spelling):
    monkeypatch.setenv(RECORDS, str(write_sweep(tmp_path, {"rope": 1.0, "rope+fox": 6.0})))
    page = AppTest.from_function(one_page, default_timeout=TIMEOUT, args=("encoding",))
    page.query_params["encoding"] = spelling
    page.run()
    assert page.title[0].value == r"Made up\: rope\+fox"
    assert page.query_params["encoding"] == "rope+fox"


def test_the_address_names_defaults_too_and_follows_a_choice(monkeypatch, folder):
    page = opened(monkeypatch, folder, "compare")
    assert page.query_params["first"] == "grape_a_qk"
    assert page.query_params["others"] == "grape_ap"
    assert page.query_params["profile"] == "QUICK"
    page.multiselect(key="others").set_value([]).run()
    assert page.query_params["others"] == ""
    page.selectbox(key="first").set_value("fox").run()
    assert page.query_params["first"] == "fox"
    page.query_params["first"] = "alibi"  # as the browser's way back does
    page.run()
    assert page.selectbox(key="first").value == "alibi"


def test_another_folder_and_profile_can_be_opened(monkeypatch, folder, tmp_path):
    write_sweep(tmp_path, {"rope": 1.0}, profile="SMOKE", seeds=1)
    write_sweep(tmp_path, {"rope": 1.0, "fox": 6.0}, profile="QUICK", seeds=2)
    page = opened(monkeypatch, folder, "overview")
    page.text_input(key="records").set_value(str(tmp_path)).run()
    assert len(names_of(page)) == 2
    page.selectbox(key="profile").set_value("SMOKE").run()
    assert names_of(page) == ["rope"]
    assert "One seed only" in said(page)


def test_a_comparison_is_of_what_was_chosen(monkeypatch, folder):
    page = opened(monkeypatch, folder, "compare")
    page.selectbox(key="first").set_value("fox").run()
    page.multiselect(key="others").set_value(["rope", "alibi"]).run()
    (table,) = tables_of(page)
    others, low = column_of(table, "other"), column_of(table, "low")
    assert set(others) == {"rope", "alibi"}
    assert all(value > 0 for other, value in zip(others, low, strict=True) if other == "rope")
    assert "**fox is better than rope over 3 tasks at and beyond L.**" in said(page)
    page.multiselect(key="others").set_value([]).run()
    assert "is better than" not in said(page)


def test_a_new_record_shows_without_a_restart(monkeypatch, tmp_path):
    write_sweep(tmp_path, {"rope": 1.0}, seeds=1)
    page = opened(monkeypatch, tmp_path, "overview")
    write_sweep(tmp_path, {"fox": 6.0}, seeds=1)
    page.run()
    assert set(names_of(page)) == {"rope", "fox"}


ARITHMETIC = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.FloorDiv, ast.Mod, ast.Pow)
STATISTICS = {
    "sum",
    "mean",
    "std",
    "var",
    "median",
    "quantile",
    "min",
    "max",
    "cumsum",
    "rank",
    "corr",
    "agg",
}


def test_the_page_code_has_no_arithmetic():
    """What a page shows is computed in views, ranking and figures, where tests reach it."""
    home = Path(app.__file__).parent
    for file in [*(home / "screens").glob("*.py"), home / "widgets.py", home / "app.py"]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            where = f"{file.name}: {ast.unparse(node)[:60]}" if isinstance(node, ast.expr) else ""
            if isinstance(node, ast.BinOp) and "Path(" not in where:
                assert not isinstance(node.op, ARITHMETIC), where
            assert not (isinstance(node, ast.Attribute) and node.attr in STATISTICS), where


def test_the_page_code_shows_no_html():
    files = list(Path(app.__file__).parent.rglob("*.py"))
    assert len(files) > len(app.ENTRIES)
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert "unsafe_allow" not in text
        assert "st.html" not in text


def test_a_taken_port_says_so():
    with socket.socket() as taken:
        taken.bind((launch.ADDRESS, 0))
        taken.listen()
        with pytest.raises(launch.LaunchError, match="choose another"):
            launch.free_port(taken.getsockname()[1])


def test_a_missing_folder_starts_nothing(tmp_path):
    with pytest.raises(launch.LaunchError, match="pebench run"):
        launch.run_app([tmp_path / "absent"], None, False)


@pytest.mark.parametrize("send", [os.kill, os.killpg], ids=["to the parent", "to the terminal's group"])
@pytest.mark.parametrize("number", [signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.walks)])
def test_a_signal_ends_the_app_and_leaves_nothing_behind(folder, tmp_path, send, number):
    port = unused_port()
    script = tmp_path / "serve.py"
    script.write_text(
        "from pathlib import Path\n"
        "from pebench.leaderboard.app.launch import run_app\n"
        f"raise SystemExit(run_app([Path({str(folder)!r})], {port}, False))\n",
        encoding="utf-8",
    )
    parent = subprocess.Popen(
        [sys.executable, script], start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    try:
        wait_for(parent, port)
        send(parent.pid, number)
        errors = parent.communicate(timeout=TIMEOUT)[1].decode()
    finally:
        with contextlib.suppress(ProcessLookupError):  # all have ended, as they should
            os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
    assert parent.returncode == 130
    assert "Traceback" not in errors
    assert launch.free_port(port) == port


def wait_for(process: subprocess.Popen, port: int) -> None:
    """Until the server of this process answers."""
    deadline = time.monotonic() + TIMEOUT
    while process.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(f"http://{launch.ADDRESS}:{port}/_stcore/health", timeout=5).close()
            return
        except OSError:
            time.sleep(0.2)
    pytest.fail("the app does not answer")


HOSTILE_SETTINGS = """
[server]
port = 9999
headless = false
address = "0.0.0.0"
baseUrlPath = "elsewhere"
[theme]
base = "dark"
"""


def strange_home(folder: Path) -> Path:
    """A home and working directory that would change what streamlit serves, and what Python imports."""
    settings = folder / ".streamlit"
    settings.mkdir()
    (settings / "config.toml").write_text(HOSTILE_SETTINGS, encoding="utf-8")
    (settings / "credentials.toml").write_text("][ no TOML", encoding="utf-8")
    for module in ("random", "logging", "streamlit", "pebench"):
        (folder / f"{module}.py").write_text("raise SystemExit('imported from here')", encoding="utf-8")
    return folder


def started(folder: Path, **surroundings: Any) -> tuple[subprocess.Popen[bytes], int]:
    """`pebench app` on a port of its own, in this surrounding; it hands on that the working directory be imported."""
    port = unused_port()
    code = "import os; from pebench.suite.cli import main; os.environ['PYTHONPATH'] = os.pathsep; main()"
    words = ["-P", "-c", code, "app", "--records", str(folder), "--port", str(port)]
    return subprocess.Popen([sys.executable, *words], **surroundings), port


def served(port: int) -> str:
    with urllib.request.urlopen(
        f"http://{launch.ADDRESS}:{port}/_stcore/host-config", timeout=TIMEOUT
    ) as answer:
        return str(answer.read())


def test_it_starts_in_a_terminal_on_a_strange_home_and_ends_with_the_terminal(folder, tmp_path):
    """Streamlit alone asks for an e-mail address there, and serves elsewhere."""
    home = strange_home(tmp_path)
    mine = {name: value for name, value in os.environ.items() if name not in launch.SCREENS}
    hostile = {"HOME": str(home), "STREAMLIT_SERVER_PORT": "9999", "STREAMLIT_SERVER_HEADLESS": "false"}
    terminal, end = pty.openpty()
    process, port = started(
        folder, env=mine | hostile, cwd=home, stdin=end, stdout=end, stderr=end,
        preexec_fn=lambda: (
            os.setsid(), fcntl.ioctl(0, termios.TIOCSCTTY, 0), signal.signal(signal.SIGHUP, signal.SIG_DFL)
        ),
    )  # fmt: skip
    os.close(end)
    wait_for(process, port)
    assert served(port)
    said = os.read(terminal, 4096).decode()
    assert f"the leaderboard is at http://{launch.ADDRESS}:{port}" in said
    assert "mail" not in said
    os.close(terminal)
    assert process.wait(TIMEOUT) == -signal.SIGHUP
    wait_until_free(port)


def test_it_starts_without_terminal_and_home_and_ends_with_its_parent(folder):
    bare = {name: value for name, value in os.environ.items() if name != "HOME"}
    process, port = started(folder, env=bare, stdout=subprocess.DEVNULL, preexec_fn=lambda: os.close(0))
    wait_for(process, port)
    process.kill()
    process.wait()
    wait_until_free(port)


def wait_until_free(port: int) -> None:
    """Until nobody serves at this port."""
    deadline = time.monotonic() + TIMEOUT
    while time.monotonic() < deadline:
        with contextlib.suppress(launch.LaunchError):
            assert launch.free_port(port) == port
            return
        time.sleep(0.1)
    pytest.fail("the app outlived its parent")


def test_the_app_listens_on_this_machine_alone_and_sends_no_statistics():
    options = launch.options(8501)
    assert options["server.address"] == launch.ADDRESS
    assert options["browser.gatherUsageStats"] is False


def test_pictures_of_a_saved_model_are_on_its_page(monkeypatch, tmp_path):
    write_sweep(tmp_path, {"rope": 1.0, "fox": 6.0})
    places = [tmp_path / "checkpoints" / "QUICK" / "language" / name / "0-0.csv" for name in ("rope", "fox")]
    for place in places:
        place.parent.mkdir(parents=True)
    header = "state,picture,layer,head,x,y"
    rows = [f"{state},{what},0,0,{x},0.5" for state in ("start", "trained") for what in ALL for x in (1, 2)]
    places[0].write_text("\n".join([header, *rows]))
    places[1].write_text("<script>")
    page = opened(monkeypatch, tmp_path, "encoding")
    page.selectbox(key="encoding").set_value("rope").run()
    assert not page.exception
    assert len(page.get("plotly_chart")) == len(ALL)
    places[0].write_text("\n".join([header, *(f"trained,{what},0,0,1,0" for what in ALL)]))
    page.run()
    assert "No plane is turned." in said(page)
    page.selectbox(key="encoding").set_value("fox").run()
    assert not page.exception
    assert "is no table of pictures" in said(page)
    assert not page.get("plotly_chart")


def test_a_link_leads_to_the_same_records(monkeypatch, folder, tmp_path):
    """In a new tab the other page would show the usual folder and profile."""
    monkeypatch.setenv(RECORDS, str(folder))
    other = write_sweep(tmp_path / "other", {"rope": 1.0, "fox": 6.0})
    page = AppTest.from_function(one_page, default_timeout=TIMEOUT, args=("overview",))
    page.query_params["records"] = str(other)
    page.run()
    assert not page.exception
    (row, *_) = table_of(page)["rows"]
    assert f"records={urllib.parse.quote_plus(str(other))}" in row["href"]
    assert "profile=QUICK" in row["href"]
    usual = opened(monkeypatch, folder, "overview")
    assert "records=" not in table_of(usual)["rows"][0]["href"]


def test_a_folder_with_the_dividing_sign_in_its_name_is_shown(monkeypatch, tmp_path):
    page = opened(monkeypatch, write_sweep(tmp_path / "a:b", {"rope": 1.0, "fox": 6.0}), "overview")
    assert not page.error
    assert "fox" in said(page) or any("fox" in str(table) for table in tables_of(page))
