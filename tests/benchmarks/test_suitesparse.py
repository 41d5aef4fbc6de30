"""Matrices from files: every format and symmetry, and what is refused by name."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from benchmarks import suitesparse


def sparse(seed: int, rows: int = 13, columns: int = 9, *, kind: str = "r") -> np.ndarray:
    """A sparse matrix of real, integer, complex or unit entries, as an array."""
    rng = np.random.default_rng(seed)
    there = rng.random((rows, columns)) < 0.4
    entries = rng.standard_normal((rows, columns)) * 10.0 ** rng.integers(-9, 9, (rows, columns))
    if kind == "i":
        entries = rng.integers(-99, 100, (rows, columns)).astype(float)
    if kind == "c":
        entries = entries + 1j * rng.standard_normal((rows, columns))
    if kind == "p":
        entries = np.ones((rows, columns))
    return np.where(there, entries, 0)


SYMMETRIES = {
    "u": lambda A: A,
    "s": lambda A: np.tril(A) + np.tril(A, -1).T,
    "h": lambda A: np.tril(A, -1) + np.tril(A, -1).conj().T + np.diag(np.diag(A).real),
    "z": lambda A: np.tril(A, -1) - np.tril(A, -1).T,
}


def rutherford_boeing(A: np.ndarray, kind: str, *, harwell: bool = False) -> str:
    """The text of a file, numbers of fixed width with nothing between them."""

    def lines(values: list[Any], each: int, form: str) -> list[str]:
        texts = [format(value, form) for value in values]
        return ["".join(texts[k : k + each]) for k in range(0, len(texts), each)]

    stored = np.tril(A) if kind[1] in "shz" else A
    matrix = scipy.sparse.csc_array(stored)
    values: list[Any] = list(matrix.data)
    if kind[0] == "c":
        values = [part for value in values for part in (value.real, value.imag)]
    blocks = [
        lines(list(matrix.indptr + 1), 9, "5d"),
        lines(list(matrix.indices + 1), 11, "3d"),
        [] if kind[0] == "p" else lines(values, 3, "7.0f" if kind[0] == "i" else "24.16E"),
    ]
    counts = [sum(map(len, blocks)), *map(len, blocks)] + ([1] if harwell else [])
    header = [
        f"{'A title':72}{'key':8}",
        "".join(f"{count:14d}" for count in counts),
        f"{kind:14}" + "".join(f"{n:14d}" for n in (*A.shape, matrix.nnz, 0)),
        f"{'(9I5)':16}{'(11I3)':16}{'(3I7)' if kind[0] == 'i' else '(1P,3D24.16)':20}",
    ]
    if harwell:
        header.append(f"{'F':14}{1:14d}{0:14d}")
    body = [line for block in blocks for line in block] + (["right-hand side"] if harwell else [])
    return "\n".join(header + body).replace("E+", "D+").replace("E-", "d-") + "\n"


@pytest.mark.parametrize("values", "ricp")
@pytest.mark.parametrize("symmetry", "ushz")
@pytest.mark.parametrize("harwell", [False, True])
def test_rutherford_boeing_is_the_matrix_market_twin(
    tmp_path: Path, values: str, symmetry: str, harwell: bool
) -> None:
    square = symmetry != "u"
    A = SYMMETRIES[symmetry](sparse(3, 11 if square else 13, 11, kind=values))
    path, twin = tmp_path / "A.rb", tmp_path / "A.mtx"
    path.write_text(rutherford_boeing(A, f"{values}{symmetry}a", harwell=harwell), encoding="ascii")
    scipy.io.mmwrite(twin, scipy.sparse.coo_array(A), precision=17)
    ours, theirs = suitesparse.load(path), suitesparse.load(twin)
    assert ours.dtype == (complex if values == "c" else float)
    assert (ours.toarray() == A).all()
    assert (theirs.toarray() == A).all()


def test_what_scipy_writes_in_harwell_boeing_is_read(tmp_path: Path) -> None:
    A = scipy.sparse.csc_array(sparse(4))
    scipy.io.hb_write(tmp_path / "A.rb", A)
    assert (suitesparse.load(tmp_path / "A.rb") != A).nnz == 0


@pytest.mark.parametrize("field", ["real", "pattern"])
@pytest.mark.parametrize("symmetry", ["general", "symmetric"])
def test_compressed_and_plain_files_are_the_same(tmp_path: Path, field: str, symmetry: str) -> None:
    A = sparse(5, 8, 8, kind=field[0])
    if symmetry == "symmetric":
        A = SYMMETRIES["s"](A)
    for name, content in {
        "plain.mtx": b"",
        "boeing.rb": rutherford_boeing(A, f"{field[0]}ua").encode(),
    }.items():
        path = tmp_path / name
        if content:
            path.write_bytes(content)
        else:
            scipy.io.mmwrite(path, scipy.sparse.coo_array(A), field=field, symmetry=symmetry)
        packed = tmp_path / f"Group__packed_{name}.gz"
        packed.write_bytes(gzip.compress(path.read_bytes()))
        assert (suitesparse.load(packed).toarray() == A).all()
        assert (suitesparse.load(path).toarray() == A).all()
    found = suitesparse.matrices(tmp_path)
    assert set(found) == {"plain", "boeing", "packed_plain", "packed_boeing"}


GOOD = rutherford_boeing(sparse(6), "rua")


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("a.mtx", b"%%MatrixMarket matrix coordinate real general\n2 2 3\n1 1 1.0\n", "corrupt"),
        ("a.mtx", b"nothing of the kind", "corrupt"),
        ("a.mtx.gz", b"not compressed", "corrupt"),
        ("a.mtx.gz", gzip.compress(b"%%MatrixMarket", mtime=0)[:-9], "corrupt"),
        ("a.mtx", b"%%MatrixMarket matrix array real general\n1 1\nnan\n", "NaN or infinite"),
        ("a.txt", b"", "name must end in"),
        ("a.rb", b"one line", "four lines"),
        ("a.rb", GOOD.replace("rua", "rue").encode(), "type 'rue'"),
        ("a.rb", GOOD.replace("rua", "rsa").encode(), "must be square"),
        ("a.rb", GOOD.replace("(11I3)", "(11X3)").encode(), "Fortran format"),
        ("a.rb", "\n".join(GOOD.splitlines()[:-1]).encode(), "numbers wanted"),
        ("a.rb", GOOD.replace("D", "?").encode(), "corrupt"),
        ("a.rb", "\xff".encode("latin-1"), "corrupt"),
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
