"""Files that the command reads and writes, for the tests."""

from __future__ import annotations

import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from eagle.cli import main
from tests.tolerances import relative_error, tolerance

SHOPS = '''\
shop,jan,feb,mar,apr
north,10,21,30,40
east,20,39,61,80
south,15,31,44,60
"west, far",40,,,160
 mid ,5,10, NA ,
"up ""there""",8.00,,,+3.2e1
'''
MISSING = [(3, 1), (3, 2), (4, 2), (4, 3), (5, 1), (5, 2)]
SUFFIXES = (".csv", ".npy", ".npz", ".parquet")


def shops() -> np.ndarray:
    X = np.genfromtxt(
        ["10,21,30,40", "20,39,61,80", "15,31,44,60", "40,,,160", "5,10,,", "8,,,32"],
        delimiter=",",
    )
    assert list(map(tuple, np.argwhere(np.isnan(X)))) == MISSING
    return X


def save(path: Path, X: np.ndarray) -> Path:
    """A plain file by suffix, not written by eagle."""
    if path.suffix == ".csv":
        np.savetxt(path, X, delimiter=",", fmt="%.17g")
    elif path.suffix == ".npy":
        np.save(path, X)
    elif path.suffix == ".npz":
        np.savez(path, X=X)
    else:
        pd.DataFrame(X, columns=[f"c{j}" for j in range(X.shape[1])]).to_parquet(path)
    return path


def load(path: Path) -> np.ndarray:
    """What another program reads."""
    if path.suffix == ".csv":
        lines = path.read_text().removeprefix("c0,c1,c2,c3\n").splitlines()
        return np.array([line.split(",") for line in lines], np.float64)
    if path.suffix == ".parquet":
        return pd.read_parquet(path).to_numpy()
    loaded = np.load(path)
    return loaded if path.suffix == ".npy" else next(iter(loaded.values()))


def same(value: np.ndarray, expected: np.ndarray, dtype: object = float) -> None:
    """Equal up to the last bits, which depend on where arrays lie in memory."""
    assert relative_error(value, expected) <= tolerance(dtype)


def names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder))


def contents() -> dict[Path, tuple[bytes, int]]:
    """Every file here, and when it was written."""
    files = [path for path in Path().rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}


def refused(capsys: pytest.CaptureFixture[str], *argv: object) -> str:
    """The one line of an error: status 2, nothing printed, nothing written."""
    before = contents()
    assert main(list(map(str, argv))) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert re.fullmatch(r"eagle( solve| complete)?: error: .*\n", err), err
    assert "Traceback" not in err
    assert contents() == before
    return err.split("error: ", 1)[1].rstrip("\n")
