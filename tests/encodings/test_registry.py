import importlib.metadata
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from pebench.encodings import registry
from pebench.encodings.base import Encoding, Shape
from pebench.encodings.registry import (
    EncodingError,
    UnknownName,
    names,
    register,
    resolve,
    source,
)
from pebench.encodings.rope import RoPE
from pebench.encodings.streams import build, stream

SHAPE = Shape(layers=2, heads=2, head_dim=8, train_length=16)

FILE = '''
from pebench.encodings.base import Encoding
from pebench.encodings.registry import register

class Mine(Encoding):
    """Nothing."""
    title, paper, family, formula = "Mine", "none", "none", "x"
'''


@pytest.fixture(autouse=True)
def _as_it_was() -> Iterator[None]:
    """Take back what a test registers."""
    names()
    before, modules = dict(registry._REGISTRY), set(sys.modules)
    yield
    registry._REGISTRY.clear()
    registry._REGISTRY.update(before)
    for name in set(sys.modules) - modules:
        if name.startswith("pebench_file_"):
            del sys.modules[name]


def written(folder: Path, text: str, name: str = "mine.py") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def test_names_are_sorted_and_resolve_to_encodings() -> None:
    assert names() == sorted(names())
    assert {"nope", "rope", "alibi", "fox", "t5_bias", "grape_ap"} <= set(names())
    for name in names():
        found, cls = resolve(name)
        assert found == name
        assert issubclass(cls, Encoding)
        assert source(cls).parent == registry.FOLDER


def test_an_unknown_name_asks_did_you_mean() -> None:
    with pytest.raises(UnknownName, match=r"no encoding 'roep'; did you mean 'rope'\?"):
        resolve("roep")
    with pytest.raises(UnknownName, match="there are: abacus, "):
        resolve("zzz")
    assert issubclass(UnknownName, ValueError)
    with pytest.raises(EncodingError, match=r"yarn is a method .* rope@yarn, .* pebench extend -m yarn"):
        resolve("yarn")


def test_a_class_in_a_file_is_found(tmp_path: Path) -> None:
    file = written(tmp_path, FILE)
    name, cls = resolve(f"{file}:Mine")
    assert (name, cls.__name__, source(cls)) == ("mine", "Mine", file)
    assert resolve(f"{file}:Mine")[1] is cls
    assert resolve(str(file))[1] is cls
    assert "mine" not in names()


def test_a_class_in_a_file_may_be_registered(tmp_path: Path) -> None:
    file = written(tmp_path, FILE.replace("class Mine", '@register("my_own")\nclass Mine'))
    assert resolve(f"{file}:Mine")[0] == "my_own"
    assert "my_own" in names()


def test_two_files_of_one_name_are_two_modules(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    first = resolve(f"{written(tmp_path / 'a', FILE)}:Mine")[1]
    second = resolve(f"{written(tmp_path / 'b', FILE)}:Mine")[1]
    assert first is not second


def test_a_file_of_the_folder_is_its_own_module() -> None:
    assert resolve(f"{registry.FOLDER / 'rope.py'}:RoPE") == ("rope", RoPE)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("def broken(:", r"mine.py is no Python: SyntaxError: "),
        ("import torch.nowhere", r"mine.py does not load: ModuleNotFoundError: "),
        (
            "import not_installed_anywhere",
            r"mine.py: line 1: imports 'not_installed_anywhere', whose code no",
        ),
        ("1 / 0", r"mine.py does not load: ZeroDivisionError: .*\(mine.py, line 1, in <module>\)"),
        ("x = 1", r"has no encoding 'Mine'; its encodings: none"),
        (FILE.replace("Mine(", "Other("), r"has no encoding 'Mine'; its encodings: Other"),
        (
            "from pebench.encodings.extension import Retuned\nclass Mine(Retuned): ...",
            r"Mine is a method of .*: `pebench check --extension` checks it",
        ),
        (
            FILE.replace("class Mine", '@register("rope")\nclass Mine'),
            r"'rope' is registered twice: in .*rope.py",
        ),
        (
            FILE.replace("class Mine", '@register("Not a name")\nclass Mine'),
            r"cannot be called 'Not a name'",
        ),
    ],
)
def test_a_file_that_does_not_do_says_why(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(EncodingError, match=message):
        resolve(f"{written(tmp_path, text)}:Mine")


def test_a_file_that_is_not_there_says_so() -> None:
    with pytest.raises(EncodingError, match=r"there is no file no/where.py"):
        resolve("no/where.py:Mine")


def test_a_file_that_failed_can_be_repaired_and_loaded(tmp_path: Path) -> None:
    good = FILE.replace("class Mine", '@register("repaired")\nclass Mine')
    with pytest.raises(EncodingError):
        resolve(f"{written(tmp_path, good + '1 / 0')}:Mine")
    assert "repaired" not in names()
    assert resolve(f"{written(tmp_path, good)}:Mine")[0] == "repaired"


def test_a_class_in_a_file_cannot_pass_for_a_registered_encoding(tmp_path: Path) -> None:
    with pytest.raises(EncodingError, match="'rope' is the name of another encoding; rename the class RoPE"):
        resolve(f"{written(tmp_path, FILE.replace('Mine', 'RoPE'))}:RoPE")


def test_a_name_is_given_once() -> None:
    with pytest.raises(
        EncodingError, match=r"'rope' is registered twice: in .*rope.py and in .*test_registry"
    ):

        @register("rope")
        class Mine(Encoding):
            pass

    assert resolve("rope")[1] is RoPE


def test_a_name_is_given_once_in_a_file_too(tmp_path: Path) -> None:
    twice = FILE.replace("class Mine", '@register("twice")\nclass Mine')
    twice += "\n@register('twice')\nclass Other(Mine):\n    pass\n"
    with pytest.raises(EncodingError, match="'twice' is registered twice"):
        resolve(f"{written(tmp_path, twice)}:Mine")


@pytest.mark.parametrize("name", ["Rope", "my-rope", "1rope", "", "rope.py", "αlibi"])
def test_names_are_plain(name: str) -> None:
    with pytest.raises(EncodingError, match="use lower-case letters, digits and underscores"):
        register(name)


def entry_points(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Let it look as if an installed package had this entry point."""
    point = importlib.metadata.EntryPoint("theirs", value, registry.GROUP)
    monkeypatch.setattr(
        importlib.metadata, "entry_points", lambda group: [point] if group == registry.GROUP else []
    )
    monkeypatch.setattr(registry, "_load_all", registry._load_all.__wrapped__)


def test_an_installed_package_adds_an_encoding(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, FILE.replace("class Mine", '@register("theirs")\nclass Mine'), "their_package.py")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "their_package", raising=False)
    entry_points(monkeypatch, "their_package:Mine")
    assert "theirs" in names()
    assert source(resolve("theirs")[1]) == tmp_path / "their_package.py"
    del sys.modules["their_package"]


def test_an_installed_package_that_does_not_load_is_named_and_stops_nothing_else(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    entry_points(monkeypatch, "not_installed_anywhere:Mine")
    monkeypatch.setattr(registry, "_BROKEN", {})
    message = r"the installed encoding 'theirs' \(not_installed_anywhere:Mine\) does not load: "
    assert "rope" in names()
    assert re.search(message, capsys.readouterr().err)
    with pytest.raises(EncodingError, match=message):
        resolve("theirs")


def test_a_file_that_is_here_is_named_where_its_bare_name_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path, FILE)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EncodingError, match=r"the file here is named mine\.py"):
        resolve("mine")


def test_an_encoding_is_drawn_from_a_stream_of_its_own() -> None:
    cls = resolve("fox")[1]
    state = torch.get_rng_state()
    first, again, other = build(cls, SHAPE, 0), build(cls, SHAPE, 0), build(cls, SHAPE, 1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.get_parameter("weight"), again.get_parameter("weight"))
    assert not torch.equal(first.get_parameter("weight"), other.get_parameter("weight"))


def test_streams_differ_by_seed_and_name_and_suit_torch() -> None:
    seeds = {stream(seed, name) for seed in range(20) for name in ("a", "b", "encoding")}
    assert len(seeds) == 60
    assert all(0 <= seed < 2**63 for seed in seeds)
    # All weights and batches follow from these; no fingerprint counts the file that makes them.
    assert stream(0, "encoding") == 6708741883068705710
    assert float(build(resolve("fox")[1], SHAPE, 0).get_parameter("weight").detach().sum()) == pytest.approx(
        0.194537, abs=1e-5
    )
