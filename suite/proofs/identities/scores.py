"""Terms added to the logits: ALiBi, FoX, GRAPE-A, GRAPE-AP and the learned biases."""

import math
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from pebench.encodings import group
from pebench.encodings.alibi import ALiBi
from pebench.encodings.base import (
    alibi_slopes,
    distance,
    rope_frequencies,
)
from pebench.encodings.cable import CABLE
from pebench.encodings.compose import Composition, compose
from pebench.encodings.cope import CoPE
from pebench.encodings.dape import DAPE
from pebench.encodings.fire import FIRE
from pebench.encodings.fox import FoX
from pebench.encodings.grape_a import GrapeAPhase, GrapeAQ, GrapeAQK
from pebench.encodings.grape_ap import GrapeAP, GrapeAPStill
from pebench.encodings.kerple_log import KerpleLog
from pebench.encodings.kerple_power import KerplePower
from pebench.encodings.nape import NAPE
from pebench.encodings.rope import RoPE
from pebench.encodings.sandwich import Sandwich
from pebench.encodings.shaw import Shaw
from pebench.encodings.transformer_xl import TransformerXL
from pebench.suite.proofs.claims import (
    FLOAT32,
    FLOAT64,
    HERE,
    KEYS,
    POS,
    SHAPE,
    TOKENS,
    K,
    Q,
    X,
    apart,
    attention,
    claim,
    content,
    draw,
    from_actions,
    from_logits,
    make,
)


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
    reach = shaw.clip + 1
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
