"""The two-line update, as printed: Algorithm 1 of arXiv:2509.19702 for one machine and one step.

This is the reference that everything else is compared with. `eagle.solve` reaches the same states
through in-place BLAS calls, `eagle.transformer` through attention.
"""

from __future__ import annotations

from typing import Any, NamedTuple

LIFTS = ("paper", "full")


class Blocks(NamedTuple):
    """The four blocks between two steps; D is 0 at first and ``B A^+ C`` in the end.

    Attributes
    ----------
    A, B, C, D : array (..., d, n), (..., d', n), (..., d, n'), (..., d', n')
        numpy arrays, torch tensors, or anything else with ``@`` and ``swapaxes``.
    """

    A: Any
    B: Any
    C: Any
    D: Any


def update(
    blocks: Blocks, eta: float, gamma: float, *, sketch: Any = None, lift: Any = "paper"
) -> Blocks:
    r"""One step of EAGLE on one machine.

    With ``At = A S``, ``Bt = B S`` (``S = I`` without a sketch)::

        A <- A - eta At At^H At S^H        C <- C - gamma At At^H C
        B <- B - eta Bt At^H At S^H        D <- D + gamma Bt At^H C

    Parameters
    ----------
    blocks : Blocks
        Real or complex; never written to.
    eta, gamma : float
        Step sizes divided by ``||A||_2^2``.
    sketch : array (..., n, r), optional
        S, with orthonormal columns.
    lift : {"paper", "full"} or array (n, n)
        ``"full"``: ``A <- A - eta At At^H A``, ``B <- B - eta Bt At^H A``, which scales better with
        small r. The same without a sketch. An array P stands between the two,
        ``A <- A - eta At At^H A P``: ``S S^H`` and ``I`` are the paper's and the full lift.

    Returns
    -------
    Blocks

    Raises
    ------
    ValueError
        Unknown `lift`.

    References
    ----------
    .. [1] Lutz, Gangrade, Daneshmand, Saligrama, "Linear Transformers Implicitly Discover Unified
       Numerical Algorithms", arXiv:2509.19702, Algorithm 1.

    Examples
    --------
    ``D + B A^+ C`` is the same at every step, and all of it ends up in D:

    >>> import numpy as np
    >>> from eagle.update import Blocks, update
    >>> A, B, C = np.diag([1.0, 0.5]), np.ones((1, 2)), np.ones((2, 1))
    >>> blocks = Blocks(A, B, C, np.zeros((1, 1)))
    >>> for _ in range(9):
    ...     square = np.linalg.norm(blocks.A, 2) ** 2
    ...     blocks = update(blocks, 1 / (3 * square), 1 / square)
    >>> round(blocks.D.item(), 6)  # 1 + 2
    3.0
    """
    if isinstance(lift, str) and lift not in LIFTS:
        raise ValueError(f"lift must be one of {', '.join(LIFTS)} or an array, got {lift!r}")
    A, B, C, D = blocks
    At, Bt = (A, B) if sketch is None else (A @ sketch, B @ sketch)
    if not isinstance(lift, str):
        lifted = _adjoint(At) @ (A @ lift)  # (..., r, n)
    elif lift == "full" or sketch is None:
        lifted = _adjoint(At) @ A
    else:
        lifted = _adjoint(At) @ At @ _adjoint(sketch)
    contraction = _adjoint(At) @ C  # (..., r, n')
    return Blocks(
        A - eta * (At @ lifted),
        B - eta * (Bt @ lifted),
        C - gamma * (At @ contraction),
        D + gamma * (Bt @ contraction),
    )


def average(machines: list[Blocks]) -> list[Blocks]:
    """The outer loop's communication: C and D averaged over machines, A and B kept.

    Parameters
    ----------
    machines : list of Blocks
        Of equal d, d' and n'.

    Returns
    -------
    list of Blocks
    """
    C = sum(blocks.C for blocks in machines) / len(machines)
    D = sum(blocks.D for blocks in machines) / len(machines)
    return [Blocks(blocks.A, blocks.B, C, D) for blocks in machines]


def _adjoint(X: Any) -> Any:
    return X.swapaxes(-2, -1).conj()
