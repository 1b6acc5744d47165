from pathlib import Path
from typing import Any

import pytest

from pebench.suite.results.record import Record
from tests.spoiled import Spoiled, changed, demand_found, floors, one, provenance, raw, rows_of, values

NESTED: Any = []
for _ in range(30):
    NESTED = [NESTED]

SPOILED: Spoiled = {
    "a record of another place": (lambda f: raw(f, '"seed": 0', '"seed": 1'), "says that its place is"),
    "a record of another encoding": (lambda f: raw(f, '"my_idea"', '"rope"'), "says that its place is"),
    "a path in a record": (lambda f: raw(f, '"task": "copy"', '"task": "../x"'), "not a name"),
    "not JSON": (lambda f: one(f).write_text("import os"), "not JSON"),
    "deep JSON": (lambda f: one(f).write_text("[" * 100_000), "not JSON"),
    "deep provenance": (lambda f: provenance(f, cpu=NESTED), "nested too deeply"),
    "wide provenance": (lambda f: provenance(f, cpu=list(range(200))), "more than 100"),
    "NaN": (lambda f: raw(f, '"value": 0.7', '"value": NaN'), "NaN is not a number"),
    "infinity": (lambda f: raw(f, '"value": 0.7', '"value": 1e999'), "not a finite number"),
    "digits": (lambda f: raw(f, '"value": 0.7', '"value": ' + "9" * 400), "400 digits"),
    "more digits": (lambda f: raw(f, '"n": 8', '"n": ' + "9" * 5000), "5000 digits"),
    "an unknown metric": (lambda f: raw(f, '"metric": "exact"', '"metric": "win"'), "unknown metric"),
    "a huge duration": (lambda f: provenance(f, seconds=1e18), "too large a number"),
    "a hidden provenance": (lambda f: provenance(f, cpu="a\u202eb"), "invisible"),
    "a perfect score and more": (lambda f: values(f, "copy", 1.5), "possible are 0 to 1"),
    "a negative time": (lambda f: values(f, "throughput", -1.0), "possible are 0 to inf"),
    "another floor": (lambda f: floors(f, -100.0), "out of range"),
    "a row less": (lambda f: changed(f, rows=(*rows_of(f)[:2], rows_of(f)[0])), "there twice"),
}


@pytest.mark.parametrize("what", SPOILED)
def test_what_is_wrong_with_a_record_is_found(what: str, folder: Path, board: list[Record]) -> None:
    demand_found(SPOILED[what], folder, board)
