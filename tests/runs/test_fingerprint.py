import hashlib
from pathlib import Path

import pytest

from pebench.encodings import streams
from pebench.encodings.registry import names, resolve
from pebench.suite.lm.native.ops import EPS
from pebench.suite.runs import fingerprint as module
from pebench.suite.runs.cell import Cell
from pebench.suite.runs.fingerprint import REVISION, code, encoding_files, fingerprint, task_fingerprint


def written(folder: Path, text: str) -> Path:
    path = folder / f"{len(list(folder.iterdir()))}.py"
    path.write_text(text)
    return path


def test_comments_and_docstrings_do_not_count(tmp_path: Path) -> None:
    plain = written(tmp_path, "def f(x):\n    return x + 1\n")
    told = written(tmp_path, '"""Adds."""\n# why\n\ndef f(x):\n    """One\n    more."""\n    return x + 1\n')
    other = written(tmp_path, "def f(x):\n    return x + 2\n")
    assert code(plain) == code(told) != code(other)


def test_a_string_that_is_no_docstring_counts(tmp_path: Path) -> None:
    one, two = (written(tmp_path, f'def f():\n    return """\n{word}\n"""\n') for word in ("a", "b"))
    assert code(one) != code(two)


def test_code_beside_a_docstring_counts(tmp_path: Path) -> None:
    one, two = (written(tmp_path, f'def f(x): "Adds."; return x + {n}\n') for n in (1, 2))
    assert code(one) != code(two)


def test_what_an_encoding_uses_counts() -> None:
    used = {
        name: {f.name for f in encoding_files(resolve(name)[1])} for name in ("rope", "rnope", "rope+fox")
    }
    assert used["rope"] == {"rope.py", "base.py"}
    assert {"rnope.py", "rope.py", "base.py"} <= used["rnope"]
    assert {"rope.py", "fox.py", "compose.py"} <= used["rope+fox"]


@pytest.mark.parametrize("changed", ["encoding", "task", "plan", "corpus", "base"])
def test_each_part_counts(changed: str) -> None:
    parts = {"encoding": resolve("rope")[1], "task": "copy", "plan": "p", "corpus": "c", "base": "b"}
    others = {"encoding": resolve("alibi")[1], "task": "needle", "plan": "q", "corpus": "d", "base": ""}
    assert fingerprint(**parts) != fingerprint(**{**parts, changed: others[changed]})


@pytest.mark.parametrize("file", ["model.py", "layers.py", "training.py", "rope.py", "copy.py"])
def test_a_change_of_the_code_makes_results_stale(file: str, monkeypatch: pytest.MonkeyPatch) -> None:
    cell = Cell("rope", "copy", "QUICK", 0)
    before = cell.fingerprint()
    monkeypatch.setattr(module, "code", lambda path: code(path) + ("# changed" if path.name == file else ""))
    assert cell.fingerprint() != before


@pytest.mark.parametrize("file", ["attention.c", "ops.py", "build.py", "rope.py"])
def test_a_change_of_a_kernel_or_of_rope_makes_timings_alone_stale(
    file: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cells = [Cell("alibi", task, "QUICK", 0) for task in ("copy", "throughput")]
    before = [cell.fingerprint() for cell in cells]
    monkeypatch.setattr(module, "code", lambda path: code(path) + ("# changed" if path.name == file else ""))
    assert [cell.fingerprint() == was for cell, was in zip(cells, before, strict=True)] == [True, False]


def test_all_encodings_of_a_task_share_its_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    before = task_fingerprint("copy", "p")
    for file, same in (("rope.py", True), ("copy.py", False), ("training.py", False)):
        monkeypatch.setattr(
            module, "code", lambda path, file=file: code(path) + ("# changed" if path.name == file else "")
        )
        assert (task_fingerprint("copy", "p") == before) is same
        monkeypatch.undo()
    assert len({before, task_fingerprint("copy", "q"), task_fingerprint("sort", "p")}) == 3


def test_a_change_of_the_base_makes_what_measures_its_model_stale(monkeypatch: pytest.MonkeyPatch) -> None:
    cell, other = Cell("rope@yarn", "copy", "QUICK", 0), Cell("rope@yarn", "throughput", "QUICK", 0)
    assert cell.base == Cell("rope", "copy", "QUICK", 0)
    assert other.base is None  # nothing is trained there
    for file in ("rope.py", "extension.py", "training.py"):
        before = cell.fingerprint()
        monkeypatch.setattr(
            module, "code", lambda path, file=file: code(path) + ("# changed" if path.name == file else "")
        )
        assert cell.fingerprint() != before
        monkeypatch.undo()


def test_what_no_fingerprint_holds_is_as_it_was_at_this_revision() -> None:
    """Weights, batches and test items come from the random streams: who changes one of these raises the revision."""
    drawn = hashlib.sha256(code(Path(streams.__file__)).encode()).hexdigest()
    assert (REVISION, EPS, drawn[:16]) == ("2", 1e-6, "x")


def test_all_encodings_have_fingerprints_of_their_own() -> None:
    found = {fingerprint(resolve(name)[1], "copy", "", "") for name in names()}
    assert len(found) == len(names())
