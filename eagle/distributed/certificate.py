r"""How far off a value is, from columns whose answers are known, without knowing ``A^+``.

Let ``W = B A^+``, so that the value is ``W C``. The methods here find some decomposition
``x_mu`` of every column c of C over the machines, ``sum_mu A_mu x_mu = c - r`` with the residual
r, and return ``sum_mu B_mu x_mu``. Two things can be wrong with that:

* **The residual.** If B is consistent (``B = W A``), or if x lies in the row space of A, then
  the error is exactly ``-W r``. Everybody knows r, nobody knows W. But a *probe*, a column
  ``A w`` with random w, took the same road, and its answer ``B w`` is known: its error is
  ``-W r_w``. So the error of the user's columns is one hidden block,

      [ r_w    r  ]
      [ W r_w  ?  ]

  of a matrix of errors, and follows by the formula that this library exists for. It is exact when
  one direction carries the errors, however small the singular values along it are. Where all that
  is left of C is outside the range of A, which W annihilates and which shows by images ``P r``
  under the operator of the iteration that are rounding errors, these stand in for r.
* **The decomposition.** If B is not consistent, another decomposition than the shortest gives
  another value: the error is ``B (x - A^+ c)``. The probe has the misfit ``B (x_w - w)``, and
  relative to the sizes of the x's this is what to expect of the user's columns. Rounding errors
  of B are a case of it.

Probes of *range* kind, ``A (A^H v)`` with the answer ``B A^H v``, hold for every B. They judge the
methods whose x lies in the row space.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from eagle.algebra.blas import norm, product

USED_UP = 100.0  # in units of eps: an image that is rounding errors


@dataclass(frozen=True)
class Evidence:
    """What is known about a value when a method stops; all of it on all machines.

    Attributes
    ----------
    value : ndarray (d', n')
    probe_error : ndarray (d', q)
        Errors of the probes' values.
    residual, probe_residual : ndarray (d, n'), (d, q)
    image, probe_image : ndarray (d, n'), (d, q)
        The same under the operator of the iteration.
    start, probe_start, white_start : float
        Norms of C, of the probes and of the white ones among them.
    white : tuple of ndarray (d, p)
        Images and residuals of the white probes.
    size, probe_size : float
        Norms of the decompositions.
    amplification : float
        Mean size of W on the ranges of the machines.
    scale : float
        Norm of the operator.
    floor : float
        What rounding errors of B make of the decomposition.
    eps : float
    """

    value: np.ndarray
    probe_error: np.ndarray
    residual: np.ndarray
    probe_residual: np.ndarray
    image: np.ndarray
    probe_image: np.ndarray
    start: float
    probe_start: float
    white: tuple[np.ndarray, np.ndarray]
    white_start: float
    size: float
    probe_size: float
    amplification: float
    eps: float
    scale: float = 1.0
    floor: float = 0.0

    @property
    def outside(self) -> bool:
        """Whether what is left of C is outside the range of A: its images are rounding errors.

        W does not see it, and it stays. Its images are rounding errors; those of white probes,
        which lie inside, are not, or there are directions too small for the operator.
        """
        small = USED_UP * self.eps * self.scale
        stuck = unseen(*self.white, self.white_start, self.scale, self.eps)
        return norm(self.image) <= small * norm(self.residual) and not stuck

    @property
    def unfinished(self) -> float:
        """Error due to the residual."""
        rows, corner = self._rows
        by_probes = hidden(
            corner, rows, self.probe_error, self.eps * self.probe_start, self.eps * self.start
        )
        return max(by_probes, self.amplification * norm(rows))

    @property
    def _rows(self) -> tuple[np.ndarray, np.ndarray]:
        """What is left of the user's columns and of the probes, inside the range of A."""
        if self.outside:
            return self.image, self.probe_image
        return self.residual, self.probe_residual

    def residual_gone(self, rtol: float) -> bool:
        """Whether a W of ordinary size makes no error out of the residual."""
        return self.amplification * norm(self._rows[0]) <= rtol * norm(self.value)

    @property
    def biased(self) -> float:
        """Error due to the decomposition."""
        if not self.probe_size:
            return self.floor
        return max(self.floor, norm(self.probe_error) * self.size / self.probe_size)

    @property
    def error(self) -> float:
        """Estimate of the absolute error of the value."""
        return max(self.unfinished, self.biased)

    @property
    def relative(self) -> float:
        """The same relative to the value."""
        return relative(self.error, norm(self.value))


@dataclass(frozen=True)
class Bounded:
    """A value whose method bounds the error by itself, without probes.

    Attributes
    ----------
    value : ndarray (d', n')
    error : float
        Absolute.
    """

    value: np.ndarray
    error: float

    @property
    def relative(self) -> float:
        """The error relative to the value."""
        return relative(self.error, norm(self.value))


def unseen(image: np.ndarray, residual: np.ndarray, start: float, scale: float, eps: float) -> bool:
    """Whether white probes are left with directions that are too small for the operator."""
    small = USED_UP * eps
    left = norm(residual)
    return norm(image) <= 100 * small * scale * left and left > small * start


def relative(error: float, size: float) -> float:
    """Relative to the truth, whose size is at least that of the value less the error."""
    if not error:
        return 0.0
    return error / (size - error) if error < size else np.inf


def hidden(
    corner: np.ndarray,
    rows: np.ndarray,
    columns: np.ndarray,
    corner_floor: float,
    row_floor: float,
) -> float:
    """Size of the hidden block of ``[corner rows; columns ?]``, a matrix of errors.

    The larger of ``|columns corner^+ rows|`` and ``|columns| |rows| / |corner|``: a matrix of
    rounding errors has no low rank. Floors are what rounding leaves.
    """
    corner_size, row_size = max(norm(corner), corner_floor), max(norm(rows), row_floor)
    if not corner_size:
        return 0.0
    by_size = norm(columns) * row_size / corner_size
    if norm(corner) <= corner_floor or not norm(rows) or not np.isfinite(corner).all():
        return by_size
    fit = np.linalg.lstsq(corner, rows, rcond=1e-3)[0]
    return max(by_size, norm(product(columns, np.asfortranarray(fit))))
