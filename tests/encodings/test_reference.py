"""The committed records are tested like code: readable, from clean commits, and what the texts show."""

import pytest

from pebench.encodings import registry
from pebench.leaderboard.about import PUBLISHED as RECORDS
from pebench.leaderboard.reports.documents import PARTS, ROOT, made, marked
from pebench.suite.results.record import Record, read_all
from tests.walks import some


@pytest.fixture(scope="module")
def records() -> list[Record]:
    found, unreadable = read_all(RECORDS)
    assert found
    assert not unreadable
    return found


def test_each_comes_from_committed_code(records: list[Record]) -> None:
    for record in records:
        assert len(record.provenance["commit"]) == 40, record.path
        assert record.provenance["dirty"] is False, record.path


def test_each_is_of_an_encoding_that_can_be_named(records: list[Record]) -> None:
    for name in {record.encoding for record in records}:
        assert registry.resolve(name)[0] == name


def test_certificates_hold(records: list[Record]) -> None:
    for record in records:
        failed = [row for row in record.rows if row.metric == "pass" and not row.value]
        assert not failed, record.path


DEAR = {"trend", "validity", "power", *(name for name in PARTS if name.startswith("first-"))}


@pytest.mark.parametrize("name", some(PARTS, *(name for name in PARTS if name not in DEAR)))
def test_the_texts_show_what_they_make(name: str) -> None:
    shown = marked(name).search((ROOT / PARTS[name][0]).read_text(encoding="utf-8"))
    assert shown is not None
    assert shown.group() == made(name), "run: python -m pebench.leaderboard.reports"
