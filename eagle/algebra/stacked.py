"""Functions of one library on one device."""

from __future__ import annotations

import copy
from typing import Any, Self

import numpy as np

from eagle.algebra.homes import Home

__all__ = ["HostTools", "Tools", "Vector"]

Vector = np.ndarray  # one number for each matrix, on the host


class Tools:
    """Functions of one library on one device that the array API spells in more words."""

    def __init__(self, home: Home, like: Any):
        self.home, self.xp, self.device = home, home.functions(like), home.device
        self._use(like.dtype)

    def _use(self, dtype: Any) -> None:
        """Work in another dtype."""
        self.dtype, self.complex = dtype, "complex" in str(dtype)
        self.real = self.xp.abs(self.zeros(0)).dtype
        self.eps = float(self.xp.finfo(self.dtype).eps)
        self.maximum_exponent = int(np.log2(float(self.xp.finfo(self.dtype).max)))

    def single(self) -> Self:
        """The same functions in single precision."""
        tools = copy.copy(self)
        tools._use(self.xp.complex64 if self.complex else self.xp.float32)
        return tools

    def cast(self, X: Any) -> Any:
        """X in the working dtype."""
        return self.xp.astype(X, self.dtype)

    def adjoint(self, X: Any) -> Any:
        """``X^H`` of every matrix."""
        return self.xp.conj(X).mT if self.complex else X.mT

    def norm(self, X: Any) -> Any:
        """Frobenius norm of every matrix, (N,)."""
        return self.xp.linalg.vector_norm(X, axis=(-2, -1))

    def columns(self, X: Any) -> Any:
        """Norm of every column, (N, 1, k)."""
        return self.xp.linalg.vector_norm(X, axis=-2, keepdims=True)

    def rows(self, X: Any) -> Any:
        """Norm of every row, (N, m, 1)."""
        return self.xp.linalg.vector_norm(X, axis=-1, keepdims=True)

    def over(self, X: Any, Y: Any) -> Any:
        """``X / Y``, and 0 where Y is 0."""
        positive = Y > 0
        return self.xp.where(positive, X / self.xp.where(positive, Y, self.one), self.none)

    @property
    def one(self) -> Any:
        """The number 1, real."""
        return self.xp.ones((), dtype=self.real, device=self.device)

    @property
    def none(self) -> Any:
        """The number 0, real."""
        return self.xp.zeros((), dtype=self.real, device=self.device)

    def eye(self, size: int) -> Any:
        """An identity for all matrices, (1, size, size)."""
        return self.xp.eye(size, dtype=self.dtype, device=self.device)[None, ...]

    def zeros(self, *shape: int) -> Any:
        """Zeros of the working dtype."""
        return self.xp.zeros(shape, dtype=self.dtype, device=self.device)

    def join(self, parts: list[Any], axis: int) -> Any:
        """One after the other; what has a leading 1 is repeated."""
        count = max(part.shape[0] for part in parts)
        spread = [self.xp.broadcast_to(part, (count, *part.shape[1:])) for part in parts]
        return self.xp.concat(spread, axis=axis)

    def sent(self, small: np.ndarray) -> Any:
        """A few numbers of the host, as an array of the working dtype or its real part."""
        dtype = self.dtype if small.dtype.kind == "c" else self.real
        # Converted here: not every device knows the dtypes of the host.
        return self.home.array(np.ascontiguousarray(small, str(dtype).rpartition(".")[2]))

    def each(self, numbers: Vector) -> Any:
        """One number for each matrix, (N, 1, 1)."""
        return self.sent(np.asarray(numbers, np.float64)[:, None, None])

    def scaled(self, X: Any, exponents: Vector) -> Any:
        """``2**exponent X``, in two steps as one may be out of range."""
        if not exponents.any():
            return X
        half = exponents // 2
        first, second = (np.ldexp(1.0, each) for each in (half, exponents - half))
        return X * self.each(first) * self.each(second)

    def fetch(self, *arrays: Any) -> list[np.ndarray]:
        """Numbers of each matrix, (N, ...), to the host in one transfer."""
        count = arrays[0].shape[0]
        flat = [self.xp.reshape(array, (count, -1)) for array in arrays]
        numbers = self.home.to_host(self.xp.concat(flat, axis=1)).astype(np.float64)
        ends = np.cumsum([part.shape[1] for part in flat])[:-1]
        parts = np.split(numbers, ends, axis=1)
        return [part.reshape(array.shape) for part, array in zip(parts, arrays, strict=True)]

    def take(self, X: Any, places: np.ndarray) -> Any:
        """Some of the matrices."""
        return self.xp.take(X, self.home.array(places.astype(np.int64)), axis=0)


class HostTools(Tools):
    """The same for numpy's own arrays, without the copies that its norms make."""

    def norm(self, X: Any) -> Any:
        return self._root(X, "bij,bij->b")

    def columns(self, X: Any) -> Any:
        return self._root(X, "bij,bij->bj")[:, None, :]

    def rows(self, X: Any) -> Any:
        return self._root(X, "bij,bij->bi")[:, :, None]

    def _root(self, X: Any, sums: str) -> Any:
        parts = (X.real, X.imag) if self.complex else (X,)
        return np.sqrt(sum(np.einsum(sums, part, part) for part in parts))
