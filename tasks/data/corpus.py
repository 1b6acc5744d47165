"""The real text: `books-v1`, 86 English books in the public domain (in the United States), or a user's own.

The text is built from the files of two pinned wheels and never vendored; `books_v1.json` lists its documents,
their sha256 and the frozen split. The split is by author: no author of a held-out document wrote
one of another split. Documents bear their true titles: many file names of the second wheel are wrong.
"""

import functools
import hashlib
import json
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import torch
from torch import Tensor

from pebench.suite.results.cache import cache_folder
from pebench.suite.results.setup import Corpus
from pebench.tasks.data.wheels import Archive, CorpusError, Progress, Wheel, build_once, fetch, sha256, silent

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["CorpusError", "Split", "byte_tensor", "identity", "load", "prepare"]

Split = Literal["train", "valid", "test"]
MANIFEST = Path(__file__).with_name("books_v1.json")
SMALLEST = 4096  # bytes of text that each part of a user's own text has at least


class Document(NamedTuple):
    """One document of the manifest: the files `source` of a wheel, joined and cleaned, have this sha256."""

    name: str
    split: Split
    wheel: str
    source: str
    bytes: int
    sha256: str


class Manifest(NamedTuple):
    """A corpus; `sha256` is the hash of all its documents in this order, joined by nothing."""

    name: str
    sha256: str
    wheels: tuple[Wheel, ...]
    documents: tuple[Document, ...]


Text = tuple[str, bytes]  # a document's name, and its text in UTF-8
Stamps = tuple[tuple[Path, str, int, int], ...]


def read_manifest() -> Manifest:
    """The manifest of books-v1."""
    data = json.loads(MANIFEST.read_text(encoding="utf-8"))
    wheels = tuple(Wheel(**wheel) for wheel in data["wheels"])
    documents = tuple(Document(**document) for document in data["documents"])
    return Manifest(data["name"], data["sha256"], wheels, documents)


def prepare(progress: Progress = silent) -> Path:
    """Build books-v1 in the user's cache folder, where it is not there whole, and return its folder.

    The first call downloads; the next ones only verify, in well under a second. Several at a time are safe,
    and an interrupted one leaves nothing behind. CorpusError names the fault and the remedy.
    """
    manifest = read_manifest()
    folder = cache_folder() / manifest.name
    remedy = (
        f"run `pebench data prepare` on another machine and copy its {manifest.name} to {folder}, or use "
        "your own text with --corpus PATH"
    )
    build_once(folder, _is_whole, lambda new: _build(manifest, new, progress), remedy, progress)
    size = sum(document.bytes for document in manifest.documents)
    progress(
        f"{manifest.name}: {len(manifest.documents)} documents, {size / 1e6:.1f} MB, verified, in {folder}"
    )
    return folder


def load(split: Split, path: Path | None = None) -> "Dataset":
    """One split as a dataset with the columns `document` (its name) and `text`.

    `path` is a user's own UTF-8 text: a file, or a folder whose visible *.txt files are the documents, at any
    depth. Of three documents and more, a twentieth each (at least one) is held out for `valid` and `test`,
    chosen by the sha256 of their contents. Of one or two, the first 90 % are `train`, the next 5 % `valid`,
    the last 5 % `test`. Equal documents count once. CorpusError where the text is missing or unfit; nothing
    is downloaded.
    """
    from datasets import Dataset, Features, Value  # here, because importing it takes longer than all the rest

    names, texts = zip(*((name, data.decode()) for name, data in _documents(split, path)), strict=True)
    features = Features({"document": Value("string"), "text": Value("large_string")})
    return Dataset.from_dict({"document": names, "text": texts}, features=features)


def byte_tensor(split: Split, path: Path | None = None) -> list[Tensor]:
    """The documents of `load(split, path)` as bytes of UTF-8: one uint8 tensor each, in the same order.

    A process keeps the documents of books-v1 while no file changes. `needle` asks for them at thirty lengths.
    """
    return [*_kept_tensors(split, _stamps(split))] if path is None else _tensors(split, path)


@functools.lru_cache(maxsize=len(get_args(Split)))
def _kept_tensors(split: Split, stamps: Stamps) -> list[Tensor]:
    return _tensors(split, None)


def _tensors(split: Split, path: Path | None) -> list[Tensor]:
    return [torch.frombuffer(bytearray(data), dtype=torch.uint8) for _, data in _documents(split, path)]


def _stamps(split: Split) -> Stamps:
    """What changes when a file of this split does: its place, the hash of its text, its time, and its size."""
    manifest = read_manifest()
    folder = cache_folder() / manifest.name
    stamps = []
    for document in manifest.documents:
        if document.split == split:
            file = _place(folder, document)
            with suppress(OSError):  # the reader reports a missing file
                about = file.stat()
                stamps.append((file, document.sha256, about.st_mtime_ns, about.st_size))
    return tuple(stamps)


def identity(path: Path | None = None) -> Corpus:
    """Which text this is, for records: its `name` and `sha256`.

    The sha256 of a user's file covers its bytes. The sha256 of a folder is the output of `sha256sum FILES |
    sha256sum` inside it, for the files in the order of their names.
    """
    if path is None:
        manifest = read_manifest()
        return {"name": manifest.name, "sha256": manifest.sha256}
    texts = _own_texts(path)
    listing = "".join(f"{sha256(data)}  {name}\n" for name, data in texts)
    digest = sha256(listing.encode(errors="surrogateescape")) if path.is_dir() else sha256(texts[0][1])
    return {"name": f"user:{path.resolve().name}", "sha256": digest}


def _documents(split: Split, path: Path | None) -> list[Text]:
    if split not in get_args(Split):
        raise CorpusError(f"there is no split {split!r}, only {', '.join(get_args(Split))}")
    return _books(split) if path is None else _own_documents(split, path)


def _books(split: Split) -> list[Text]:
    """This split of books-v1 out of the cache. Verified on every call: it takes 20 ms."""
    manifest = read_manifest()
    folder = cache_folder() / manifest.name
    texts = []
    for document in manifest.documents:
        if document.split != split:
            continue
        file = _place(folder, document)
        try:
            data = file.read_bytes()
        except OSError as e:
            raise CorpusError(
                f"{manifest.name} is not prepared ({file}: {e.strerror}); run `pebench data prepare`, "
                "or use your own text with --corpus PATH"
            ) from e
        if sha256(data) != document.sha256:
            raise CorpusError(
                f"{file} is damaged; run `pebench data prepare`, which builds {manifest.name} again"
            )
        texts.append((document.name, data))
    return texts


def _place(folder: Path, document: Document) -> Path:
    return folder / document.split / f"{document.name}.txt"


def _is_whole() -> bool:
    try:
        for split in get_args(Split):
            _books(split)
    except CorpusError:
        return False
    return True


def _build(manifest: Manifest, folder: Path, progress: Progress) -> None:
    """Download, clean and verify the documents of a manifest into an empty folder."""
    downloads = folder / "wheels"
    fetch(manifest.wheels, downloads, progress)
    progress(f"building {len(manifest.documents)} documents")
    total = hashlib.sha256()
    for document, text in _built(manifest, downloads):
        data = text.encode()
        if sha256(data) != document.sha256:
            raise CorpusError(
                f"{document.name}, built from {document.source}, has another sha256 than {MANIFEST.name} "
                "says; this is a fault of pebench, please report it"
            )
        total.update(data)
        file = _place(folder, document)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
    if total.hexdigest() != manifest.sha256:
        raise CorpusError(
            f"all documents together have another sha256 than {MANIFEST.name} says; please report it"
        )
    shutil.rmtree(downloads)


def _built(manifest: Manifest, downloads: Path) -> Iterator[tuple[Document, str]]:
    with ExitStack() as stack:
        archives = {
            wheel.project: stack.enter_context(Archive(wheel, downloads)) for wheel in manifest.wheels
        }
        for document in manifest.documents:
            chapters = archives[document.wheel].read(document.source)
            yield document, clean("\n\n".join(without_credits(decode(chapter)) for chapter in chapters))


def decode(data: bytes) -> str:
    """Text in UTF-8, else in Windows' Western encoding, else in Latin-1, with newlines of one character.

    >>> decode(b"caf\\xe9\\r\\r\\n")
    'café\\n'
    """
    for encoding in ("utf-8-sig", "cp1252"):
        try:
            text = data.decode(encoding)
            break
        except UnicodeDecodeError:
            continue
    else:
        text = data.decode("latin-1")
    # Some files end their lines in "\r\r\n", which everything below would take for blank lines.
    return re.sub(r"\r*\n", "\n", text).replace("\r", "\n")


def without_credits(text: str) -> str:
    """Cut the paragraph that names the typist, where the text begins with one."""
    return re.sub(r"\A\s*(E-text prepared by|Produced by)[^\n]*\n(?:[^\n]+\n)*", "", text)


def clean(text: str) -> str:
    """Paragraphs with a blank line between them: prose on one line, verse and lists on their own lines.

    A newline every 70 characters would be a clock: a model could read positions from it. A paragraph is prose
    where half of its lines but the last have 55 characters or more.

    >>> clean("  two\\n short lines \\n\\n\\n a\\x00 paragraph\\n")
    'two\\nshort lines\\n\\na paragraph\\n'
    """
    text = text.replace("&nbsp;", " ").replace("\xa0", " ")
    text = re.sub("[\x00-\x08\x0b-\x1f\x7f]", "", text)
    paragraphs = (_paragraph(block) for block in re.split(r"\n[ \t]*\n+", text))
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph).strip() + "\n"


def _paragraph(block: str) -> str:
    lines = [re.sub(r"[ \t]+", " ", line).strip() for line in block.split("\n")]
    lines = [line for line in lines if line]
    lengths = sorted(len(line) for line in lines[:-1])
    is_prose = bool(lengths) and lengths[len(lengths) // 2] >= 55
    return (" " if is_prose else "\n").join(lines)


def _own_documents(split: Split, path: Path) -> list[Text]:
    """The documents of this split of a user's own text; `load` says which they are."""
    texts = _distinct(_own_texts(path))
    if len(texts) >= 3:
        by_hash = sorted(texts, key=lambda text: sha256(text[1]))
        held = max(1, round(len(texts) / 20))
        part = {"test": by_hash[:held], "valid": by_hash[held : 2 * held], "train": by_hash[2 * held :]}[
            split
        ]
        part.sort()
    else:
        part = [(name, data) for name, whole in texts if (data := _stretch(whole, split))]
    size = sum(len(data) for _, data in part)
    if size < SMALLEST:
        raise CorpusError(
            f"{path} is too small: its {split} part has {size} bytes, and {SMALLEST} are needed; give more "
            f"text (a single file is cut 90/5/5, so it needs {20 * SMALLEST} bytes)"
        )
    return part


def _own_texts(path: Path) -> list[Text]:
    """All documents of a user's file or folder, in the order of their names."""
    if path.is_dir():
        found = {file.relative_to(path).as_posix(): file for file in _text_files(path)}
        files = [(name, found[name]) for name in sorted(found) if not re.search(r"(^|/)\.", name)]
    else:
        files = [(path.name, path)]
    if not files:
        raise CorpusError(f"the folder {path} has no *.txt file; give a text file, or a folder of them")
    return [(name, _read_own(file)) for name, file in files]


def _text_files(folder: Path) -> Iterator[Path]:
    """The *.txt files below a folder, through symbolic links too; no folder twice, as links may form a circle."""
    seen = {os.path.realpath(folder)}

    def refused(e: OSError) -> None:
        raise CorpusError(
            f"the corpus {e.filename} cannot be read ({e.strerror}); give what can, or another folder"
        )

    for inside, folders, names in os.walk(folder, followlinks=True, onerror=refused):
        # In the order of their names, as the first of several ways to a folder names its documents.
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in list(folders):
            real = os.path.realpath(Path(inside, name))
            if real in seen:
                folders.remove(name)
            seen.add(real)
        files = (Path(inside, name) for name in names if name.endswith(".txt"))
        yield from (file for file in files if file.is_file())


def _read_own(file: Path) -> bytes:
    try:
        data = file.read_bytes()
        data.decode()
    except OSError as e:
        raise CorpusError(
            f"the corpus {file} cannot be read ({e.strerror}); give a text file, or a folder of them"
        ) from e
    except UnicodeDecodeError as e:
        raise CorpusError(f"{file} is not UTF-8 (byte {e.start}); convert it, for example with iconv") from e
    if 0 in data:
        raise CorpusError(f"{file} has a byte 0, as UTF-16 has; convert it to UTF-8, for example with iconv")
    return data


def _distinct(texts: list[Text]) -> list[Text]:
    """Without empty documents and copies of earlier ones, which could stand in two splits."""
    first: dict[bytes, str] = {}
    for name, data in texts:
        first.setdefault(data, name)
    return [(name, data) for data, name in first.items() if data]


def _stretch(data: bytes, split: Split) -> bytes:
    first, last = {"train": (0, 90), "valid": (90, 95), "test": (95, 100)}[split]
    return data[_cut(data, first) : _cut(data, last)]


def _cut(data: bytes, percent: int) -> int:
    """The place of the first character that begins at or before this share of the bytes."""
    place = len(data) * percent // 100
    while place < len(data) and data[place] & 0b1100_0000 == 0b1000_0000:  # inside a character of UTF-8
        place -= 1
    return place
