import json
import os
import pickle
import shutil
import struct
from collections.abc import Callable
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pebench.encodings.registry import names, resolve
from pebench.suite import cli
from pebench.suite.lm.generate import Sampling, choose, generate, shown
from pebench.suite.lm.model import LM, LengthError, Size
from pebench.suite.results.record import read_all, write
from pebench.suite.results.setup import Corpus
from pebench.suite.runs import checkpoint as checkpoints
from pebench.suite.runs.cell import Cell, run, task_of
from pebench.suite.runs.checkpoint import KEY, CheckpointError, Config, config, describe, load, save

SIZE = Size(1, 16, 2, 256)
LENGTH = 24
Pebench = Callable[..., tuple[int, str, str]]


def model(encoding: str, size: Size = SIZE) -> LM:
    """A model whose parameters, the encoding's included, are all away from their initial values."""
    lm = LM(size, resolve(encoding)[1], LENGTH, 3)
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for p in lm.parameters():
            p += 0.1 * torch.randn(p.shape, generator=rng)
    return lm.eval()


def about(lm: LM, encoding: str) -> Config:
    return describe(lm, encoding, "language", "SMOKE", 3, "0" * 64, {"name": "books", "sha256": "1" * 64})


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """The checkpoint of a model with rope."""
    lm, path = model("rope"), tmp_path / "rope.safetensors"
    save(lm, about(lm, "rope"), path)
    return path


@pytest.fixture
def pebench(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Pebench:
    """The command line in this process: exit code, output and errors."""

    def call(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr("sys.argv", ["pebench", *words])
        with pytest.raises(SystemExit) as end:
            cli.main()
        said = capfd.readouterr()
        return int(end.value.code or 0), said.out, said.err

    return call


def rewritten(
    path: Path, change: dict[str, Any] | str, tensors: dict[str, torch.Tensor] | None = None
) -> Path:
    """The checkpoint with fields of its config (or the whole text of it) and tensors changed."""
    with safe_open(path, framework="pt") as file:
        text, old = file.metadata()[KEY], {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    new = change if isinstance(change, str) else json.dumps({**json.loads(text), **change})
    other = path.with_name("other.safetensors")
    save_file({**old, **(tensors or {})}, other, {KEY: new})
    return other


@pytest.mark.parametrize("encoding", [*names(), "rope+fox"])
def test_a_model_comes_back_bit_for_bit(encoding: str, tmp_path: Path) -> None:
    lm, path = model(encoding), tmp_path / "model.safetensors"
    save(lm, about(lm, encoding), path)
    back = load(path)
    assert back.state_dict().keys() == lm.state_dict().keys()
    for name, x in lm.state_dict().items():
        assert torch.equal(back.state_dict()[name], x), name
    tokens = torch.randint(0, 256, (2, LENGTH), generator=torch.Generator().manual_seed(0))
    caches = lm.cache(), back.cache()
    with torch.no_grad():
        for part in (tokens[:, :16], tokens[:, 16:17], tokens[:, 17:]):  # a prompt, and how it goes on
            assert torch.equal(lm(part, caches[0]), back(part, caches[1]))


def test_the_config_says_where_the_model_comes_from(saved: Path) -> None:
    found = config(saved)
    assert found == about(load(saved), "rope")
    assert (found.encoding, found.size, found.train_length, found.seed) == ("rope", SIZE, LENGTH, 3)


def test_equal_models_are_equal_files(saved: Path, tmp_path: Path) -> None:
    save(load(saved), config(saved), tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == saved.read_bytes()


def test_a_failed_write_leaves_the_old_file_and_nothing_else(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = saved.read_bytes()

    def full(handle: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="no space"):
        save(model("rope"), about(model("rope"), "rope"), saved)
    assert [file.name for file in saved.parent.iterdir()] == [saved.name]
    assert saved.read_bytes() == before


OWN = (
    "from pathlib import Path\n\nfrom pebench.encodings.alibi import ALiBi\n\n"
    "Path(__file__).with_name('ran').touch()\n\n\nclass Mine(ALiBi):\n    pass\n"
)


def test_an_encoding_in_a_file_runs_only_where_the_user_names_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pebench: Pebench
) -> None:
    (tmp_path / "mine.py").write_text(OWN)
    spec = f"{tmp_path / 'mine.py'}:Mine"
    lm, path = model(spec), tmp_path / "model.safetensors"
    save(lm, about(lm, spec), path)
    assert config(path).spec == "mine.py:Mine"
    (tmp_path / "elsewhere").mkdir()
    for file in ("mine.py", "model.safetensors"):
        shutil.copy(tmp_path / file, tmp_path / "elsewhere" / file)
    monkeypatch.chdir(tmp_path / "elsewhere")
    code, _, errors = pebench("generate", "model.safetensors", "--tokens", "4")
    assert code == 3
    assert "--encoding FILE.py:Class" in errors
    assert not Path("ran").exists()
    assert pebench("generate", "model.safetensors", "--tokens", "4", "--encoding", "mine.py:Mine")[0] == 0
    assert Path("ran").exists()


def test_changed_code_is_told_and_can_be_waived(saved: Path) -> None:
    changed = rewritten(saved, {"code": "f" * 64})
    with pytest.raises(CheckpointError, match=r"other code of 'rope'.*--stale"):
        load(changed)
    load(changed, stale=True)


def test_comments_do_not_change_the_code(tmp_path: Path) -> None:
    hashes = []
    for n, text in enumerate((OWN, f"# why\n{OWN}", f"{OWN}\nMine.extra = 1\n")):
        (tmp_path / f"{n}").mkdir()
        (tmp_path / f"{n}" / "mine.py").write_text(text)
        hashes.append(checkpoints.forward_code(resolve(f"{tmp_path / f'{n}' / 'mine.py'}:Mine")[1]))
    assert hashes[0] == hashes[1] != hashes[2]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"encoding": "nope", "spec": "nope"}, "does not fit|other code"),
        ({"spec": "gone"}, "no encoding 'gone'.*--encoding"),
        ({"spec": "alibi"}, "trained with 'rope', not with 'alibi'"),
        ({"spec": "evil.py:Evil"}, "'evil.py:Evil', and a checkpoint starts no code"),
        ({"format": 2}, "format 2.*reads 1"),
        ({"format": None}, "format None"),
        ({"surprise": 1}, "surprise"),
        ({"size": None}, "damaged"),
        ({"size": {**asdict(SIZE), "layers": 0}}, "layers"),
        ({"size": {**asdict(SIZE), "layers": 10**6}}, r"'blocks\.1\."),
        ({"size": {**asdict(SIZE), "width": 2**20}}, r"'blocks\.0\."),
        ({"size": {**asdict(SIZE), "width": 16.0}}, "width"),
        ({"size": {**asdict(SIZE), "heads": 3}}, "width"),
        ({"size": {**asdict(SIZE), "heads": 16}}, "cannot be built|does not fit"),
        ({"size": {**asdict(SIZE), "vocab": 32}}, "'embedding.weight'"),
        ({"train_length": 10**12}, "train_length"),
        ({"train_length": True}, "train_length"),
        ({"seed": -1}, "seed"),
        ({"seed": "0"}, "seed"),
        ({"corpus": []}, "corpus"),
        ({"code": 5}, "code"),
        ("", "damaged"),
        ("[]", "damaged"),
        ("null", "damaged"),
        ("[" * 100_000, "damaged"),
        ('{"seed": ' + "9" * 5000 + "}", "damaged"),
    ],
)
def test_a_false_config_is_one_clear_message(saved: Path, change: dict[str, Any] | str, says: str) -> None:
    with pytest.raises(CheckpointError, match=says) as error:
        load(rewritten(saved, change))
    assert "other.safetensors" in str(error.value)


@pytest.mark.parametrize(
    ("tensors", "says"),
    [
        ({"norm.weight": torch.ones(17)}, r"'norm.weight' has shape \(17,\), expected \(16,\)"),
        ({"more": torch.ones(1)}, r"'more' has shape \(1,\), expected None"),
        ({"norm.weight": torch.ones(16, dtype=torch.float16)}, "norm.weight is of type torch.float16"),
        ({"norm.weight": torch.full((16,), torch.nan)}, "norm.weight has values that are not finite"),
    ],
)
def test_false_tensors_are_one_clear_message(saved: Path, tensors: Any, says: str) -> None:
    with pytest.raises(CheckpointError, match=says):
        load(rewritten(saved, {}, tensors))


class Exploit:
    def __reduce__(self) -> Any:
        return os.mkdir, ("exploited",)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        pickle.dumps(Exploit()),
        struct.pack("<Q", 2**62) + b"{}",
        struct.pack("<Q", 2) + b"{}",
        struct.pack("<Q", 8) + b"not json",
    ],
    ids=["empty", "text", "pickle", "endless header", "no tensors", "no json"],
)
def test_other_files_are_refused(data: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.safetensors"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"no safetensors file|no checkpoint of pebench"):
        load(path)
    assert [file.name for file in tmp_path.iterdir()] == ["x.safetensors"]


def test_a_cut_file_is_refused(saved: Path) -> None:
    saved.write_bytes(saved.read_bytes()[:-100])
    with pytest.raises(CheckpointError, match="damaged"):
        load(saved)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none"):
        with pytest.raises(CheckpointError, match="there is no checkpoint"):
            load(path)


def test_a_run_keeps_its_model_beside_its_record(books: None, tmp_path: Path) -> None:
    cell = Cell("alibi", "language", "SMOKE", 0)
    record = run(cell, torch.device("cpu"), folder=tmp_path)
    write(record, tmp_path)
    path = tmp_path / record.provenance["checkpoint"]
    assert path == tmp_path / "checkpoints" / record.path.with_suffix(".safetensors")
    found = config(path)
    assert (found.encoding, found.task, found.profile, found.seed) == ("alibi", "language", "SMOKE", 0)
    assert found.fingerprint == record.fingerprint
    assert found.corpus == record.setup["corpus"]
    assert load(path).encoding.shape.train_length == 64
    assert read_all(tmp_path) == ([record], [])  # the folder of checkpoints disturbs nobody


@pytest.mark.parametrize("encoding", ["rope", "fox", "t5_bias", "grape_ap"])
def test_generating_is_greedy_decoding_without_a_cache(encoding: str) -> None:
    lm = model(encoding)
    tokens = [*b"Call me"]
    for token in generate(lm, tokens.copy(), 20):
        with torch.no_grad():
            assert token == int(lm(torch.tensor([tokens]))[0, -1].argmax())
        tokens.append(token)
    assert len(tokens) == 27


def test_temperature_draws_from_the_softmax() -> None:
    logits, rng = torch.tensor([0.0, 1.0, 2.0]), torch.Generator().manual_seed(0)
    drawn = torch.tensor([choose(logits, Sampling(0.5), rng) for _ in range(4000)])
    shares = drawn.bincount(minlength=3) / 4000
    assert torch.allclose(shares, (2 * logits).softmax(0), atol=0.03)


@pytest.mark.parametrize("temperature", [0.0, 5e-324, 1e-45, 1e-10])
def test_a_tiny_temperature_is_greedy(temperature: float) -> None:
    logits, rng = torch.tensor([-3e38, 1.0, 2.0, 3e38]), torch.Generator().manual_seed(0)
    assert choose(logits, Sampling(temperature), rng) == 3


def test_only_the_likeliest_are_drawn_where_that_is_asked() -> None:
    logits, rng = torch.tensor([0.5, 0.1, 0.3, 0.1]).log(), torch.Generator().manual_seed(0)

    def drawn(**how: Any) -> set[int]:
        return {choose(logits, Sampling(1.0, **how), rng) for _ in range(200)}

    assert drawn() == {0, 1, 2, 3}
    assert drawn(top_k=2) == {0, 2}
    assert drawn(top_p=0.6) == {0, 2}
    assert drawn(top_p=0.4) == drawn(top_k=1) == {0}


def test_a_seed_repeats_a_text() -> None:
    lm = model("rope")
    texts = [
        list(generate(lm, [*b"x"], 30, Sampling(1.0), torch.Generator().manual_seed(seed)))
        for seed in (0, 0, 1)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_generating_ends_where_the_encoding_does() -> None:
    said = generate(model("learned_ape"), [*b"four"], 99)
    assert len(list(islice(said, LENGTH - 3))) == LENGTH - 3  # the last one is chosen, but never read
    with pytest.raises(LengthError, match=f"up to {LENGTH}"):
        next(said)


def test_text_cannot_steer_a_terminal() -> None:
    assert shown("\x1b]0;title\x07\r\n\té\u202e") == "\ufffd]0;title\ufffd\ufffd\n\té\ufffd"


def test_the_command_writes_text_alone_to_a_pipe(saved: Path, pebench: Pebench) -> None:
    words = ("generate", str(saved), "--prompt", "The ", "--tokens", "30", "--seed", "5")
    code, text, errors = pebench(*words)
    assert (code, errors) == (0, "")
    assert text.endswith("\n")
    assert shown(text) == text
    assert pebench(*words)[1] == text


@pytest.mark.parametrize("number", ["1e-45", "0"])
def test_the_command_takes_any_temperature_from_zero(saved: Path, pebench: Pebench, number: str) -> None:
    words = ("generate", str(saved), "--tokens", "9")
    assert pebench(*words, "--temperature", number)[:2] == pebench(*words, "--temperature", "0")[:2]


@pytest.mark.parametrize(
    "words", [("--temperature", "nan"), ("--temperature", "inf"), ("--seed", str(2**64)), ("--seed", "-1")]
)
def test_the_command_refuses_numbers_that_cannot_be(
    saved: Path, pebench: Pebench, words: tuple[str, str]
) -> None:
    code, text, errors = pebench("generate", str(saved), *words)
    assert (code, text) == (2, "")
    assert words[0] in errors


def test_the_command_stops_where_the_encoding_ends(tmp_path: Path, pebench: Pebench) -> None:
    lm, path = model("learned_ape"), tmp_path / "ape.safetensors"
    save(lm, about(lm, "learned_ape"), path)
    code, _, errors = pebench("generate", str(path), "--tokens", "99")
    assert code == 0
    assert f"stopped after {LENGTH} bytes" in errors
    code, _, errors = pebench("generate", str(path), "--prompt", "x" * LENGTH)
    assert code == 2
    assert f"defined up to {LENGTH}" in errors


def test_the_command_refuses_a_model_of_symbols(tmp_path: Path, pebench: Pebench) -> None:
    lm, path = model("rope", Size(1, 16, 2, 32)), tmp_path / "copy.safetensors"
    save(lm, replace(about(lm, "rope"), task="copy"), path)
    code, _, errors = pebench("generate", str(path))
    assert code == 3
    assert "knows the symbols of 'copy', not text" in errors


@pytest.mark.parametrize(
    ("task", "begins"),
    [("language", True), ("language_ends", True), ("needle_text", True), ("needle", False)],
)
def test_models_of_texts_that_begin_say_so(task: str, begins: bool) -> None:
    about = describe(model("nope"), "nope", task, "STANDARD_2", 0, "ab" * 32, Corpus())
    assert about.begins is begins


def test_pictures_of_a_model_need_the_text_that_it_read(tmp_path: Path) -> None:
    about = describe(
        model("nope"), "nope", "language", "SMOKE", 0, "ab" * 32, Corpus(name="user:mine", sha256="c" * 64)
    )
    with pytest.raises(CheckpointError, match="--corpus"):
        task_of(about)
    with pytest.raises(CheckpointError, match="does not have"):
        task_of(replace(about, task="gone"))
