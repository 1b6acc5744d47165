"""The literal group actions behind GRAPE, as matrices: slow, plain, in the precision of their input.

Nothing here is used by a model. The encodings are checked against it (GRAPE, arXiv:2512.07805, sections 2
to 5 and appendices C, E, G, I). Where the paper has a slip of sign or order, the docstring says which form
is right.
"""

import torch
from torch import Tensor


def plane_generator(a: Tensor, b: Tensor) -> Tensor:
    """The skew generator L = a b^T - b a^T (d, d) of rotations in the plane of a and b (d,) (eq. 2.1).

    It turns b towards a: for orthonormal a and b, L a = -b and L b = a.
    """
    return torch.outer(a, b) - torch.outer(b, a)


def rodrigues(a: Tensor, b: Tensor, angle: float) -> Tensor:
    """exp(angle L) (d, d) in closed form: I + sin(angle s)/s L + (1 - cos(angle s))/s^2 L^2 (section 2.3).

    (Appendix I writes it in z = angle s without the powers of angle in front of L and L^2, which it needs.)
    """
    skew = plane_generator(a, b)
    s = plane_speed(a, b)
    half = torch.sin(angle * s / 2)
    eye = torch.eye(a.shape[0], dtype=a.dtype)
    return eye + torch.sin(angle * s) / s * skew + 2 * half * half / (s * s) * (skew @ skew)


def turn_in_plane(a: Tensor, b: Tensor, angle: float, x: Tensor) -> Tensor:
    """exp(angle L) x for x (d,) in O(d), by inner products alone (appendix I)."""
    s, u, v = plane_speed(a, b), a @ x, b @ x
    first, half = torch.sin(angle * s) / s, torch.sin(angle * s / 2)
    second = 2 * half * half / (s * s)
    squared = (a @ b) * (a * v + b * u) - (b @ b) * a * u - (a @ a) * b * v
    return x + first * (a * v - b * u) + second * squared


def plane_speed(a: Tensor, b: Tensor) -> Tensor:
    """The angle s = sqrt(|a|^2 |b|^2 - (a.b)^2) that exp(L) turns its plane by (eq. 2.1)."""
    return ((a @ a) * (b @ b) - (a @ b) ** 2).sqrt()


def canonical_generator(frequencies: Tensor) -> Tensor:
    """RoPE's generator (d, d): the sum of d/2 commuting planes (m, m + d/2) (eq. 3.1).

    The planes are (e_{m + d/2}, e_m), in this order, which makes the rotation counter-clockwise; the
    paper's L(e_{2m-1}, e_{2m}) turns the other way.
    """
    planes = frequencies.shape[0]
    axes = torch.eye(2 * planes, dtype=frequencies.dtype)
    terms = [f * plane_generator(axes[m + planes], axes[m]) for m, f in enumerate(frequencies)]
    return torch.stack(terms).sum(0)


def translation_generator(shift: Tensor) -> Tensor:
    """The nilpotent A (d+1, d+1) whose action I + nA moves [x; 1] to [x + n shift; 1] (eq. 4.1)."""
    d = shift.shape[0]
    generator = torch.zeros(d + 1, d + 1, dtype=shift.dtype)
    generator[:d, d] = shift
    return generator


def decay_generator(d: int, rate: float | Tensor) -> Tensor:
    """The nilpotent A = -rate e_{d+2} e_{d+1}^T, in float64, of additive GRAPE and ALiBi (eq. 4.5, 4.7)."""
    generator = torch.zeros(d + 2, d + 2, dtype=torch.float64)
    generator[d + 1, d] = -rate
    return generator


def unipotent(generator: Tensor, n: float) -> Tensor:
    """exp(nA) = I + nA of a generator with A A = 0 (section 4.1). ValueError for any other."""
    if (generator @ generator).any():
        raise ValueError("the generator's square is not zero; take torch.linalg.matrix_exp")
    return torch.eye(generator.shape[0], dtype=generator.dtype) + n * generator


def joint_action(rotation: Tensor, rate: float | Tensor, n: float) -> Tensor:
    """blockdiag(rotation, I + nA) (d+2, d+2): multiplicative and additive GRAPE in one matrix (appendix E).

    (The paper puts +n rate into the upper right corner of the additive block, where lifted queries and keys
    have a zero, so that it would score nothing; -n rate in the lower left is the generator of its own
    section 4.)
    """
    d = rotation.shape[0]
    action = unipotent(decay_generator(d, rate), n)
    action[:d, :d] = rotation
    return action


def lift_query(q: Tensor) -> Tensor:
    """[q; 1; 0] for q (..., d)."""
    return torch.cat([q, torch.ones_like(q[..., :1]), torch.zeros_like(q[..., :1])], dim=-1)


def lift_key(k: Tensor) -> Tensor:
    """[k; 0; 1] for k (..., d)."""
    return torch.cat([k, torch.zeros_like(k[..., :1]), torch.ones_like(k[..., :1])], dim=-1)


def paired_score(q: Tensor, action: Tensor, k: Tensor) -> Tensor:
    """q^T G^{-T} k: inverse first, then transpose (eq. 4.3). For a rotation G it is q^T G k."""
    return q @ torch.linalg.inv(action).mT @ k


def path_action(steps: Tensor, d: int) -> Tensor:
    """The product of I - step E over the path for `steps` <= 0, E = e_{d+2} e_{d+1}^T (eq. 5.4).

    Its paired score adds the sum of the steps. (Appendix C writes I + step E, which would subtract it.)
    """
    action = torch.eye(d + 2, dtype=torch.float64)
    for step in steps:
        action = action @ unipotent(decay_generator(d, step), 1)
    return action


def grid_action(generators: list[Tensor], coordinates: list[float]) -> Tensor:
    """exp(u X) exp(v Y) ... for a position of two, three or more coordinates (appendix G).

    Positions add up to actions multiplied only where the generators commute, as on disjoint planes.
    """
    action = torch.eye(generators[0].shape[0], dtype=generators[0].dtype)
    for generator, coordinate in zip(generators, coordinates, strict=True):
        action = action @ torch.linalg.matrix_exp(coordinate * generator)
    return action
