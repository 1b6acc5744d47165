"""Exact identities between encodings, measured: `pebench prove`.

Each claim compares two computations that theory says are equal, on random inputs: an encoding against
another one, or against the literal group action of `encodings/group.py`. Some claims are of what must not
hold: faults that are documented in papers or reference code. The tests assert over the same list.
"""

import itertools
import math
import platform
from collections.abc import Callable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Any, Literal, TypeVar, cast

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, pad, softplus

from pebench.encodings import group
from pebench.encodings.alibi import ALiBi
from pebench.encodings.bam import BAM
from pebench.encodings.base import (
    At,
    Encoding,
    Keys,
    Shape,
    alibi_slopes,
    distance,
    rope_frequencies,
    rotate,
    visible,
)
from pebench.encodings.cable import CABLE
from pebench.encodings.carope import CARoPE
from pebench.encodings.compose import Composition, compose
from pebench.encodings.cope import CoPE
from pebench.encodings.dape import DAPE
from pebench.encodings.darope import DaRoPE
from pebench.encodings.extension import METHODS, extended, ntk
from pebench.encodings.fire import FIRE
from pebench.encodings.fope import FoPE
from pebench.encodings.fox import FoX
from pebench.encodings.gape import GAPE
from pebench.encodings.grape_a import GrapeAPhase, GrapeAQ, GrapeAQK
from pebench.encodings.grape_ap import GrapeAP, GrapeAPStill
from pebench.encodings.grape_m import GrapeM, GrapeMContextual
from pebench.encodings.grape_m_basis import GrapeMBasis
from pebench.encodings.grape_m_noncommuting import GrapeMNoncommuting
from pebench.encodings.grape_m_rank2 import GrapeMRank2
from pebench.encodings.hope import HoPE
from pebench.encodings.kerple_log import KerpleLog
from pebench.encodings.kerple_power import KerplePower
from pebench.encodings.nape import NAPE
from pebench.encodings.nope import NoPE
from pebench.encodings.p_rope import PRoPE
from pebench.encodings.partial_rope import PartialRoPE
from pebench.encodings.path import PaTH, PaTHFoX
from pebench.encodings.pope import PoPE
from pebench.encodings.randomized import Randomized
from pebench.encodings.rnope import RNoPE
from pebench.encodings.rope import RoPE
from pebench.encodings.sandwich import Sandwich
from pebench.encodings.selective_rope import SelectiveRoPE
from pebench.encodings.shaw import Shaw
from pebench.encodings.ssmax import SSMax
from pebench.encodings.stick_breaking import StickBreaking
from pebench.encodings.streams import build, stream
from pebench.encodings.t5_bias import T5Bias
from pebench.encodings.transformer_xl import TransformerXL
from pebench.encodings.xpos import XPos
from pebench.suite.lm.attention import attended

E = TypeVar("E", bound=Encoding)
Precision = Literal["float32", "float64"]

FLOAT64 = 1e-12
"""Tolerance where both sides are computed in float64."""
FLOAT32 = 3e-6
"""Tolerance of attention weights, which lie in [0, 1], where an encoding computes in float32."""

SHAPE = Shape(layers=2, heads=4, head_dim=8, train_length=32)
TOKENS = 17


@dataclass(frozen=True)
class Identity:
    """One line of the table: two things that are equal up to rounding, or must not be (not `expected`)."""

    name: str
    statement: str
    source: str
    precision: Precision  # that both sides are computed in
    error: float  # the largest difference of any two numbers
    tolerance: float
    holds: bool
    expected: bool

    @property
    def proven(self) -> bool:
        """Whether it comes out as documented."""
        return self.holds == self.expected


@dataclass(frozen=True)
class Claim:
    """An identity before it is measured."""

    statement: str
    source: str
    measure: Callable[[], float]
    tolerance: float
    expected: bool

    @property
    def name(self) -> str:
        return self.measure.__name__.replace("_", " ")

    def check(self) -> Identity:
        """Measure it once, without gradients."""
        with torch.no_grad():
            error = self.measure()
        return Identity(
            name=self.name,
            statement=self.statement,
            source=self.source,
            precision="float64" if self.tolerance == FLOAT64 else "float32",
            error=error,
            tolerance=self.tolerance,
            holds=error <= self.tolerance,
            expected=self.expected,
        )


CLAIMS: list[Claim] = []


def prove() -> list[Identity]:
    """All identities, measured; takes some seconds."""
    return [claim.check() for claim in CLAIMS]


def document(identities: list[Identity]) -> dict[str, Any]:
    """The table as plain data, with the versions that it was measured with."""
    versions = {name: version(name) for name in ("pebench", "torch")}
    rows = [{**asdict(identity), "proven": identity.proven} for identity in identities]
    return {"versions": {**versions, "python": platform.python_version()}, "identities": rows}


Measure = Callable[[], float]


def claim(
    statement: str, source: str, tolerance: float = FLOAT32, expected: bool = True
) -> Callable[[Measure], Measure]:
    """Add a function that returns the largest difference of two sides to the table."""

    def add(measure: Measure) -> Measure:
        CLAIMS.append(Claim(statement, source, measure, tolerance, expected))
        return measure

    return add


def draw(*size: int, name: str = "", dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers that follow from the name and size."""
    rng = torch.Generator().manual_seed(stream(0, f"{name}:{size}"))
    return torch.randn(size, generator=rng, dtype=dtype)


def make(cls: type[E], moved: bool = True) -> E:
    """An encoding in evaluation mode, its parameters moved off their initial values unless told otherwise."""
    encoding = cast(E, build(cls, SHAPE).eval())
    for name, p in encoding.named_parameters():
        p.requires_grad_(False)
        if moved:
            p.add_(0.3 * draw(*p.shape, name=name))
    return encoding


Q, K, V = (draw(2, SHAPE.heads, TOKENS, SHAPE.head_dim, name=name) for name in "qkv")
X = draw(2, TOKENS, SHAPE.width, name="x")
POS = torch.arange(TOKENS)
HERE, KEYS = At.whole(0, X, V, POS), Keys(POS, POS)


def attention(encoding: Encoding, q: Tensor = Q, k: Tensor = K, x: Tensor = X, pos: Tensor = POS) -> Tensor:
    """The attention weights (B, H, T, T) of one layer, through the kernel that the encoding runs on."""
    unit = torch.eye(pos.shape[0]).expand(*q.shape[:2], -1, -1)  # values that read the weights off
    return attended(encoding, At.whole(0, x, V, pos), q, k, unit)


def from_logits(logits: Tensor) -> Tensor:
    """Causal softmax of logits (..., T, T)."""
    seen = visible(HERE, KEYS)
    return logits.masked_fill(~seen, -torch.inf).softmax(-1)


def from_actions(action: Callable[[int, int, int, int], Tensor]) -> Tensor:
    """Causal softmax of the paired scores of lifted Q and K under action(batch, head, i, j), in float64.

    q is scaled by 1/sqrt(d) before the lift, so that the additive part is not.
    """
    q, k = group.lift_query(Q.double() * SHAPE.scale), group.lift_key(K.double())
    logits = torch.zeros(2, SHAPE.heads, TOKENS, TOKENS, dtype=torch.float64)
    for b, h, i in itertools.product(range(2), range(SHAPE.heads), range(TOKENS)):
        for j in range(i + 1):
            logits[b, h, i, j] = group.paired_score(q[b, h, i], action(b, h, i, j), k[b, h, j])
    return from_logits(logits)


def content() -> Tensor:
    """The scaled dot products (2, H, T, T) of Q and K."""
    return Q @ K.mT * SHAPE.scale


def apart(a: Tensor, b: Tensor) -> float:
    """The largest difference."""
    return (a.double() - b.double()).abs().max().item()


def planes(count: int, name: str) -> tuple[Tensor, Tensor]:
    """Pairs of random vectors a, b (count, 8) in float64, neither orthogonal nor of unit length."""
    return draw(count, 8, name=f"{name} a", dtype=torch.float64), draw(
        count, 8, name=f"{name} b", dtype=torch.float64
    )


@claim(
    r"Rodrigues' formula is the matrix exponential of the rank-2 generator",
    "GRAPE, arXiv:2512.07805, section 2.3",
    FLOAT64,
)
def rodrigues_is_the_matrix_exponential() -> float:
    a, b = planes(5, "rodrigues")
    return max(
        apart(group.rodrigues(u, v, angle), torch.linalg.matrix_exp(angle * group.plane_generator(u, v)))
        for u, v, angle in zip(a, b, (0.001, 0.3, 1.0, -2.0, 0.7), strict=True)
    )


@claim("Inner products alone apply exp(nL), in O(d)", "GRAPE, arXiv:2512.07805, appendix I", FLOAT64)
def the_fast_application_is_the_matrix() -> float:
    a, b = planes(5, "fast")
    x = draw(8, name="fast", dtype=torch.float64)
    return max(
        apart(group.turn_in_plane(u, v, n, x), group.rodrigues(u, v, n) @ x)
        for n, (u, v) in enumerate(zip(a, b, strict=True), start=-2)
    )


@claim("G(n + m) = G(n) G(m) for the rank-2 action", "GRAPE, arXiv:2512.07805, section 2.5", FLOAT64)
def positions_add_up_to_products() -> float:
    (a,), (b,) = planes(1, "law")
    pairs = [(3.0, 4.0), (-2.0, 7.0), (0.5, 0.25)]
    return max(
        apart(group.rodrigues(a, b, n + m), group.rodrigues(a, b, n) @ group.rodrigues(a, b, m))
        for n, m in pairs
    )


@claim("G(n)^T G(n) = I: multiplicative GRAPE keeps norms", "GRAPE, arXiv:2512.07805, section 2.5", FLOAT64)
def the_rank_2_action_is_orthogonal() -> float:
    (a,), (b,) = planes(1, "norm")
    action = group.rodrigues(a, b, 5.0)
    return apart(action.mT @ action, torch.eye(8))


@claim(
    "G(n + m) = G(n) G(m) for unipotent lifts in GL(d+1) and GL(d+2)",
    "GRAPE, arXiv:2512.07805, section 4.1",
    FLOAT64,
)
def unipotent_actions_add_up() -> float:
    lifts = [
        group.translation_generator(draw(8, name="u", dtype=torch.float64)),
        group.decay_generator(8, 0.3),
    ]
    return max(
        apart(group.unipotent(lift, 9), group.unipotent(lift, 4) @ group.unipotent(lift, 5)) for lift in lifts
    )


@claim(
    "(I + nA) [x; 1] = [x + n u; 1]: the (d+1)-lift is a translation",
    "GRAPE, arXiv:2512.07805, eq. 4.1",
    FLOAT64,
)
def the_smaller_lift_translates() -> float:
    shift, x = draw(2, 8, name="translate", dtype=torch.float64)
    moved = group.unipotent(group.translation_generator(shift), 3) @ pad(x, (0, 1), value=1.0)
    return apart(moved, pad(x + 3 * shift, (0, 1), value=1.0))


@claim("exp of L = E L_r E^T is I + E (exp(L_r) - I) E^T", "GRAPE, arXiv:2512.07805, appendix D", FLOAT64)
def a_thin_generator_exponentiates_in_its_subspace() -> float:
    thin = torch.linalg.qr(draw(8, 4, name="thin", dtype=torch.float64)).Q
    skew = draw(4, 4, name="skew", dtype=torch.float64)
    skew = skew - skew.mT
    small = torch.linalg.matrix_exp(3 * skew) - torch.eye(4)
    return apart(torch.linalg.matrix_exp(3 * thin @ skew @ thin.mT), torch.eye(8) + thin @ small @ thin.mT)


@claim(
    "In 2-D and 3-D, positions on disjoint planes add up to products of actions",
    "GRAPE, arXiv:2512.07805, appendix G",
    FLOAT64,
)
def grid_positions_on_disjoint_planes_commute() -> float:
    axes = torch.eye(8, dtype=torch.float64)
    worst = 0.0
    for dimensions in (2, 3):
        generators = [group.plane_generator(axes[2 * n], axes[2 * n + 1]) for n in range(dimensions)]
        one, two = [1.0, 2.0, 3.0][:dimensions], [0.5, -4.0, 2.0][:dimensions]
        both = [u + v for u, v in zip(one, two, strict=True)]
        product = group.grid_action(generators, one) @ group.grid_action(generators, two)
        worst = max(worst, apart(group.grid_action(generators, both), product))
    return worst


@claim(
    "The product of rotations in planes that are not orthogonal is the exponential of the sum",
    "linear algebra, against appendix G of GRAPE read without care",
    FLOAT64,
    False,
)
def planes_in_general_position_commute() -> float:
    (a, c), (b, e) = planes(2, "skewed")
    first, second = group.plane_generator(a, b), group.plane_generator(c, e)
    return apart(group.grid_action([first, second], [1.0, 1.0]), torch.linalg.matrix_exp(first + second))


@claim(
    "RoPE = exp(n L) of the sum of d/2 canonical commuting plane generators",
    "GRAPE, arXiv:2512.07805, section 3.1",
)
def rope_is_grape_m_on_canonical_planes() -> float:
    generator = group.canonical_generator(rope_frequencies(SHAPE.head_dim).double())
    action = torch.linalg.matrix_exp(POS[:, None, None] * generator)  # (T, d, d)
    q, k = ((action @ x.double()[..., None])[..., 0] for x in (Q, K))
    return apart(attention(make(RoPE)), from_logits(q @ k.mT * SHAPE.scale))


@claim(
    "GRAPE-M with learned frequencies starts as RoPE",
    "GRAPE, arXiv:2512.07805, section 3.1 and reference code",
)
def grape_m_starts_as_rope() -> float:
    return apart(attention(make(GrapeM, moved=False)), attention(make(RoPE)))


@claim("GRAPE-M in a basis E = RoPE of qE and kE", "GRAPE, arXiv:2512.07805, algorithm 1")
def grape_m_in_a_basis_is_rope_of_turned_vectors() -> float:
    encoding = make(GrapeMBasis)
    basis = encoding.basis(0)
    angle = POS[:, None] * encoding.log_frequencies[0][:, None].exp()
    q, k = rotate(Q @ basis, angle), rotate(K @ basis, angle)
    return max(
        apart(attention(encoding), from_logits(q @ k.mT * SHAPE.scale)), apart(basis @ basis.mT, torch.eye(8))
    )


@claim(
    "Rank-2 GRAPE-M of the encoding = the literal exponential of its generator",
    "GRAPE, arXiv:2512.07805, section 2.3",
)
def grape_m_rank_2_is_its_generator() -> float:
    encoding = make(GrapeMRank2)
    a, b = (axis[..., 0].double() for axis in encoding.axes(0))
    generator = torch.stack([group.plane_generator(u, v) for u, v in zip(a, b, strict=True)])  # (H, d, d)
    speed = encoding.log_frequencies[0].exp().double()[:, None, None, None]
    action = torch.linalg.matrix_exp(speed * POS[:, None, None] * generator[:, None])  # (H, T, d, d)
    q, k = ((action @ x.double()[..., None])[..., 0] for x in (Q, K))
    return apart(attention(encoding), from_logits(q @ k.mT * SHAPE.scale))


@claim(
    "Rank-2 GRAPE-M on the plane (e_0, e_{d/2}) = p-RoPE with one plane",
    "GRAPE, arXiv:2512.07805, section 3.1; p-RoPE, arXiv:2410.06205",
)
def grape_m_rank_2_on_a_canonical_plane_is_p_rope() -> float:
    encoding, other = make(GrapeMRank2), make(RoPE)
    encoding.plane.zero_()
    encoding.plane[..., 1, 0] = encoding.plane[..., 0, SHAPE.head_dim // 2] = 1.0
    encoding.log_frequencies.zero_()
    other.frequencies[1:] = 0.0
    return apart(attention(encoding), attention(other))


@claim(
    "Non-commuting GRAPE-M = partial RoPE in the learned subspace of its Schur form",
    "GRAPE, arXiv:2512.07805, appendix D, by the real Schur form",
)
def grape_m_noncommuting_is_partial_rope_in_a_subspace() -> float:
    encoding = make(GrapeMNoncommuting)
    rank = encoding.generator.shape[-1]
    schur = torch.linalg.qr(draw(SHAPE.heads, rank, rank, name="schur")).Q
    frequencies = torch.tensor([0.9, 0.2])
    canonical = group.canonical_generator(frequencies)
    encoding.generator[0] = (schur @ canonical @ schur.mT).tril(-1)
    subspace = torch.linalg.qr(encoding.subspace[0]).Q @ schur  # (H, d, r)
    angle = POS[:, None] * frequencies
    q, k = (x + (rotate(x @ subspace, angle) - x @ subspace) @ subspace.mT for x in (Q, K))
    return apart(attention(encoding), from_logits(q @ k.mT * SHAPE.scale))


@claim(
    "Contextual GRAPE-M with a constant step c = RoPE with frequencies c theta",
    "GRAPE, arXiv:2512.07805, section 3",
)
def a_constant_clock_is_rope() -> float:
    encoding, other = make(GrapeMContextual, moved=False), make(RoPE)
    other.frequencies *= encoding.step(encoding.step_bias[0]).mean()
    return apart(attention(encoding), attention(other))


@claim("Selective RoPE with steps of one = RoPE with base 500,000", "Selective RoPE, arXiv:2511.17388")
def selective_rope_with_unit_steps_is_rope() -> float:
    class Ticking(SelectiveRoPE):
        def step(self, x: Tensor, layer: int, memory: dict[str, Tensor]) -> Tensor:
            return torch.ones(*x.shape[:2], x.shape[-1] // 2)

    other = make(RoPE)
    other.frequencies.copy_(rope_frequencies(SHAPE.head_dim, 500_000.0))
    return apart(attention(make(Ticking)), attention(other))


@claim(
    "Rotating by -theta is RoPE of q and k with the second half of their channels negated",
    "GRAPE and modded-nanogpt reference code",
)
def rotating_backwards_is_a_reflection() -> float:
    backwards, sign = make(RoPE), torch.tensor([1.0, -1.0]).repeat_interleave(SHAPE.head_dim // 2)
    backwards.frequencies.neg_()
    return apart(attention(backwards), attention(make(RoPE), Q * sign, K * sign))


@claim(
    "Rotating by -theta, as some code does, gives the same scores by itself",
    "GRAPE and modded-nanogpt reference code",
    FLOAT32,
    False,
)
def the_direction_of_rotation_does_not_matter() -> float:
    backwards = make(RoPE)
    backwards.frequencies.neg_()
    return apart(attention(backwards), attention(make(RoPE)))


@claim(
    "Interleaved pairs (2m, 2m+1) are half-split pairs (m, m + d/2) of permuted channels",
    "RoFormer, arXiv:2104.09864, against GPT-NeoX's layout",
)
def the_layout_of_planes_is_a_permutation() -> float:
    angle = POS[:, None] * rope_frequencies(SHAPE.head_dim)

    def interleaved(x: Tensor) -> Tensor:
        turned = torch.view_as_complex(x.unflatten(-1, (-1, 2))) * torch.polar(torch.ones_like(angle), angle)
        return torch.view_as_real(turned).flatten(-2)

    order = torch.arange(SHAPE.head_dim).unflatten(0, (2, -1)).mT.flatten()  # 0, d/2, 1, d/2 + 1 ...
    q, k = (interleaved(x[..., order]) for x in (Q, K))
    return apart(attention(make(RoPE)), from_logits(q @ k.mT * SHAPE.scale))


@claim(
    "p-RoPE that keeps as many planes as HoPE is HoPE; partial RoPE of all channels is RoPE",
    "arXiv:2410.06205, arXiv:2410.21216, GPT-NeoX",
)
def truncations_of_rope_meet() -> float:
    hope = make(HoPE)

    class Kept(PRoPE):
        share = int((hope.frequencies > 0).sum()) / hope.frequencies.shape[0]

    class Whole(PartialRoPE):
        share = 1.0

    return max(
        apart(attention(make(Kept)), attention(hope)), apart(attention(make(Whole)), attention(make(RoPE)))
    )


@claim(
    "xPos without decay is RoPE; with it, each plane's product is decay^(i-j) times RoPE's",
    "xPos, arXiv:2212.10554",
)
def xpos_is_rope_times_a_decay() -> float:
    flat, encoding = make(XPos), make(XPos)
    flat.decay.fill_(1.0)
    angle = POS[:, None] * encoding.frequencies
    q, k = rotate(Q, angle), rotate(K, angle)
    fading = encoding.decay ** (distance(POS, POS)[..., None] / encoding.scale_base)  # (T, T, d)
    logits = torch.einsum("bhic,bhjc,ijc->bhij", q, k, fading) * SHAPE.scale
    return max(apart(attention(flat), attention(make(RoPE))), apart(attention(encoding), from_logits(logits)))


@claim("PoPE's folded dot product is its sum of cosines", "PoPE, arXiv:2509.10534")
def pope_is_a_sum_of_cosines() -> float:
    encoding = make(PoPE)
    turn = (POS - POS[:, None])[None, ..., None] * encoding.frequencies + encoding.phase[0][
        :, None
    ]  # (H, T, T, d)
    logits = torch.einsum("bhic,bhjc,hijc->bhij", softplus(Q), softplus(K), turn.cos()) * SHAPE.scale
    return apart(attention(encoding), from_logits(logits))


@claim(
    "Extended by a factor of 1, with any method but ReRoPE, RoPE is RoPE up to half the training length",
    "arXiv:2306.15595, arXiv:2309.00071, arXiv:2401.01325, arXiv:2402.17463",
)
def an_extension_by_one_changes_nothing() -> float:
    rope = make(RoPE)
    methods = [method for method in METHODS if method != "rerope"]  # its window does not follow the factor
    return max(apart(attention(extended(rope, method, 1.0)), attention(rope)) for method in methods)


@claim("NTK by a factor s is RoPE with base b s^(d/(d-2))", "bloc97, 2023; arXiv:2309.00071", 1e-6)
def ntk_is_a_larger_base() -> float:
    larger = 10_000.0 * 4 ** (128 / 126)
    return apart(ntk(rope_frequencies(128), 4.0, 1024), rope_frequencies(128, larger))


@claim("Randomised positions drawn from a range of their own number are the positions", "arXiv:2305.16843")
def a_full_draw_of_positions_is_no_draw() -> float:
    class Full(Randomized):
        span = reach = 1

    index = torch.arange(SHAPE.train_length)

    return apart(make(Full).train().positions(index, index[None], {}), index)


@claim(
    "A rotation followed by a learned gain per channel (GRAPE reference code) keeps the relative law",
    "GRAPE reference code, llama-mha-rope.py",
    FLOAT32,
    False,
)
def a_gain_after_the_rotation_keeps_the_relative_law() -> float:
    gain = 1 + 0.3 * draw(2, SHAPE.head_dim, name="gain")

    class GainAfter(RoPE):
        def qk(self, q: Tensor, k: Tensor, at: At) -> tuple[Tensor, Tensor]:
            q, k = super().qk(q, k, at)
            return q * gain[0], k * gain[1]

    encoding = make(GainAfter)
    return apart(attention(encoding), attention(encoding, pos=POS + 100))


@claim("The same gain before the rotation keeps it", "GRAPE, arXiv:2512.07805, section 2.5", 2e-5)
def a_gain_before_the_rotation_keeps_the_relative_law() -> float:
    gain = 1 + 0.3 * draw(2, SHAPE.head_dim, name="gain")
    q, k, rope = Q * gain[0], K * gain[1], make(RoPE)
    return apart(attention(rope, q, k), attention(rope, q, k, pos=POS + 100))


@claim(
    "ALiBi = the paired score under literal unipotent matrices in GL(d+2)",
    "GRAPE, arXiv:2512.07805, section 4; ALiBi, arXiv:2108.12409",
)
def alibi_is_a_unipotent_action() -> float:
    slopes = alibi_slopes(SHAPE.heads).tolist()
    generators = [group.decay_generator(SHAPE.head_dim, slope) for slope in slopes]
    return apart(
        attention(make(ALiBi)), from_actions(lambda b, h, i, j: group.unipotent(generators[h], j - i))
    )


@claim(
    "FoX = the paired score under the product of one unipotent matrix for each token passed",
    "GRAPE, arXiv:2512.07805, section 5; FoX, arXiv:2503.02130",
)
def fox_is_a_path_of_unipotent_factors() -> float:
    encoding = make(FoX)
    gates = logsigmoid(X @ encoding.weight[0].mT + encoding.gate_bias[0]).double()  # (B, T, H)

    def action(b: int, h: int, i: int, j: int) -> Tensor:
        return group.path_action(gates[b, j + 1 : i + 1, h], SHAPE.head_dim)

    return apart(attention(encoding), from_actions(action))


@claim(
    "GRAPE-A-QK = the paired score under literal unipotent matrices with both gates",
    "GRAPE, arXiv:2512.07805, section 4.1",
)
def grape_a_is_a_gated_unipotent_action() -> float:
    encoding = make(GrapeAQK)
    by_query = encoding.gated_slope(Q, encoding.query_gate, 0)[..., 0].double()
    by_key = encoding.gated_slope(K, encoding.key_gate, 0)[..., 0].double()

    def action(b: int, h: int, i: int, j: int) -> Tensor:
        return group.unipotent(
            group.decay_generator(SHAPE.head_dim, by_query[b, h, i] + by_key[b, h, j]), j - i
        )

    return apart(attention(encoding), from_actions(action))


@claim(
    "RoPE + ALiBi = the paired score under one block-diagonal action in GL(d+2)",
    "GRAPE, arXiv:2512.07805, appendix E",
)
def a_rotation_times_a_decay_is_one_action() -> float:
    slopes = alibi_slopes(SHAPE.heads).tolist()
    generator = group.canonical_generator(rope_frequencies(SHAPE.head_dim).double())
    rotations = {n: torch.linalg.matrix_exp(n * generator) for n in range(-TOKENS, 1)}

    def action(b: int, h: int, i: int, j: int) -> Tensor:
        return group.joint_action(rotations[j - i], slopes[h], j - i)

    return apart(attention(make(compose("rope+alibi"))), from_actions(action))


@claim(
    "With +n w in its upper right corner, as appendix E prints it, the joint action scores no bias at all",
    "GRAPE, arXiv:2512.07805, appendix E",
    FLOAT64,
)
def the_printed_joint_generator_scores_nothing() -> float:
    printed = group.unipotent(-group.decay_generator(SHAPE.head_dim, 0.5).mT, -7)
    q, k = (draw(SHAPE.head_dim, name=name, dtype=torch.float64) for name in "qk")
    return apart(group.paired_score(group.lift_query(q), printed, group.lift_key(k)), q @ k)


@claim(
    "With I + psi E, as appendix C prints it, the path product is FoX",
    "GRAPE, arXiv:2512.07805, appendix C",
    FLOAT64,
    False,
)
def the_printed_path_product_is_fox() -> float:
    steps = logsigmoid(draw(5, name="steps", dtype=torch.float64))
    printed = group.path_action(-steps, SHAPE.head_dim)
    q, k = (draw(SHAPE.head_dim, name=name, dtype=torch.float64) for name in "qk")
    return apart(group.paired_score(group.lift_query(q), printed, group.lift_key(k)), q @ k + steps.sum())


@claim(
    "ALiBi = FoX with f = e^-m = KERPLE-power with p = 1 and a = m = NAPE with its slopes",
    "arXiv:2108.12409, arXiv:2503.02130, arXiv:2205.09921, arXiv:2506.16640",
)
def four_linear_decays_are_one() -> float:
    slopes = alibi_slopes(SHAPE.heads)
    fox, kerple, nape = make(FoX), make(KerplePower), make(NAPE)
    fox.weight.zero_()
    fox.gate_bias[:] = -slopes.expm1().log()  # sigmoid of it is e^-m
    kerple.raw_power.zero_()
    kerple.raw_rate.copy_(slopes.expm1().log())
    nape.slopes.copy_(slopes)
    return max(apart(attention(other), attention(make(ALiBi))) for other in (fox, kerple, nape))


@claim(
    "GRAPE-A with zero gates = ALiBi with slopes times ln 2, twice that with both gates",
    "GRAPE, arXiv:2512.07805, section 4",
)
def grape_a_without_gates_is_alibi() -> float:
    worst = 0.0
    for cls, times in ((GrapeAQ, 1), (GrapeAQK, 2)):
        encoding, alibi = make(cls, moved=False), make(ALiBi)
        for name, p in encoding.named_parameters():
            if name.endswith("gate"):
                p.zero_()
        alibi.slopes *= times * math.log(2)
        worst = max(worst, apart(attention(encoding), attention(alibi)))
    return worst


@claim(
    "Phase-modulated GRAPE-A starts as ALiBi, and is FoX with log f = -w step",
    "GRAPE, arXiv:2512.07805, section 5",
)
def phase_modulated_grape_a_is_fox() -> float:
    encoding = make(GrapeAPhase)
    step = softplus(X @ encoding.weight[0] + encoding.step_bias[0])[:, None]  # (B, 1, T)
    slope = (softplus(encoding.log_slope[0]) * encoding.slopes)[:, None]
    passed = (-slope * step).cumsum(-1)  # (B, H, T)
    literal = from_logits(content() + passed[..., None] - passed[..., None, :])
    start = apart(attention(make(GrapeAPhase, moved=False)), attention(make(ALiBi)))
    return max(start, apart(attention(encoding), literal))


@claim("GRAPE-AP with features at zero = ALiBi with slopes times ln 2", "GRAPE, arXiv:2512.07805, section 5")
def grape_ap_with_constant_edges_is_alibi() -> float:
    encoding, alibi = make(GrapeAP), make(ALiBi)
    encoding.weight.zero_()
    alibi.slopes *= math.log(2)
    return apart(attention(encoding), attention(alibi))


@claim(
    "GRAPE-AP with edges that do not depend on the query = FoX as a path of unipotent factors",
    "GRAPE, arXiv:2512.07805, section 5",
)
def grape_ap_with_shared_edges_is_fox() -> float:
    encoding = make(GrapeAPStill)
    features = draw(2, SHAPE.heads, TOKENS, encoding.features, name="features")
    query = draw(SHAPE.heads, 1, encoding.features, name="query").expand_as(features)
    steps = logsigmoid((features * query).sum(-1) / encoding.features) * encoding.slopes[:, None]
    weights = encoding.weights(Q, K, HERE._replace(columns=query), KEYS._replace(columns=features))

    def action(b: int, h: int, i: int, j: int) -> Tensor:
        return group.path_action(steps[b, h, j + 1 : i + 1].double(), SHAPE.head_dim)

    return apart(weights, from_actions(action))


@claim(
    "GRAPE-AP, which turns the key side only, stays as it is under a shift of all positions",
    "GRAPE, arXiv:2512.07805, eq. 5.1 and reference code",
    FLOAT32,
    False,
)
def grape_ap_with_rotation_is_relative() -> float:
    encoding = make(GrapeAP)
    return apart(attention(encoding), attention(encoding, pos=POS + 1))


@claim("CABLE with steps of 1 and ALiBi's slopes as weights is ALiBi", "arXiv:2503.08067, section 3")
def cable_of_equal_steps_is_alibi() -> float:
    alibi, cable = make(ALiBi), make(CABLE)
    x = X.clone()
    x[..., 0] = 1.0
    for parameter in (cable.step, cable.weigh):
        parameter.zero_()
    cable.step[..., 0] = 1.0
    cable.weigh[..., 0] = alibi.slopes.expm1().log()
    return apart(attention(alibi), attention(cable, x=x))


@claim(
    "M x A: with no decay the product is M, with no rotation it is A", "GRAPE, arXiv:2512.07805, appendix E"
)
def a_composition_contains_its_parts() -> float:
    still, plain = (cast(Composition, make(compose("rope+alibi"))) for _ in range(2))
    cast(ALiBi, still.parts[1]).slopes.zero_()
    cast(RoPE, plain.parts[0]).frequencies.zero_()
    return max(
        apart(attention(still), attention(make(RoPE))), apart(attention(plain), attention(make(ALiBi)))
    )


@claim(
    "FIRE with a linear MLP of slope -p ln(1 + cL) is KERPLE-log up to the threshold",
    "arXiv:2310.04418, arXiv:2205.09921",
)
def fire_contains_kerple_log() -> float:
    fire, kerple = make(FIRE), make(KerpleLog)
    power, rate = softplus(kerple.raw_power), softplus(kerple.raw_rate)
    kerple.raw_rate.fill_(kerple.raw_rate[0])  # FIRE has one rate for all heads
    fire.rate.fill_(rate[0])
    fire.threshold.fill_(4.0)  # quarters of the training length
    first, first_bias, second, second_bias = fire.mlps[0].parameters()
    for p in (first, first_bias, second, second_bias):
        p.zero_()
    first[0] = 1.0
    second[:, 0] = -power * (torch.log1p(rate[0] * SHAPE.train_length) + 1e-6)
    return apart(attention(fire), attention(kerple))


@claim("FIRE's bias is a function of i - j while i is below the threshold", "FIRE, arXiv:2310.04418")
def fire_is_relative_up_to_its_threshold() -> float:
    fire = make(FIRE)
    fire.threshold.fill_(4.0)  # quarters of the training length, 32 tokens
    bias = fire.bias(HERE, KEYS)
    return apart(bias[:, 1:, 1:].tril(), bias[:, :-1, :-1].tril())


@claim(
    "FIRE's bias is a function of i - j beyond the threshold too", "FIRE, arXiv:2310.04418", FLOAT32, False
)
def fire_is_relative_beyond_its_threshold() -> float:
    fire, far = make(FIRE), torch.arange(3 * SHAPE.train_length)
    fire.threshold.fill_(1.0)
    bias = fire.bias(HERE._replace(pos=far), KEYS._replace(pos=far))
    return apart(bias[:, 1:, 1:].tril(), bias[:, :-1, :-1].tril())


@claim(
    "Sandwich is the inner product of the sinusoids of i and j, up to a constant",
    "Sandwich, arXiv:2212.10356",
)
def sandwich_is_an_inner_product_of_sinusoids() -> float:
    frequencies = 10_000.0 ** (-2 * torch.arange(1, 65, dtype=torch.float64) / 128)
    cosines = (distance(POS, POS)[..., None].double() * frequencies).cos().sum(-1) - 64
    ratio = SHAPE.heads / (8.0 * torch.arange(1, SHAPE.heads + 1))[:, None, None]
    return apart(attention(make(Sandwich)), from_logits(content() + ratio * cosines))


@claim(
    "Transformer-XL's split of sinusoids is the sinusoid of the distance", "Transformer-XL, arXiv:1901.02860"
)
def transformer_xl_reads_the_distance() -> float:
    encoding = make(TransformerXL)
    angle = (POS[:, None] - POS)[..., None] * encoding.frequencies
    sinusoids = torch.cat([angle.sin(), angle.cos()], dim=-1)  # (T, T, D)
    position = torch.einsum("bhic,hcw,ijw->bhij", Q + encoding.position, encoding.weight[0], sinusoids)
    literal = from_logits(((Q + encoding.content) @ K.mT + position) * SHAPE.scale)
    return apart(attention(encoding), literal)


@claim("CoPE with all gates open is Shaw's key table at distance + 1", "arXiv:2405.18719, arXiv:1803.02155")
def cope_with_open_gates_is_shaw() -> float:
    cope, shaw = make(CoPE), make(Shaw)
    reach = Shaw.clip + 1
    cope.table[:, 1 : reach + 1] = shaw.table
    cope.table[:, :, 0] = shaw.table[:, :, 0] = 0.0
    q, k = Q.clone(), torch.zeros_like(K)
    q[..., 0] = k[..., 0] = 8.0  # sigmoid(64 / sqrt d) is 1 in float32, and all keys gain the same
    return apart(attention(cope, q, k), attention(shaw, q, k))


@claim("DAPE whose MLP gives zero is KERPLE-log", "arXiv:2405.14722, arXiv:2205.09921")
def dape_without_its_mlp_is_kerple() -> float:
    dape = make(DAPE)
    for p in dape.mlps.parameters():
        p.zero_()
    kerple = make(KerpleLog)
    kerple.load_state_dict(dape.kerples[0].state_dict())
    return apart(attention(dape), attention(kerple))


def reflections(encoding: PaTH) -> tuple[Tensor, Tensor]:
    """w (2, H, T, d) and beta (2, H, T) of X in float64."""
    w, beta = encoding.planes(At.whole(0, X, V, POS)).double().tensor_split([SHAPE.head_dim], dim=-1)
    return w, beta[..., 0]


@claim(
    "PaTH by triangular solves, in chunks, = the product of Householder matrices, one after another",
    "PaTH, arXiv:2505.16381",
)
def path_is_a_product_of_householder_matrices() -> float:
    class Chunked(PaTH):
        chunk = 5

    encoding = make(Chunked)
    w, beta = reflections(encoding)
    eye = torch.eye(SHAPE.head_dim, dtype=torch.float64)
    factors = eye - beta[..., None, None] * w[..., :, None] * w[..., None, :]  # (B, H, T, d, d)
    logits = torch.zeros(2, SHAPE.heads, TOKENS, TOKENS, dtype=torch.float64)
    for i in range(TOKENS):
        q = Q[:, :, i].double() * SHAPE.scale
        for j in range(i, -1, -1):
            logits[:, :, i, j] = (q * K[:, :, j]).sum(-1)
            q = (factors[:, :, j] @ q[..., None])[..., 0]
    return apart(attention(encoding), from_logits(logits))


@claim(
    "PaTH by triangular solves = rewriting all cached keys at every token",
    "PaTH, arXiv:2505.16381, decoding in flash-linear-attention",
)
def path_is_rewriting_of_keys() -> float:
    encoding = make(PaTH)
    w, beta = reflections(encoding)
    keys, logits = K.double().clone(), torch.zeros(2, SHAPE.heads, TOKENS, TOKENS, dtype=torch.float64)
    for t in range(TOKENS):
        past, axis = keys[:, :, :t], w[:, :, t, :, None]
        keys[:, :, :t] = past - beta[:, :, t, None, None] * (past @ axis) * axis.mT
        logits[:, :, t] = (keys @ Q[:, :, t, :, None].double())[..., 0] * SHAPE.scale
    return apart(attention(encoding), from_logits(logits))


@claim(
    "A path of reflections at one plane is I - (1 - prod(1 - beta)) w w^T", "PaTH, arXiv:2505.16381", FLOAT64
)
def reflections_at_one_plane_collapse() -> float:
    w = draw(8, name="w", dtype=torch.float64)
    w = w / w.norm()
    beta = 2 * draw(6, name="beta", dtype=torch.float64).sigmoid()
    eye, plane = torch.eye(8, dtype=torch.float64), torch.outer(w, w)
    product = torch.linalg.multi_dot([eye - b * plane for b in beta])
    return apart(product, eye - (1 - (1 - beta).prod()) * plane)


@claim(
    "PaTH-FoX with beta = 0 is FoX, PaTH with beta = 0 is NoPE",
    "PaTH, arXiv:2505.16381; FoX, arXiv:2503.02130",
)
def path_without_reflections_is_its_rest() -> float:
    path, both, fox = make(PaTH), make(PaTHFoX), make(FoX)
    for encoding in (path, both):
        encoding.weight.zero_()
        encoding.gate_bias.fill_(-100.0)
    fox.load_state_dict(both.fox.state_dict())
    return max(apart(attention(path), attention(make(NoPE))), apart(attention(both), attention(fox)))


@claim("Stick-breaking at logits of zero gives 2^-(i-j)", "Stick-breaking, arXiv:2410.17980")
def stick_breaking_halves_the_rest() -> float:
    broken = attention(make(StickBreaking), torch.zeros_like(Q), K)
    before = distance(POS, POS) > 0
    return apart(broken, (0.5 ** distance(POS, POS) * before).expand_as(broken))


@claim(
    "Stick-breaking weights and what is left of the stick add up to one", "Stick-breaking, arXiv:2410.17980"
)
def a_broken_stick_keeps_its_length() -> float:
    before = distance(POS, POS) > 0
    left = logsigmoid(-content()).masked_fill(~before, 0.0).sum(-1).exp()
    return apart(attention(make(StickBreaking)).sum(-1) + left, torch.ones(()))


@claim(
    "SSMax with s = 1 / ln n gives the row of n keys as it is; over own weights it scales their logits",
    "SSMax, arXiv:2501.19399",
)
def ssmax_scales_logits() -> float:
    sharp, plain = make(SSMax), attention(make(RoPE))
    sharp.sharpness.fill_(1 / math.log(TOKENS))
    shaw, both = make(Shaw), cast(SSMax, make(compose("shaw+ssmax")))
    both.inner.load_state_dict(shaw.state_dict())
    factor = both.sharpness[0][:, None, None] * (POS + 1).log()[:, None]
    logits = attention(shaw).clamp(min=1e-30).log() * factor
    return max(
        apart(attention(sharp)[:, :, -1], plain[:, :, -1]), apart(attention(both), from_logits(logits))
    )


@claim("Layer patterns: all layers plain is NoPE, none is the encoding itself", "RNoPE, arXiv:2501.18795")
def layer_patterns_end_in_their_parts() -> float:
    class AllPlain(RNoPE):
        def is_plain(self, layer: int) -> bool:
            return True

    return max(
        apart(attention(make(AllPlain)), attention(make(NoPE))),
        apart(attention(make(RNoPE)), attention(make(RoPE))),  # layer 0 of 2 is not plain
    )


@claim("NoPE on a constant sequence attends evenly", "arXiv:2305.19466")
def nope_on_a_constant_sequence_is_uniform() -> float:
    q, k = (x[:, :, :1].expand_as(x) for x in (Q, K))
    even = visible(HERE, KEYS) / (POS[:, None] + 1)
    return apart(attention(make(NoPE), q, k), even.expand(2, SHAPE.heads, -1, -1))


ZEROED: dict[type[Encoding], tuple[str, float]] = {
    RoPE: ("frequencies", 0.0),
    GrapeM: ("slow_log_frequencies", -1600.0),
    GrapeMContextual: ("log_frequencies", -100.0),
    GrapeMRank2: ("log_frequencies", -100.0),
    GrapeMNoncommuting: ("generator", 0.0),
    SelectiveRoPE: ("conv", 0.0),
    ALiBi: ("slopes", 0.0),
    GrapeAQK: ("slopes", 0.0),
    GrapeAP: ("slopes", 0.0),
    KerpleLog: ("raw_power", -100.0),
    KerplePower: ("raw_rate", -100.0),
    T5Bias: ("table", 0.0),
    Shaw: ("table", 0.0),
    CoPE: ("table", 0.0),
}


@claim(
    "With its positional part at zero, each of RoPE, GRAPE-M (4), Selective RoPE, ALiBi, GRAPE-A, GRAPE-AP, "
    "KERPLE (2), T5, Shaw and CoPE is NoPE",
    "the formula of each",
)
def every_encoding_at_zero_is_nope() -> float:
    worst = 0.0
    for cls, (name, value) in ZEROED.items():
        encoding = make(cls)
        (dict(encoding.named_buffers()) | dict(encoding.named_parameters()))[name].fill_(value)
        worst = max(worst, apart(attention(encoding), attention(make(NoPE))))
    return worst


def basis_of(generator: Tensor) -> tuple[Tensor, Tensor]:
    """An orthogonal E (8, 8) and frequencies (4,) of a skew matrix, so that exp(t A) = E R(t theta) E^T, in float64."""
    values, vectors = torch.linalg.eigh(1j * generator)
    frequencies, vectors = values[4:], math.sqrt(2) * vectors[:, 4:]
    return torch.cat([vectors.real, vectors.imag], dim=-1), frequencies


def turned_by(generator: Tensor, q: Tensor = Q, k: Tensor = K) -> Tensor:
    """Attention weights of q and k, each turned by the exponential of its position times the generator (8, 8)."""
    turns = torch.linalg.matrix_exp(POS[:, None, None].double() * generator)  # (T, d, d)
    q, k = (torch.einsum("tcd,bhtd->bhtc", turns, x.double()) for x in (q, k))
    return from_logits(q @ k.mT * SHAPE.scale)


def in_a_basis(generator: Tensor) -> float:
    """How far turning by a generator is from RoPE of the frequencies and in the basis that belong to it."""
    basis, frequencies = basis_of(generator)
    rope = make(RoPE)
    rope.retune(frequencies.float())
    return apart(
        turned_by(generator), attention(rope, (Q.double() @ basis).float(), (K.double() @ basis).float())
    )


def skew(name: str) -> Tensor:
    """A random skew matrix (8, 8) of float64."""
    entries = 0.3 * draw(8, 8, name=name, dtype=torch.float64)
    return entries - entries.mT


@claim(
    "LieRE in one dimension is RoPE with learned frequencies in a learned basis, which is GRAPE-M",
    "arXiv:2406.10322",
)
def liere_in_one_dimension_is_grape_m() -> float:
    return in_a_basis(skew("liere"))


@claim(
    "ComRoPE in one dimension, of blocks of four channels, is RoPE in a learned basis",
    "arXiv:2506.03737, section 4",
)
def comrope_in_one_dimension_is_grape_m() -> float:
    return in_a_basis(skew("comrope") * torch.block_diag(torch.ones(4, 4), torch.ones(4, 4)))


def cayley(generator: Tensor) -> Tensor:
    """The orthogonal matrix (I - S)(I + S)^-1 of a skew matrix."""
    eye = torch.eye(8, dtype=generator.dtype)
    return torch.linalg.solve(eye + generator, eye - generator)


@claim(
    "STRING in one dimension, RoPE after a Cayley matrix P, is turning by P^T A P",
    "arXiv:2502.02562, section 4",
)
def string_in_one_dimension_is_grape_m() -> float:
    first = cayley(skew("string")).mT
    half = torch.diag(rope_frequencies(8).double())
    zero = torch.zeros_like(half)
    canonical = torch.cat([torch.cat([zero, -half], 1), torch.cat([half, zero], 1)])
    sides = [(x.double() @ first.mT).float() for x in (Q, K)]
    return apart(turned_by(first.mT @ canonical @ first), attention(make(RoPE), *sides))


@claim(
    "HARoPE with singular values of one is GRAPE-M", "HARoPE, from notes: a learned linear map before RoPE"
)
def orthogonal_harope_is_grape_m() -> float:
    return harope(torch.ones(8, dtype=torch.float64))


@claim(
    "HARoPE with any singular values keeps the norms of queries, as GRAPE-M does",
    "HARoPE, from notes: a learned linear map before RoPE",
    expected=False,
)
def harope_is_grape_m() -> float:
    return harope(torch.linspace(0.5, 2, 8, dtype=torch.float64))


def harope(singular: Tensor) -> float:
    """How far the norms of queries are changed by U diag(s) V^T and RoPE."""
    linear = cayley(skew("left")) @ torch.diag(singular) @ cayley(skew("right"))
    q = (Q.double() @ linear.mT).float()
    return apart(make(RoPE).qk(q, q, HERE)[0].norm(dim=-1), Q.norm(dim=-1))


@claim(
    "FoX's bias is x-transformers' data-dependent ALiBi: differences of summed log gates", "arXiv:2503.02130"
)
def fox_is_data_dependent_alibi() -> float:
    fox = make(FoX)
    gates = torch.nn.functional.linear(X, fox.weight[0], fox.gate_bias[0]).mT  # (B, H, T)
    total = logsigmoid(gates).cumsum(-1)
    return apart(attention(fox), from_logits(content() + total[..., None] - total[:, :, None]))


@claim("BAM of shape 1 at place 0 is ALiBi", "arXiv:2505.22842, lemma 2")
def bam_holds_alibi() -> float:
    return apart(attention(make(BAM, moved=False)), attention(make(ALiBi)))


@claim("BAM of shape 1 at another place is ALiBi", "arXiv:2505.22842, lemma 2", expected=False)
def displaced_bam_is_alibi() -> float:
    bam = make(BAM, moved=False)
    bam.middle.fill_(3.0)
    return apart(attention(bam), attention(make(ALiBi)))


@claim("BAM of scale 0 is NoPE", "arXiv:2505.22842, lemma 1")
def bam_holds_nope() -> float:
    bam = make(BAM)
    bam.log_rate.fill_(-torch.inf)
    return apart(attention(bam), attention(make(NoPE)))


@claim("BAM at place 0 is KERPLE's power kernel", "arXiv:2505.22842; arXiv:2205.09921")
def bam_at_its_query_is_kerple() -> float:
    bam, kerple = make(BAM), make(KerplePower)
    bam.middle.zero_()
    power = bam.log_power[0].exp()
    kerple.raw_power.copy_((power / 2).logit())
    kerple.raw_rate.copy_((bam.log_rate[0].exp() ** power).expm1().log())
    return apart(attention(bam), attention(kerple))


@claim(
    "CABLE without weights and with softplus for the ReLU is FoX with the signs of w turned",
    "arXiv:2503.08067, v1",
)
def soft_cable_is_fox() -> float:
    cable, fox = make(CABLE), make(FoX)
    fox.weight.copy_(-cable.step)
    fox.gate_bias.zero_()
    step = softplus(torch.nn.functional.linear(X, cable.step[0])).mT.cumsum(-1)
    return apart(attention(fox), from_logits(content() + step[:, :, None] - step[..., None]))


@claim(
    "CABLE as published, with weights of 1, is FoX with the signs of w turned",
    "arXiv:2503.08067",
    expected=False,
)
def cable_is_fox() -> float:
    cable, fox = make(CABLE), make(FoX)
    fox.weight.copy_(-cable.step)
    fox.gate_bias.zero_()
    x = X.clone()
    x[..., 0] = 1.0
    cable.weigh.zero_()
    cable.weigh[..., 0] = math.log(math.e - 1)  # softplus of it is 1
    return apart(attention(cable, x=x), attention(fox, x=x))


@claim("CARoPE of one frequency for all tokens is RoPE with its powers", "arXiv:2507.23083, section 3")
def steady_carope_is_rope() -> float:
    carope, rope = make(CARoPE), make(RoPE)
    carope.weight.zero_()
    rope.retune((1 / (1 + math.log(2))) ** torch.arange(1.0, 5.0))
    return apart(attention(carope), attention(rope))


@claim("DaRoPE at its initial values is RoPE up to the training length", "DaRoPE, from notes")
def darope_starts_as_rope() -> float:
    return apart(attention(make(DaRoPE, moved=False)), attention(make(RoPE)))


@claim("GAPE of closed landmarks, with equal query gates, is ALiBi", "arXiv:2605.10414, from notes")
def gape_without_landmarks_is_alibi() -> float:
    gape, alibi = make(GAPE, moved=False), make(ALiBi)
    gape.query_gate.zero_()
    gape.key_gate.zero_()
    alibi.slopes.mul_(math.log(2) / 2)  # both gates are even
    return apart(attention(gape), attention(alibi))


@claim("FoPE whose mix is the identity is HoPE", "arXiv:2412.17739, section 4; arXiv:2410.21216")
def unmixed_fope_is_hope() -> float:
    fope = make(FoPE)
    fope.mix.copy_(torch.eye(*fope.mix.shape[-2:]))
    return apart(attention(fope), attention(make(HoPE)))


@claim(
    "An imaginary head of RoPE++ is RoPE of a query turned back by a quarter", "arXiv:2512.07525, section 3"
)
def imaginary_heads_are_rope_of_turned_queries() -> float:
    rope = make(RoPE)
    a, b = Q.chunk(2, dim=-1)
    back = torch.cat([b, -a], dim=-1)
    angle = (POS[:, None] * rope.frequencies).double()
    cosine, sine = (torch.cat([x, x], dim=-1) for x in (angle.cos(), angle.sin()))

    def half(x: Tensor) -> Tensor:
        a, b = x.double().chunk(2, dim=-1)
        return torch.cat([-b, a], dim=-1)

    imaginary = Q * sine - half(Q) * cosine  # as OpenMOSS/rope_pp computes it
    key = K * cosine + half(K) * sine
    return apart(attention(rope, back), from_logits(imaginary @ key.mT * SHAPE.scale))
