"""Before any work, all machines make sure that they mean the same problem.

Every machine tells every other, in a message of fixed size, what it has and what is wrong with
it. All of them judge the same facts by the same rules and so raise the same error or none.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np

from eagle.algebra.blas import product
from eagle.distributed.comm import Comm

SIZE = 2048  # bytes of a message
# What the user calls A, B and C, and the sides of A and B that are equal everywhere. With rows of A
# on the machines the problem is solved for the adjoint, whose columns they are.
AXES = {
    "columns": ("A_local", "B_local", "C", "rows"),
    "rows": ("A_local", "C_local", "B", "columns"),
}
ERRORS = {"ValueError": ValueError, "TypeError": TypeError, "OSError": OSError}


@dataclass(frozen=True)
class Facts:
    """What one machine says of itself.

    Attributes
    ----------
    A, B, C : tuple of int
        Shapes.
    dtype : str
        Common dtype of the three.
    content : str
        Digest of C.
    settings : str
        Method and options.
    seed : int
        Of the random numbers; that of rank 0 counts.
    exponents : tuple of int
        Of two, just above the largest entries of A, B, C.
    spread : tuple of int
        Exponents of two of the smallest and the largest column of A that is not zero.
    uneven : bool
        Whether rows of A are of quite different sizes here.
    heard : bool
        Whether this machine has a callback.
    axis : str
        Along which the data are spread, a key of `AXES`.
    rounding : str
        How this machine rounds. What all machines compute for themselves must be equal to the bit.
    error : tuple of str
        Kind and text of what this machine cannot go on with.
    """

    A: tuple[int, ...] = ()
    B: tuple[int, ...] = ()
    C: tuple[int, ...] = ()
    dtype: str = ""
    content: str = ""
    settings: str = ""
    seed: int = 0
    exponents: tuple[int, ...] = (0, 0, 0)
    spread: tuple[int, int] | None = None
    uneven: bool = False
    heard: bool = False
    axis: str = "columns"
    rounding: str = ""
    error: tuple[str, str] | None = None


def digest(array: np.ndarray) -> str:
    """A short text that differs if any entry does."""
    return hashlib.blake2b(np.ascontiguousarray(array).tobytes(), digest_size=12).hexdigest()


@cache
def rounding() -> str:
    """Digest of a few products and a factorisation, which other processors would change."""
    import scipy.linalg

    X = np.asfortranarray(np.random.default_rng(0).standard_normal((75, 40)))
    results = [product(X, X, adjoint="X"), product(X[:, :3], X[:3, :8])]
    results.append(scipy.linalg.qr(results[0][:, :5], mode="economic", pivoting=True)[0])
    return digest(np.concatenate([result.ravel() for result in results]))


def agree(comm: Comm, facts: Facts) -> list[Facts]:
    """Everybody's facts, in the order of ranks.

    Raises
    ------
    ValueError, TypeError, OSError
        The same on every machine: what a machine complains of, or what differs.
    """
    everybody = [_read(row) for row in comm.gather(_written(facts))]
    for rank, each in enumerate(everybody):
        if each.error is not None:
            kind, text = each.error
            where = "" if len(everybody) == 1 else f"rank {rank}: "
            raise _everywhere(ERRORS[kind](where + text))
    first = everybody[0]
    a, b, c, side = AXES[facts.axis]
    rules: list[tuple[str, Any]] = [
        ("axis is {}", lambda each: each.axis),
        (f"{c} has shape {{}}", lambda each: each.C),
        ("the data have dtype {}", lambda each: each.dtype),
        (f"{a} has {{}} {side}", lambda each: each.A[0]),
        (f"{b} has {{}} {side}", lambda each: each.B[0]),
        (f"{c} has the digest {{}}: {c} must be the same on every rank", lambda each: each.content),
        ("the method and options are {}", lambda each: each.settings),
        ("products round like {}: use processors of one kind", lambda each: each.rounding),
    ]
    for text, fact in rules:
        for rank, each in enumerate(everybody):
            if fact(each) != fact(first):
                message = (
                    f"ranks disagree: {text.format(fact(first))} on rank 0 and {fact(each)} "
                    f"on rank {rank}"
                )
                raise _everywhere(ValueError(message))
    return everybody


def _everywhere(error: Exception) -> Exception:
    """Mark an error that all machines raise, so that nobody need be told."""
    error.everywhere = True  # type: ignore[attr-defined]
    return error


def _written(facts: Facts) -> np.ndarray:
    text = json.dumps(asdict(facts)).encode()
    if len(text) > SIZE:  # only an error can be long
        kind, message = facts.error or ("ValueError", "options are too long")
        text = json.dumps(asdict(Facts(error=(kind, message[:300])))).encode()
    out = np.zeros(SIZE, np.uint8)
    out[: len(text)] = np.frombuffer(text, np.uint8)
    return out


def _read(row: np.ndarray) -> Facts:
    fields: dict[str, Any] = json.loads(row.tobytes().rstrip(b"\0"))
    for key, value in fields.items():
        fields[key] = tuple(value) if isinstance(value, list) else value
    return Facts(**fields)
