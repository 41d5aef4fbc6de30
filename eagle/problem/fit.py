"""What a least-squares solution leaves of its right-hand side, and how sure it is of itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eagle.algebra.homes import Home, find_home, real
from eagle.algebra.operand import Mapped, Operand


@dataclass(frozen=True)
class Fit:
    """The blocks of `eagle.lstsq` and its solution, to be looked at when somebody asks.

    Attributes
    ----------
    A, b : array
        As they came, A perhaps from memory of numpy where b is an array of another library.
    roots : array or None
        Of the weights of rows.
    x : array
    shaped : tuple of str
        Options that gave the spectrum another shape.
    """

    A: Any
    b: Any
    roots: Any
    x: Any
    shaped: tuple[str, ...] = ()

    def residual_norm(self) -> Any:
        """``||S (A x - b)||`` of every column, a float if there is one alone."""
        A, b, x, vector, home = self.A, self.b, self.x, self.b.ndim == 1, find_home(x=self.x)
        columns, b = (x[..., None], b[..., None]) if vector else (x, b)
        if home is not None:
            A = home.array(A) if isinstance(A, np.ndarray) else A
            _, (A, columns, b) = home.to_compute((A, columns, b))
            residual = A @ columns - b
            if self.roots is not None:
                residual = self.roots[..., None] * residual
            norms = home.xp.sqrt(home.xp.sum(home.xp.abs(residual) ** 2, axis=-2))
            return norms[..., 0] if vector else norms
        work = np.result_type(x, np.float32)
        if isinstance(A, Operand):
            residual = A.times(np.asfortranarray(columns, A.dtype)) - b
        else:
            residual = A.astype(work, copy=False) @ columns.astype(work, copy=False) - b
        if self.roots is not None:
            residual = self.roots[..., None] * residual
        sizes = np.abs(residual)
        top = sizes.max(axis=-2, keepdims=True, initial=0.0)  # so that no square overflows
        top = np.where(top > 0, top, 1.0)
        norms = np.linalg.norm(sizes / top, axis=-2) * top[..., 0, :]
        norms = norms[..., 0] if vector else norms
        return float(norms) if norms.ndim == 0 else norms

    def sizes(self) -> tuple[float, float]:
        """``||S (A x - b)||`` and ``||S b||``, of all columns and problems together."""
        home = find_home(x=self.x)
        left, b = _on_host(home, self.residual_norm()), _on_host(home, self.b)
        if self.roots is not None:
            roots = _on_host(home, self.roots)
            b = roots * b if b.ndim == 1 else roots[..., None] * b
        # The residual of one b may be that of many A.
        columns = b.size // max(1, b.shape[0 if b.ndim == 1 else -2])
        repeated = left.size / max(1, columns)
        return float(np.linalg.norm(left)), float(np.linalg.norm(b) * repeated**0.5)

    def standard_errors(self) -> Any:
        """``sigma |row_j of A^+|`` in the shape of x, see `eagle.Result.standard_errors`."""
        if self.shaped:
            raise ValueError(
                "standard errors are those of plain least squares, and the solution was shaped by "
                + ", ".join(self.shaped)
            )
        home = find_home(x=self.x)
        if home is not None and home.follows([self.x]):
            raise ValueError("standard errors are not differentiated, nor traced: detach x first")
        A = self.A.dense() if isinstance(self.A, Mapped) else self.A
        if isinstance(A, Operand):
            raise ValueError("standard errors need a dense A")
        A, residual = _on_host(home, A), _on_host(home, self.residual_norm())
        if self.roots is not None:
            A = _on_host(home, self.roots)[..., None] * A
        freedom = degrees_of_freedom(*A.shape[-2:])
        inverse, units = inverse_factor(A)
        lengths = np.linalg.norm(inverse, axis=-1)
        residual = residual[..., None] if self.b.ndim == 1 else residual
        sigma = (residual / np.sqrt(freedom))[..., None, :]
        errors = lengths[..., None] * (sigma / units[..., None])
        errors = errors[..., 0] if self.b.ndim == 1 else errors
        if home is None:
            return errors.astype(self.x.real.dtype)
        return home.astype(home.array(errors), real(home.result_type([self.x])))


def degrees_of_freedom(rows: int, coefficients: int) -> int:
    """What is left of the rows, or a sentence that nothing is."""
    if rows <= coefficients:
        raise ValueError(
            f"standard errors need more rows than coefficients, got {rows} rows and {coefficients} "
            "coefficients"
        )
    return rows - coefficients


def inverse_factor(A: np.ndarray, name: str = "A") -> tuple[np.ndarray, np.ndarray]:
    """``(R / units)^-1`` (..., n, n) of ``A = Q R``, and units (..., n): about the columns' sizes.

    The rows of the inverse, over their units, are as long as those of ``A^+``.

    Raises
    ------
    ValueError
        If A has not full column rank, whatever the units of its columns.
    """
    A = A.astype(np.result_type(A, np.float64), copy=False)
    largest = _units(np.abs(A).max(axis=-2, keepdims=True, initial=0.0))  # no square overflows
    R = np.asarray(np.linalg.qr(A / largest, mode="r"))
    lengths = _units(np.linalg.norm(R, axis=-2, keepdims=True))
    level = max(A.shape[-2:]) * float(np.finfo(R.dtype).eps)
    rank = int(np.min(np.linalg.matrix_rank(R / lengths, rtol=level)))
    if rank < A.shape[-1]:
        raise ValueError(
            f"standard errors need {name} of full column rank, got rank {rank} of {A.shape[-1]} "
            "columns: coefficients that collinear columns share have none"
        )
    return np.linalg.inv(R / lengths), (lengths * largest)[..., 0, :]


def _units(sizes: np.ndarray) -> np.ndarray:
    return np.where(sizes > 0, sizes, 1.0)


def _on_host(home: Home | None, array: Any) -> np.ndarray:
    if home is None or isinstance(array, np.ndarray):
        return np.asarray(array)
    _, (array, _, _) = home.to_compute((array, None, None))
    return home.to_host(array)
