"""The exact identities of the family, and numbers that the papers and reference codes give."""

import json

import pytest
import torch
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import softplus

from pebench.encodings import group
from pebench.encodings.base import At, Keys, Shape
from pebench.encodings.fire import FIRE
from pebench.encodings.fox import FoX
from pebench.encodings.hope import HoPE
from pebench.encodings.kerple_log import KerpleLog
from pebench.encodings.kerple_power import KerplePower
from pebench.encodings.nape import NAPE
from pebench.encodings.nope import NoPE
from pebench.encodings.partial_rope import PartialRoPE
from pebench.encodings.path import PaTH
from pebench.encodings.sandwich import Sandwich
from pebench.encodings.ssmax import SSMax
from pebench.encodings.streams import build
from pebench.encodings.swan import SWAN
from pebench.encodings.xpos import XPos
from pebench.leaderboard.app.screens.identities import TABLE
from pebench.suite.cli import prove_identities
from pebench.suite.lm.attention import attended
from pebench.suite.lm.model import LM, Size
from pebench.suite.proofs.prove import CLAIMS, HERE, K, Q, X, attention, document, make, prove

SIZE = Size(layers=2, width=32, heads=2, vocab=16)


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_the_identity_holds_or_fails_as_documented(claim):
    found = claim.check()
    assert found.holds == found.expected, f"{found.statement}: off by {found.error:.1e}"
    if not found.expected:  # it fails by far, not by rounding
        assert found.error > 100 * found.tolerance


def test_prove_measures_every_claim_once():
    table = document(prove())
    names = [row["name"] for row in table["identities"]]
    assert names == [claim.name for claim in CLAIMS]
    assert len(set(names)) == len(names)
    assert table["versions"]["torch"] == torch.__version__
    assert all(row["proven"] and row["statement"] and row["source"] for row in table["identities"])
    assert {(row["precision"], row["tolerance"] < 1e-9) for row in table["identities"]} == {
        ("float64", True),
        ("float32", False),
    }


def test_the_table_is_written_whole(tmp_path):
    with pytest.raises(typer.Exit) as ended:
        prove_identities(as_json=False, out=tmp_path / "table.json")
    assert ended.value.exit_code == 0
    assert len(json.loads((tmp_path / "table.json").read_text())["identities"]) == len(CLAIMS)


def test_the_app_s_page_is_in_step():
    rows = json.loads(TABLE.read_text())["identities"]
    shown = [(row["statement"], row["source"], row["tolerance"], row["expected"]) for row in rows]
    remedy = "pebench prove -o leaderboard/identities.json"
    assert shown == [(c.statement, c.source, c.tolerance, c.expected) for c in CLAIMS], remedy
    assert all(row["proven"] for row in rows)


vectors = st.lists(st.floats(-2, 2), min_size=4, max_size=4).map(
    lambda x: torch.tensor(x, dtype=torch.float64)
)
steps = st.floats(-20, 20)


@given(a=vectors, b=vectors, n=steps, m=steps)
@settings(deadline=None, max_examples=50)
def test_every_plane_obeys_the_group_law(a, b, n, m):
    if group.plane_speed(a, b) < 1e-2:
        a, b = torch.eye(4, dtype=torch.float64)[:2]  # nearly parallel vectors span no plane
    law = group.rodrigues(a, b, n) @ group.rodrigues(a, b, m)
    torch.testing.assert_close(group.rodrigues(a, b, n + m), law, rtol=0, atol=1e-9)


@given(q=vectors, k=vectors, i=st.integers(0, 50), j=st.integers(0, 50), shift=st.integers(0, 1000))
@settings(deadline=None, max_examples=50)
def test_the_joint_action_scores_by_distance_alone(q, k, i, j, shift):
    rotation = group.canonical_generator(torch.tensor([1.0, 0.1], dtype=torch.float64))

    def action(n: int) -> Tensor:
        return group.joint_action(torch.linalg.matrix_exp(n * rotation), 0.25, n)

    q, k = group.lift_query(q), group.lift_key(k)
    both = (action(i + shift) @ q) @ torch.linalg.inv(action(j + shift)).mT @ k
    torch.testing.assert_close(both, group.paired_score(q, action(j - i), k), rtol=0, atol=1e-6)


def test_a_generator_that_is_not_nilpotent_is_refused():
    with pytest.raises(ValueError, match="matrix_exp"):
        group.unipotent(torch.eye(3), 2)


def test_the_first_forget_gate_never_matters():
    encoding, x = build(FoX, Shape(1, 4, 8, 32)), X.clone().requires_grad_()
    (attention(encoding, x=x).cos().sum()).backward()
    assert x.grad is not None
    by_token = x.grad.abs().amax(dim=(0, 2))
    assert by_token[0] < 1e-5 * by_token[1]


def test_sandwich_has_the_papers_values():
    encoding = Sandwich(Shape(1, 8, 16, 32))
    far = torch.tensor([0, 99, 100])
    bias = encoding.bias(HERE._replace(pos=far[2:]), Keys(far, far))[:, 0]
    expected = torch.tensor([[-33.31891, -1.44662, 0.0], [-4.16486, -0.18083, 0.0]])
    torch.testing.assert_close(bias[[0, 7]], expected, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("head_dim", "length", "kept"),
    [(128, 512, 31), (128, 1024, 36), (128, 4096, 46), (64, 1024, 18), (64, 4096, 23)],
)
def test_hope_keeps_the_planes_that_turn_once(head_dim, length, kept):
    frequencies = HoPE(Shape(1, 1, head_dim, length)).frequencies
    assert (frequencies > 0).sum() == kept
    assert (frequencies[kept:] == 0).all()


def test_partial_rope_spaces_its_frequencies_over_the_rotated_width():
    encoding = PartialRoPE(Shape(1, 1, 64, 32))
    torch.testing.assert_close(encoding.frequencies, 10_000.0 ** (-torch.arange(0, 16, 2) / 16))


def test_nape_gives_half_the_heads_harmonic_slopes():
    assert NAPE(Shape(1, 8, 8, 32)).slopes.tolist() == pytest.approx([1, 1 / 2, 1 / 3, 1 / 4, 0, 0, 0, 0])


@pytest.mark.parametrize(("length", "start"), [(512, 0.1906), (1024, 0.1685), (2048, 0.1509), (4096, 0.1366)])
def test_ssmax_starts_at_an_average_of_one(length, start):
    assert SSMax(Shape(1, 1, 8, length)).sharpness.item() == pytest.approx(start, abs=5e-5)


def test_kerple_starts_in_the_ranges_of_its_code():
    shape = Shape(1, 1000, 8, 32)
    log, power = build(KerpleLog, shape), build(KerplePower, shape)
    for exponent, rate in (
        (softplus(log.raw_power), softplus(log.raw_rate)),
        (2 * power.raw_power.sigmoid(), softplus(power.raw_rate)),
    ):
        assert 0 < exponent.min() < 0.1 < 1.9 < exponent.max() <= 2
        assert 0 < rate.min() < 0.1 < 0.9 < rate.max() <= 1


def test_fire_never_meets_an_input_above_one():
    encoding, seen = build(FIRE, Shape(1, 2, 8, 32)), []
    encoding.mlps[0].register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    pos = torch.arange(500)
    encoding.bias(HERE._replace(pos=pos), Keys(pos, pos))
    assert seen[0].min() == 0
    assert 0.9 < seen[0].max() <= 1


def test_path_reflects_along_unit_vectors():
    encoding = make(PaTH)
    planes = encoding.columns(Q, K, HERE).k
    torch.testing.assert_close(planes[..., :8].norm(dim=-1), torch.ones(2, 4, 17))
    assert (planes[..., 8] > 0).all()
    assert (planes[..., 8] < 2).all()


def test_xpos_decodes_at_positions_where_its_factors_overflow():
    lm = LM(SIZE, XPos, 32, 0).eval()
    start = 1_000_000  # 3.5 ** (start / 512) is far beyond float32
    lm.encoding.positions = lambda index, tokens, memory: index + start
    tokens = torch.randint(16, (1, 40), generator=torch.Generator().manual_seed(0))
    cache = lm.cache()
    with torch.no_grad():
        parts = [lm(part, cache) for part in tokens.split([20, 1, 19], dim=1)]
        torch.testing.assert_close(torch.cat(parts, dim=1), lm(tokens), rtol=0, atol=1e-5)
    assert torch.cat(parts, dim=1).isfinite().all()


def test_xpos_forgets_keys_that_are_out_of_reach_instead_of_overflowing():
    encoding, pos, index = make(XPos), torch.tensor([0, 100_000, 200_000]), torch.arange(3)
    query = Q[:, :, 2:3]
    at = HERE._replace(order=index[2:], pos=pos[2:])
    weights = encoding.weights(query, K[:, :, :3], at, Keys(index, pos))
    alone = (query * K[:, :, 2:3]).sum(-1) * encoding.shape.scale  # products with the far keys are zero
    expected = torch.cat([torch.zeros_like(alone), torch.zeros_like(alone), alone], dim=-1).softmax(-1)
    torch.testing.assert_close(weights[:, :, 0], expected)


def test_swan_sees_all_in_its_first_layer_and_half_the_training_length_in_the_next():
    encoding, pos = make(SWAN), torch.arange(32)
    q, k = torch.randn(2, 1, 4, 32, 8, generator=torch.Generator().manual_seed(0))
    unit = torch.eye(32).expand(1, 4, -1, -1)  # values that read the weights off
    at = At.whole(1, torch.zeros(1, 32, 32), q, pos)
    windowed = attended(encoding, at, q, k, unit)
    assert ((windowed > 0) == ((pos[:, None] - pos >= 0) & (pos[:, None] - pos < 16))).all()
    assert encoding.bias(at._replace(layer=0), Keys(pos, pos)) is None


def test_nope_cannot_tell_positions_of_a_constant_sequence():
    lm = LM(SIZE, NoPE, 32, 0).eval()
    logits = lm(torch.full((1, 20), 3))
    torch.testing.assert_close(logits, logits[:, :1].expand_as(logits), rtol=0, atol=1e-5)
