import json
import math
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from pebench.encodings.alibi import ALiBi
from pebench.encodings.base import At, Encoding, Shape, rope_frequencies, rotate
from pebench.encodings.compose import composition
from pebench.encodings.learned_ape import LearnedAPE
from pebench.encodings.nope import NoPE
from pebench.encodings.registry import names, resolve
from pebench.encodings.rope import RoPE
from pebench.encodings.ssmax import SSMax
from pebench.encodings.tra import TRA
from pebench.suite.experiment.profiles import PROFILES
from pebench.suite.proofs.certificate import (
    CHECKS,
    LENGTH,
    LONGEST_TEXT,
    Check,
    CheckFunction,
    batch,
    cache_bytes,
    certify,
    compiles_whole,
    decodes_as_it_reads,
    each_part_changes_the_result,
    hides_the_future,
    keeps_precision_in_bf16,
    largest,
    learns_every_parameter,
    left_padding,
    model,
    moved_by,
    reach,
    reads_content,
    relative_range,
    run_check,
    says_what_it_is,
    shifted,
    stands_far_positions,
    stands_long_inputs,
    through_cache,
)
from pebench.suite.results.record import CERTIFICATE
from pebench.suite.runs.cell import Cell, run
from tests.walks import some
from tests.wrong_encodings import WRONG, DeclaresTooLittle, DeclaresTooMuch, DoesNotRun

TITLES = [check.__name__.replace("_", " ") for check in CHECKS]


# One for each kind of hook and kernel. The others are compiled, and tried far away, by `make test-walks` alone.
KINDS = (
    *(
        "nope",
        "learned_ape",
        "abacus",
        "randomized",
        "rope",
        "rope_pp",
        "grape_m_ctx",
        "hope",
        "repo",
        "drope",
    ),
    *("alibi", "fox", "t5_bias", "fire", "grape_ap", "cope", "path", "stick_breaking", "shaw", "dape"),
    *("tra", "asentmax", "kv_shift", "canon", "rnope"),
)
FAR = (relative_range, stands_far_positions, keeps_precision_in_bf16, stands_long_inputs, decodes_as_it_reads)
UNCOMPILED = [check for check in CHECKS if check is not compiles_whole]


def failed(name: str, cls: type[Encoding], checks: Iterable[CheckFunction]) -> list[Check]:
    return [done for check in checks if not (done := run_check(check, name, cls, 0)).passed]


# A certificate of these takes several times as long as of any other.
SLOW = {"asentmax", "dape", "dape_v2"}


@pytest.mark.parametrize("name", some(names(), *sorted(set(names()) - SLOW)))
def test_the_certificate_holds(name: str) -> None:
    assert not failed(*resolve(name), [check for check in UNCOMPILED if check not in FAR])


@pytest.mark.parametrize("name", some(names(), *KINDS))
def test_the_certificate_holds_far_away_and_in_bfloat16(name: str) -> None:
    assert not failed(*resolve(name), FAR)


@pytest.mark.parametrize(
    "name", some(names(), "alibi", "canon", "cope", "fire", "fox", "grape_ap", "path", "randomized", "rope")
)
def test_it_compiles_whole(name: str) -> None:
    assert not failed(*resolve(name), [compiles_whole])


class HalfOpenTRA(TRA):
    """TRA with its authors' gates, at one half at first."""

    def __init__(self, shape: Shape):
        super().__init__(shape)
        nn.init.zeros_(self.gate_bias)


def test_a_threshold_with_gates_at_one_half_loses_too_much_in_bf16() -> None:
    assert not keeps_precision_in_bf16(HalfOpenTRA, 0).passed
    assert keeps_precision_in_bf16(TRA, 0).passed


# A trained DroPE has no positions: it is NoPE, and tests/encodings say what it was before.
@pytest.mark.parametrize("name", sorted(set(names()) - {"nope", "drope"}))
def test_no_encoding_is_silent_while_it_is_checked(name: str) -> None:
    tokens = batch(1, LENGTH, 0)
    with torch.no_grad():
        assert largest(model(resolve(name)[1], 0)(tokens) - model(NoPE, 0)(tokens)) > 1e-3


@pytest.mark.parametrize("cls", WRONG, ids=lambda cls: cls.__name__)
def test_a_wrong_encoding_fails_the_checks_for_its_fault_and_no_other(cls: type[Encoding]) -> None:
    checks = CHECKS if "compiles whole" in WRONG[cls] else UNCOMPILED
    assert {check.name for check in failed("wrong", cls, checks)} == WRONG[cls]


def test_every_check_that_judges_is_failed_by_a_wrong_encoding() -> None:
    reported = {"left padding", "reads content", "cost of a cached token"}
    assert set().union(*WRONG.values()) == set(TITLES) - reported


@pytest.mark.parametrize(
    ("cls", "measured"),
    [(DeclaresTooLittle, "max_length 16"), (DeclaresTooMuch, "an exception"), (DoesNotRun, "an exception")],
)
def test_max_length_is_honest(cls: type[Encoding], measured: str) -> None:
    check = run_check(stands_long_inputs, "wrong", cls, 0)
    assert not check.passed
    assert check.measured == measured


def test_an_exception_is_a_failed_check_with_its_text() -> None:
    checks = certify("broken", DoesNotRun)
    assert [check.name for check in checks] == TITLES
    hidden = next(check for check in checks if check.name == "hides the future")
    assert not hidden.passed
    assert hidden.detail.startswith("broken raised RuntimeError: ")
    assert "\n" not in hidden.detail


BROKEN = '''
from pebench.encodings.base import Encoding, rotate

class Broken(Encoding):
    """Fails inside of torch, calls below its own line."""
    title, paper, family, formula = "Broken", "none", "none", "x"

    def qk(self, q, k, at):
        return rotate(q, at.pos[:3, None]), k
'''


def test_an_exception_is_told_with_the_line_of_the_encoding_s_file(tmp_path: Path) -> None:
    (tmp_path / "broken_here.py").write_text(BROKEN)
    cls = resolve(f"{tmp_path}/broken_here.py:Broken")[1]
    for tried in (cls, SSMax.over(cls), composition("x", (cls, ALiBi))):
        check = run_check(hides_the_future, "broken", tried, 0)
        assert "(broken_here.py, line 9, in qk: `return rotate(q, at.pos[:3, None]), k`)" in check.detail
        assert "\n" not in check.detail


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "`title` is to be set on the class"),
        ("  ", "`title` is to be set on the class"),
        (5, "`title` is to be set on the class, as a text"),
        ("a\nb", r"`title` holds '\n'"),
        ("a\x1b[2J", r"`title` holds '\x1b'"),
        ("a\u202eb", r"`title` holds '\u202e'"),
        ("a\u200bb", r"`title` holds '\u200b'"),
        ("a\ud800b", r"`title` holds '\ud800'"),
    ],
)
def test_a_text_that_no_page_can_show_is_refused(text: object, says: str) -> None:
    class Titled(NoPE):
        """Nothing."""

        title = text  # type: ignore[assignment]

    found = says_what_it_is(Titled, 0)
    assert not found.passed
    assert says in found.remedy


def test_a_family_is_one_of_those_that_are_listed() -> None:
    class Unknown(NoPE):
        """Nothing."""

        family = "rotations"  # type: ignore[assignment]

    assert "the families are none, absolute, multiplicative" in says_what_it_is(Unknown, 0).remedy


class Frozen(NoPE):
    """A rotation by a library's frozen parameters."""

    def __init__(self, shape: Shape):
        super().__init__(shape)
        self.frequencies = nn.Parameter(rope_frequencies(shape.head_dim), requires_grad=False)
        self.places = nn.Parameter(torch.arange(4), requires_grad=False)

    def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
        angle = at.place * self.frequencies
        return rotate(q, angle), rotate(k, angle)


def test_frozen_parameters_need_no_gradient_and_stay_as_they_are() -> None:
    found = learns_every_parameter(Frozen, 0)
    assert found.passed
    assert found.measured == "20 of 20 tensors"
    assert torch.equal(model(Frozen, 0).encoding.get_parameter("frequencies"), rope_frequencies(16))


def test_a_certificate_needs_no_docstrings() -> None:
    code = """if True:
        from pebench.encodings.registry import resolve
        from pebench.suite.proofs.certificate import CHECKS, run_check
        made = [run_check(check, *resolve("rope+fox+ssmax"), 0) for check in CHECKS[:2]]
        print(all(check.passed and check.detail for check in made) or made)
    """
    done = subprocess.run([sys.executable, "-OO", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"


@pytest.mark.parametrize(
    ("spec", "parts"),
    [
        ("rope+fox", "2 of 2"),
        ("rope+alibi+ssmax", "3 of 3"),
        ("rope", "no sum"),
        ("swan", "1 of 1"),
        ("rope@streaming", "1 of 1"),  # the same as rope up to the training length
        ("rope@yarn+logn", "2 of 2"),
        ("rope+learned_ape", "2 of 2"),  # defined up to the training length alone
    ],
)
def test_every_part_of_a_sum_is_tried_alone(spec: str, parts: str) -> None:
    found = each_part_changes_the_result(resolve(spec)[1], 0)
    assert found.passed
    assert found.measured.startswith(parts)


def test_a_modifier_that_does_nothing_here_is_told() -> None:
    found = each_part_changes_the_result(resolve("nope+randomized")[1], 0)
    assert not found.passed
    assert "the same without" in found.remedy
    assert "randomized positions" in found.remedy


@pytest.fixture(scope="module")
def made() -> list[Check]:
    torch.manual_seed(1)
    return certify("rope", RoPE, seed=3)


def test_a_certificate_is_plain_data(made: list[Check]) -> None:
    assert json.loads(json.dumps([asdict(check) for check in made]))[0]["passed"] is True
    assert all(check.detail.endswith((".", ":")) and check.measured and check.limit for check in made)


def test_a_certificate_is_the_same_every_time(made: list[Check]) -> None:
    torch.manual_seed(2)
    assert certify("rope", RoPE, seed=3) == made


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


@pytest.mark.parametrize(
    ("name", "reads"),
    [
        *(
            (name, False)
            for name in ("nope", "sinusoidal", "rope", "xpos", "alibi", "t5_bias", "fire", "ssmax")
        ),
        *((name, False) for name in ("swan", "grape_m_rank2", "rope+alibi")),
        *((name, True) for name in ("shaw", "fox", "cope", "path", "stick_breaking", "rope+fox")),
        *((name, True) for name in ("grape_m_ctx", "grape_a_q", "grape_a_k", "grape_ap", "grape_ap_v")),
    ],
)
def test_who_reads_the_content_is_measured(name: str, reads: bool) -> None:
    assert reads_content(resolve(name)[1], 0).facts == {"reads_content": reads}


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


def test_the_record_of_a_certificate_has_the_facts_of_badges(tmp_path: Path) -> None:
    badges = run(Cell("fox", CERTIFICATE, "SMOKE", 0), torch.device("cpu"), tmp_path).provenance["badges"]
    assert badges["kernel"] == "fused"
    assert badges["relative_range"] == {"float32": 2**20, "bfloat16": 2**20}
    assert badges["norm_preserving"] is False
    assert badges["streaming"] is True
    assert badges["max_length"] is None
    assert badges["left_padding"] is True
    assert (
        badges["cache"]["bytes_per_token"] > badges["cache"]["bytes_per_token"] / badges["cache"]["over_rope"]
    )
    json.dumps(badges, allow_nan=False)


@pytest.mark.parametrize(("name", "multiple"), [("learned_ape", 1), ("randomized", 16), ("rope", None)])
def test_how_long_a_text_may_be_is_told_in_training_lengths(name: str, multiple: float | None) -> None:
    assert stands_long_inputs(resolve(name)[1], 0).facts == {"max_length": multiple}


@pytest.mark.parametrize(
    ("name", "alike"), [("rope", True), ("fox", True), ("path", False), ("sinusoidal", False)]
)
def test_padding_is_felt_by_absolute_positions_and_by_what_reads_the_last_tokens(
    name: str, alike: bool
) -> None:
    assert left_padding(resolve(name)[1], 0).facts == {"left_padding": alike}


def test_a_relative_claim_holds_over_the_longest_text_of_the_profiles() -> None:
    """But for those of the PAPER profiles, as docs/scale.md says."""
    plans = [
        plan for name, p in PROFILES.items() if not name.startswith("PAPER") for plan in p.plans.values()
    ]
    longest = max(max(plan.multiples) * plan.recipe.length for plan in plans)
    assert longest <= LONGEST_TEXT
