import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pebench.suite.results.record import (
    SCHEMA,
    Answer,
    Record,
    RecordError,
    Row,
    from_json,
    newest,
    read_all,
    to_json,
    write,
    write_out,
    write_whole,
)

ROW = Row("exact", 0.5, 64, {"length": 16}, 0.0, 1.0)
RECORD = Record("rope", "copy", "QUICK", 0, "0123456789abcdef", rows=(ROW,))
OLD = Path(__file__).parents[1] / "old_records"

finite = st.floats(allow_nan=False, allow_infinity=False)
conditions = st.dictionaries(
    st.text(max_size=9), st.one_of(st.integers(), finite, st.text(max_size=9)), max_size=3
)
rows = st.builds(Row, st.just("margin"), finite, st.integers(1, 10**9), conditions)
records = st.builds(
    Record,
    encoding=st.just("a+b"),
    task=st.just("copy"),
    profile=st.just("QUICK"),
    seed=st.integers(0, 10**6),
    fingerprint=st.just("f" * 64),
    rows=st.lists(rows, min_size=1, max_size=3).map(tuple),
    card=st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=2),
    answers=st.lists(
        st.builds(
            dict,
            condition=conditions,
            item=st.integers(0, 2),
            asked=st.text(max_size=9),
            answer=st.text(max_size=9),
            said=st.text(max_size=9),
            right=st.booleans(),
        ),
        max_size=2,
    ).map(tuple),
)


@given(records)
def test_a_record_comes_back_as_it_was(record: Record) -> None:
    assert from_json(to_json(record)) == record


def test_every_old_schema_can_be_read() -> None:
    files = sorted(OLD.glob("*.json"))
    assert [f.stem for f in files] == [f"schema{n}" for n in range(1, SCHEMA + 1)]
    for file in files:
        record = from_json(file.read_text())
        assert record.rows[0].score == 0.5


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"rows": ()}, "rows or a reason"),
        ({"reason": "why"}, "rows or a reason"),
        ({"outcome": "great"}, "outcome 'great' is none of"),
        ({"encoding": "../rope"}, "not a name"),
        ({"encoding": "a/b"}, "not a name"),
        ({"task": ""}, "not a name"),
        ({"seed": -1}, "seed -1"),
        ({"seed": True}, "seed True"),
        ({"fingerprint": "xyz"}, "hexadecimal"),
        ({"card": []}, "card is not an object"),
    ],
)
def test_a_record_cannot_be_wrong(change: dict, says: str) -> None:
    with pytest.raises(RecordError, match=says):
        replace(RECORD, **change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"metric": "vibes"}, "unknown metric 'vibes'"),
        ({"value": float("nan")}, "not a finite number"),
        ({"value": float("inf")}, "not a finite number"),
        ({"value": None}, "not a finite number"),
        ({"value": True}, "not a finite number"),
        ({"n": 0}, "positive integer"),
        ({"floor": None}, "or neither"),
        ({"floor": 1.0}, "or neither"),
        ({"condition": {"length": [1]}}, "names to numbers or strings"),
        ({"condition": {"length": float("nan")}}, "names to numbers or strings"),
    ],
)
def test_a_row_cannot_be_wrong(change: dict, says: str) -> None:
    with pytest.raises(RecordError, match=says):
        replace(ROW, **change)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "not JSON"),
        ("[]", "not a JSON object"),
        ("{}", "schema None"),
        ("[" * 100_000, "not JSON"),
        (to_json(RECORD).replace(f'"schema": {SCHEMA}', '"schema": 999'), "upgrade pebench"),
        (to_json(RECORD).replace('"value": 0.5', '"value": NaN'), "NaN is not a number"),
        (to_json(RECORD).replace('"value": 0.5', '"value": 1e999'), "not a finite number"),
        (to_json(RECORD).replace('"value": 0.5', f'"value": {10**400}'), "too large"),
        (to_json(RECORD).replace('"value": 0.5', f'"value": {"9" * 5000}'), "not JSON"),
        (to_json(RECORD).replace('"length"', '"\\ud800"'), "surrogates not allowed"),
        (to_json(RECORD).replace('"value"', '"valu"'), "unexpected keyword argument"),
        (to_json(RECORD).replace('"outcome"', '"outcom"'), "unknown fields"),
        (to_json(RECORD)[:-40], "not JSON"),
    ],
)
def test_a_broken_file_is_named_with_its_reason(text: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match=says):
        from_json(text)
    write(RECORD, tmp_path)
    broken = tmp_path / "QUICK" / "broken.json"
    broken.write_text(text)
    found, unreadable = read_all(tmp_path)
    assert found == [RECORD]
    assert [u.path for u in unreadable] == [broken]


def test_a_record_in_a_place_of_another_is_refused(tmp_path: Path) -> None:
    path = write(RECORD, tmp_path)
    path.rename(path.with_name("1-0123456789abcdef.json"))
    found, unreadable = read_all(tmp_path)
    assert not found
    assert "says that its place is" in unreadable[0].reason


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 1))
def test_a_score_is_0_at_the_floor_and_1_at_the_ceiling(value: float, floor: float, ceiling: float) -> None:
    if floor != ceiling:
        score = Row("exact", value, 1, {}, floor, ceiling).score
        assert score is not None
        assert score == pytest.approx(max(0.0, (value - floor) / (ceiling - floor)))


def test_lower_is_better_where_the_ceiling_is_below_the_floor() -> None:
    assert Row("bits_per_byte", 2.0, 1, {}, floor=4.0, ceiling=0.0).score == 0.5
    assert Row("bits_per_byte", 5.0, 1, {}, floor=4.0, ceiling=0.0).score == 0.0


@pytest.mark.parametrize(
    ("metric", "value"),
    [
        *(("exact", 700.0), ("accuracy", -0.1), ("found", 1.01), ("pass", 2.0), ("loss", -500.0)),
        *(("bits_per_byte", -1.0), ("train_ratio", -1.0), ("decode_speed", -3.0), ("cache_bytes", -8.0)),
    ],
)
def test_a_number_that_no_measurement_gives_is_refused(metric: str, value: float, tmp_path: Path) -> None:
    path = write(replace(RECORD, rows=(Row(metric, 0.5, 1),)), tmp_path)
    path.write_text(path.read_text().replace('"value": 0.5', f'"value": {value}'))
    found, unreadable = read_all(tmp_path)
    assert found == []
    assert f"value of {metric} is {value}, and possible are 0 to" in unreadable[0].reason


@pytest.mark.parametrize(
    ("metric", "value"), [("margin", -9.0), ("log_error", -0.01), ("gate", 1.2), ("loss", 90.0)]
)
def test_a_number_that_a_measurement_gives_is_kept(metric: str, value: float) -> None:
    assert from_json(to_json(replace(RECORD, rows=(Row(metric, value, 1),)))).rows[0].value == value


def test_what_a_user_names_is_written_through_links_and_into_devices(tmp_path: Path) -> None:
    file, link, pipe = tmp_path / "file", tmp_path / "link", tmp_path / "pipe"
    file.write_text("before")
    link.symlink_to(file)
    write_out(link, b"after")
    assert (file.read_text(), link.is_symlink()) == ("after", True)
    lost = tmp_path / "lost"
    lost.symlink_to(tmp_path / "new" / "file")
    write_out(lost, b"made")
    assert (tmp_path / "new" / "file").read_text() == "made"
    os.mkfifo(pipe)
    with open(os.open(pipe, os.O_RDONLY | os.O_NONBLOCK), "rb") as reader:
        write_out(pipe, b"through")
        assert reader.read() == b"through"
    assert pipe.is_fifo()
    write_out(Path(os.devnull), b"away")
    assert Path(os.devnull).is_char_device()
    with pytest.raises(OSError, match="No space left"):
        write_out(Path("/dev/full"), b"x")
    with pytest.raises(IsADirectoryError):
        write_out(tmp_path, b"x")


@pytest.mark.parametrize("stream", ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"])
@pytest.mark.parametrize("into_file", [False, True])
def test_standard_output_is_a_place_to_write(stream: str, into_file: bool, tmp_path: Path) -> None:
    code = (
        "from pathlib import Path; from pebench.suite.results.record import write_out; print('first', flush=True); "
        f"write_out(Path({stream!r}), b'second'); print('third')"
    )
    with open(tmp_path / "out", "w+") as out:
        done = subprocess.run(
            [sys.executable, "-c", code], stdout=out if into_file else subprocess.PIPE, text=True, check=True
        )
        out.seek(0)
        assert (out.read() if into_file else done.stdout) == "first\nsecondthird\n"
    assert [file.name for file in tmp_path.iterdir()] == ["out"]


def test_a_write_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write(RECORD, tmp_path)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []


def test_reading_never_writes(tmp_path: Path) -> None:
    path = write(RECORD, tmp_path)
    (tmp_path / "other.json").write_text("{")
    before = {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")}
    read_all(tmp_path)
    assert {p: p.stat().st_mtime_ns for p in tmp_path.rglob("*")} == before
    assert json.loads(path.read_text())["schema"] == SCHEMA


def test_the_newest_of_several_records_of_a_run_counts() -> None:
    early, late = (
        replace(RECORD, fingerprint=f * 16, provenance={"started": t})
        for f, t in (("a", "2026-01-01"), ("b", "2026-01-02"))
    )
    assert newest([late, early]) == [late]
    assert newest([early, replace(late, seed=1)]) == [early, replace(late, seed=1)]


ANSWER: Answer = {
    **{"condition": {"length": 16}, "item": 0, "asked": "start a b = _ _"},
    **{"answer": "a b", "said": "a c", "right": False},
}


def test_records_keep_answers_since_schema_3() -> None:
    old, new = (json.loads((OLD / f"schema{n}.json").read_text()) for n in (2, 3))
    assert from_json(json.dumps(old)).answers == ()
    assert from_json(json.dumps(new)).answers == (ANSWER,)
    with pytest.raises(RecordError, match="schema 2 has no field answers"):
        from_json(json.dumps({**new, "schema": 2}))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"right": 1}, "right 1, no bool"),
        ({"item": True}, "item True, no int"),
        ({"item": -1}, "negative item"),
        ({"said": None}, "said None, no str"),
        ({"said": "x" * 201}, "more than 200 characters"),
        ({"condition": {"length": [1]}}, "names to numbers or strings"),
        ({"more": 1}, "is no object of condition, item"),
    ],
)
def test_an_answer_that_is_none_is_refused(change: dict[str, object], says: str) -> None:
    with pytest.raises(RecordError, match=f"answer 1 .*{says}"):
        replace(RECORD, answers=(ANSWER, {**ANSWER, **change}))


def test_a_record_without_rows_has_no_answers() -> None:
    with pytest.raises(RecordError, match="has no answers"):
        replace(RECORD, rows=(), outcome="failed", reason="why", answers=(ANSWER,))


@pytest.mark.parametrize(
    ("field", "value", "says"), [("reason", 5, "is no text"), ("schema", True, "is not a version number")]
)
def test_fields_of_another_kind_are_refused(field: str, value: object, says: str) -> None:
    data = json.loads(to_json(Record("rope", "copy", "QUICK", 0, "0" * 16, outcome="failed", reason="why")))
    with pytest.raises(RecordError, match=says):
        from_json(json.dumps({**data, field: value}))


def test_a_file_is_not_written_over_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for place in (Path(), tmp_path):
        with pytest.raises(IsADirectoryError, match="is a folder"):
            write_whole(place, b"x")
    assert not list(tmp_path.iterdir())
