"""Matrices from files: both formats, compressed or not, and what is refused by name."""

from __future__ import annotations

import gzip
import io
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from benchmarks import suitesparse


def sparse(seed: int, rows: int = 13, columns: int = 9) -> np.ndarray:
    """A sparse matrix with entries of very different size, as an array."""
    rng = np.random.default_rng(seed)
    entries = rng.standard_normal((rows, columns)) * 10.0 ** rng.integers(-9, 9, (rows, columns))
    return np.where(rng.random((rows, columns)) < 0.4, entries, 0)


def rutherford_boeing(A: np.ndarray) -> str:
    """The text of a file."""
    text = io.StringIO()
    scipy.io.hb_write(text, scipy.sparse.csc_array(A))
    return text.getvalue()


@pytest.mark.parametrize("kind", ["general", "symmetric", "hermitian", "pattern"])
def test_compressed_and_plain_files_are_the_same(tmp_path: Path, kind: str) -> None:
    A = sparse(5, 8, 8)
    A = A + A.T if kind == "symmetric" else (A != 0).astype(float) if kind == "pattern" else A
    A = A + A.T + 1j * (A - A.T) if kind == "hermitian" else A
    settings = {"field": kind} if kind == "pattern" else {"symmetry": kind}
    scipy.io.mmwrite(tmp_path / "plain.mtx", scipy.sparse.coo_array(A), precision=17, **settings)
    if kind == "general":
        (tmp_path / "boeing.rb").write_text(rutherford_boeing(A), encoding="ascii")
    for path in list(tmp_path.iterdir()):
        packed = tmp_path / f"Group__packed_{path.name}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        for each in (path, packed):
            matrix = suitesparse.load(each)
            assert matrix.dtype == (complex if kind == "hermitian" else float)
            assert (matrix.toarray() == A).all()
    names = ("plain", "boeing")[: 2 if kind == "general" else 1]
    assert set(suitesparse.matrices(tmp_path)) == {*names, *(f"packed_{name}" for name in names)}


GOOD = rutherford_boeing(sparse(6))


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.mtx", b"%%MatrixMarket matrix coordinate real general\n2 2 3\n1 1 1.0\n", "read"),
        ("a.mtx", b"nothing of the kind", "cannot be read"),
        ("a.mtx.gz", b"not compressed", "cannot be read"),
        ("a.mtx.gz", gzip.compress(b"%%MatrixMarket", mtime=0)[:-9], "cannot be read"),
        ("a.mtx", b"%%MatrixMarket matrix array real general\n1 1\nnan\n", "NaN or infinite"),
        ("a.txt", b"", "name must end in"),
        ("a.rb", b"one line", "cannot be read"),
        ("a.rb", GOOD.replace("RUA", "RSA").encode(), "Only unsymmetric"),
        ("a.rb", "\n".join(GOOD.splitlines()[:-1]).encode(), "cannot be read"),
        ("a.rb", "\xff".encode("latin-1"), "cannot be read"),
    ],
)
def test_files_that_are_wrong_are_refused_by_name(
    tmp_path: Path, name: str, content: bytes, sentence: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=sentence) as complaint:
        suitesparse.load(tmp_path / name)
    assert name in str(complaint.value)


def test_missing_files_and_folders_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no such file: .*gone\.mtx"):
        suitesparse.load(tmp_path / "gone.mtx")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        suitesparse.matrices(tmp_path / "gone")
    with pytest.raises(FileNotFoundError, match=r"no \.mtx"):
        suitesparse.matrices(tmp_path)
