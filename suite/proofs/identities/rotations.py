"""Rotations of q and k: RoPE, GRAPE-M and what turns, scales or extends them."""

import torch
from torch import Tensor
from torch.nn.functional import softplus

from pebench.encodings import group
from pebench.encodings.base import (
    At,
    distance,
    rope_frequencies,
    rotate,
)
from pebench.encodings.extension import extended, ntk
from pebench.encodings.grape_m import GrapeM, GrapeMContextual
from pebench.encodings.grape_m_basis import GrapeMBasis
from pebench.encodings.grape_m_noncommuting import GrapeMNoncommuting
from pebench.encodings.grape_m_rank2 import GrapeMRank2
from pebench.encodings.hope import HoPE
from pebench.encodings.p_rope import PRoPE
from pebench.encodings.partial_rope import PartialRoPE
from pebench.encodings.pope import PoPE
from pebench.encodings.randomized import Randomized
from pebench.encodings.rope import RoPE
from pebench.encodings.selective_rope import SelectiveRoPE
from pebench.encodings.xpos import XPos
from pebench.suite.proofs.claims import (
    FLOAT32,
    POS,
    SHAPE,
    K,
    Q,
    apart,
    attention,
    claim,
    draw,
    from_logits,
    make,
)


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
    "GRAPE, arXiv:2512.07805, llama-mha-grape-m-ctx.py of its code",
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
    "Extended by a factor of 1 (PI, NTK, YaRN, Llama 3, LongRoPE2, Self-Extend, DCA), RoPE is RoPE up to half of L",
    "arXiv:2306.15595, arXiv:2309.00071, arXiv:2401.01325, arXiv:2402.17463",
)
def an_extension_by_one_changes_nothing() -> float:
    rope = make(RoPE)
    methods = ("pi", "ntk", "yarn", "llama3", "longrope2", "self_extend", "dual_chunk")
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
