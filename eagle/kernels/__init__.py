"""Numerical primitives: BLAS calls for large matrices, numba loops for small ones."""
