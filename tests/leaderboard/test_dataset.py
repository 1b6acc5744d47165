import csv
import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from httpx2 import ConnectError
from huggingface_hub.utils import filter_repo_objects
from typer.testing import CliRunner

from pebench.leaderboard.about import EXTENDED
from pebench.leaderboard.board import board_of
from pebench.leaderboard.export import dataset
from pebench.leaderboard.export import hub as publish
from pebench.leaderboard.export.dataset import build, export
from pebench.leaderboard.export.tables import SCHEMAS, DatasetError, tables
from pebench.leaderboard.extension import make_tracks
from pebench.suite.cli import app
from pebench.suite.commands.publish import readable
from pebench.suite.results.record import Answer, Record, Row, newest, read_all, write
from tests.edited_tracks import LOSS, RETRIEVAL, edited, of_another
from tests.made_records import SKILL, Sweep, checks, facts, write_sweep

SWEEP = Sweep({"rope": 1.0, "fox": 6.0, "learned_ape": 0.2}, seeds=2, lengths=(64, 256))
RECORDS = SWEEP.records()
FAILED = Record("rope", "copy", "QUICK", 7, "cd" * 8, (), "failed", "out of luck", **facts("rope", "copy", 7))
HOSTILE = "=HYPERLINK(1) \ud800 <script> | `x`"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("made") / "dataset"
    build([*RECORDS, FAILED], out, "0.1.0")
    return out


def test_every_number_of_every_record_has_its_row(folder: Path) -> None:
    rows = pq.read_table(folder / "data/scores.parquet").to_pylist()
    quality = [r for r in RECORDS if r.task != "certificate"]
    assert len(rows) == sum(len(r.rows) for r in quality)
    wanted = {(str(r.path), row.metric, row.value, row.n, row.floor) for r in quality for row in r.rows}
    assert {(r["file"], r["metric"], r["value"], r["n"], r["floor"]) for r in rows} == wanted
    assert {r["profile"] for r in rows} == {"QUICK"}


def test_runs_without_a_result_are_there_with_their_reason(folder: Path) -> None:
    rows = pq.read_table(folder / "data/runs.parquet").to_pylist()
    assert len(rows) == len(RECORDS) + 1
    (failed,) = [r for r in rows if r["outcome"] != "measured"]
    assert (failed["reason"], failed["gate"], failed["learned"]) == ("out of luck", None, None)
    done = next(r for r in rows if r["task"] == "copy" and r["seed"] == 0)
    assert (done["tokens"], done["parameters"], done["clean"]) == (614_400, 131_072, True)


def test_an_encoding_has_its_source_and_the_hash_of_it(folder: Path) -> None:
    rows = pq.read_table(folder / "data/encodings.parquet").to_pylist()
    assert [r["encoding"] for r in rows] == ["fox", "learned_ape", "rope"]
    for r in rows:
        assert r["source_sha256"] == hashlib.sha256(r["source"].encode()).hexdigest()


@pytest.fixture(scope="module")
def parts() -> list[dict[str, pa.Table]]:
    """Tables of one run each: of a task, one that failed, of a certificate."""
    certificate = next(r for r in RECORDS if r.task == "certificate")
    return [tables([record]) for record in (RECORDS[0], FAILED, certificate)]


@pytest.mark.parametrize("name", SCHEMAS)
def test_the_columns_are_those_that_are_written_down(
    name: str, folder: Path, parts: list[dict[str, pa.Table]]
) -> None:
    if name not in ("answers", "extended"):  # of which these records keep none
        found = pq.read_schema(folder / f"data/{name}.parquet")
        assert found.remove_metadata().equals(SCHEMAS[name].remove_metadata())
    for part in parts:
        assert part[name].schema == SCHEMAS[name]


def test_methods_on_a_pretrained_model_have_a_table_and_no_rank(tmp_path: Path) -> None:
    methods = newest(r for r in read_all(EXTENDED)[0] if r.profile == "EXTEND_QUICK")
    build([*RECORDS, *methods], tmp_path, "0.1.0")
    rows = pq.read_table(tmp_path / "data/extended.parquet").to_pylist()
    lines = {line.method: line for line in make_tracks([EXTENDED], "EXTEND_QUICK")[0][0].lines}
    assert {row["method"] for row in rows} == lines.keys()
    for row in rows:
        loss = lines[row["method"]].loss["beyond"]
        assert (row["loss_beyond"], row["loss_beyond_low"], row["loss_beyond_texts"]) == (
            loss.value,
            loss.low,
            loss.texts,
        )
        single = row["single_choice_beyond"], row["all_choice_beyond"]
        assert all(0 <= share <= 1 for share in single)
        assert row["single_choice_beyond_low"] <= single[0] <= row["single_choice_beyond_high"]
    ranked = pq.read_table(tmp_path / "data/leaderboard.parquet").to_pylist()
    assert {row["profile"] for row in ranked} == {"QUICK"}
    assert "config_name: extended" in (tmp_path / "README.md").read_text()


def test_a_second_model_or_corpus_takes_no_place_of_the_first(tmp_path: Path) -> None:
    first = [
        edited(method, text, task) for method in ("none", "ntk") for text, task in ((0, LOSS), (0, RETRIEVAL))
    ]
    older = [replace(r, fingerprint="0" * 16, provenance={**r.provenance, "started": "1999"}) for r in first]
    others = [of_another(r, part, f"other-{part}", "f" * 64) for r in first for part in ("model", "corpus")]
    for record in [*first, *older, *others]:
        write(record, tmp_path)
    kept = readable(tmp_path)
    assert {r.path for r in kept} == {r.path for r in [*first, *others]}
    made = {name: rows.to_pylist() for name, rows in tables(kept).items()}
    model = first[0].setup["model"]["name"]
    assert len(made["extended"]) == 3 * 2
    assert {(row["model"], row["sha256"][:8]) for row in made["extended"]} == {
        (model, first[0].setup["model"]["sha256"][:8]),
        ("other-model", "f" * 8),
    }
    for name in ("scores", "runs", "answers"):
        assert {row["model"].rpartition(" ")[0] for row in made[name]} == {model, "other-model"}
    logs = [json.loads(path.read_text()) for path in export(kept, tmp_path / "eee", "eee")]
    assert len(logs) == 3 * 2
    for log in logs:
        ids = [result["evaluation_result_id"] for result in log["evaluation_results"]]
        assert len(ids) == len(set(ids))
    named = {log["model_info"]["additional_details"]["pretrained_model"] for log in logs}
    assert named == {row["model"] for row in made["runs"]}


def test_the_card_of_an_encoding_is_not_that_of_a_pretrained_model() -> None:
    methods = [edited("none"), edited("ntk")]
    cards = {row["encoding"]: row["title"] for row in tables([*RECORDS, *methods])["encodings"].to_pylist()}
    assert cards["rope"] == RECORDS[0].card["title"] != methods[0].card["title"]
    assert cards["rope@ntk"] == methods[1].card["title"]


def test_the_same_records_give_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    build([FAILED, *reversed(RECORDS)], tmp_path / "again", "0.1.0")
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        assert (tmp_path / "again" / path.relative_to(folder)).read_bytes() == path.read_bytes(), path


def test_values_of_a_wrong_type_are_null_and_change_no_column(tmp_path: Path) -> None:
    card = {**RECORDS[0].card, "title": HOSTILE, "relative": "yes", "paper": 3, "source": HOSTILE}
    provenance = {"seconds": "long", "tokens": 1.5e299, "peak_memory_bytes": 10**400, "threads": True}
    row = Row("exact", 0.5, 10**30, {"length": "long", HOSTILE: HOSTILE})
    evil = Record("evil", "copy", "QUICK", 10**30, "ab" * 8, (row,), card=card, provenance=provenance)
    made = tables([*RECORDS, evil])
    score = next(r for r in made["scores"].to_pylist() if r["encoding"] == "evil")
    assert (score["n"], score["seed"], score["length"]) == (None, None, None)
    run = next(r for r in made["runs"].to_pylist() if r["encoding"] == "evil")
    assert {run[key] for key in ("seconds", "tokens", "peak_memory_bytes", "threads")} == {None}
    about = next(r for r in made["encodings"].to_pylist() if r["encoding"] == "evil")
    assert (about["relative"], about["paper"]) == (None, "")
    build([*RECORDS, evil], tmp_path / "dataset", "0.1.0")
    export([*RECORDS, evil], tmp_path / "csv", "csv")
    cells = [c for row in csv.reader((tmp_path / "csv/encodings.csv").read_text().splitlines()) for c in row]
    assert "'=HYPERLINK(1) ? <script> | `x`" in cells


LOADS = """
import sys
from datasets import load_dataset
folder = sys.argv[1]
for name in ("leaderboard", "scores", "runs", "encodings", "published"):
    file = load_dataset("parquet", data_files=f"{folder}/data/{name}.parquet", split="train")
    whole = load_dataset(folder, name, split="train")
    assert whole.column_names == file.column_names and len(whole) == len(file), name
    assert whole.features == file.features, name
    print(name, len(file), file.features["profile" if name == "published" else "encoding"].dtype)
"""


def test_datasets_loads_the_files_and_the_folder_without_a_network(folder: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOADS, str(folder)],
        capture_output=True,
        text=True,
        env={"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path), "HF_DATASETS_DISABLE_PROGRESS_BARS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    scores = pq.read_metadata(folder / "data/scores.parquet").num_rows
    pairs = pq.read_metadata(folder / "data/published.parquet").num_rows
    assert done.stdout.splitlines() == [
        "leaderboard 3 string",
        f"scores {scores} string",
        f"runs {len(RECORDS) + 1} string",
        "encodings 3 string",
        f"published {pairs} string",
    ]


def test_the_examples_of_the_card_run(folder: Path) -> None:
    """Each block of Python, in the folder, as a reader would."""
    pytest.importorskip("duckdb")
    blocks = re.findall(r"```python\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert [next(word for word in ("datasets", "pandas", "duckdb") if word in block) for block in blocks] == [
        "datasets",
        "pandas",
        "duckdb",
    ]
    for block in blocks:
        done = subprocess.run(
            [sys.executable, "-c", block], cwd=folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.walks
def test_the_profile_that_the_board_shows_first_comes_first() -> None:
    older = [
        r for name in ("QUICK", "ABLATION") for r in Sweep({"rope": 1.0, "fox": 6.0}, profile=name).records()
    ]
    few = [r for r in older if r.profile == "QUICK" or r.seed == 0]
    newer = Sweep(SKILL, seeds=2, tasks=("copy", "language"), profile="QUICK_2").records()
    for records, order in ((few, ["QUICK", "ABLATION"]), ([*few, *newer], ["QUICK_2", "QUICK", "ABLATION"])):
        told = tables(list(records))["leaderboard"]["profile"].to_pylist()
        assert list(dict.fromkeys(told)) == order


def test_the_ranking_is_the_first_table_and_says_what_the_board_says(folder: Path) -> None:
    rows = pq.read_table(folder / "data/leaderboard.parquet").to_pylist()
    board = {e.name: e for e in board_of([*RECORDS, FAILED], "QUICK", {"QUICK": 1}, []).entries}
    assert [row["encoding"] for row in rows] == list(board)
    for row in rows:
        entry = board[row["encoding"]]
        assert (row["tier"], row["score"], row["score_low"]) == (entry.tier, entry.score, entry.low)
        for name in ("at_length", "beyond", "learns", "keeps"):
            told = tuple(row[f"{name}{end}"] for end in ("", "_low", "_high", "_p_best"))
            found = getattr(entry, name)
            value = getattr(found, "value" if name in ("learns", "keeps") else "score", None)
            assert told == (value, *(getattr(found, end, None) for end in ("low", "high", "p_best")))
    assert all(
        any(row[f"{name}_p_best"] for row in rows) for name in ("at_length", "beyond", "learns", "keeps")
    )
    head = (folder / "README.md").read_text().split("---\n")[1]
    assert "- config_name: leaderboard\n  default: true\n" in head
    assert "answers" not in head  # these records keep none


def test_answers_are_a_table_where_records_keep_them(tmp_path: Path) -> None:
    said = Answer(condition={"length": 64}, item=0, asked="a b > _ _", answer="a b", said="a c", right=False)
    (one, *others) = Sweep({"rope": 1.0}, seeds=1).records()
    dataset.export([replace(one, answers=(said,)), *others], tmp_path, "parquet")
    (row,) = pq.read_table(tmp_path / "answers.parquet").to_pylist()
    assert row == {
        "profile": "QUICK", "encoding": "rope", "task": one.task, "seed": 0, "model": "", "condition": "length 64",
        "item": 0, "asked": "a b > _ _", "answer": "a b", "said": "a c", "right": False, "file": str(one.path),
    }  # fmt: skip


def test_the_card_names_every_table_column_and_metric(folder: Path) -> None:
    text = (folder / "README.md").read_text()
    head, body = text.removeprefix("---\n").split("---\n", 1)
    for name, schema in SCHEMAS.items():
        if name in ("answers", "extended"):
            continue
        assert f"- config_name: {name}\n" in head
        assert f"path: data/{name}.parquet\n" in head
        assert all(f"| `{column}` |" in body for column in schema.names)
    assert head.count("default: true") == 1
    assert "license: apache-2.0\n" in head
    assert "size_categories:\n- n<1K" in head
    assert "@software{pebench," in body
    assert "| `exact` | share | higher |" in body


def test_croissant_describes_the_files_as_they_are(folder: Path) -> None:
    facts = json.loads((folder / "croissant.json").read_text())
    assert facts["conformsTo"] == "http://mlcommons.org/croissant/1.0"
    assert facts["datePublished"] == "2026-01-02"
    ids = {f["@id"] for f in facts["distribution"]}
    for file in facts["distribution"]:
        data = (folder / file["contentUrl"]).read_bytes()
        assert file["sha256"] == hashlib.sha256(data).hexdigest()
        assert file["contentSize"] == f"{len(data)} B"
    types = {
        "sc:Text": pa.string(),
        "sc:Integer": pa.int64(),
        "sc:Float": pa.float64(),
        "sc:Boolean": pa.bool_(),
    }
    for record_set in facts["recordSet"]:
        schema = SCHEMAS[record_set["name"]]
        columns = {f["source"]["extract"]["column"]: f for f in record_set["field"]}
        assert list(columns) == schema.names
        for name, field in columns.items():
            assert types[field["dataType"]] == schema.field(name).type
            assert field["source"]["fileObject"]["@id"] in ids


def test_nothing_of_somebody_else_is_published_with_the_results(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("mine")
    with pytest.raises(DatasetError, match=r"holds something else \(secret.txt\)"):
        build(RECORDS, tmp_path, "0.1.0")
    with pytest.raises(DatasetError, match="no records"):
        build([], tmp_path / "new", "0.1.0")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["README.md", "croissant.json", "data/runs.parquet", "data/notes.txt"])
def test_a_dataset_takes_no_file_s_place(name: str, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / name).write_text("mine")
    with pytest.raises(DatasetError, match=r"holds something else \("):
        build(RECORDS, tmp_path, "0.1.0")
    assert [(file.name, file.read_text()) for file in tmp_path.rglob("*") if file.is_file()] == [
        (Path(name).name, "mine")
    ]


def test_a_dataset_is_built_anew_in_its_own_folder(tmp_path: Path) -> None:
    build(RECORDS, tmp_path, "0.1.0")
    build(RECORDS, tmp_path, "0.1.0")
    (tmp_path / "data" / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match=r"holds something else \(data/notes.txt\)"):
        build(RECORDS, tmp_path, "0.1.0")


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_an_export_takes_no_file_s_place_and_leaves_no_old_table(kind: str, tmp_path: Path) -> None:
    runs = tmp_path / f"runs.{kind}"
    runs.write_text("seed,minutes\n1,2\n")
    with pytest.raises(DatasetError, match="no table that pebench wrote"):
        export(RECORDS, tmp_path, kind)
    assert [file.name for file in tmp_path.iterdir()] == [runs.name]
    runs.unlink()
    (tmp_path / "thesis.csv").write_text("mine")
    before = export(RECORDS, tmp_path, kind)
    after = export([r for r in RECORDS if r.task == "certificate"], tmp_path, kind)
    assert {file.name for file in tmp_path.iterdir()} == {*(file.name for file in after), "thesis.csv"}
    assert len(after) < len(before)


def test_tables_are_exported_as_csv_and_parquet(tmp_path: Path) -> None:
    for kind in ("csv", "parquet"):
        files = export(RECORDS, tmp_path / kind, kind)
        assert [f.name for f in files] == [
            f"{n}.{kind}" for n in ("encodings", "leaderboard", "published", "runs", "scores")
        ]
    rows = list(csv.DictReader((tmp_path / "csv/scores.csv").read_text().splitlines()))
    assert len(rows) == pq.read_metadata(tmp_path / "parquet/scores.parquet").num_rows
    assert list(rows[0]) == SCHEMAS["scores"].names


def strings(values: dict[str, Any]) -> bool:
    return all(isinstance(value, str) for value in values.values())


def test_every_eval_ever_logs_hold_what_counts(tmp_path: Path) -> None:
    """The demands of the schema 0.3.0, as its JSON schema states them."""
    files = export(RECORDS, tmp_path, "eee")
    assert len(files) == 3 * 2  # encodings x seeds
    assert files == export(list(reversed(RECORDS)), tmp_path, "eee")
    values = []
    for file in files:
        log = json.loads(file.read_text())
        assert set(log) == {
            *("schema_version", "evaluation_id", "evaluation_timestamp", "retrieved_timestamp"),
            *("source_metadata", "eval_library", "model_info", "evaluation_results"),
        }
        assert file.relative_to(tmp_path).parts[:-1] == (
            "data",
            "pebench",
            *log["model_info"]["id"].split("/"),
        )
        assert log["retrieved_timestamp"].isdigit()
        assert strings(log["model_info"]["additional_details"])
        assert strings(log["source_metadata"])
        ids = [r["evaluation_result_id"] for r in log["evaluation_results"]]
        assert len(ids) == len(set(ids))
        for r in log["evaluation_results"]:
            assert {"evaluation_name", "source_data", "metric_config", "score_details"} <= r.keys()
            config, score = r["metric_config"], r["score_details"]["score"]
            assert config["score_type"] == "continuous"
            assert float(config["min_score"]) <= score <= float(config["max_score"])
            assert strings(r["score_details"]["details"])
            assert config["lower_is_better"] == (config["metric_id"] == "pebench.bits_per_byte")
            values.append(score)
    counted = [row.value for r in RECORDS for row in r.rows if row.score is not None]
    assert sorted(values) == sorted(counted)
    with pytest.raises(DatasetError, match="no record holds a quality score"):
        export([SWEEP.record("rope", "certificate", 0, tuple(checks()))], tmp_path, "eee")


def test_the_commands_build_and_export_and_name_what_they_leave_out(tmp_path: Path) -> None:
    records = write_sweep(tmp_path / "records", {"rope": 1.0}, seeds=1, lengths=(64,))
    write(replace(FAILED, seed=1), records)
    (records / "broken.json").write_text("{")
    run = CliRunner().invoke
    built = run(app, ["build", "--records", str(records), "--out", str(tmp_path / "d")])
    assert built.exit_code == 0, built.output
    assert "left out" in built.output
    assert "1 encodings" in built.output
    assert (tmp_path / "d/README.md").exists()
    wrote = run(app, ["export", "--format", "eee", "--records", str(records), "--out", str(tmp_path / "e")])
    assert "wrote 1 files" in wrote.output


class Hub:
    """Stands in for huggingface_hub.HfApi: takes the same calls, and remembers them."""

    def __init__(self, error: Exception | None = None):
        self.calls: list[tuple[str, dict[str, Any]]] = []
        self.error = error

    def create_repo(self, **given: Any) -> None:
        self.calls.append(("create_repo", given))

    def upload_folder(self, **given: Any) -> SimpleNamespace:
        if self.error:
            raise self.error
        self.calls.append(("upload_folder", given))
        return SimpleNamespace(commit_url="https://hub.example/commit/1")


@pytest.fixture
def online(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*publish.OFFLINE, "HF_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.usefixtures("online")
def test_a_push_makes_the_repository_and_uploads_what_belongs_in_it(folder: Path) -> None:
    hub = Hub()
    url = publish.push("me/pebench-results", folder, "new results", api=hub)  # type: ignore[arg-type]
    assert url == "https://hub.example/commit/1"
    (made, repo), (uploaded, given) = hub.calls
    assert (made, uploaded) == ("create_repo", "upload_folder")
    assert repo == {
        "repo_id": "me/pebench-results",
        "repo_type": "dataset",
        "private": False,
        "exist_ok": True,
    }
    assert given["repo_type"] == "dataset"
    assert given["folder_path"] == folder
    assert given["allow_patterns"] == ["README.md", "croissant.json", "data/*.parquet"]


@pytest.mark.usefixtures("online")
def test_private_results_stay_private(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = Hub()
    monkeypatch.setattr(publish, "HfApi", lambda: hub)
    monkeypatch.setenv("HF_TOKEN", "hf_x")
    words = ["push", "me/mine", "--folder", str(folder), "--private", "--message", "mine alone"]
    sent = CliRunner().invoke(app, words)
    assert sent.exit_code == 0, sent.output
    (_, repo), (_, given) = hub.calls
    assert (repo["repo_id"], repo["private"], given["commit_message"]) == ("me/mine", True, "mine alone")


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the parts of a site."""
    for part in ("README.md", "index.html", "card.png", "assets/a.js", "badges/rope.svg", "data/board.json",
                 "encodings/rope.html", "tasks/copy.html"):  # fmt: skip
        (tmp_path / part).parent.mkdir(exist_ok=True)
        (tmp_path / part).write_text("x")
    return tmp_path


@pytest.mark.usefixtures("online")
def test_a_site_goes_to_a_static_space(folder: Path, site: Path) -> None:
    hub = Hub()
    publish.push("me/board", site, "the board", api=hub, space=True)  # type: ignore[arg-type]
    (_, repo), (_, given) = hub.calls
    assert (repo["repo_type"], repo["space_sdk"], given["repo_type"]) == ("space", "static", "space")
    every = ["README.md", "index.html", "card.png", "QUICK/tasks/copy.html", "QUICK/data/board.json", "QUICK/card.png",
             "QUICK/badges/rope.svg", "assets/plotly.min.js"]  # fmt: skip
    sent = list(filter_repo_objects([*every, "notes.txt"], allow_patterns=given["allow_patterns"]))
    assert sent == every
    assert "README.md" not in given["delete_patterns"]
    with pytest.raises(publish.PublishError, match="pebench site"):
        publish.push("me/board", folder, "a dataset", api=hub, space=True)  # type: ignore[arg-type]


@pytest.mark.usefixtures("online")
def test_the_real_client_takes_the_calls_of_the_stand_in(folder: Path, site: Path) -> None:
    import inspect

    from huggingface_hub import HfApi

    hub = Hub()
    publish.push("me/x", folder, "m", api=hub)  # type: ignore[arg-type]
    publish.push("me/x", site, "m", api=hub, space=True)  # type: ignore[arg-type]
    for name, given in hub.calls:
        inspect.signature(getattr(HfApi, name)).bind(None, **given)


@pytest.mark.usefixtures("online")
@pytest.mark.parametrize(
    ("error", "says"),
    [
        (ConnectError("no route"), "cannot reach the Hub: no route"),
        (OSError("no name"), "cannot reach the Hub"),
    ],
)
def test_a_push_without_a_network_says_so(folder: Path, error: Exception, says: str) -> None:
    with pytest.raises(publish.PublishError, match=says):
        publish.push("me/x", folder, "m", api=Hub(error))  # type: ignore[arg-type]


@pytest.mark.usefixtures("online")
def test_a_push_says_what_is_missing(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def push(repo: str, source: Path) -> str:
        result = CliRunner().invoke(app, ["push", repo, "--folder", str(source)])
        assert isinstance(result.exception, publish.PublishError)
        return str(result.exception)

    monkeypatch.setattr(publish, "get_token", lambda: None)
    assert "there is no token" in push("me/x", folder)
    assert "has no README.md; write it with `pebench build" in push("me/x", tmp_path)
    assert "write owner/name" in push("../../etc", folder)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "offline mode is set" in push("me/x", folder)


def test_a_folder_without_scores_is_a_dataset_too(tmp_path: Path) -> None:
    records = [r for r in Sweep({"rope": 1.0}).records() if r.task == "certificate"]
    rows = build(records, tmp_path / "out", "1.2.3")
    assert rows["runs"] == 1
    text = (tmp_path / "out/README.md").read_text(encoding="utf-8")
    assert "data/scores.parquet" not in text
    assert "n<1K" in text
