"""Rows of attention weights for which there are fast kernels: what `Encoding.form` declares.

The logit of query i and key j is l_ij = q_i . k_j / sqrt(d). q and k are (B, H, T, d) in the model's dtype; all else is
float32.
"""

from typing import NamedTuple

from torch import Tensor


class Path(NamedTuple):
    """A softmax over q_i . k_j / sqrt(d) plus the sum over j < l <= i of slope * log sigmoid(p_i . r_l / f).

    q and k are (B, H, T, d), p and r (B, H, T, f), the slopes (H,).
    """

    q: Tensor
    k: Tensor
    p: Tensor
    r: Tensor
    slopes: Tensor


class Counted(NamedTuple):
    """A softmax over l_ij + e_i[c_ij], with l_ij = q_i . k_j / sqrt(d).

    The count c_ij is the sum over j <= s <= i of sigmoid(l_is), at most n - 1; e (B, H, T, n) is interpolated
    between whole numbers.
    """

    q: Tensor
    k: Tensor
    e: Tensor


class Reflected(NamedTuple):
    """A softmax over k_j . H_(j+1) ... H_i q_i / sqrt(d), with H_t = I - beta_t w_t w_t^T.

    w is (B, H, T, d), beta (B, H, T, 1).
    """

    q: Tensor
    k: Tensor
    w: Tensor
    beta: Tensor


class Broken(NamedTuple):
    """Weights sigmoid(l_ij) times the product over j < s < i of 1 - sigmoid(l_is), with l_ij = q_i . k_j / sqrt(d)."""

    q: Tensor
    k: Tensor


Form = Path | Counted | Reflected | Broken
