"""Relations among recent encodings: how they contain RoPE, GRAPE-M, ALiBi, FoX and KERPLE, and how they do not."""

import math
from dataclasses import replace
from typing import cast

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, softplus

from pebench.encodings.alibi import ALiBi
from pebench.encodings.bam import BAM
from pebench.encodings.base import (
    rope_frequencies,
)
from pebench.encodings.cable import CABLE
from pebench.encodings.carope import CARoPE
from pebench.encodings.darope import DaRoPE
from pebench.encodings.fope import FoPE
from pebench.encodings.fox import FoX
from pebench.encodings.gape import GAPE
from pebench.encodings.grape_m_basis import GrapeMBasis
from pebench.encodings.hope import HoPE
from pebench.encodings.kerple_power import KerplePower
from pebench.encodings.nope import NoPE
from pebench.encodings.rope import RoPE
from pebench.encodings.rope_pp import RoPEPlusPlus
from pebench.encodings.streams import build
from pebench.encodings.tra import TRA
from pebench.suite.proofs.claims import (
    HERE,
    POS,
    SHAPE,
    K,
    Q,
    X,
    apart,
    attention,
    claim,
    content,
    draw,
    from_logits,
    make,
)


def basis_of(generator: Tensor) -> tuple[Tensor, Tensor]:
    """An orthogonal E (8, 8) and frequencies (4,) of a skew matrix, so that exp(t A) = E R(t theta) E^T, in float64."""
    values, vectors = torch.linalg.eigh(1j * generator)
    frequencies, vectors = values[4:], math.sqrt(2) * vectors[:, 4:]
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    vectors = (
        vectors * largest.conj() / largest.abs()
    )  # a phase of each is free, and differs between machines
    return torch.cat([vectors.real, vectors.imag], dim=-1), frequencies


def turned_by(generator: Tensor, q: Tensor = Q, k: Tensor = K) -> Tensor:
    """Attention weights of q and k, each turned by the exponential of its position times the generator (8, 8)."""
    turns = torch.linalg.matrix_exp(POS[:, None, None].double() * generator)  # (T, d, d)
    q, k = (torch.einsum("tcd,bhtd->bhtc", turns, x.double()) for x in (q, k))
    return from_logits(q @ k.mT * SHAPE.scale)


def grape_m(basis: Tensor, frequencies: Tensor) -> GrapeMBasis:
    """GRAPE-M that has learned this basis (8, 8), orthogonal of determinant 1, and frequencies (4,) in every head."""
    encoding, eye = make(GrapeMBasis), torch.eye(8, dtype=basis.dtype)
    assert torch.linalg.det(basis) > 0, "a Cayley transform has determinant 1"
    skew = torch.linalg.solve(eye + basis, eye - basis)
    encoding.skew.copy_(skew / 2)  # the encoding subtracts its transpose
    encoding.retune(frequencies.float())
    return encoding


def in_a_basis(generator: Tensor) -> float:
    """How far turning by a generator is from RoPE in the basis of its planes, and from GRAPE-M that learned both."""
    basis, frequencies = basis_of(generator)
    rope, turned = make(RoPE), turned_by(generator)
    rope.retune(frequencies.float())
    sides = [(x.double() @ basis).float() for x in (Q, K)]
    return max(apart(turned, attention(rope, *sides)), apart(turned, attention(grape_m(basis, frequencies))))


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
    "ComRoPE in one dimension, of blocks of four channels, is RoPE in a learned basis, which is GRAPE-M",
    "arXiv:2506.03737, section 4",
)
def comrope_in_one_dimension_is_grape_m() -> float:
    return in_a_basis(skew("comrope") * torch.block_diag(torch.ones(4, 4), torch.ones(4, 4)))


def cayley(generator: Tensor) -> Tensor:
    """The orthogonal matrix (I - S)(I + S)^-1 of a skew matrix."""
    eye = torch.eye(8, dtype=generator.dtype)
    return torch.linalg.solve(eye + generator, eye - generator)


@claim(
    "STRING in one dimension, RoPE after a Cayley matrix P, is turning by P^T A P, which is GRAPE-M of basis P^T",
    "arXiv:2502.02562, section 4",
)
def string_in_one_dimension_is_grape_m() -> float:
    first = cayley(skew("string")).mT
    half = torch.diag(rope_frequencies(8).double())
    zero = torch.zeros_like(half)
    canonical = torch.cat([torch.cat([zero, -half], 1), torch.cat([half, zero], 1)])
    sides = [(x.double() @ first.mT).float() for x in (Q, K)]
    turned = turned_by(first.mT @ canonical @ first)
    grape = attention(grape_m(first.mT, rope_frequencies(8)))
    return max(apart(turned, attention(make(RoPE), *sides)), apart(turned, grape))


@claim(
    "HARoPE with singular values of one is GRAPE-M in a learned basis",
    "HARoPE, from notes: a learned linear map before RoPE",
)
def orthogonal_harope_is_grape_m() -> float:
    linear = cayley(skew("left")) @ cayley(skew("right"))
    sides = [(x.double() @ linear.mT).float() for x in (Q, K)]
    return apart(attention(grape_m(linear.mT, rope_frequencies(8))), attention(make(RoPE), *sides))


@claim(
    "HARoPE with any singular values keeps the norms of queries, as GRAPE-M does",
    "HARoPE, from notes: a learned linear map before RoPE",
    expected=False,
)
def harope_is_grape_m() -> float:
    singular = torch.linspace(0.5, 2, 8, dtype=torch.float64)
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
    bam.log_power.mul_(0.5)  # so that all powers are below KERPLE's 2
    power = bam.log_power[0].exp()
    kerple.raw_power.copy_((power / 2).logit())
    kerple.raw_rate.copy_((bam.log_rate[0].exp() ** power).expm1().log())
    return apart(attention(bam), attention(kerple))


@claim(
    "CABLE with weights of 1, whose steps are softplus(w.x), is FoX with the signs of w turned",
    "arXiv:2503.08067, v1",
)
def soft_cable_is_fox() -> float:
    cable, fox = make(CABLE), make(FoX)
    fox.weight.copy_(-cable.step)
    fox.gate_bias.zero_()
    # The x of which CABLE reads these steps, which are positive, and 1 as the softplus of every weight.
    steps = softplus(X @ cable.step[0].mT)
    read = torch.cat([steps, torch.full_like(steps, math.log(math.e - 1))], dim=-1)
    x = read @ torch.linalg.pinv(torch.cat([cable.step[0], cable.weigh[0]])).mT
    return apart(attention(cable, x=x), attention(fox))


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


@claim(
    "FoPE whose mix is the identity is HoPE where at most d/4 planes turn in L tokens",
    "arXiv:2412.17739, section 4; arXiv:2410.21216",
)
def unmixed_fope_is_hope() -> float:
    longer = replace(SHAPE, train_length=512)  # in which two planes turn, a quarter of d
    fope, hope = cast(FoPE, build(FoPE, longer).eval()), build(HoPE, longer).eval()
    fope.mix.copy_(torch.eye(*fope.mix.shape[-2:]))
    return apart(attention(fope), attention(hope))


@claim(
    "An imaginary head of RoPE++ is RoPE of a query turned back by a quarter", "arXiv:2512.07525, section 3"
)
def imaginary_heads_are_rope_of_turned_queries() -> float:
    a, b = Q[:, ::2].chunk(2, dim=-1)
    back = torch.cat([b, -a], dim=-1)
    q = torch.stack([Q[:, ::2], back], dim=2).flatten(1, 2)  # pairs of heads, real and imaginary
    return apart(
        attention(make(RoPEPlusPlus)), attention(make(RoPE), q, K[:, ::2].repeat_interleave(2, dim=1))
    )


@claim(
    "RoPE++ is RoPE with half as many heads, each of them twice",
    "arXiv:2512.07525, section 3",
    expected=False,
)
def imaginary_heads_are_real_ones() -> float:
    q, k = (x[:, ::2].repeat_interleave(2, dim=1) for x in (Q, K))
    return apart(attention(make(RoPEPlusPlus)), attention(make(RoPE), q, k))


@claim(
    "TRA whose logits are all positive, of gates that read nothing, is ALiBi",
    "arXiv:2503.23174, authors' notebook",
)
def tra_that_keeps_all_is_alibi() -> float:
    return tra_beside_alibi(Q.abs(), K.abs())


@claim(
    "TRA of gates that read nothing is ALiBi, whatever its logits",
    "arXiv:2503.23174, authors' notebook",
    expected=False,
)
def tra_is_alibi() -> float:
    return tra_beside_alibi(Q, K)


def tra_beside_alibi(q: Tensor, k: Tensor) -> float:
    """How far TRA of gates that read nothing is from ALiBi of the slopes that these gates are."""
    tra, alibi = make(TRA), make(ALiBi)
    tra.weight.zero_()
    alibi.slopes.copy_(-logsigmoid(tra.gate_bias[0]))
    return apart(attention(tra, q, k), attention(alibi, q, k))


@claim(
    "TRA whose logits are all positive is FoX: one forgets by the key's gates, the other by the query's",
    "arXiv:2503.23174; arXiv:2503.02130",
    expected=False,
)
def tra_that_keeps_all_is_fox() -> float:
    tra, fox = make(TRA), make(FoX)
    fox.weight.copy_(tra.weight)
    fox.gate_bias.copy_(tra.gate_bias)
    return apart(attention(tra, Q.abs(), K.abs()), attention(fox, Q.abs(), K.abs()))
