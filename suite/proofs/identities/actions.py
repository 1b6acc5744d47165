"""The group: actions of GRAPE as matrices, against their exponentials."""

import torch
from torch.nn.functional import pad

from pebench.encodings import group
from pebench.suite.proofs.claims import (
    FLOAT64,
    apart,
    claim,
    draw,
    planes,
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
