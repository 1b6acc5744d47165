"""Attention weights as a whole: PaTH, stick-breaking, SSMax, layer patterns, and every encoding at zero."""

import math
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from pebench.encodings.alibi import ALiBi
from pebench.encodings.base import (
    At,
    Encoding,
    distance,
    visible,
)
from pebench.encodings.compose import compose
from pebench.encodings.cope import CoPE
from pebench.encodings.fox import FoX
from pebench.encodings.grape_a import GrapeAQK
from pebench.encodings.grape_ap import GrapeAP
from pebench.encodings.grape_m import GrapeM, GrapeMContextual
from pebench.encodings.grape_m_noncommuting import GrapeMNoncommuting
from pebench.encodings.grape_m_rank2 import GrapeMRank2
from pebench.encodings.kerple_log import KerpleLog
from pebench.encodings.kerple_power import KerplePower
from pebench.encodings.nope import NoPE
from pebench.encodings.path import PaTH, PaTHFoX
from pebench.encodings.rnope import RNoPE
from pebench.encodings.rope import RoPE
from pebench.encodings.selective_rope import SelectiveRoPE
from pebench.encodings.shaw import Shaw
from pebench.encodings.ssmax import SSMax
from pebench.encodings.stick_breaking import StickBreaking
from pebench.encodings.t5_bias import T5Bias
from pebench.suite.proofs.claims import (
    FLOAT64,
    HERE,
    KEYS,
    POS,
    SHAPE,
    TOKENS,
    K,
    Q,
    V,
    X,
    apart,
    attention,
    claim,
    content,
    draw,
    from_logits,
    make,
)


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
