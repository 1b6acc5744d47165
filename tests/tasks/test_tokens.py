"""Token shards: the GRAPE reference's format, resumed at any document, read as a function of (seed, step, row)."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from typer.testing import CliRunner

from pebench.suite import cli
from pebench.tasks.data import tokens
from pebench.tasks.data.corpus import CorpusError
from pebench.tasks.data.system import Lock
from pebench.tasks.data.tokens import END_OF_TEXT, Source, Tokens, held_out, identity, tokenise, tokenizer
from tests.in_process import exit_code

DOCUMENTS = [f"Document {i}: the {i * 7919 % 1000} ships — naïve, {'x' * (i % 50)}." for i in range(3000)]


pytestmark = pytest.mark.usefixtures("bpe")


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in FineWeb-Edu's layout: four files of several row groups."""
    folder = tmp_path_factory.mktemp("fineweb") / "sample" / "10BT"
    folder.mkdir(parents=True)
    for k in range(4):
        part = DOCUMENTS[k::4]
        ids = [f"<urn:uuid:{k}-{i}>" for i in range(len(part))]
        table = pa.table({"text": part, "id": ids, "token_count": [len(t) // 4 for t in part]})
        pq.write_table(table, folder / f"{k:03}_00000.parquet", row_group_size=200)
    return folder.parent


def read(folder: Path, part: str) -> np.ndarray:
    files = [
        f["file"] for f in json.loads((folder / "tokens.json").read_text())["shards"] if f["part"] == part
    ]
    return np.concatenate([np.fromfile(folder / f, np.uint16, offset=1024) for f in files])


def test_the_tokenizer_is_gpt2s() -> None:
    text = "Hello world! It's 2026.\n\n  naïve — 漢字"
    assert tokenizer().encode("Hello world!").ids == [15496, 995, 0]
    assert tokenizer().decode(tokenizer().encode(text).ids) == text
    assert tokenizer().token_to_id("<|endoftext|>") == END_OF_TEXT


def test_shards_hold_every_document_once_and_hold_out_by_name(parquet: Path, tmp_path: Path) -> None:
    manifest = tokenise(Source(str(parquet)), tmp_path, shard=20_000)
    assert manifest["documents"] == len(DOCUMENTS)
    assert len([s for s in manifest["shards"] if s["part"] == "train"]) > 2
    for part, wanted in (("train", False), ("valid", True)):
        every = [
            DOCUMENTS[k::4][i]
            for k in range(4)
            for i in range(750)
            if held_out(f"<urn:uuid:{k}-{i}>") == wanted
        ]
        assert every
        said = tokenizer().decode(read(tmp_path, part).tolist(), skip_special_tokens=False)
        assert said.split("<|endoftext|>")[1:] == every


def test_a_shard_is_a_file_of_the_grape_reference(parquet: Path, tmp_path: Path) -> None:
    tokenise(Source(str(parquet)), tmp_path, most=1000)
    header = np.fromfile(tmp_path / "train_000001.bin", np.int32, 256)
    body = np.fromfile(tmp_path / "train_000001.bin", np.uint16, offset=1024)
    assert header[:3].tolist() == [20240520, 1, len(body)]
    assert not header[3:].any()
    assert body[0] == END_OF_TEXT


KILLED = """
import os, signal, sys
from pathlib import Path
from pebench.tasks.data.tokens import Source, tokenise
told = []
def tell(line):
    told.append(line)
    if len(told) == 2:
        os.kill(os.getpid(), signal.SIGKILL)
tokenise(Source(sys.argv[1]), Path(sys.argv[2]), shard=20_000, progress=tell)
"""


def test_a_killed_call_continues_and_writes_the_same_bytes(parquet: Path, tmp_path: Path) -> None:
    killed = subprocess.run(
        [sys.executable, "-P", "-c", KILLED, str(parquet), str(tmp_path / "a")], check=False
    )
    assert killed.returncode == -9
    assert not json.loads((tmp_path / "a/tokens.json").read_text())["whole"]
    with pytest.raises(CorpusError, match="not finished"):
        Tokens(tmp_path / "a", "train")
    tokenise(Source(str(parquet)), tmp_path / "a", shard=20_000)
    tokenise(Source(str(parquet)), tmp_path / "b", shard=20_000)
    assert identity(tmp_path / "a") == identity(tmp_path / "b")
    assert (read(tmp_path / "a", "train") == read(tmp_path / "b", "train")).all()


@pytest.mark.parametrize("kind", ["txt", "jsonl"])
def test_text_and_json_lines_are_read(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    if kind == "txt":
        for n, text in enumerate(DOCUMENTS[:5]):
            (folder / f"{n}.txt").write_text(text, encoding="utf-8")
    else:
        lines = (json.dumps({"text": text}) for text in DOCUMENTS[:5])
        (folder / "all.jsonl").write_text("\n".join(lines), encoding="utf-8")
    assert tokenise(Source(str(folder)), tmp_path / "out")["documents"] == 5


def test_rows_are_a_function_of_seed_step_and_row(parquet: Path, tmp_path: Path) -> None:
    tokenise(Source(str(parquet)), tmp_path, shard=20_000)
    data, flat = Tokens(tmp_path, "train"), read(tmp_path, "train")
    rows = data.rows(8, 65, seed=1, step=7)
    assert torch.equal(rows, Tokens(tmp_path, "train").rows(8, 65, seed=1, step=7))
    assert not torch.equal(rows, data.rows(8, 65, seed=1, step=8))
    parts = [data.rows(8, 65, seed=1, step=7, rank=r, world=3) for r in range(3)]
    assert all(torch.equal(parts[r], rows[r::3]) for r in range(3))
    windows = np.lib.stride_tricks.sliding_window_view(flat, 65)
    assert all((windows == row.numpy()).all(1).any() for row in rows)


def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """As HF_HUB_OFFLINE does, which both libraries read when they are imported."""
    monkeypatch.setattr("datasets.config.HF_HUB_OFFLINE", True)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)


def test_what_cannot_be_read_is_said(parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenise(Source(str(parquet)), tmp_path / "a", shard=20_000)
    with pytest.raises(CorpusError, match="another shard"):
        tokenise(Source(str(parquet)), tmp_path / "a", shard=10_000)
    with pytest.raises(CorpusError, match="no column 'body'"):
        tokenise(Source(str(parquet), text="body"), tmp_path / "b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(CorpusError, match="has no"):
        tokenise(Source(str(tmp_path / "empty")), tmp_path / "c")
    offline(monkeypatch)
    with pytest.raises(CorpusError, match="offline, name a local folder"):
        tokenise(Source("nobody/nothing"), tmp_path / "d")
    with (tmp_path / "a/train_000002.bin").open("r+b") as file:
        file.truncate(5000)
    with pytest.raises(CorpusError, match="missing or damaged"):
        tokenise(Source(str(parquet)), tmp_path / "a", shard=20_000)
    with pytest.raises(CorpusError, match="is cut"):
        tokens.opened(tmp_path / "a/train_000002.bin")


def test_the_command_tokenises_local_text_and_says_which_it_is(
    parquet: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenised = ("data", "tokenise")
    shards = str(tmp_path / "shards")
    assert exit_code(monkeypatch, *tokenised, str(parquet), "--out", shards, "--tokens", "5k", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said == identity(tmp_path / "shards")
    assert 5000 <= said["tokens"] < 20_000
    lines = tmp_path / "own.jsonl"
    lines.write_text("".join(json.dumps({"body": text}) + "\n" for text in DOCUMENTS[:40]))
    own = ("--out", str(tmp_path / "own"), "--text", "body")
    assert exit_code(monkeypatch, *tokenised, str(lines), *own) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"{identity(tmp_path / 'own')['tokens']:,} tokens of own.jsonl (")
    assert read(tmp_path / "own", "train")[0] == END_OF_TEXT


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["no-such-folder/here", "--out", "out"], 3, "neither a file or folder here nor a dataset"),
        (["empty", "--out", "out"], 3, "has no *.parquet, *.jsonl, *.json or *.txt file"),
        (["bad.parquet", "--out", "out"], 3, "bad.parquet cannot be read"),
        (["text", "--out", "cut"], 3, "is no manifest of shards"),
        (["text", "--out", "foreign"], 3, "is no manifest of shards"),
        (["text", "--out", "out", "--tokens", "many"], 2, "is no number of tokens"),
        (["text", "--out", "out", "--tokens", "0"], 2, "is no number of tokens"),
        (["text", "--out", "out", "--text", "body"], 3, "no column 'body'; they have 'text'"),
    ],
)
def test_the_command_says_what_is_wrong_with_its_words(
    words: list[str], code: int, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text").mkdir()
    (tmp_path / "text" / "a.txt").write_text("A ship.\n")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    for folder, manifest in (("cut", '{"source": {'), ("foreign", '{"schema": 3}')):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "tokens.json").write_text(manifest)
    monkeypatch.chdir(tmp_path)
    offline(monkeypatch)
    done = CliRunner().invoke(cli.app, ["data", "tokenise", *words])
    found = cli.explained(done.exception) if isinstance(done.exception, Exception) else done.exit_code
    assert found == code
    assert said in " ".join(f"{done.output} {done.exception}".replace("│", " ").split())


def test_a_document_without_text_is_no_word(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["one", None, "two"]}), tmp_path / "a.parquet")
    tokenise(Source(str(tmp_path)), tmp_path / "out")
    assert tokenizer().decode([t for t in read(tmp_path / "out", "train") if t != END_OF_TEXT]) == "onetwo"
    pq.write_table(pa.table({"n": [1, 2]}), tmp_path / "a.parquet")
    with pytest.raises(CorpusError, match="the column 'n' holds int, no text; name another one with --text"):
        tokenise(Source(str(tmp_path / "a.parquet"), text="n"), tmp_path / "numbers")


def test_a_folder_is_written_by_one_process(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    out = tmp_path / "out"
    out.mkdir()
    lock = Lock(out / "tokens.lock")
    assert lock.acquire()
    # Of another process: this one may take its own lock twice.
    code = f"from pebench.tasks.data.tokens import *; tokenise(Source({str(tmp_path)!r}), Path({str(out)!r}))"
    refused = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    lock.release()
    assert "another process is writing" in refused.stderr
    assert not (out / "tokens.json").exists()


def test_a_finished_folder_opens_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text("words of a text")
    monkeypatch.chdir(tmp_path)
    first = tokenise(Source("a.txt"), tmp_path / "out")
    monkeypatch.setattr(tokens, "stream", lambda source: pytest.fail("it was opened"))
    assert (
        tokenise(Source(str(tmp_path / "a.txt")), tmp_path / "out") == first
    )  # the same file by another path
    other = tmp_path / "other"
    other.mkdir()
    monkeypatch.chdir(other)
    with pytest.raises(CorpusError, match="shards of another source"):
        tokenise(Source("a.txt"), tmp_path / "out")
