"""The inverse root of a kernel, in single precision as good as its rounding."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("sklearn")

from eagle.estimators.root import InverseRoot
from tests.tolerances import relative_error, tolerance

SIZE, ROWS = 120, 400
# What a product in single precision adds to the rounding of its result, in rounding units.
FEW = {"constant": 4.0}


def spectrum(condition: float, large: int, rank: int = SIZE, signs: bool = False) -> np.ndarray:
    """`large` eigenvalues near 1, the others near 1 / condition."""
    w = np.concatenate([np.linspace(1, 0.8, large), np.linspace(2, 1, rank - large) / condition])
    return w * np.where(np.arange(rank) % 3, 1, -1) if signs else w


def case(w: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvectors V, a slice K of the size that a kernel with eigenvalues w has, and Z."""
    V = np.linalg.qr(rng.standard_normal((SIZE, len(w))))[0]
    features = rng.standard_normal((ROWS, len(w))) * np.sqrt(np.abs(w))
    K = (features * np.sqrt(np.abs(w)) * np.sign(w)) @ V.T
    return V, K, features @ V.T


def applied(root: InverseRoot, K: np.ndarray, dtype: type) -> np.ndarray:
    out = np.empty((len(K), SIZE), dtype)
    root.apply(K, out)
    return out


@pytest.mark.parametrize("signs", [False, True])
@pytest.mark.parametrize("large", [1, 10, 20])
@pytest.mark.parametrize("condition", [5e3, 1e6, 1e11])
def test_single_precision_is_as_good_as_its_rounding(
    condition: float, large: int, signs: bool, rng: np.random.Generator
) -> None:
    w = spectrum(condition, large, signs=signs)
    V, K, Z = case(w, rng)
    root = InverseRoot.of(w, V)
    assert root.rest is not None
    assert root.head.shape == (SIZE, large)
    single = applied(root, K, np.float32)
    assert relative_error(single, Z) < tolerance(np.float32, **FEW)
    naive = K.astype(np.float32) @ root.matrix.astype(np.float32)
    assert relative_error(naive, Z) > 2 * relative_error(single, Z)


def test_directions_that_single_precision_loses_are_those_near_the_geometric_mean_or_above(
    rng: np.random.Generator,
) -> None:
    w = np.geomspace(1, 1e-10, SIZE)
    w[3:] = np.minimum(w[3:], 0.2e-5)
    V, K, Z = case(w, rng)
    root = InverseRoot.of(w, V)
    assert root.rest is not None
    assert root.head.shape == (SIZE, 3)
    assert relative_error(applied(root, K, np.float32), Z) < tolerance(np.float32, **FEW)


def test_nothing_is_taken_out_where_single_precision_does_no_harm(
    rng: np.random.Generator,
) -> None:
    w = spectrum(2000, 10)
    V, K, Z = case(w, rng)
    root = InverseRoot.of(w, V)
    assert root.rest is not None
    assert root.head.shape == (SIZE, 0)
    error = relative_error(applied(root, K, np.float32), Z)
    assert error < tolerance(np.float32, 2000**0.5, constant=2.0)


def test_with_too_many_large_directions_all_is_in_double_precision(
    rng: np.random.Generator,
) -> None:
    w = spectrum(1e8, SIZE // 4)
    V, K, Z = case(w, rng)
    root = InverseRoot.of(w, V)
    assert root.rest is None
    np.testing.assert_array_equal(
        applied(root, K, np.float32), (K @ root.matrix).astype(np.float32)
    )
    assert relative_error(applied(root, K, np.float32), Z) < tolerance(np.float32, constant=1.0)


@pytest.mark.parametrize("rank", [1, SIZE // 2])
def test_two_factors_stay_in_double_precision(rank: int, rng: np.random.Generator) -> None:
    w = spectrum(1e12, 1, rank)
    V, K, Z = case(w, rng)
    root = InverseRoot.of(w, V)
    assert len(root.factors) == 2
    assert relative_error(applied(root, K, np.float32), Z) < tolerance(np.float32, constant=1.0)


@pytest.mark.parametrize("rank", [1, 60, 61, SIZE])
def test_the_root_of_the_inverse(rank: int, rng: np.random.Generator) -> None:
    w = spectrum(1e6, 1, rank, signs=True)
    V, K, Z = case(w, rng)
    root = InverseRoot.of(w, V)
    wanted = (V * np.sign(w) / np.sqrt(np.abs(w))) @ V.T
    assert relative_error(root.matrix, wanted) < tolerance(float, 1e3)
    assert relative_error(applied(root, K, np.float64), Z) < tolerance(float, 1e3)
