r"""Gradients of ``D = B A^+ C`` by formula, for A of constant rank.

With ``G`` the gradient with respect to D, and::

    U = B^H G,   Z = A^{+H} U,   Q = A^+ C,   V = A^+ Z,   Y = A^{+H} Q

the differential ``dA^+ = -A^+ dA A^+ + A^+ A^{+H} dA^H (I - A A^+) + (I - A^+ A) dA^H A^{+H} A^+``
(Golub and Pereyra) gives the gradients::

    B:  G Q^H
    C:  Z
    A:  -Z Q^H + (C - A Q) V^H + Y (U - A^H Z)^H

The second term of the last line vanishes if C lies in the range of A, as it does if A has full row
rank; the third if B is consistent, as it is if A has full column rank. Every quantity has as many
columns as C and is a solve like the one for D, so that nothing depends on how D was computed or in
how many iterations, and the gradient of the gradient is the same once more. With a ridge the same
formulas hold for ``[A; sqrt(ridge) I]`` and ``[C; 0]``, of full column rank whatever the rank of A
is, so that the gradient exists everywhere. Forward mode has the same differential, see
`pushforward`.

Where the rank changes, ``A^+`` is not even continuous, and no formula can help.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from eagle.algebra import blas
from eagle.algebra.homes import Home, adjoint
from eagle.problem.options import Options
from eagle.problem.result import Result

Solve = Callable[..., Any]  # value from A, B, C; None for an identity
Needs = tuple[bool, bool, bool]


class Backend(Protocol):
    """What solves for blocks of a library, see ``eagle.run.flow.Backend``."""

    @property
    def home(self) -> Home:
        """Where the blocks live."""

    @property
    def names(self) -> tuple[str, str, str]:
        """What the user calls A, B, C."""

    def solve(self, blocks: Any, method: Any, options: Options) -> Result:
        """With a value that knows how to differentiate itself, if anybody wants to."""

    def untracked(self, blocks: Any, method: Any, options: Options) -> Result:
        """The same for blocks that nobody differentiates."""

    def on_host(self, blocks: Any, method: Any, options: Options) -> Result:
        """The same for blocks of numpy."""


ROUNDING = 1e3  # in units of eps: a residual that is nothing but rounding errors
LOOPED = 2**13  # multiplications from which on a BLAS may use threads for one matrix of a stack


@dataclass(frozen=True)
class Namespace:
    """What the formulas need of numpy, torch or jax.

    Attributes
    ----------
    xp : module
        ``numpy``, ``torch`` or ``jax.numpy``.
    constant : callable
        The same array without a gradient.
    like : callable
        Keyword arguments that make a new array like a given one.
    may_look : callable
        Whether numbers may decide which terms are computed. Not under tracing, and not where the
        gradient is differentiated in turn: a term may vanish and its derivative not.
    product : callable
        Of two matrices, or two stacks of them.
    """

    xp: Any
    constant: Callable[[Any], Any]
    like: Callable[[Any], dict[str, Any]]
    may_look: Callable[[], bool]
    product: Callable[[Any, Any], Any] = lambda X, Y: X @ Y


def _product(X: np.ndarray, Y: np.ndarray) -> np.ndarray:
    """``X Y`` by the BLAS that everything else here uses, rows first as torch has its gradients."""
    rows, inner, columns = *X.shape[-2:], Y.shape[-1]
    if rows * inner * columns < LOOPED:
        return X @ Y
    if X.ndim == Y.ndim == 2:
        return blas.product(Y.T, X.T).T
    leading = np.broadcast_shapes(X.shape[:-2], Y.shape[:-2])
    X, Y = (np.broadcast_to(Z, (*leading, *Z.shape[-2:])) for Z in (X, Y))
    out = np.empty((*leading, rows, columns), X.dtype)
    for index in np.ndindex(leading):
        out[index] = blas.product(Y[index].T, X[index].T).T
    return out


NUMPY = Namespace(
    np, lambda array: array, lambda like: {"dtype": like.dtype}, lambda: True, _product
)


class GradientWarning(UserWarning):
    """A gradient was computed where the rank of A seems about to change."""


def refuse_truncation(options: Options) -> None:
    """Raise ValueError for options whose value has no gradient with respect to A."""
    for name in ("rank", "cutoff"):
        if getattr(options, name) is not None:
            raise ValueError(
                f"{name} truncates A, and that has no gradient with respect to A; use ridge, or "
                "give an A that is not differentiated"
            )


def warn_if_steep(condition: float | None, eps: float) -> None:
    """Warn if the smallest singular value may be nothing but rounding errors of A."""
    if condition is not None and condition * eps**0.5 > 1:
        warnings.warn(
            f"the condition number of A is {condition:.1e}: if its smallest singular values are "
            "noise, so is the gradient, which grows like the square of it; set ridge to bound it",
            GradientWarning,
            stacklevel=3,
        )


def pullback(
    namespace: Namespace,
    solve: Solve,
    blocks: tuple[Any, Any, Any],
    D: Any,
    G: Any,
    *,
    ridge: float = 0.0,
    rank: int | None = None,
    needs: Needs = (True, True, True),
) -> tuple[Any, Any, Any]:
    """Gradients with respect to A, B and C, from the derivative of ``A^+`` in [1]_.

    Parameters
    ----------
    namespace : Namespace
    solve : callable
        ``solve(A, B, C)`` is ``B A^+ C``, None standing for an identity.
    blocks : tuple of array or None
        A (..., d, n), B (..., d', n), C (..., d, n').
    D, G : array (..., d', n')
        The value, and the gradient with respect to it: the conjugate of the derivative, so that a
        step against it is downhill.
    ridge : float
        As for `eagle.solve`.
    rank : int, optional
        The rank of A if it is known to be full, which saves a solve.
    needs : tuple of bool
        Which of the three are wanted.

    Returns
    -------
    tuple of array or None
        In the shapes of the blocks.

    References
    ----------
    .. [1] Golub, Pereyra, "The differentiation of pseudo-inverses and nonlinear least squares
       problems whose variables separate", SIAM J. Numer. Anal. 10(2), 1973, theorem 4.3.
    """
    A, B, C = blocks
    d, n = A.shape[-2:]
    formula = _Formula(namespace, solve)
    if not ridge:
        bars = formula.gradients(A, B, C, D, G, rank, needs)
    else:
        A, B, C, rank = formula.ridged(A, B, C, ridge)
        a, b, c = formula.gradients(A, B, C, D, G, rank, needs)
        bars = (
            None if a is None else a[..., :d, :n],
            None if b is None else b[..., :n],
            None if c is None else c[..., :d, :],
        )
    return tuple(
        bar if bar is None or block is None else summed(bar, tuple(block.shape))
        for bar, block in zip(bars, blocks, strict=True)
    )


def pushforward(
    namespace: Namespace,
    solve: Solve,
    blocks: tuple[Any, Any, Any],
    D: Any,
    tangents: tuple[Any, Any, Any],
    *,
    ridge: float = 0.0,
    rank: int | None = None,
) -> Any:
    """The derivative of the value along tangents of A, B and C; None stands for zero.

    With ``Q = A^+ C`` the same differential gives, linear in what is solved for::

        dD = B A^+ (dC - dA Q + A^{+H} dA^H (C - A Q) - A T) + B T + dB Q,  T = dA^H A^{+H} Q

    Parameters
    ----------
    namespace, solve, blocks, D, ridge, rank
        As for `pullback`.
    tangents : tuple of array or None
        In the shapes of the blocks.

    Returns
    -------
    array
        In the shape of D.
    """
    formula, (A, B, C) = _Formula(namespace, solve), blocks
    if all(tangent is None for tangent in tangents):
        return namespace.xp.zeros_like(D)
    if ridge and tangents[0] is not None:  # else it is in what solves
        A, B, C, rank = formula.ridged(A, B, C, ridge)
        tangents = formula.padded((A, B, C), tangents)
    return formula.derivative((A, B, C), D, tangents, rank)


class _Formula:
    """The formulas above on arrays of one library."""

    def __init__(self, namespace: Namespace, solve: Solve):
        self.namespace, self.xp, self.solve = namespace, namespace.xp, solve
        self.product = namespace.product

    def eye(self, size: int, like: Any) -> Any:
        return self.xp.eye(size, **self.namespace.like(like))

    def zeros(self, rows: int, columns: int, like: Any) -> Any:
        return self.xp.zeros((rows, columns), **self.namespace.like(like))

    def ridged(self, A: Any, B: Any, C: Any, ridge: float) -> tuple[Any, Any, Any, int]:
        """Blocks with the same value but for the ridge, which is in A, and the rank of that A."""
        (d, n), side = A.shape[-2:], ridge**0.5
        if B is not None and (C is None or d <= n):  # B [A  mu I]^+ C with a zero block in B
            wide = self.join(A, side * self.eye(d, A), -1)
            return wide, self.join(B, self.zeros(B.shape[-2], d, A), -1), C, d
        C = self.eye(d, A) if C is None else C
        tall = self.join(A, side * self.eye(n, A), -2)
        return tall, B, self.join(C, self.zeros(n, C.shape[-1], A), -2), n

    def padded(self, blocks: Any, tangents: Any) -> Any:
        """Tangents of blocks that a ridge has made larger, which stays as it is."""
        padded = []
        for block, tangent in zip(blocks, tangents, strict=True):
            if tangent is not None:
                (rows, columns), (below, beside) = tangent.shape[-2:], block.shape[-2:]
                if beside > columns:
                    tangent = self.join(tangent, self.zeros(rows, beside - columns, tangent), -1)
                if below > rows:
                    tangent = self.join(tangent, self.zeros(below - rows, beside, tangent), -2)
            padded.append(tangent)
        return tuple(padded)

    def derivative(self, blocks: Any, D: Any, tangents: Any, rank: int | None) -> Any:
        """Of the value along tangents of the blocks; None stands for zero."""
        (A, B, C), (a, b, c) = blocks, tangents
        (d, n), product = A.shape[-2:], self.product
        if B is not None and (C is None or B.shape[-2] < C.shape[-1]):
            A, C, B, D, a, c, b = (None if X is None else adjoint(X) for X in (A, C, B, D, a, c, b))
            return adjoint(self.mirrored().derivative((A, C, B), D, (a, c, b), rank))
        C = self.eye(d, A) if C is None else C
        Q = D if B is None else None
        if Q is None and (a is not None or b is not None):
            Q = self.solve(A, None, C)
        terms = [] if b is None else [product(b, Q)]
        inside = [] if c is None else [c]
        if a is not None:
            inside.append(-product(a, Q))
            if rank != d:
                change = product(adjoint(a), C - product(A, Q))
                inside.append(adjoint(self.solve(A, adjoint(change), None)))
            if rank != n:
                T = product(adjoint(a), adjoint(self.solve(A, adjoint(Q), None)))
                inside.append(-product(A, T))
                terms.append(T if B is None else product(B, T))
        if inside:
            terms.append(self.solve(A, B, sum(inside[1:], start=inside[0])))
        return sum(terms[1:], start=terms[0])

    def join(self, X: Any, Y: Any, axis: int) -> Any:
        """Both side by side (-1) or one above the other (-2), leading dimensions broadcast."""
        leading = self.xp.broadcast_shapes(X.shape[:-2], Y.shape[:-2])
        spread = [
            Z if Z.shape[:-2] == leading else self.xp.broadcast_to(Z, (*leading, *Z.shape[-2:]))
            for Z in (X, Y)
        ]
        # Of torch's names for it this is the one that torch.autograd.functional maps.
        concat = getattr(self.xp, "cat", self.xp.concatenate)
        return concat(spread, axis)

    def both(self, function: Callable[[Any], Any], X: Any, Y: Any) -> tuple[Any, Any]:
        """``function(X), function(Y)`` in one call, with columns of about equal size."""
        sizes = [self._size(Z) for Z in (X, Y)]
        out = function(self.join(X / sizes[0], Y / sizes[1], -1))
        split = X.shape[-1]
        return sizes[0] * out[..., :split], sizes[1] * out[..., split:]

    def _size(self, X: Any) -> Any:
        size = self.namespace.constant(self.xp.linalg.norm(X, "fro", (-2, -1), True))
        return self.xp.where(size > 0, size, self.xp.ones_like(size))

    def matters(self, residual: Any, whole: Any) -> bool:
        """Whether a residual may be more than rounding errors, in any matrix of the batch."""
        if not self.namespace.may_look():
            return True
        left, size = (self.xp.linalg.norm(X, "fro", (-2, -1)) for X in (residual, whole))
        return bool((left > ROUNDING * self.xp.finfo(whole.dtype).eps * size).any())

    def gradients(
        self, A: Any, B: Any, C: Any, D: Any, G: Any, rank: int | None, needs: Needs
    ) -> tuple[Any, Any, Any]:
        """For A, B and C, None where they are not needed; in the words of the module's head."""
        if B is not None and (C is None or B.shape[-2] < C.shape[-1]):
            A, C, B, D, G = (None if X is None else adjoint(X) for X in (A, C, B, D, G))
            needs = (needs[0], needs[2], needs[1])
            a, c, b = self.mirrored().gradients(A, C, B, D, G, rank, needs)
            a, b, c = (None if bar is None else adjoint(bar) for bar in (a, b, c))
            return a, b, c
        (d, n), pinv, product = A.shape[-2:], B is None and C is None, self.product

        def right(X: Any) -> Any:
            """``A^+ X``."""
            return product(D, X) if pinv else self.solve(A, None, X)

        def left(X: Any) -> Any:
            """``A^{+H} X``."""
            return product(adjoint(D), X) if pinv else adjoint(self.solve(A, adjoint(X), None))

        C = self.eye(d, A) if C is None else C
        U = G if B is None else product(adjoint(B), G)
        Q = D if B is None else None
        a = Z = V = Y = None
        if not needs[0]:
            Q = right(C) if Q is None and needs[1] else Q
            Z = left(U) if needs[2] else None
        else:
            if rank != n:  # Y vanishes without a residual of B
                Q = right(C) if Q is None else Q
                Z, Y = self.both(left, U, Q)
            else:
                Z = left(U)
                if Q is None and rank == d:
                    Q = right(C)
                elif Q is None:
                    Q, V = self.both(right, C, Z)
            X, W = -Z, Q
            if rank != d:  # V vanishes without a residual of C
                residual = C - product(A, Q)
                if V is None and self.matters(residual, C):
                    V = right(Z)
                if V is not None:
                    X, W = self.join(X, residual, -1), self.join(W, V, -1)
            if Y is not None:
                residual = U - product(adjoint(A), Z)
                X, W = self.join(X, Y, -1), self.join(W, residual, -1)
            a = product(X, adjoint(W))
        b = product(G, adjoint(Q)) if needs[1] and B is not None else None
        return a, b, Z if needs[2] else None

    def mirrored(self) -> _Formula:
        """That of ``D^H = C^H (A^H)^+ B^H``, the same problem with fewer columns."""

        def solve(A: Any, B: Any, C: Any) -> Any:
            blocks = (None if X is None else adjoint(X) for X in (A, C, B))
            return adjoint(self.solve(*blocks))

        return _Formula(self.namespace, solve)


def summed(bar: Any, shape: tuple[int, ...]) -> Any:
    """The gradient with respect to an array before it was broadcast."""
    extra = bar.ndim - len(shape)
    axes = [
        axis
        for axis in range(bar.ndim - 2)
        if axis < extra or shape[axis - extra] != bar.shape[axis]
    ]
    return bar.sum(axis=tuple(axes)).reshape(shape) if axes else bar
