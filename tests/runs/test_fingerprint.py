"""What makes a result stale and what does not: in memory for the rules, in a copied tree for the real moves."""

import ast
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pebench.encodings.registry import names, resolve
from pebench.suite.experiment.profiles import PROFILES
from pebench.suite.experiment.training import Recipe
from pebench.suite.lm.native.ops import EPS
from pebench.suite.results.record import Record, Row, read_all
from pebench.suite.runs.cell import Cell
from pebench.suite.runs.fingerprint import (
    REVISION,
    encoding_code,
    fingerprint,
    native,
    questions,
    shared_code,
    stated,
)
from pebench.suite.runs.meaning import Code, Place
from pebench.suite.submissions.template import encoding_file

ROOT = Path(__file__).parents[2]

BASE = {
    "room.tools": "LIMIT = 3\ndef scaled(x, by=LIMIT):\n    return x * by\ndef unused():\n    return 1\n",
    "room.main": (
        "import torch\nfrom room.tools import scaled\n\nclass Main(torch.nn.Module):\n    base = 10.0\n\n"
        "    def run(self, x, limit=4):\n        if x > limit:\n            raise ValueError(f'too large: {x}')\n"
        "        return scaled(x) + self.base\n"
    ),
}


def meaning(modules: dict[str, str], module: str = "room.main") -> str:
    return Code(modules.get).hash({Place(module, "Main")})


SAME: dict[str, Callable[[dict[str, str]], dict[str, str]]] = {
    "comments": lambda m: {name: f"# Why.\n{text}  # so\n" for name, text in m.items()},
    "docstrings": lambda m: {
        **m,
        "room.main": m["room.main"].replace("    base", '    """Says it."""\n    base'),
    },
    "formatting": lambda m: {
        **m,
        "room.tools": m["room.tools"].replace("x * by", "(\n        x\n        * by\n    )"),
    },
    "unused code": lambda m: {**m, "room.tools": m["room.tools"].replace("return 1", "return 2")},
    "an import alias": lambda m: {
        **m,
        "room.main": m["room.main"]
        .replace("import scaled", "import scaled as s")
        .replace("scaled(x)", "s(x)"),
    },
    "a module's attribute": lambda m: {
        **m,
        "room.main": m["room.main"]
        .replace("from room.tools import scaled", "import room.tools")
        .replace("scaled(x)", "room.tools.scaled(x)"),
    },
    "a module under an alias": lambda m: {
        **m,
        "room.main": m["room.main"]
        .replace("from room.tools import scaled", "from room import tools as t")
        .replace("scaled(x)", "t.scaled(x)"),
    },
    "an import inside the method": lambda m: {
        **m,
        "room.main": m["room.main"]
        .replace("from room.tools import scaled", "")
        .replace("        if x", "        from room.tools import scaled\n        if x"),
    },
    "a star import": lambda m: {**m, "room.main": m["room.main"].replace("import scaled", "import *")},
    "the order of imports": lambda m: {
        **m,
        "room.main": "from room.tools import scaled\nimport torch\n"
        + m["room.main"].replace("import torch\nfrom room.tools import scaled\n", ""),
    },
    "torch by another way": lambda m: {
        **m,
        "room.main": m["room.main"]
        .replace("import torch", "from torch import nn")
        .replace("torch.nn.M", "nn.M"),
    },
    "a relative import": lambda m: {
        **m,
        "room.main": m["room.main"].replace("from room.tools", "from .tools"),
    },
    "the order of definitions": lambda m: {
        **m,
        "room.tools": "def unused():\n    return 1\nLIMIT = 3\ndef scaled(x, by=LIMIT):\n    return x * by\n",
    },
    "a function in another module": lambda m: {
        "room.main": m["room.main"].replace("room.tools", "other.place"),
        "other.place": m["room.tools"],
    },
    "all in one module": lambda m: {
        "room.main": m["room.tools"] + m["room.main"].replace("from room.tools import scaled", "")
    },
    "a re-export": lambda m: {
        **m,
        "room.main": m["room.main"].replace("room.tools", "room.front"),
        "room.front": "from room.tools import scaled\n",
    },
    "the words of an error": lambda m: {**m, "room.main": m["room.main"].replace("too large", "too long")},
    "annotations": lambda m: {**m, "room.tools": m["room.tools"].replace("(x, by", "(x: float, by")},
    "what a script does": lambda m: {
        **m,
        "room.tools": m["room.tools"] + "if __name__ == '__main__':\n    unused()\n",
    },
}
OTHER: dict[str, Callable[[dict[str, str]], dict[str, str]]] = {
    "a constant": lambda m: {**m, "room.tools": m["room.tools"].replace("LIMIT = 3", "LIMIT = 4")},
    "an int for a float": lambda m: {**m, "room.main": m["room.main"].replace("10.0", "10")},
    "a formula": lambda m: {**m, "room.tools": m["room.tools"].replace("x * by", "x / by")},
    "a default": lambda m: {**m, "room.main": m["room.main"].replace("limit=4", "limit=5")},
    "a class attribute": lambda m: {**m, "room.main": m["room.main"].replace("10.0", "20.0")},
    "a condition": lambda m: {**m, "room.main": m["room.main"].replace("x > limit", "x >= limit")},
    "a patch of the class": lambda m: {**m, "room.main": m["room.main"] + "Main.base = 3.0\n"},
    "a patch in a loop": lambda m: {
        **m,
        "room.main": m["room.main"] + "for c in (Main,):\n    c.base = 3.0\n",
    },
    "a side effect of its module": lambda m: {**m, "room.main": m["room.main"] + "torch.manual_seed(3)\n"},
    "another parent": lambda m: {**m, "room.main": m["room.main"].replace("nn.Module", "nn.Linear")},
    "a decorator": lambda m: {**m, "room.tools": m["room.tools"].replace("def scaled", "@cache\ndef scaled")},
    "an error of another kind": lambda m: {
        **m,
        "room.main": m["room.main"].replace("ValueError", "KeyError"),
    },
    "a namesake": lambda m: {
        **m,
        "room.main": m["room.main"].replace("room.tools", "room.twin"),
        "room.twin": m["room.tools"].replace("x * by", "x + by"),
    },
    "an own `register`": lambda m: {
        **m,
        "room.main": "def register(name):\n    return lambda c: c\n"
        + m["room.main"].replace("class Main", "@register('a')\nclass Main"),
    },
}


@pytest.mark.parametrize("change", SAME)
def test_what_a_hash_sees_through(change: str) -> None:
    changed = SAME[change](dict(BASE))
    assert changed != BASE
    assert meaning(changed) == meaning(BASE)


@pytest.mark.parametrize("change", OTHER)
def test_what_a_hash_does_not_see_through(change: str) -> None:
    assert meaning(OTHER[change](dict(BASE))) != meaning(BASE)


def test_definitions_of_one_name_are_told_apart_by_what_they_use() -> None:
    """Two namesakes of one text differ in a constant two steps away; who uses which counts."""
    modules = {
        "a": "from a2 import N\ndef f():\n    return N\n",
        "b": "from b2 import N\ndef f():\n    return N\n",
        "a2": "N = 1\n",
        "b2": "N = 2\n",
        "main": "import a, b\nclass Main:\n    one = a.f()\n    two = b.f()\n",
    }
    swapped = {
        **modules,
        "main": modules["main"].replace("a.f", "x.f").replace("b.f", "a.f").replace("x.f", "b.f"),
    }
    assert meaning(modules, "main") != meaning(swapped, "main")


def test_a_local_variable_is_no_definition_of_the_same_name() -> None:
    text = "def rows():\n    return 1\nclass Main:\n    def run(self, rows):\n        return [rows for rows in rows]\n"
    assert meaning({"main": text}, "main") == meaning({"main": text.replace("return 1", "return 2")}, "main")


def test_what_a_decorator_lists_is_a_part_of_the_list() -> None:
    text = (
        "CHECKS = []\ndef check(words):\n    def add(f):\n        CHECKS.append(f)\n        return f\n    return add\n"
        "LIMIT = 3\n@check('small')\ndef small(x):\n    return x < LIMIT\n"
        "class Main:\n    checks = CHECKS\n"
    )
    assert meaning({"main": text}, "main") != meaning(
        {"main": text.replace("LIMIT = 3", "LIMIT = 4")}, "main"
    )


def test_a_register_line_does_not_count() -> None:
    text = "from pebench.encodings.registry import register\n@register('a')\nclass Main:\n    x = 1\n"
    assert meaning({"main": text}, "main") == meaning({"main": "class Main:\n    x = 1\n"}, "main")


def test_recursion_and_circles_end() -> None:
    text = "def a():\n    return b()\ndef b():\n    return a()\nclass Main:\n    run = a, lambda: Main\n"
    assert meaning({"main": text}, "main") != meaning(
        {"main": text.replace("return b()", "return b")}, "main"
    )


def test_yaml_and_c_count_by_what_they_say(tmp_path: Path) -> None:
    file = tmp_path / "x.yaml"
    file.write_text("task: copy\nrepeats: 3\ndoc: !function a.b\n")
    before = questions(file)
    file.write_text("# Why.\ntask:   copy\n\nrepeats: 3  # thrice\ndoc: !function a.b\n")
    assert questions(file) == before
    for old, new in (("3", "4"), ("a.b", "a.c"), ("repeats", "repeat")):
        file.write_text("task: copy\nrepeats: 3\ndoc: !function a.b\n".replace(old, new))
        assert questions(file) != before
    file = tmp_path / "x.c"
    file.write_text('int f(void) { return 1; }\nchar *s = "/* no comment */";\n')
    before = native(file)
    file.write_text('/* why\n more */\nint f(void)  { return 1; }  // so\n\nchar *s = "/* no comment */";\n')
    assert native(file) == before
    file.write_text('int f(void) { return 2; }\nchar *s = "/* no comment */";\n')
    assert native(file) != before
    file.write_text('int f(void) { return 1; }\nchar *s = "/* a comment */";\n')
    assert native(file) != before


def test_an_option_at_its_default_changes_no_plan() -> None:
    plan = PROFILES["SMOKE"].plans["copy"]
    assert stated(plan) == (
        "Plan(layers=1,width=16,heads=2,recipe=Recipe(length=4,steps=4,tokens=128),multiples=(1, 2),examples=8)"
    )
    default = Recipe(length=4, steps=4, tokens=128)
    assert stated(replace(default, learning_rate=default.learning_rate)) == stated(default)
    assert stated(replace(default, learning_rate=0.5)) != stated(default)


@pytest.mark.parametrize("changed", ["encoding", "task", "plan", "corpus", "base"])
def test_each_part_counts(changed: str) -> None:
    parts = {"encoding": resolve("rope")[1], "task": "copy", "plan": "p", "corpus": "c", "base": "b"}
    others = {"encoding": resolve("alibi")[1], "task": "needle", "plan": "q", "corpus": "d", "base": ""}
    assert fingerprint(**parts) != fingerprint(**{**parts, changed: others[changed]})


def test_what_no_fingerprint_holds_is_as_it_was_at_this_revision() -> None:
    """The norms' epsilon stands in the kernels, which do not count: who changes it raises the revision."""
    assert (REVISION, EPS) == ("3", 1e-6)


def test_all_encodings_have_fingerprints_of_their_own() -> None:
    assert len({encoding_code(resolve(name)[1]) for name in names()}) == len(names())


# In a copied tree: a process computes all hashes of the tree as it stands, and again after each edit of a file.
PRINTED = """
import json, sys
from pathlib import Path
from pebench.encodings.registry import resolve
from pebench.suite.runs import fingerprint
from pebench.suite.runs.cell import Cell

specs, edits = json.loads(sys.argv[1]), json.loads(sys.argv[2])
specs = ["rope", "rope+fox", "rope@yarn", "alibi", "hope", *specs]
tasks = ["copy", "needle", "language", "harness", "throughput", "certificate"]

def hashes():
    fingerprint.code_of.cache_clear(), fingerprint.shared_code.cache_clear(), fingerprint._CODES.clear()
    codes = {spec: fingerprint.encoding_code(resolve(spec)[1]) for spec in specs}
    shared = {task: fingerprint.shared_code(task) for task in tasks}
    return {**codes, **shared, "cell": Cell("rope@yarn", "copy", "QUICK", 0).fingerprint()}

print(json.dumps(hashes()))
for file, old, new in edits:
    text = Path(file).read_text()
    assert old in text, (file, old)
    Path(file).write_text(text.replace(old, new))
    print(json.dumps(hashes()))
    Path(file).write_text(text)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages in a folder of their own."""
    folder = tmp_path_factory.mktemp("tree") / "src/pebench"
    for package in ("encodings", "tasks", "suite"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / package, folder / package, ignore=ignored)
    shutil.copy(ROOT / "pebench/__init__.py", folder)
    return folder


@pytest.fixture(scope="module")
def ideas(tree: Path) -> dict[str, str]:
    """Encodings in files outside the tree, and the names that they get in it."""
    own = tree.parent.parent / "own"
    own.mkdir()
    found = {}
    for name in ("aa_idea", "zz_idea"):
        text, cls = encoding_file(name)
        (own / f"{name}.py").write_text(text)
        found[f"{own / name}.py:{cls}"] = name
    heir = "from pebench.encodings.rope import RoPE\nclass AA_Heir(RoPE):\n    base = 20_000.0\n    title = 'Heir'\n"
    (own / "aa_heir.py").write_text(heir)
    return {**found, f"{own / 'aa_heir.py'}:AA_Heir": "aa_heir"}


@pytest.fixture(scope="module")
def found(tree: Path, ideas: dict[str, str]) -> list[dict[str, str]]:
    """The hashes of the tree as it is, and with each of `CHANGES`."""
    return hashes(tree, *ideas, edits=[change[:3] for change in CHANGES])


def hashes(tree: Path, *specs: str, edits: Sequence[tuple[str, str, str]] = ()) -> list[dict[str, str]]:
    """What a process that imports this tree finds: as it is, and with each edit (file, old, new) alone."""
    environment = os.environ | {"PYTHONPATH": str(tree.parent), "PEBENCH_CACHE": str(tree / "cache")}
    done = subprocess.run(
        [sys.executable, "-c", PRINTED, json.dumps(specs), json.dumps(edits)],
        capture_output=True, text=True, env=environment, check=False, cwd=tree,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def edit(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) >= 1, (file, old)
    file.write_text(text.replace(old, new))


def changed(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {key for key in before if before[key] != after[key]}


@pytest.mark.walks
def test_moves_and_tidying_change_nothing(
    tree: Path, ideas: dict[str, str], found: list[dict[str, str]]
) -> None:
    """A submitted file moves into encodings/, by the first letter of the alphabet too; modules move between rooms."""
    before, own = dict(found[0]), tree.parent.parent / "own"
    for spec, name in ideas.items():
        shutil.move(own / f"{name}.py", tree / "encodings" / f"{name}.py")
        before[name] = before.pop(spec)
    listed = "from pebench.encodings.registry import register\n@register('{name}')\nclass AA"
    edit(tree / "encodings/aa_heir.py", "class AA", listed.format(name="aa_heir"))
    shutil.move(tree / "suite/lm/layers.py", tree / "suite/experiment/tiers.py")
    for file in tree.rglob("*.py"):
        if "pebench.suite.lm.layers" in (text := file.read_text()):
            file.write_text(text.replace("pebench.suite.lm.layers", "pebench.suite.experiment.tiers"))
    shutil.move(tree / "tasks/copy.py", tree / "tasks/data/copying.py")
    for file in tree.rglob("*.py"):
        if "pebench.tasks.copy " in (text := file.read_text()):
            file.write_text(text.replace("pebench.tasks.copy ", "pebench.tasks.data.copying "))
    for file in tree.rglob("*.py"):
        file.write_text(tidied(file.read_text()))
    for file in tree.rglob("*.yaml"):
        file.write_text(f"# A remark.\n\n{file.read_text()}")
    for file in (tree / "suite/lm/native").glob("*.c"):
        file.write_text(f"/* A remark. */\n\n{file.read_text()}// Another.\n")
    assert changed(before, hashes(tree, *ideas.values())[0]) == set()


def tidied(text: str) -> str:
    """The source in another layout, without comments and docstrings, its imports in another order."""
    module = ast.parse(text)
    for node in ast.walk(module):
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.Module) and ast.get_docstring(node):
            node.body[:1] = [] if len(node.body) > 1 or node is module else [ast.Pass()]
    imports = [s for s in module.body if isinstance(s, ast.Import | ast.ImportFrom)]
    module.body = [*reversed(imports), *(s for s in module.body if s not in imports)]
    return f"# A remark.\n{ast.unparse(module)}\n"


LEARNED = {"copy", "needle", "language", "harness"}
ROPES = {"rope", "rope+fox", "rope@yarn", "hope"}


EVERY = {*ROPES, "alibi", *LEARNED, "throughput", "certificate", "cell"}
# File, what stands there, what comes in its place, and the hashes that change.
CHANGES: list[tuple[str, str, str, set[str]]] = [
    ("encodings/fox.py", "class FoX(Forgetting):", "class FoX(Forgetting):\n    speed = 2", {"rope+fox"}),
    ("encodings/extension.py", "0.1 * math.log", "0.2 * math.log", {"rope@yarn", "cell"}),
    (
        "tasks/copy.py",
        "class Copy(QuestionTask):",
        "class Copy(QuestionTask):\n    more = 1",
        {"copy", "cell"},
    ),
    ("tasks/lm_eval/_choice", "output_type: ", "repeats: 2\noutput_type: ", {"harness"}),
    ("suite/proofs/certificate.py", "SHIFT = ", "SHIFT = 1 + ", {"certificate"}),
    ("suite/lm/native/rows.c", "return", "return 0 +", {"throughput"}),
    ("tasks/algorithmic.py", "shape[1] + 1] = IGNORE", "shape[1]] = IGNORE", {"copy", "cell"}),
    ("suite/lm/layers.py", "* temperature)", "* 2 * temperature)", EVERY - ROPES - {"alibi"}),
    ("suite/lm/model.py", "self.embedding(", "2 * self.embedding(", EVERY - ROPES - {"alibi"}),
    ("suite/experiment/training.py", "def train(", "LEAST = 3\n\n\ndef train(", set()),
    ("suite/experiment/training.py", "beta1=", "beta1=0.1 + ", LEARNED | {"throughput", "cell"}),
    ("suite/experiment/measure.py", "sum(row.n for row in rows)", "len(rows)", LEARNED | {"cell"}),
    ("suite/experiment/speed.py", "DECODED = ", "DECODED = 1 + ", {"throughput"}),
    (
        "encodings/tools.py",
        "full = x.float()",
        "full = 2 * x.float()",
        {*ROPES, "throughput", "certificate", "cell"},
    ),
]


@pytest.mark.walks
def test_a_change_of_each_kind_of_file_makes_stale_what_depends_on_it(found: list[dict[str, str]]) -> None:
    before, *after = found
    of_ours = before.keys() - {spec for spec in before if ".py:" in spec}
    for (file, _, _, expected), hashed in zip(CHANGES, after, strict=True):
        assert changed(before, hashed) & of_ours == expected, file


def test_a_change_of_a_users_file_changes_its_hash_and_a_remark_does_not(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    text = (
        "from pebench.encodings.rope import RoPE\nSPEED = 2.0\nclass Mine(RoPE):\n    base = 10.0 * SPEED\n"
    )

    def code(text: str) -> str:
        file.write_text(text)
        return encoding_code(resolve(f"{file}:Mine")[1])

    first = code(text)
    assert code(f"# A remark.\n{text}") == first
    assert code(text.replace("2.0", "3.0")) != first
    assert code(text) == first
    extended = f"{file}:Mine@yarn"
    assert encoding_code(resolve(extended)[1]) == encoding_code(resolve(extended)[1])
    before = encoding_code(resolve(extended)[1])
    code(text.replace("2.0", "3.0"))
    assert encoding_code(resolve(extended)[1]) != before


def test_the_base_counts_for_what_measures_its_model() -> None:
    cell, other = Cell("rope@yarn", "copy", "QUICK", 0), Cell("rope@yarn", "throughput", "QUICK", 0)
    assert cell.base == Cell("rope", "copy", "QUICK", 0)
    assert other.base is None  # nothing is trained there
    assert shared_code("copy") != shared_code("reverse")


def record(cell: Cell) -> Record:
    return cell.record(rows=(Row("pass", 1.0, 1, {"check": "x"}),))


def stale(records: list[Record]) -> list[Path]:
    """The places of the records whose code, plan or text has changed since."""
    made = ((r, Cell(r.encoding, r.task, r.profile, r.seed)) for r in records)
    return [record.path for record, cell in made if record.fingerprint != cell.fingerprint()]


def test_published_records_of_a_current_profile_are_current() -> None:
    """`current` in profiles.py marks a profile whose published records are of today's code."""
    folders = [read_all(ROOT / "leaderboard" / name) for name in ("records", "elsewhere")]
    assert not any(unreadable for _, unreadable in folders)
    for profile in PROFILES.values():
        if profile.current:
            mine = [r for records, _ in folders for r in records if r.profile == profile.name]
            assert mine, f"no records of {profile.name} are published"
            assert stale(mine) == []


def test_a_stale_record_is_found() -> None:
    new = record(Cell("rope", "certificate", "SMOKE", 0))
    old = replace(new, fingerprint="ab" * 32)
    assert stale([new, old]) == [old.path]
    assert new.encoding_code == encoding_code(resolve("rope")[1])
    assert new.shared_code == shared_code("certificate")
