import importlib
import json
import os
import re
import resource
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from rich.console import Console

import pebench as pebench_api
from pebench.encodings.registry import EncodingError, names
from pebench.leaderboard.reading import folders_named
from pebench.suite.commands import runs
from pebench.suite.commands.errors import CODES
from pebench.suite.commands.results import compare
from pebench.suite.proofs import certificate
from pebench.suite.runs import machine
from pebench.suite.runs.cell import Cell, locked
from tests.in_process import exit_code
from tests.made_records import write_sweep

ROOT = Path(__file__).parents[2]
PEBENCH = Path(sys.executable).with_name("pebench")
MINE = (
    (ROOT / "encodings/nope.py")
    .read_text()
    .replace('@register("nope")\n', "")
    .replace("class NoPE", "class Mine")
)


def pebench(*words: str, cwd: Path = ROOT, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PEBENCH, *words], capture_output=True, text=True, cwd=cwd, env={**os.environ, **env}, timeout=250
    )


def children_seconds() -> float:
    """Processor time of the processes that have ended: other work on the machine lengthens it less than the clock's."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def test_help_is_quick_and_names_every_command() -> None:
    best = 9.0
    for _ in range(3):
        start = children_seconds()
        text = pebench("--help").stdout
        best = min(best, children_seconds() - start)
    for command in ("ls", "show", "new", "check", "data", "run", "status", "board", "validity", "app"):
        assert re.search(rf"\b{command}\b", text)
    assert best < 1  # torch alone takes more


def test_the_version_is_the_package_s() -> None:
    assert pebench("--version").stdout == f"pebench {version('pebench')}\n"


def test_no_heavy_import_before_a_command_needs_it() -> None:
    code = "import sys, pebench.suite.cli; print([m for m in ('torch', 'pandas', 'datasets') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "[]\n"


def test_encodings_are_listed_for_programs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(monkeypatch, "ls", "encodings", "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert [e["name"] for e in listed] == names()
    for e in listed:
        assert {"name", "family", "title", "paper", "kernel"} <= e.keys()
        assert e["kernel"] in {"fused", "masked", "own"}


@pytest.mark.parametrize("what", ["tasks", "profiles"])
def test_other_listings(
    what: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(monkeypatch, "ls", what, "--json") == 0
    listed = json.loads(capsys.readouterr().out)
    assert exit_code(monkeypatch, "ls", what) == 0
    plain = capsys.readouterr().out
    assert listed
    assert all(row["name"] in plain for row in listed)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (["check", "rpoe"], 2, "no encoding 'rpoe'; did you mean 'rope'?"),
        (["check", "nothing.py:X"], 2, "there is no file nothing.py"),
        (["show", "encodings/rope.py:Rope"], 2, "its encodings: RoPE"),
        (["run", "--profile", "QUIK"], 2, "did you mean 'QUICK'?"),
        (["run", "-t", "copi"], 2, "no task 'copi'; did you mean 'copy'?"),
        (["run", "-e", "rope,alibbi"], 2, "did you mean 'alibi'?"),
        (["run", "--seeds", "0"], 2, "--seeds"),
        (["run", "--device", "cuda"], 3, "run with --device cpu"),
        (["run", "--device", "gpu"], 3, "no device 'gpu'; there are cpu, cuda, cuda:1 ..."),
        (["run", "-t", "language", "--corpus", "nowhere"], 3, "nowhere"),
        (["board", "--records", "nowhere"], 3, "pebench run"),
        (["app", "--records", "nowhere"], 3, "pebench run"),
        (["validity", "--records", "nowhere"], 3, "pebench run"),
        (["validity", "--published", "nowhere.csv"], 3, "nowhere.csv"),
        (["validity", "--published", "requirements.lock"], 2, "lacks the columns source, table"),
        (["validity", "--published", "leaderboard/pictures/curves.png"], 2, "save it as CSV in UTF-8"),
        (["new", "rope"], 2, "there is an encoding 'rope' already"),
        (["new", "My Idea"], 2, "lower-case letters"),
        (["new", "none"], 2, "Python's own"),
        (["new", "mine", "--folder", "no/where"], 2, "there is no folder no/where; make it first"),
        (["app", "--port", "70000"], 2, "--port"),
        (["site", "out", "--url", "example.org"], 2, "https://example.org/board"),
        (["sing"], 2, "No such command"),
        (["run", "--profile", ""], 2, "names nothing"),
        (["board", "--profile", ""], 2, "names nothing"),
        (["data", "tokenise", "", "--out", "shards"], 2, "names nothing"),
        (["prove", "-o", "."], 3, "is a folder"),
        (["ls", "ROPE"], 2, "encodings"),
        (["check", "ROPE"], 2, "did you mean 'rope'?"),
    ],
)
def test_wrong_use_says_what_to_do(
    words: list[str],
    code: int,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)  # else `--device cuda` starts a sweep
    assert exit_code(monkeypatch, *words) == code
    assert says in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("width", "says"), [(80, "certificate 0/1, copy 0/1, reverse 0/1"), (200, "certificate  copy")]
)
def test_a_table_that_a_terminal_is_too_narrow_for_is_told_in_lines(
    width: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "console", lambda: Console(width=width))
    runs.status("SMOKE", ["rope"], None, None, tmp_path)
    lines = capsys.readouterr().out.splitlines()
    assert says in "\n".join(lines)
    assert all(len(line) <= width for line in lines)


def test_a_missing_corpus_is_told_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PEBENCH_CACHE", str(tmp_path))
    assert exit_code(monkeypatch, "run", "--profile", "SMOKE", "--records", str(tmp_path / "r")) == 3
    assert "pebench data prepare" in capsys.readouterr().err
    assert not (tmp_path / "r").exists()


def test_a_new_encoding_passes_the_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(monkeypatch, "new", "my_idea") == 0
    result = pebench("check", "my_idea.py:MyIdea", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stdout
    assert json.loads(result.stdout)["passed"]
    assert exit_code(monkeypatch, "new", "my_idea") == 2
    assert "my_idea" in capsys.readouterr().err  # never overwrites


def test_a_wrong_encoding_fails_the_check_and_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "wrong.py").write_text(
        "from pebench.encodings.alibi import ALiBi\n\n\nclass Peeks(ALiBi):\n    def qk(self, q, k, at):\n"
        "        return super().qk(q, k + k.mean(2, keepdim=True), at)\n"
    )
    assert exit_code(monkeypatch, "check", f"{tmp_path}/wrong.py:Peeks") == 1
    told = capsys.readouterr().out
    assert "✗" in told
    assert "hides the future" in told


def test_an_exception_in_a_users_own_file_is_told_with_its_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "raising.py"
    file.write_text(
        "from pebench.encodings.rope import RoPE\n\n\nclass Raising(RoPE):\n"
        "    def qk(self, q, k, at):\n        raise ValueError('not yet')\n"
    )
    for command, code in (("check", 1), ("pictures", 2)):
        assert exit_code(monkeypatch, command, f"{file}:Raising") == code
        told = "".join(capsys.readouterr())
        assert "ValueError: not yet (raising.py, line 6, in qk" in told


def test_show_prints_the_source(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(monkeypatch, "show", "alibi") == 0
    text = capsys.readouterr().out
    assert "class ALiBi(Sloped)" in text
    assert "arXiv:2108.12409" in text


@pytest.mark.walks
def test_the_whole_loop_on_a_text_and_an_encoding_of_ones_own(tmp_path: Path) -> None:
    text = tmp_path / "text"
    text.mkdir()
    for n in range(4):
        (text / f"{n}.txt").write_text(
            "".join(f"Line {i * i % (97 + n)} of my own text.\n" for i in range(900))
        )
    assert pebench("new", "my_idea", cwd=tmp_path).returncode == 0
    run = [
        *("run", "--profile", "SMOKE", "-e", "alibi,my_idea.py:MyIdea", "-t", "copy,language"),
        *("--corpus", "text", "--jobs", "2"),
    ]
    first = pebench(*run, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "4 runs in records: 4 measured" in first.stdout
    assert "4 kept" in pebench(*run, cwd=tmp_path).stdout
    board = json.loads(pebench("board", "--json", cwd=tmp_path).stdout)
    assert {e["name"] for e in board["encodings"]} == {"alibi", "my_idea"}
    for e in board["encodings"]:
        assert {"name", "rank", "tier", "score", "low", "high", "coverage", "families"} <= e.keys()
    assert "user:text" in next((tmp_path / "records/SMOKE/language/alibi").glob("*.json")).read_text()
    assert any("alibi (user:text), my_idea (user:text)" in note for note in board["notes"])
    for flag in ("--csv", "--markdown"):
        assert "my_idea" in pebench("board", flag, cwd=tmp_path).stdout.replace("\\", "")
    states = json.loads(
        pebench("status", "--profile", "SMOKE", "-e", "alibi", "-t", "copy", "--json", cwd=tmp_path).stdout
    )
    assert [s["state"] for s in states] == ["measured"]
    told = pebench("status", "--profile", "SMOKE", "-e", "alibi,rope", "-t", "copy", cwd=tmp_path).stdout
    assert re.findall(r"^(\w+) +(\d/\d)", told, re.M) == [("alibi", "1/1"), ("rope", "0/1")]
    assert "2 runs: 1 measured, 1 missing" in told


@pytest.mark.parametrize(
    ("name", "code", "told", "remedy"),
    [
        ("Raises", 4, "a bug of [bold]mine[/]", "--retry"),
        ("Diverges", 0, "loss nan", "what diverged is a result"),
    ],
)
def test_a_run_without_scores_says_whether_another_attempt_helps(
    name: str,
    code: int,
    told: str,
    remedy: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    bad = ROOT / "tests" / "bad_encodings.py"
    assert exit_code(monkeypatch, "run", "--profile", "SMOKE", "-e", f"{bad}:{name}", "-t", "copy") == code
    said = capsys.readouterr()
    assert told in said.out
    assert remedy in said.err


def test_a_class_that_does_not_say_what_it_is_is_refused_before_anything_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bare.py").write_text(
        "from pebench.encodings.base import Encoding\n\n\nclass Bare(Encoding):\n    title = 'Bare'\n"
    )
    assert exit_code(monkeypatch, "run", "--profile", "SMOKE", "-e", "bare.py:Bare,rope", "-t", "copy") == 2
    assert "Bare does not say its paper, family, formula" in capsys.readouterr().err
    assert not (tmp_path / "records").exists()


def test_output_into_a_closed_pipe_is_quiet() -> None:
    script = f"{PEBENCH} ls encodings | head -1"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert result.stderr == ""


@pytest.mark.parametrize(
    "command",
    [
        "board --json --csv",
        "board --csv --markdown",
        "board --profile EXTEND --json --csv",
        "trend --json --csv",
    ],
)
def test_one_form_of_the_output_is_given(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    assert exit_code(monkeypatch, *command.split()) == 2
    said = capsys.readouterr()
    assert "are different forms of the output; give one" in " ".join(said.err.replace("│", "").split())
    assert said.out == ""


def test_published_tables_of_ones_own_are_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In the place of ours; without a folder of records the published ones are compared."""
    file = tmp_path / "mine.csv"
    rows = [
        "Me;T;perplexity beyond L;ALiBi;10,5;perplexity;lower",
        "Me;T;perplexity beyond L;RoPE;30;perplexity;lower",
    ]
    file.write_text(
        "\r\n".join(["source;table;kind;encoding;value;unit;better", *rows]), encoding="utf-8-sig"
    )
    monkeypatch.chdir(tmp_path)
    assert (
        exit_code(monkeypatch, "validity", "--profile", "standard", "--published", str(file), "--json") == 0
    )
    found = json.loads(capsys.readouterr().out)
    assert found["profile"] == "STANDARD"
    assert found["total"]["agree"] == 1
    assert found["total"]["low"] is None


@pytest.mark.parametrize("lacking", ["one seed in copy", "no seed of another's"])
def test_a_comparison_without_a_p_value_prints_a_dash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], lacking: str
) -> None:
    folder = write_sweep(tmp_path, {"rope": 1.0, "alibi": 4.0, "fox": 9.0}, seeds=4)
    for file in (folder / "QUICK").glob("*/*/*.json"):
        task, name, seed = file.parts[-3], file.parts[-2], int(file.name.split("-")[0])
        gone = (
            (name, task) == ("fox", "copy") and seed > 0
            if lacking == "one seed in copy"
            else task not in ("certificate", "throughput") and (seed > 1) == (name == "fox")
        )
        if gone:
            file.unlink()
    monkeypatch.setenv("COLUMNS", "100")
    compare("fox", "rope", records=[folder])
    said = capsys.readouterr().out
    assert "nan" not in said
    assert said.startswith("No verdict: fox ")
    assert ("fewer than two seeds in some task of fox" if "copy" in lacking else "share no seed") in said


def test_an_encoding_of_another_profile_is_told_with_that_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write_sweep(tmp_path, {"rope": 1.0, "alibi": 4.0, "fox": 9.0})
    write_sweep(tmp_path, {"rope": 1.0, "cope": 4.0}, profile="STANDARD")
    given = ("--records", str(folder), "--profile", "quick")
    assert exit_code(monkeypatch, "compare", "rope", "fox", *given) == 0
    assert capsys.readouterr().out.startswith("fox is better than rope over 3 tasks at and beyond L.\n")
    assert exit_code(monkeypatch, "compare", "cope", "rope", *given) == 3
    assert "no score of cope in QUICK; it has results with --profile STANDARD" in capsys.readouterr().err
    assert exit_code(monkeypatch, "compare", "cop", "rope", *given) == 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["run", "-e", ""], "names nothing"),
        (["run", "-t", " , "], "names nothing"),
        (["status", "-e", ","], "names nothing"),
        (["board", "-t", ""], "names nothing"),
        (["run", "--corpus", ""], "an empty path"),
        (["run", "--records", ""], "an empty path"),
        (["export", "--out", ""], "an empty path"),
        (["run", "--partition", "gpu"], "--partition is of --engine slurm"),
        (["run", "--time", "2:00:00", "--engine", "ray"], "--time is of --engine slurm"),
        (["run", "--sbatch", "--account=mine"], "--sbatch is of --engine slurm"),
        (["run", "--address", "head:6379"], "--address is of --engine ray"),
        (["run", "--mixed", "--engine", "slurm"], "--mixed is of --engine ray"),
        (["run", "--gpus", "1"], "--gpus is of --engine ray or --engine slurm"),
        (["nodes", "--partition", "gpu"], "--partition is of --engine slurm"),
        (["run", "--seed", "7", "--seeds", "3"], "give one of them"),
        (["data", "prepare", "--harness", "--smollm2"], "one at a time"),
    ],
)
def test_no_option_is_dropped_or_means_everything_in_silence(
    words: list[str],
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(monkeypatch, *words) == 2
    assert says in " ".join(capsys.readouterr().err.replace("│", " ").split())
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("words", [["run", "--engine", "slurm"], ["run", "--engine", "ray"], ["nodes"]])
def test_a_device_without_runs_is_told_whatever_the_engine(
    words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(monkeypatch, *words, "--device", "gpu", "-e", "nope", "-t", "copy") == 3
    assert "no device 'gpu'" in capsys.readouterr().err


def test_a_variable_of_several_folders_divides_them_as_the_path_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "my runs"
    write_sweep(folder)
    for value in (os.fspath(folder), f"{folder}{os.pathsep}{folder}"):
        monkeypatch.setenv("PEBENCH_RECORDS", value)
        assert exit_code(monkeypatch, "board") == 0
        assert "rope" in capsys.readouterr().out


def test_a_title_is_no_markup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(MINE.replace("    paper =", '    title = "a [/b] [log]"\n    paper =', 1))
    assert exit_code(monkeypatch, "show", f"{file}") == 0
    assert "a [/b] [log]" in capsys.readouterr().out


@pytest.mark.parametrize("several", [f"a{os.pathsep}b", "published"])
def test_records_are_written_into_one_folder(
    several: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """`board` shows several folders by this variable; a folder of that name would never be shown."""
    monkeypatch.setenv("PEBENCH_RECORDS", several)
    monkeypatch.chdir(tmp_path)
    assert exit_code(monkeypatch, "run", "--profile", "SMOKE", "-e", "rope", "-t", "copy") == 2
    assert "name one folder with --records" in re.sub(r"[\s│]+", " ", capsys.readouterr().err)
    assert not list(tmp_path.iterdir())


def test_every_error_that_has_an_exit_code_is_a_class_of_that_name() -> None:
    for name in CODES:
        module, _, cls = name.rpartition(".")
        assert issubclass(getattr(importlib.import_module(module), cls), Exception)


def test_an_error_is_told_without_importing_what_did_not_raise_it(tmp_path: Path) -> None:
    code = (
        "import sys; from pebench.suite.commands.errors import explained, worded\n"
        "e = FileNotFoundError(2, 'gone', 'x'); assert (explained(e), worded(e)) == (3, 'there is no x')\n"
        "assert not {'torch', 'pandas', 'pebench.leaderboard.board'} & sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (
            ("run", "-p", "EXTEND_QUICK", "-e", "rope"),
            2,
            "`pebench extend --profile EXTEND_QUICK` makes its runs",
        ),
        (("status", "-p", "extend"), 2, "`pebench extend --profile EXTEND` makes its runs"),
        (("submit", "rope", "-p", "EXTEND"), 2, "trains no encoding"),
        (("compare", "rope", "fox", "-p", "EXTEND"), 3, "`pebench board --profile EXTEND` shows it"),
        (("validity", "-p", "EXTEND"), 3, "`pebench board --profile EXTEND` shows it"),
        (("site", "new", "-p", "EXTEND_QUICK"), 3, "`pebench board --profile EXTEND_QUICK` shows it"),
        (("submit", "nope"), 2, "the board has 'nope' already"),
        (("board", "--order", "nope"), 2, "no order 'nope'"),
        (("status", "--seeds", "1000000000"), 2, "less than or equal to 1000"),
        (("run", "-e", "my_idea"), 2, "the file here is named my_idea.py"),
    ],
)
def test_what_another_command_is_for_is_told(
    words: tuple[str, ...],
    code: int,
    says: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "my_idea.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PEBENCH_RECORDS", raising=False)
    assert exit_code(monkeypatch, *words) == code
    assert says in re.sub(r"[\s│]+", " ", capsys.readouterr().err)
    assert [file.name for file in tmp_path.iterdir()] == ["my_idea.py"]


@pytest.mark.parametrize("place", ["pipe", "/dev/zero", "/dev/null"])
def test_a_text_that_can_be_read_once_is_refused(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    assert exit_code(monkeypatch, "run", "-e", "rope", "-t", "language", "--corpus", place) == 2
    assert "write it to a file" in re.sub(r"[\s│]+", " ", capsys.readouterr().err)


def test_published_names_the_published_records(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(monkeypatch, "board", "--records", "published", "-p", "QUICK_2", "--csv") == 0
    assert "rope" in capsys.readouterr().out
    write_sweep(tmp_path / "published", {"mine": 1.0, "other": 2.0})
    assert exit_code(monkeypatch, "board", "--records", "published", "--csv") == 0
    assert "mine" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["a:b", "a:b:c", ":"])
def test_a_folder_may_have_the_sign_that_divides_folders(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, other = write_sweep(tmp_path / name), write_sweep(tmp_path / "other")
    assert folders_named(f"{other}:{folder}:published") == (f"{other}", f"{folder}", "published")
    assert folders_named(f"{folder}:{other}") == (f"{folder}", f"{other}")
    monkeypatch.setenv("PEBENCH_RECORDS", f"{folder}")
    assert exit_code(monkeypatch, "board") == 0
    assert "rope" in capsys.readouterr().out


def test_a_file_that_reads_the_machine_runs_with_a_note_and_is_not_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.py"
    file.write_text(f"import os\n{MINE}")
    monkeypatch.chdir(tmp_path)
    assert exit_code(monkeypatch, "run", "-p", "SMOKE", "-e", f"{file}", "-t", "sort", "--jobs", "1") == 0
    said = capsys.readouterr().err
    assert "an encoding does not import 'os'. It runs, but cannot be submitted" in said
    with pytest.raises(EncodingError, match="does not import 'os'"):
        pebench_api.check(f"{file}:Mine")


def test_a_run_that_another_sweep_makes_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    cell = Cell("rope", "sort", "SMOKE", 0)
    lock = locked(cell, tmp_path / "records")
    assert lock.acquire(wait=False)
    try:
        assert exit_code(monkeypatch, "run", "-p", "SMOKE", "-e", "rope", "-t", "sort", "--seed", "0") == 0
    finally:
        lock.release()
    assert "another sweep is making 1 run of these" in capsys.readouterr().err


def test_a_full_disk_is_not_the_encoding_s_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(certificate, "save_model", full)
    monkeypatch.setattr(machine, "disk_faults", lambda folder: [f"0 MiB free in {folder}"])
    assert exit_code(monkeypatch, "check", "rope") == 3
    assert "a check may have failed for want of room: 0 MiB free in" in capsys.readouterr().err


def full(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_a_new_file_in_a_folder_like_an_option_is_named_as_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "-d").mkdir()
    monkeypatch.chdir(tmp_path)
    assert exit_code(monkeypatch, "new", "my_idea", "--folder=-d") == 0
    assert "pebench check ./-d/my_idea.py:MyIdea" in capsys.readouterr().out


def test_the_command_is_a_module_too(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pebench", "--version"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.stdout == f"pebench {version('pebench')}\n"


def test_a_mistyped_folder_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert exit_code(monkeypatch, "status", "-p", "SMOKE", "-e", "rope", "--records", "recods") == 0
    assert "there is no folder recods yet" in capsys.readouterr().err
