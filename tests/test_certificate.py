import json
import math
from dataclasses import asdict

import pytest
import torch

from pebench.encodings.alibi import ALiBi
from pebench.encodings.base import Encoding
from pebench.encodings.learned_ape import LearnedAPE
from pebench.encodings.nope import NoPE
from pebench.encodings.registry import names, resolve
from pebench.encodings.rope import RoPE
from pebench.suite.certificate import (
    CHECKS,
    LENGTH,
    batch,
    cache_bytes,
    certify,
    largest,
    model,
    moved_by,
    reach,
    shifted,
    through_cache,
)
from tests.wrong_encodings import WRONG, DeclaresTooLittle, DeclaresTooMuch, DoesNotRun

TITLES = [check.__name__.replace("_", " ") for check in CHECKS]


@pytest.mark.parametrize("name", names())
def test_the_certificate_holds(name: str) -> None:
    failed = [check for check in certify(*resolve(name)) if not check.passed]
    assert not failed


@pytest.mark.parametrize("name", sorted(set(names()) - {"nope"}))
def test_no_encoding_is_silent_while_it_is_checked(name: str) -> None:
    tokens = batch(1, LENGTH, 0)
    with torch.no_grad():
        assert largest(model(resolve(name)[1], 0)(tokens) - model(NoPE, 0)(tokens)) > 1e-3


@pytest.mark.parametrize("cls", WRONG, ids=lambda cls: cls.__name__)
def test_a_wrong_encoding_fails_the_checks_for_its_fault_and_no_other(cls: type[Encoding]) -> None:
    failed = {check.name for check in certify("wrong", cls) if not check.passed}
    assert failed == WRONG[cls]


def test_every_check_that_judges_is_failed_by_a_wrong_encoding() -> None:
    reported = {"relative range", "cost of a cached token"}
    assert set().union(*WRONG.values()) == set(TITLES) - reported


@pytest.mark.parametrize(
    ("cls", "measured"),
    [(DeclaresTooLittle, "max_length 16"), (DeclaresTooMuch, "an exception"), (DoesNotRun, "an exception")],
)
def test_max_length_is_honest(cls: type[Encoding], measured: str) -> None:
    check = next(c for c in certify("wrong", cls) if c.name == "stands long inputs")
    assert not check.passed
    assert check.measured == measured


def test_an_exception_is_a_failed_check_with_its_text() -> None:
    checks = certify("broken", DoesNotRun)
    assert [check.name for check in checks] == TITLES
    hidden = next(check for check in checks if check.name == "hides the future")
    assert not hidden.passed
    assert hidden.detail.startswith("broken raised RuntimeError: ")
    assert "\n" not in hidden.detail


def test_a_certificate_is_plain_data() -> None:
    checks = certify("nope", NoPE)
    assert json.loads(json.dumps([asdict(check) for check in checks]))[0]["passed"] is True
    assert all(check.detail.endswith((".", ":")) and check.measured and check.limit for check in checks)


def test_a_certificate_is_the_same_every_time() -> None:
    torch.manual_seed(1)
    first = certify("rope", RoPE, seed=3)
    torch.manual_seed(2)
    assert certify("rope", RoPE, seed=3) == first


def test_a_shift_that_has_no_room_is_as_large_as_it_can_be() -> None:
    (moved,) = moved_by(LearnedAPE, 0, [100])
    assert 0.01 < moved < math.inf


def test_a_shifted_encoding_keeps_its_kernel_and_its_weights() -> None:
    cls = resolve("t5_bias")[1]
    other = shifted(cls, torch.tensor(5))
    assert other.kernel() == cls.kernel()
    for a, b in zip(model(cls, 0).parameters(), model(other, 0).parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_relative_range_ends_where_float32_does() -> None:
    assert reach(NoPE, 0, 1e-3, bf16=False) == 2**20
    assert 2**10 <= reach(RoPE, 0, 1e-3, bf16=False) < 2**20


def test_lifted_columns_are_counted_in_the_cache() -> None:
    per_layer = 4 * 4 * (16 + 16)  # heads, bytes, key and value
    assert cache_bytes(NoPE, 0) == (2 * per_layer, 0)
    assert cache_bytes(ALiBi, 0) == (2 * (per_layer + 4 * 4), 0)
    assert cache_bytes(resolve("fox")[1], 0) == (2 * (per_layer + 4 * 4), 2 * 4 * 4)


def test_chunks_are_taken_in_turn() -> None:
    lm, tokens = model(RoPE, 0), batch(1, 10, 0)
    with torch.no_grad():
        assert through_cache(lm, tokens, [3, 1]).shape == (1, 10, 64)


def test_a_number_that_is_none_passes_no_limit() -> None:
    assert largest(torch.tensor([0.0, math.nan])) == math.inf
    assert largest(torch.empty(0)) == 0.0
