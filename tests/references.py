"""Definitions of encodings as their papers write them: dense T x T formulas, to hold the fast code against.

Nothing here is shared with `encodings/` but the parameters of the encoding that is given: no lift, no running
sum, no helper. Everything is computed in the dtype of q, which is float64 in the tests.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import softplus


@dataclass(frozen=True)
class Inputs:
    """What one attention layer is given: x (B, T, D), q, k and v (B, H, T, d) and positions (T,)."""

    layer: int
    x: Tensor
    q: Tensor
    k: Tensor
    v: Tensor
    pos: Tensor

    @property
    def heads(self) -> int:
        return self.q.shape[1]

    @property
    def scores(self) -> Tensor:
        """q_i.k_j / sqrt(d), (B, H, T, T)."""
        return torch.einsum("bhid,bhjd->bhij", self.q, self.k) / math.sqrt(self.q.shape[-1])

    @property
    def far(self) -> Tensor:
        """i - j, (T, T)."""
        return (self.pos[:, None] - self.pos[None, :]).to(self.q.dtype)


Definition = Callable[[Any, Inputs], Tensor]


def attention(logits: Tensor, v: Tensor) -> Tensor:
    """Causal softmax attention with these logits (B, H, T, T)."""
    future = torch.ones(logits.shape[-2:], dtype=torch.bool).triu(1)
    return logits.masked_fill(future, -math.inf).softmax(-1) @ v


def slopes(heads: int, like: Tensor) -> Tensor:
    """2^(-8 h / n) for n = 2^p heads; else those of the power below, then every other one of the next power."""

    def of(n: int) -> list[float]:
        return [2 ** (-8 * h / n) for h in range(1, n + 1)]

    below = 2 ** math.floor(math.log2(heads))
    values = of(heads) if below == heads else of(below) + of(2 * below)[0::2][: heads - below]
    return torch.tensor(values, dtype=like.dtype)[:, None, None]


def path_sum(cost: Tensor) -> Tensor:
    """Sum over s = j+1 .. i of cost[..., i, s]: (..., T, T)."""
    length = cost.shape[-1]
    rows = []
    for i in range(length):
        sums = [cost[..., i, j + 1 : i + 1].sum(-1) for j in range(length)]
        rows.append(torch.stack(sums, dim=-1))
    return torch.stack(rows, dim=-2)


def turned(x: Tensor, angle: Tensor) -> Tensor:
    """x (B, H, T, d) with the plane (m, m + d/2) turned by angle (..., T, d/2), as complex numbers."""
    half = x.shape[-1] // 2
    z = torch.complex(x[..., :half], x[..., half:]) * torch.polar(torch.ones_like(angle), angle)
    return torch.cat([z.real, z.imag], dim=-1)


def rotary(at: Inputs, angle: Tensor) -> Tensor:
    """Attention whose plane m of q and k is turned by angle (..., T, d/2)."""
    q, k = turned(at.q, angle), turned(at.k, angle)
    return attention(torch.einsum("bhid,bhjd->bhij", q, k) / math.sqrt(q.shape[-1]), at.v)


def spectrum(d: int, like: Tensor, base: float = 10_000.0) -> Tensor:
    return torch.tensor([base ** (-2 * m / d) for m in range(d // 2)], dtype=like.dtype)


def of(parameter: Tensor, at: Inputs) -> Tensor:
    """This layer's slice of a parameter (layers, ...), in the dtype of the definition."""
    return parameter[at.layer].to(at.q.dtype)


def nope(e: Any, at: Inputs) -> Tensor:
    return attention(at.scores, at.v)


def alibi(e: Any, at: Inputs) -> Tensor:
    """Press et al., 2022: -m_h (i - j)."""
    return attention(at.scores - slopes(at.heads, at.q) * at.far, at.v)


def nape(e: Any, at: Inputs) -> Tensor:
    """Vasylenko et al., 2025: the first half of the heads -(i - j) / h, the others nothing."""
    m = torch.zeros(at.heads, 1, 1, dtype=at.q.dtype)
    for h in range(at.heads // 2):
        m[h] = 1 / (h + 1)
    return attention(at.scores - m * at.far, at.v)


def fox(e: Any, at: Inputs) -> Tensor:
    """Lin et al., 2025, eq. 4: the sum of log f_s over s = j+1 .. i, f = sigmoid(w.x + b)."""
    gate = torch.einsum("btw,hw->bht", at.x, of(e.weight, at)) + of(e.gate_bias, at)[:, None]
    log_f = gate.sigmoid().log()[:, :, None, :].expand_as(at.scores)
    return attention(at.scores + path_sum(log_f), at.v)


def cable(e: Any, at: Inputs) -> Tensor:
    """Veisi et al., 2025, eq. 2-7: minus softplus(u.x_i) times the sum of ReLU(w.x_s) over s = j+1 .. i."""
    step, weight = (torch.einsum("btw,hw->bht", at.x, of(p, at)) for p in (e.step, e.weigh))
    cost = step.clamp(min=0)[:, :, None, :].expand_as(at.scores)
    return attention(at.scores - softplus(weight)[..., None] * path_sum(cost), at.v)


def grape_a(e: Any, at: Inputs, query: Tensor | None, key: Tensor | None) -> Tensor:
    """GRAPE, eq. 5.3: -(i - j) w_h (softplus(v.q_i / sqrt d) + softplus(u.k_j / sqrt d)), or one of the two."""
    w = softplus(of(e.log_slope, at))[:, None, None] * slopes(at.heads, at.q)
    gates = torch.zeros_like(at.scores)
    if query is not None:
        gates = (
            gates + softplus(torch.einsum("bhid,hd->bhi", at.q, query) / math.sqrt(at.q.shape[-1]))[..., None]
        )
    if key is not None:
        gates = (
            gates + softplus(torch.einsum("bhjd,hd->bhj", at.k, key) / math.sqrt(at.k.shape[-1]))[:, :, None]
        )
    return attention(at.scores - at.far * w * gates, at.v)


def unit(gate: Tensor) -> Tensor:
    return gate / gate.square().sum(-1, keepdim=True).sqrt()


def grape_a_q(e: Any, at: Inputs) -> Tensor:
    return grape_a(e, at, unit(of(e.query_gate, at)), None)


def grape_a_k(e: Any, at: Inputs) -> Tensor:
    return grape_a(e, at, None, unit(of(e.key_gate, at)))


def grape_a_qk(e: Any, at: Inputs) -> Tensor:
    return grape_a(e, at, unit(of(e.query_gate, at)), unit(of(e.key_gate, at)))


def grape_a_qk_free(e: Any, at: Inputs) -> Tensor:
    return grape_a(e, at, of(e.query_gate, at), of(e.key_gate, at))


def grape_a_phase(e: Any, at: Inputs) -> Tensor:
    """-w_h (Phi_i - Phi_j), the phase being the inclusive sum of softplus(w.x + b)."""
    step = softplus(at.x @ of(e.weight, at) + of(e.step_bias, at))[:, None, None, :].expand_as(at.scores)
    w = softplus(of(e.log_slope, at))[:, None, None] * slopes(at.heads, at.q)
    return attention(at.scores - w * path_sum(step), at.v)


def t5_bias(e: Any, at: Inputs) -> Tensor:
    """Raffel et al., 2020: one bucket per distance below 16, then 16 log-spaced ones up to 128."""
    firsts = (*range(16), 16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113)
    bias = torch.zeros(at.heads, *at.far.shape, dtype=at.q.dtype)
    for first, column in zip(firsts, e.table.to(at.q.dtype).T, strict=True):
        bias = torch.where(at.far >= first, column[:, None, None], bias)
    return attention(at.scores + bias, at.v)


def rope(e: Any, at: Inputs) -> Tensor:
    """Su et al., 2021: plane m by i * 10000^(-2m/d)."""
    return rotary(at, at.pos[:, None] * spectrum(at.q.shape[-1], at.q))


def grape_m_nonctx(e: Any, at: Inputs) -> Tensor:
    """GRAPE, section 3: plane m by i * exp(rho_m), rho per layer or per layer and head."""
    return rotary(at, at.pos[:, None] * of(e.log_frequencies, at)[:, None].exp())


def grape_m_ctx(e: Any, at: Inputs) -> Tensor:
    """Plane m by Phi_t exp(rho_m), Phi_t the sum over s < t of sigmoid((w.x_s + b) / 16)."""
    return clocked(e, at, lambda logit: (logit / 16).sigmoid())


def grape_m_ctx_softplus(e: Any, at: Inputs) -> Tensor:
    return clocked(e, at, softplus)


def clocked(e: Any, at: Inputs, step: Callable[[Tensor], Tensor]) -> Tensor:
    steps = step(torch.einsum("btw,cw->bct", at.x, of(e.weight, at)) + of(e.step_bias, at)[:, None])
    phase = torch.stack([steps[..., :t].sum(-1) for t in range(steps.shape[-1])], dim=-1)
    return rotary(at, phase[..., None] * of(e.log_frequencies, at).exp())


def pope(e: Any, at: Inputs) -> Tensor:
    """Gopalakrishnan et al., 2025: sum over c of sp(q_c) sp(k_c) cos((j - i) 10000^(-c/d) + delta_c)."""
    d = at.q.shape[-1]
    logits = torch.zeros_like(at.scores)
    for c in range(d):
        angle = -at.far * 10_000 ** (-c / d) + of(e.phase, at)[:, :, c, None]
        logits = logits + softplus(at.q[..., c, None]) * softplus(at.k[..., None, :, c]) * angle.cos()
    return attention(logits / math.sqrt(d), at.v)


def grape_ap(e: Any, at: Inputs) -> Tensor:
    return path_integral(e, at, tied_to_x(e, at), both=False, turn=True)


def grape_ap_both(e: Any, at: Inputs) -> Tensor:
    return path_integral(e, at, tied_to_x(e, at), both=True, turn=True)


def grape_ap_still(e: Any, at: Inputs) -> Tensor:
    return path_integral(e, at, tied_to_x(e, at), both=False, turn=False)


def grape_ap_q(e: Any, at: Inputs) -> Tensor:
    return path_integral(e, at, at.q, both=False, turn=True)


def grape_ap_k(e: Any, at: Inputs) -> Tensor:
    return path_integral(e, at, at.k, both=False, turn=True)


def grape_ap_v(e: Any, at: Inputs) -> Tensor:
    return path_integral(e, at, at.v, both=False, turn=True)


def tied_to_x(e: Any, at: Inputs) -> Tensor:
    """The features p (B, H, T, 8) that are read from x."""
    return (at.x @ of(e.weight, at).T).unflatten(-1, (at.heads, -1)).transpose(1, 2)


def path_integral(e: Any, at: Inputs, p: Tensor, both: bool, turn: bool) -> Tensor:
    """GRAPE, eq. 5.1: the sum over s = j+1 .. i of alpha_h log sigmoid(p_i.R_s p_s / d_p), R_s turns by s."""
    width = p.shape[-1]
    normal = p / (p.square().mean(-1, keepdim=True) + 1e-6).sqrt()
    radians = at.pos[:, None].to(p.dtype).expand(-1, width // 2)
    key = turned(normal, radians) if turn else normal
    match = torch.einsum("bhip,bhsp->bhis", normal if both else p, key)
    cost = slopes(at.heads, at.q) * (match / width).sigmoid().log()
    return attention(at.scores + path_sum(cost), at.v)


def cope(e: Any, at: Inputs) -> Tensor:
    """Golovneva et al., 2024, section 4, pair by pair: p_ij = min(sum of the gates from j to i, 63)."""
    table, scores = of(e.table, at), at.scores
    gates = scores.sigmoid()
    length, last = at.q.shape[-2], len(table) - 1
    rows = []
    for i in range(length):
        known = torch.einsum("bhd,nd->bhn", at.q[:, :, i], table) / math.sqrt(at.q.shape[-1])
        row = []
        for j in range(length):
            p = gates[:, :, i, j : i + 1].sum(-1).clamp(max=last)
            low = p.floor()
            below = known.gather(-1, low.long()[..., None])[..., 0]
            above = known.gather(-1, (low.long() + 1).clamp(max=last)[..., None])[..., 0]
            row.append(scores[:, :, i, j] + below + (above - below) * (p - low))
        rows.append(torch.stack(row, dim=-1))
    return attention(torch.stack(rows, dim=-2), at.v)


def stick_breaking(e: Any, at: Inputs) -> Tensor:
    """Tan et al., 2025, section 3.1: sigma(z_ij) times the product over j < s < i of 1 - sigma(z_is)."""
    share = at.scores.sigmoid()
    length = at.q.shape[-2]
    nothing = torch.zeros_like(share[:, :, 0, 0])
    rows = []
    for i in range(length):
        row = [
            share[:, :, i, j] * (1 - share[:, :, i, j + 1 : i]).prod(-1) if j < i else nothing
            for j in range(length)
        ]
        rows.append(torch.stack(row, dim=-1))
    return torch.stack(rows, dim=-2) @ at.v


def kerple_log(e: Any, at: Inputs) -> Tensor:
    """Chi et al., 2022: -p log(1 + a (i - j)), p and a positive, per head."""
    return attention(at.scores + logarithmic(e, at), at.v)


def logarithmic(e: Any, at: Inputs) -> Tensor:
    power, rate = (softplus(raw.to(at.q.dtype))[:, None, None] for raw in (e.raw_power, e.raw_rate))
    return -power * (1 + rate * at.far.clamp(min=0)).log()


def kerple_power(e: Any, at: Inputs) -> Tensor:
    """Chi et al., 2022: -a (i - j)^p, 0 < p <= 2."""
    power = 2 * e.raw_power.to(at.q.dtype).sigmoid()[:, None, None]
    rate = softplus(e.raw_rate.to(at.q.dtype))[:, None, None]
    grown = (power * at.far.clamp(min=1).log()).exp()
    return attention(at.scores - rate * torch.where(at.far > 0, grown, torch.zeros_like(grown)), at.v)


def fire(e: Any, at: Inputs) -> Tensor:
    """Li et al., 2024: f(psi(i - j) / psi(max(i, L/4))), psi(x) = log(1 + cx), i counted from the first key."""
    return interpolated(e, at, e.shape.train_length / 4)


def fire_512(e: Any, at: Inputs) -> Tensor:
    """The same with max(i, 512), the paper's threshold."""
    return interpolated(e, at, 512)


def interpolated(e: Any, at: Inputs, shortest: float) -> Tensor:
    rate, threshold = of(e.rate, at).abs(), of(e.threshold, at).abs() * shortest
    first, first_bias, second, second_bias = (p.to(at.q.dtype) for p in e.mlps[at.layer].parameters())
    rows = []
    for i in range(len(at.pos)):
        longest = torch.maximum((at.pos[i] - at.pos[0]).to(at.q.dtype), threshold)
        share = (1 + rate * at.far[i].clamp(min=0)).log() / ((1 + rate * longest).log() + 1e-6)
        hidden = (share[:, None] * first[:, 0] + first_bias).relu()
        rows.append((hidden @ second.T + second_bias).T)
    return attention(at.scores + torch.stack(rows, dim=1), at.v)


def sandwich(e: Any, at: Inputs) -> Tensor:
    """Chi et al., 2023: H / (8 h) times the sum over m of cos((i - j) 10000^(-m/64)) - 1, h and m from 1."""
    close = sum((at.far * 10_000 ** (-m / 64)).cos() - 1 for m in range(1, 65))
    ratio = at.heads / (8 * torch.arange(1, at.heads + 1, dtype=at.q.dtype))
    return attention(at.scores + ratio[:, None, None] * close, at.v)


def shaw(e: Any, at: Inputs) -> Tensor:
    """Shaw et al., 2018, eq. 4: q_i.(k_j + a_min(i - j, 16)) / sqrt d."""
    table, logits = of(e.table, at), at.scores
    for n, vector in enumerate(table):
        here = at.far >= n if n == len(table) - 1 else at.far == n
        logits = logits + (at.q @ vector / math.sqrt(at.q.shape[-1]))[..., None] * here
    return attention(logits, at.v)


def transformer_xl(e: Any, at: Inputs) -> Tensor:
    """Dai et al., 2019, section 3.3: ((q_i + u).k_j + (q_i + v).W r_(i-j)) / sqrt d, r the sinusoid of width D."""
    u, v = (p.to(at.q.dtype) for p in (e.content, e.position))
    width = at.x.shape[-1]
    angle = at.far[..., None] * spectrum(width, at.q)
    image = torch.einsum("hcw,ijw->hijc", of(e.weight, at), torch.cat([angle.sin(), angle.cos()], -1))
    logits = (at.q + u) @ at.k.mT + torch.einsum("bhic,hijc->bhij", at.q + v, image)
    return attention(logits / math.sqrt(at.q.shape[-1]), at.v)


def dape(e: Any, at: Inputs) -> Tensor:
    """Zheng et al., 2024: s + b + f([s; b]) with f over the heads of each pair, b that of KERPLE."""
    bias = logarithmic(e.kerples[at.layer], at).expand_as(at.scores)
    first, first_bias, second, second_bias = (p.to(at.q.dtype) for p in e.mlps[at.layer].parameters())
    both = torch.cat([at.scores, bias], dim=1).movedim(1, -1)
    hidden = both @ first[:, :, 0, 0].T + first_bias
    hidden = torch.where(hidden > 0, hidden, 0.01 * hidden)
    change = (hidden @ second[:, :, 0, 0].T + second_bias).movedim(-1, 1)
    return attention(at.scores + bias + change, at.v)


def xpos(e: Any, at: Inputs) -> Tensor:
    """Sun et al., 2023: plane m of RoPE's product times zeta_m^((i - j) / 512)."""
    return fading(at, 512)


def xpos_scaled(e: Any, at: Inputs) -> Tensor:
    return fading(at, e.shape.train_length / 2)


def fading(at: Inputs, base: float) -> Tensor:
    """RoPE whose plane m fades by zeta_m over `base` tokens."""
    d = at.q.shape[-1]
    angle = at.pos[:, None] * spectrum(d, at.q)
    q, k = turned(at.q, angle), turned(at.k, angle)
    logits = torch.zeros_like(at.scores)
    for c in range(d):
        zeta = (2 * (c % (d // 2)) / d + 0.4) / 1.4
        faded = zeta ** (at.far.clamp(min=0) / base)
        logits = logits + q[..., c, None] * k[..., None, :, c] * faded
    return attention(logits / math.sqrt(d), at.v)


def path(e: Any, at: Inputs) -> Tensor:
    return attention(walked(e, at) / math.sqrt(at.q.shape[-1]), at.v)


def path_fox(e: Any, at: Inputs) -> Tensor:
    gate = torch.einsum("btw,hw->bht", at.x, of(e.fox.weight, at)) + of(e.fox.gate_bias, at)[:, None]
    log_f = gate.sigmoid().log()[:, :, None, :].expand_as(at.scores)
    return attention(walked(e, at) / math.sqrt(at.q.shape[-1]) + path_sum(log_f), at.v)


def walked(e: Any, at: Inputs) -> Tensor:
    """Yang et al., 2025: k_j.H_(j+1) ... H_i q_i, one reflection I - beta w w^T after another."""
    w = at.x @ of(e.down, at).T @ of(e.up, at).T
    past = torch.cat([torch.zeros_like(w[:, :2]), w], dim=1)
    w = sum(past[:, n : n + w.shape[1]] * of(e.conv, at)[:, n] for n in range(3))
    w = (w * w.sigmoid()).unflatten(-1, (at.heads, -1)).transpose(1, 2)
    w = w / w.square().sum(-1, keepdim=True).sqrt()
    beta = 2 * (torch.einsum("btw,hw->bht", at.x, of(e.weight, at)) + of(e.gate_bias, at)[:, None]).sigmoid()
    rows = []
    for i in range(at.q.shape[-2]):
        u, row = at.q[:, :, i], [torch.zeros_like(at.q[:, :, 0, 0])] * at.q.shape[-2]
        for j in range(i, -1, -1):
            row[j] = (at.k[:, :, j] * u).sum(-1)
            u = u - (beta[:, :, j] * (w[:, :, j] * u).sum(-1))[..., None] * w[:, :, j]
        rows.append(torch.stack(row, dim=-1))
    return torch.stack(rows, dim=-2)


def alibi_scaled(e: Any, at: Inputs) -> Tensor:
    """-m_h (i - j) with m_h = (L/4)^(-h/H), h from 1."""
    m = [(e.shape.train_length / 4) ** (-h / at.heads) for h in range(1, at.heads + 1)]
    return attention(at.scores - torch.tensor(m, dtype=at.q.dtype)[:, None, None] * at.far, at.v)


def gape(e: Any, at: Inputs) -> Tensor:
    """Ali et al., 2026: -strength softplus(u.q_i / sqrt d) (1 - sigmoid(w.k_j / sqrt d)) (i - j) / L."""
    d = at.q.shape[-1]
    query = softplus(torch.einsum("bhid,hd->bhi", at.q, of(e.query_gate, at)) / math.sqrt(d))
    spared = (torch.einsum("bhjd,hd->bhj", at.k, of(e.key_gate, at)) / math.sqrt(d)).sigmoid()
    strength = of(e.log_strength, at).exp()[:, None, None] / e.shape.train_length
    return attention(at.scores - strength * query[..., None] * (1 - spared)[:, :, None] * at.far, at.v)


def bam(e: Any, at: Inputs) -> Tensor:
    """Bianchessi et al., 2025: -|a (i - j - mu)|^b."""
    rate, power, middle = (of(p, at)[:, None, None] for p in (e.log_rate, e.log_power, e.middle))
    return attention(at.scores - (rate.exp() * (at.far - middle)).abs() ** power.exp(), at.v)


def carope(e: Any, at: Inputs) -> Tensor:
    """Veisi et al., 2025: plane m by the sum over s <= t of (1 / (softplus(w.x_s) + 1))^m, m from 1."""
    f = 1 / (softplus(torch.einsum("btw,hw->bht", at.x, of(e.weight, at))) + 1)
    planes = [
        torch.stack([(f[..., : t + 1] ** m).sum(-1) for t in range(f.shape[-1])], -1) for m in range(1, 5)
    ]
    return rotary(at, torch.stack(planes, dim=-1))


def repo(e: Any, at: Inputs) -> Tensor:
    """Li et al., 2025: RoPE at W_z (silu(W_g x) * W_c x), one number a head."""
    inner = at.x @ of(e.gate, at).T
    read = inner * inner.sigmoid() * (at.x @ of(e.content, at).T)
    place = torch.einsum("btm,hm->bht", read, of(e.place, at))
    return rotary(at, place[..., None] * spectrum(at.q.shape[-1], at.q))


def dape_v2(e: Any, at: Inputs) -> Tensor:
    """Zheng et al., 2024: two convolutions over keys j - 1, j, j + 1 of [s; b], nothing read from the future."""
    past = torch.ones(at.scores.shape[-2:], dtype=at.q.dtype).tril()
    bias = logarithmic(e.kerples[at.layer], at).expand_as(at.scores)
    x = torch.cat([at.scores, bias], dim=1) * past

    def convolved(x: Tensor, conv: Any) -> Tensor:
        wide = torch.nn.functional.pad(x, (1, 1))
        size = x.shape[-1]
        parts = [
            torch.einsum("bcij,oc->boij", wide[..., n : n + size], conv.weight[:, :, 0, n].to(x.dtype))
            for n in range(3)
        ]
        return sum(parts) + conv.bias.to(x.dtype)[:, None, None]

    first, second = e.convs[at.layer]
    inner = convolved(x, first)
    inner = torch.where(inner > 0, inner, 0.01 * inner) * past
    return attention(at.scores + bias + convolved(inner, second), at.v)


def asentmax(e: Any, at: Inputs) -> Tensor:
    """Vasylenko et al., 2025: max(0, z/2 - t)^2 with t found by halving, on scaled or fading logits."""
    half = at.heads // 2
    strength, growth = (torch.einsum("btw,hw->bht", at.x, of(w, at)) for w in (e.strength, e.growth))
    n = torch.arange(2, at.q.shape[-2] + 2, dtype=at.q.dtype).log()
    scaled = at.scores[:, half:] * (1 + softplus(strength) * n ** (2 * growth.tanh()))[..., None]
    fading = torch.stack([at.scores[:, h] - at.far / (h + 1) for h in range(half)], dim=1)
    z = torch.cat([fading, scaled], dim=1) / 2
    z = z.masked_fill(torch.ones(z.shape[-2:], dtype=torch.bool).triu(1), -1e9)
    with torch.no_grad():
        low, high = z.amax(-1, keepdim=True) - 1, z.amax(-1, keepdim=True)
        for _ in range(60):
            middle = (low + high) / 2
            above = (z - middle).clamp(min=0).square().sum(-1, keepdim=True) >= 1
            low, high = torch.where(above, middle, low), torch.where(above, high, middle)
        # One step of Newton gives the threshold its gradient.
    inside = (z - low).clamp(min=0)
    threshold = low + (inside.square().sum(-1, keepdim=True) - 1) / (
        2 * inside.sum(-1, keepdim=True).detach()
    )
    return (z - threshold).clamp(min=0).square() @ at.v


def wavelet(e: Any, at: Inputs) -> Tensor:
    """Oka et al., 2025: q_i.(k_j + p) / sqrt d, p_c the Ricker wavelet of scale a_c and shift b_c at i - j."""
    return waves(at, 128)


def wavelet_scaled(e: Any, at: Inputs) -> Tensor:
    return waves(at, e.shape.train_length / 4)


def waves(at: Inputs, largest: float) -> Tensor:
    """Queries against wavelets of eight scales from 1 to the largest, log-spaced."""
    d = at.q.shape[-1]
    shifts = math.ceil(d / 8)
    logits = at.scores
    for c in range(d):
        scale, shift = largest ** ((c // shifts) / 7), c % shifts
        t = (at.far.clamp(min=0) - shift) / scale
        wave = 2 / (math.sqrt(3) * math.pi**0.25) * (1 - t**2) * (-(t**2) / 2).exp() / math.sqrt(scale)
        logits = logits + at.q[..., c, None] * wave / math.sqrt(d)
    return attention(logits, at.v)


def darope(e: Any, at: Inputs) -> Tensor:
    """Planes of a turn or more in L tokens as in RoPE, the others at L sigmoid(w.x + a logit((t + 1/2) / L))."""
    length, theta = e.shape.train_length, spectrum(at.q.shape[-1], at.q)
    share = ((at.pos.to(at.q.dtype) + 0.5) / length).clamp(max=1 - 0.5 / length)
    read = torch.einsum("btw,hw->bht", at.x, of(e.weight, at))
    place = length * (read + of(e.slope, at)[:, None] * (share / (1 - share)).log()).sigmoid()
    angle = (
        torch.where(length * theta < 2 * math.pi, place[..., None], at.pos[:, None].to(at.q.dtype)) * theta
    )
    return rotary(at, angle)


def fope(e: Any, at: Inputs) -> Tensor:
    """Hua et al., 2025: plane m by the sums of a_nm cos(i theta_n) and of b_nm sin(i theta_n), theta_n >= 2 pi / L."""
    known = [
        theta
        for theta in spectrum(at.q.shape[-1], at.q).tolist()
        if theta * e.shape.train_length >= 2 * math.pi
    ]
    cosine = torch.ones(at.heads, len(at.pos), at.q.shape[-1] // 2, dtype=at.q.dtype)
    sine = torch.zeros_like(cosine)
    for h in range(at.heads):
        for m in range(e.mix.shape[-1]):
            a, b = e.mix[:, h, :, m].tolist()
            for row, i in enumerate(at.pos.tolist()):
                cosine[h, row, m] = sum(x * math.cos(i * theta) for x, theta in zip(a, known, strict=True))
                sine[h, row, m] = sum(x * math.sin(i * theta) for x, theta in zip(b, known, strict=True))
    factor, half = torch.complex(cosine, sine), at.q.shape[-1] // 2
    q, k = (torch.complex(x[..., :half], x[..., half:]) * factor for x in (at.q, at.k))
    return attention(torch.einsum("bhim,bhjm->bhij", q, k.conj()).real / math.sqrt(at.q.shape[-1]), at.v)


def rope_pp(e: Any, at: Inputs) -> Tensor:
    """Liu et al., 2025: heads 2p and 2p+1 weigh by the real and the imaginary part of one product."""
    half, angle = at.q.shape[-1] // 2, at.pos[:, None].to(at.q.dtype) * spectrum(at.q.shape[-1], at.q)
    turn = torch.polar(torch.ones_like(angle), angle)
    heads = []
    for h in range(at.heads):
        q, k = (
            torch.complex(x[:, h // 2 * 2, :, :half], x[:, h // 2 * 2, :, half:]) * turn for x in (at.q, at.k)
        )
        product = torch.einsum("bim,bjm->bij", q, k.conj()) / math.sqrt(at.q.shape[-1])
        heads.append(attention(product.imag if h % 2 else product.real, at.v[:, h // 2 * 2]))
    return torch.stack(heads, dim=1)


def tra(e: Any, at: Inputs) -> Tensor:
    """Opper et al., 2025, row by row: keys of a positive logit are kept, and counted from the key to the query."""
    read = torch.einsum("btw,hw->bht", at.x, of(e.weight, at)) + of(e.gate_bias, at)[:, None]
    gate = read.sigmoid().log()
    rows = []
    for i in range(at.q.shape[-2]):
        score = at.scores[:, :, i, : i + 1]
        kept = score > 0
        count = torch.stack([kept[..., j:].sum(-1) for j in range(i + 1)], dim=-1)
        power = torch.where(kept, (score + gate[:, :, i, None] * count).exp(), 0.0)
        weights = power / power.sum(-1, keepdim=True).clamp(min=1e-300)
        rows.append(torch.einsum("bhj,bhjd->bhd", weights, at.v[:, :, : i + 1]))
    return torch.stack(rows, dim=-2)


DEFINITIONS: dict[str, Definition] = {
    "alibi": alibi,
    "alibi_scaled": alibi_scaled,
    "asentmax": asentmax,
    "bam": bam,
    "bam_scaled": bam,
    "cable": cable,
    "carope": carope,
    "cope": cope,
    "cope_scaled": cope,
    "dape": dape,
    "dape_v2": dape_v2,
    "darope": darope,
    "fire": fire,
    "fire_512": fire_512,
    "fope": fope,
    "fox": fox,
    "fox_scaled": fox,
    "gape": gape,
    "gape_scaled": gape,
    "grape_a_k": grape_a_k,
    "grape_a_phase": grape_a_phase,
    "grape_a_q": grape_a_q,
    "grape_a_qk": grape_a_qk,
    "grape_a_qk_free": grape_a_qk_free,
    "grape_ap": grape_ap,
    "grape_ap_both": grape_ap_both,
    "grape_ap_k": grape_ap_k,
    "grape_ap_q": grape_ap_q,
    "grape_ap_still": grape_ap_still,
    "grape_ap_v": grape_ap_v,
    "grape_m_ctx": grape_m_ctx,
    "grape_m_ctx_per_head": grape_m_ctx,
    "grape_m_ctx_softplus": grape_m_ctx_softplus,
    "grape_m_nonctx": grape_m_nonctx,
    "grape_m_per_head": grape_m_nonctx,
    "kerple_log": kerple_log,
    "kerple_power": kerple_power,
    "nape": nape,
    "nope": nope,
    "path": path,
    "path_fox": path_fox,
    "pope": pope,
    "repo": repo,
    "rope": rope,
    "rope_pp": rope_pp,
    "sandwich": sandwich,
    "shaw": shaw,
    "shaw_scaled": shaw,
    "stick_breaking": stick_breaking,
    "t5_bias": t5_bias,
    "tra": tra,
    "transformer_xl": transformer_xl,
    "wavelet": wavelet,
    "wavelet_scaled": wavelet_scaled,
    "xpos": xpos,
    "xpos_scaled": xpos_scaled,
}
