import itertools
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from pebench.leaderboard.about import PUBLISHED
from pebench.suite import cli
from pebench.suite.results.record import Record, RecordError, Row, newest, read_all, to_json, write
from pebench.suite.runs.cell import Cell
from pebench.suite.submissions.reproduce import (
    ReproduceError,
    add_mark,
    cell_of,
    compare,
    load,
    machines,
    reproduce,
    run_again,
    tolerance,
)
from pebench.suite.submissions.spread import seed_spread, spread_in
from pebench.suite.submissions.template import encoding_file
from tests.edited_tracks import COST, LOSS, edited
from tests.made_submission import record

CELL = Cell("alibi", "copy", "SMOKE", 0)
MADE = record(CELL)


def file_of(made: Record, folder: Path) -> Path:
    return write(made, folder)


@pytest.fixture(scope="module")
def real() -> Record:
    """A record of a training."""
    made = run_again(CELL)
    assert made.outcome == "measured", made.reason
    return made


def test_a_record_that_is_run_again_is_bitwise_equal(real: Record, tmp_path: Path) -> None:
    path, marks = file_of(real, tmp_path), tmp_path / "verified.json"
    result = CliRunner().invoke(cli.app, ["reproduce", str(path), "--mark", str(marks), "--json"])
    assert result.exit_code == 0, result.output
    assert json.loads(result.output)["verdict"] == "equal"
    mark = json.loads(marks.read_text())["verified"][real.path.as_posix()]
    assert mark["unequal"] == 0
    assert mark["numbers"] == len(real.rows) > 0
    assert mark["sha256"] == load(path)[1]


@pytest.mark.parametrize(
    ("task", "change", "says"),
    [
        (COST, {}, r"empty --records folder `pebench extend -t x \[31m` makes"),
        (LOSS, {"encoding": "rope@of_a_users_own_file"}, r"name its file: --encoding FILE\.py:Class"),
        (LOSS, {"encoding": "alibi@pi"}, "there is no 'alibi@pi'"),
        (LOSS, {"profile": "EXTEND_ELSE"}, "of profile 'EXTEND_ELSE'"),
    ],
)
def test_a_record_of_a_pretrained_model_that_cannot_be_read_again_says_why(
    task: str, change: dict, says: str, tmp_path: Path
) -> None:
    made = replace(edited("pi", task=task, command="pebench extend -t x\n\x1b[31m"), **change)
    with pytest.raises(ReproduceError, match=says):
        reproduce(file_of(made, tmp_path))
    with pytest.raises(ReproduceError, match="leave --device out"):
        reproduce(file_of(made, tmp_path), device="cuda")


def test_a_record_with_another_number_is_told_from_a_real_one(real: Record, tmp_path: Path) -> None:
    forged = replace(
        real, rows=tuple(replace(r, value=0.99) if r.metric == "exact" else r for r in real.rows)
    )
    path = file_of(forged, tmp_path)
    _, result, mark = reproduce(path, rerun=lambda cell, device: real)
    assert result.verdict == mark["verdict"] == "different"
    assert mark["worst"]["then"] == 0.99
    with pytest.raises(ReproduceError, match="gets no mark"):
        add_mark(mark, tmp_path / "verified.json")
    assert not (tmp_path / "verified.json").exists()


SHARE = Row("exact", 0.5, 256, {"length": 8}, 0.0, 1.0)
BITS = Row("bits_per_byte", 2.0, 20_000, {"length": 8}, 4.0, 0.0)
RATIO = Row("train_ratio", 1.2, 9, {"length": 8})
NATS = Row("loss", 4.0, 1024, {"length": 8})
MARGIN = Row("margin", 0.1, 16, {"length": 8})
SPEED = Row("train_speed", 1e4, 9, {"length": 8})
CACHE = Row("cache_bytes", 512.0, 1, {"length": 8})
CHECK = Row("pass", 1.0, 1, {"check": "hides", "detail": "1e-7"})


@pytest.mark.parametrize(
    ("then", "now", "verdict"),
    [
        (SHARE, SHARE, "equal"),
        (SHARE, replace(SHARE, value=0.5 + 1e-12), "within tolerance"),
        (SHARE, replace(SHARE, value=0.55), "within tolerance"),  # 1.1 standard errors
        (SHARE, replace(SHARE, value=0.65), "different"),  # 3.4
        (SHARE, replace(SHARE, n=128), "different"),
        (SHARE, replace(SHARE, floor=0.1), "different"),
        (SHARE, replace(SHARE, floor=1e-300), "different"),
        (BITS, replace(BITS, floor=4.0000001), "within tolerance"),
        (BITS, replace(BITS, value=2.05), "within tolerance"),
        (BITS, replace(BITS, value=2.1), "different"),
        (NATS, replace(NATS, value=4.5), "within tolerance"),
        (NATS, replace(NATS, value=4.6), "different"),
        (MARGIN, replace(MARGIN, value=-0.9), "within tolerance"),
        (MARGIN, replace(MARGIN, value=-1.1), "different"),
        (RATIO, replace(RATIO, value=1.7), "within tolerance"),
        (RATIO, replace(RATIO, value=1.9), "different"),
        (SPEED, replace(SPEED, value=1e6), "within tolerance"),
        (CACHE, replace(CACHE, value=513.0), "different"),
        (CHECK, replace(CHECK, condition={"check": "hides", "detail": "3e-7"}), "equal"),
        (CHECK, replace(CHECK, value=0.0), "different"),
        (SHARE, replace(SHARE, condition={"length": 9}), "different"),
    ],
)
def test_the_verdict_on_one_number(then: Row, now: Row, verdict: str) -> None:
    result = compare(replace(MADE, rows=(then,)), replace(MADE, rows=(now,)))
    assert result.verdict == verdict
    assert len(result.differences) == (0 if verdict == "equal" else 1 + (then.condition != now.condition))


def test_one_different_number_decides() -> None:
    other = (replace(SHARE, value=0.51), replace(CACHE, value=1.0), CHECK)
    result = compare(replace(MADE, rows=(SHARE, CACHE, CHECK)), replace(MADE, rows=other))
    assert (result.verdict, result.compared, len(result.differences)) == ("different", 3, 2)


def test_another_outcome_is_different_and_says_why() -> None:
    failed = replace(MADE, rows=(), outcome="diverged", reason="the loss is nan")
    assert compare(failed, failed).verdict == "equal"
    result = compare(MADE, failed)
    assert result.verdict == "different"
    assert result.reason == "it was measured, and is now diverged: the loss is nan"


def test_what_differs_between_the_machines_is_told_before_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    facts = {"cpu": "One", "precision": "bfloat16", "threads": 1, "versions": {"torch": "2.13.0"}}
    then = replace(MADE, rows=(SHARE,), provenance={**facts, "kernels": "ab"})
    other = {**facts, "cpu": "Two", "precision": "float32", "threads": 2, "versions": {"torch": "2.14.0"}}
    now = replace(then, rows=(replace(SHARE, value=0.9),), provenance={**other, "kernels": ""})
    told = (
        *("processor: One then, Two now", "precision: bfloat16 then, float32 now"),
        *("torch version: 2.13.0 then, 2.14.0 now", "threads: 1 then, 2 now", "kernels: ab then, none now"),
    )
    assert machines(then, now) == compare(then, now).machine == told
    assert machines(replace(then, provenance={}), now) == ()  # an old record does not tell
    assert machines(then, replace(now, provenance=facts)) == ("kernels: ab then, not known now",)
    odd = replace(then, provenance={"cpu": "\x1b[2J" + "x" * 999, "versions": ["2.13"]})
    assert machines(odd, now) == (f"processor: [2J{'x' * 77} then, Two now",)

    monkeypatch.setattr(
        "pebench.suite.submissions.reproduce.reproduce",
        lambda *_, **__: (now, compare(then, now), {}),
    )
    done = CliRunner().invoke(cli.app, ["reproduce", str(tmp_path / "x.json")])
    assert done.exit_code == 1
    lines = done.output.splitlines()
    assert tuple(lines[:5]) == told
    assert "different: 0 of 1 numbers are bitwise equal" in lines[5:]
    assert "on a machine like the first" in lines[-1]


AMD = {"cpu": "AMD EPYC", "precision": "float32"}
INTEL = {"cpu": "Intel Xeon", "precision": "bfloat16"}


def moved(values: tuple[float, ...], **about: Any) -> list[Record]:
    """A record for each seed, whose share at length 8 has this value."""
    return [
        replace(MADE, seed=n, rows=(replace(SHARE, value=v), CACHE), provenance=AMD, **about)
        for n, v in enumerate(values)
    ]


def test_on_another_kind_of_machine_the_tolerance_is_that_of_the_seeds(tmp_path: Path) -> None:
    loud = seed_spread([*moved((0.3, 0.5)), *moved((0.6, 0.8), encoding="rope")], MADE.profile, MADE.task)
    assert loud.encodings == 2
    assert loud.variances["exact", "length 8"] == pytest.approx(0.02)
    then = moved((0.5,))[0]

    def again(value: float, **facts: str) -> Record:
        return replace(then, rows=(replace(SHARE, value=value), CACHE), provenance={**AMD, **facts})

    # On one kind of machine nothing changes: seeds say nothing of a second run.
    assert compare(then, again(0.9), loud).verdict == "different"
    assert compare(then, again(0.5, **INTEL), loud).verdict == "equal"
    wide = compare(then, again(0.9, **INTEL), loud)
    assert wide.verdict == "within seed spread"
    assert wide.over_seeds == pytest.approx(0.4 / 0.2)
    assert "2 encodings with two seeds" in wide.tolerance
    # Seeds that agree allow no more than the sampling of the answers.
    calm = seed_spread(moved((0.5, 0.5)), MADE.profile, MADE.task)
    assert compare(then, again(0.55, **INTEL), calm).verdict == "within tolerance"
    assert compare(then, again(0.65, **INTEL), calm).verdict == "different"
    # What no training moves has to be equal everywhere.
    cache = replace(again(0.5, **INTEL), rows=(SHARE, replace(CACHE, value=513.0)))
    assert compare(then, cache, loud).verdict == "different"


@pytest.mark.parametrize(
    "records",
    [
        [],
        moved((0.5,)),
        moved((0.3, 0.9), task="needle"),
        moved((0.3, 0.9), profile="STANDARD"),
        [*moved((0.5,)), replace(moved((0.1, 0.9))[1], rows=(), outcome="diverged", reason="nan")],
    ],
    ids=["none", "one seed", "another task", "another profile", "a failed seed"],
)
def test_without_a_second_seed_the_spread_is_a_stated_default(records: list[Record]) -> None:
    spread = seed_spread(records, MADE.profile, MADE.task)
    assert spread.encodings == 0
    then = moved((0.5,))[0]
    near, far = (
        replace(then, rows=(replace(SHARE, value=value), CACHE), provenance=INTEL) for value in (0.75, 0.9)
    )
    told = compare(then, near, spread)
    assert told.verdict == "within seed spread"
    assert told.over_seeds is None
    assert "no record has a second seed" in told.tolerance
    assert compare(then, far, spread).verdict == "different"


def test_extensions_of_one_training_count_once() -> None:
    alone = [*moved((0.3, 0.5), encoding="fox"), *moved((0.6, 0.8), encoding="rope")]
    beside = [*moved((0.1, 0.9), encoding="rope@pi"), *moved((0.1, 0.9), encoding="rope@yarn")]
    spread = seed_spread([*alone, *beside], MADE.profile, MADE.task)
    assert spread == seed_spread(alone, MADE.profile, MADE.task)
    assert seed_spread(beside, MADE.profile, MADE.task).encodings == 1


def test_a_folder_that_is_not_there_tells_no_spread(tmp_path: Path) -> None:
    assert spread_in(tmp_path / "none", "QUICK", "copy") == seed_spread([], "QUICK", "copy")
    for made in moved((0.3, 0.5)):
        write(made, tmp_path)
    assert spread_in(tmp_path, MADE.profile, MADE.task).encodings == 1


@given(st.floats(0, 1), st.integers(1, 10**6))
def test_more_answers_allow_less(value: float, n: int) -> None:
    row = Row("exact", value, n)
    more = replace(row, n=4 * n)
    assert 0 < tolerance(more, more) < tolerance(row, row)


def test_speeds_are_not_compared() -> None:
    assert tolerance(SPEED, SPEED) == math.inf


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"encoding": "no_such"}, "no encoding 'no_such' is registered here"),
        ({"profile": "HUGE"}, "no task 'copy' of profile 'HUGE'"),
        ({"task": "win"}, "no task 'win'"),
        ({"fingerprint": "0" * 64}, "of other code than this; git checkout 0123456789"),
        (
            {"fingerprint": "0" * 64, "provenance": {"commit": "x; rm -rf ~"}},
            "check out the code that it was made with",
        ),
        (
            {"fingerprint": "0" * 64, "setup": {"corpus": {"name": "user:mine"}}},
            "--corpus PATH",
        ),
        (
            {"fingerprint": "0" * 64, "setup": {"corpus": {"name": "fineweb", "tokenizer": "gpt2"}}},
            "--corpus PATH",
        ),
    ],
)
def test_what_cannot_be_run_again_says_why(
    change: dict, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ReproduceError, match=says) as caught:
        cell_of(replace(MADE, **change))
    assert "rm -rf" not in str(caught.value)


@pytest.mark.parametrize("name", ["evil.py", "evil.py@yarn", "rope@evil.py", "rope+evil.py"])
def test_a_record_names_no_file(name: str) -> None:
    with pytest.raises(RecordError, match="is not a name"):
        replace(MADE, encoding=name)


def test_an_encoding_in_a_file_is_loaded_only_where_the_user_names_it(tmp_path: Path) -> None:
    text, cls = encoding_file("other_idea")
    (tmp_path / "other_idea.py").write_text(text.replace('@register("other_idea")\n', ""))
    spec = f"{tmp_path / 'other_idea.py'}:{cls}"
    made = record(Cell(spec, "copy", "SMOKE", 0))
    assert made.encoding == "otheridea"
    with pytest.raises(ReproduceError, match=r"--encoding FILE\.py:Class"):
        cell_of(made)
    assert cell_of(made, spec).path == made.path
    with pytest.raises(ReproduceError, match="is of 'alibi'"):
        cell_of(MADE, spec)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[" * 100_000,
        to_json(MADE).replace('"value": 0.5', '"value": NaN'),
        to_json(MADE).replace('"value": 0.5', '"value": ' + "9" * 400),
        to_json(MADE).replace('"n": 8', '"n": ' + "9" * 5000),
        " " * (5 * 2**20),
    ],
    ids=["empty", "no fields", "deep", "NaN", "400 digits", "5000 digits", "5 MB"],
)
def test_a_file_that_is_no_record_is_refused(text: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_text(text)
    with pytest.raises(RecordError):
        load(file)


def test_a_mark_replaces_that_of_the_same_record_alone(tmp_path: Path) -> None:
    marks = tmp_path / "marks" / "verified.json"
    mark = reproduce(file_of(MADE, tmp_path), rerun=lambda cell, device: MADE)[2]
    other = {**mark, "record": "SMOKE/copy/rope/0-0123456789abcdef.json"}
    for one in (other, mark, {**mark, "verdict": "within tolerance"}):
        add_mark(one, marks)
    stated = json.loads(marks.read_text())["verified"]
    assert stated[other["record"]]["verdict"] == "equal"
    assert stated[mark["record"]]["verdict"] == "within tolerance"
    assert sorted(p.name for p in marks.parent.iterdir()) == [".running", "verified.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 9}', '{"schema": 1, "verified": []}'])
def test_a_file_of_something_else_gets_no_mark(text: str, tmp_path: Path) -> None:
    file = tmp_path / "mine.json"
    file.write_text(text)
    with pytest.raises(ReproduceError, match="no file of marks"):
        add_mark({"record": "a", "verdict": "equal"}, file)
    assert file.read_text() == text


def test_published_seeds_are_within_their_own_spread_nearly_always() -> None:
    """Another seed is another draw. The tolerance on another machine holds 96 % of the pairs of published seeds."""
    records = newest(read_all(PUBLISHED)[0])
    within = []
    for task in ("copy", "reverse", "flipflop"):
        mine = [r for r in records if (r.profile, r.task, r.outcome) == ("STANDARD", task, "measured")]
        spread = seed_spread(mine, "STANDARD", task)
        for a, b in itertools.combinations(mine, 2):
            if a.encoding == b.encoding:
                now = replace(b, provenance={**b.provenance, "cpu": "another"})
                within.append(compare(a, now, spread).verdict == "within seed spread")
    assert len(within) > 200
    assert 0.93 <= sum(within) / len(within) < 1


def test_a_failure_is_no_result_to_compare() -> None:
    failed = replace(MADE, outcome="failed", reason="killed", rows=(), answers=())
    with pytest.raises(ReproduceError, match="without a result"):
        cell_of(failed)


def test_a_folder_of_seeds_that_is_not_there_is_told_before_the_run(tmp_path: Path) -> None:
    def never(cell: Cell, device: str) -> Record:
        raise AssertionError("it ran")

    with pytest.raises(FileNotFoundError, match="no such folder"):
        reproduce(file_of(MADE, tmp_path), records=tmp_path / "typo", rerun=never)
