"""How much the machines' data have in common, and data with as much as you like."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eagle.problem.checks import as_block
from eagle.problem.options import as_generator, check_count, check_number
from eagle.problems import spectrum


def diversity(A_list: Any) -> float:
    """Smallest positive eigenvalue of the mean projector on the ranges of some matrices.

    ``alpha`` of Definition 1 of the paper: with ``P_mu`` the orthogonal projector on the range of
    ``A_mu``, the smallest positive eigenvalue of ``P = (1/M) sum_mu P_mu``. It is 1 if all ranges
    are equal, and 1/M if they are orthogonal to each other.

    Parameters
    ----------
    A_list : sequence of array_like (d, n_mu)
        One matrix per machine; n_mu may be 0.

    Returns
    -------
    float
        In (0, 1]; nan if all matrices are zero or empty.

    Raises
    ------
    TypeError, ValueError
        Matrices that do not have as many rows, or are no finite 2-D arrays.

    References
    ----------
    .. [1] Lutz, Gangrade, Daneshmand, Saligrama, "Linear Transformers Implicitly Discover Unified
       Numerical Algorithms", arXiv:2509.19702, Definition 1.

    Examples
    --------
    >>> import numpy as np
    >>> from eagle.distributed import diversity
    >>> x, y = np.eye(2)[:, :1], np.ones((2, 1))
    >>> diversity([x, x]), round(diversity([x, y]), 4)  # (1 - cos 45°) / 2
    (1.0, 0.1464)
    """
    blocks = [as_block(f"A_list[{mu}]", A) for mu, A in enumerate(A_list)]
    if not blocks:
        raise ValueError("A_list is empty")
    for mu, A in enumerate(blocks):
        if len(A) != len(blocks[0]):
            raise ValueError(
                f"A_list[{mu}] with shape {A.shape} must have as many rows as A_list[0] with shape "
                f"{blocks[0].shape}"
            )
    # The squared singular values of [U_1 ... U_M] / sqrt(M) are the eigenvalues of the mean.
    bases, noise = zip(*map(_basis, blocks), strict=True)
    stacked = np.hstack(bases) / np.sqrt(len(blocks))
    if not stacked.size:
        return float("nan")
    values = np.linalg.svd(stacked, compute_uv=False)
    # Ranges that agree up to the rounding of bases leave values of that size; an eigenvalue of at
    # least 1/M is there however inexact the bases are.
    doubtful = min(10 * max(noise), 0.99 / np.sqrt(len(blocks)))
    return float(min(values[values > doubtful].min() ** 2, 1.0))


def _basis(A: np.ndarray) -> tuple[np.ndarray, float]:
    """Orthonormal basis of the range without directions at rounding level, and how exact it is."""
    A = A.astype(np.result_type(A.dtype, np.float32))
    eps = max(A.shape) * float(np.finfo(A.dtype).eps)
    if not A.any():
        return A[:, :0], eps
    U, s, _ = np.linalg.svd(A / np.abs(A).max(), full_matrices=False)
    s = s[s > eps * s[0]]
    return U[:, : len(s)], float(eps * s[0] / s[-1])


@dataclass(frozen=True, eq=False)
class Shards:
    """A problem that is spread over machines, with its answer.

    Attributes
    ----------
    A, B : list of ndarray (d, n_mu), (d', n_mu)
        Columns by machine.
    C : ndarray (d, n')
    D : ndarray (d', n')
        ``B A^+ C`` of all columns together.
    alpha : float
        Diversity.
    """

    A: list[np.ndarray]
    B: list[np.ndarray]
    C: np.ndarray
    D: np.ndarray
    alpha: float

    def error(self, value: np.ndarray) -> float:
        """Relative Frobenius distance of `value` from D."""
        return float(np.linalg.norm(value - self.D) / np.linalg.norm(self.D))


def shards_with_diversity(
    alpha: float,
    machines: int = 4,
    *,
    d: int = 120,
    columns: int | None = None,
    rows: int = 2,
    queries: int = 2,
    condition: float = 100.0,
    kind: str = "log",
    noise: float = 0.0,
    dtype: Any = np.float64,
    rng: Any = None,
) -> Shards:
    r"""A problem over M machines whose diversity and condition numbers are prescribed.

    All machines have some directions in common. Of planes ``span(e, f)`` each has a line: in the
    j-th plane at the angle ``+-theta_j`` to e, the sign alternating with the machine. With
    ``delta`` more lines at one side than at the other, the mean projector has in such a plane the
    eigenvalues ``(1 +- sqrt(cos^2 2t + (delta / M)^2 sin^2 2t)) / 2``. The smallest
    angle is chosen so that the smaller one is alpha, the other angles are spread between it and
    45 degrees. Then everything is rotated at random.

    Parameters
    ----------
    alpha : float
        In (0, (1 - d/M) / 2] with d = 0 for even M and 1 for odd, or 1: all ranges are equal.
    machines : int
        At least 2, unless alpha is 1.
    d : int
        Rows of A; at least 4.
    columns : int, optional
        ``n_mu``, three quarters of d by default. Ranges have as many dimensions; three quarters of
        d if that is d or more and alpha below 1.
    rows, queries : int
        ``d'`` and ``n'``.
    condition : float
        Of every ``A_mu``.
    kind : str
        Of its spectrum, see `eagle.problems.spectrum`.
    noise : float
        Relative size of a random perturbation of B, which makes it inconsistent as soon as there
        are more columns than d; D is the value for the perturbed B.
    dtype : dtype
    rng : int, Generator or None

    Returns
    -------
    Shards

    Raises
    ------
    ValueError
        An alpha that this construction cannot have.

    Examples
    --------
    >>> import eagle.distributed as many
    >>> shards = many.shards_with_diversity(alpha=0.01, machines=3, rng=0)
    >>> round(many.diversity(shards.A), 6)
    0.01
    """
    check_number("alpha", alpha, positive=True)
    machines, d = check_count("machines", machines), check_count("d", d, minimum=4)
    check_number("condition", condition, minimum=1.0)
    check_number("noise", noise)
    largest = 0.5 if machines % 2 == 0 else (1 - 1 / machines) / 2
    if alpha != 1 and not (alpha <= largest and machines > 1):
        raise ValueError(
            f"alpha must be 1 or at most {largest:.3g} for {machines} machines, got {alpha:g}"
        )
    rng = as_generator(rng)
    dtype = np.dtype(dtype)

    def normal(*shape: int) -> np.ndarray:
        draw = rng.standard_normal(shape)
        return draw + 1j * rng.standard_normal(shape) if dtype.kind == "c" else draw

    def orthonormal(n: int, k: int) -> np.ndarray:
        return np.linalg.qr(normal(n, k))[0]

    rank = d - d // 4 if columns is None else check_count("columns", columns)
    rank = rank if rank < d or alpha == 1 else d - d // 4
    rank = min(rank, d)
    planes = 0 if alpha == 1 else min(rank, d - rank)
    angles = _angles(alpha, machines, planes)
    rotation = orthonormal(d, d)
    A = []
    for mu in range(machines):
        sign = 1 if mu % 2 == 0 else -1
        U = np.zeros((d, rank))
        line = np.arange(planes)
        U[line, line], U[planes + line, line] = np.cos(angles), sign * np.sin(angles)
        shared = np.arange(rank - planes)
        U[2 * planes + shared, planes + shared] = 1
        V = orthonormal(columns or rank, rank)
        s = spectrum(rank, condition, kind)
        A.append((rotation @ (U @ orthonormal(rank, rank)) * s) @ V.conj().T)
    W, whole = normal(rows, d) / np.sqrt(d), np.hstack(A)
    B = [W @ each for each in A]
    C = whole @ normal(whole.shape[1], queries) / np.sqrt(d)
    D = W @ C
    if noise:
        joint = np.hstack(B)
        joint = joint + noise * np.linalg.norm(joint) / np.sqrt(joint.size) * normal(*joint.shape)
        B = np.split(joint, np.cumsum([each.shape[1] for each in A])[:-1], axis=1)
        D = joint @ np.linalg.lstsq(whole, C, rcond=None)[0]
    A, B = ([each.astype(dtype) for each in blocks] for blocks in (A, B))
    return Shards(A, B, C.astype(dtype), D.astype(dtype), alpha)


def _angles(alpha: float, machines: int, planes: int) -> np.ndarray:
    """Angles whose smaller eigenvalues run from alpha up, geometrically, to 45 degrees."""
    if not planes:
        return np.zeros(0)
    tilt = (machines % 2) / machines
    lowest = np.geomspace(alpha, max(alpha, (1 - tilt) / 2 * 0.98), planes)
    # (1 - 2 a)^2 = cos^2 2t + tilt^2 sin^2 2t
    cosine = np.sqrt(np.clip(((1 - 2 * lowest) ** 2 - tilt**2) / (1 - tilt**2), 0, 1))
    return np.arccos(cosine) / 2
