"""What machines disagree about is found before any work, on all of them, in the same words."""

from __future__ import annotations

import numpy as np
import pytest

import eagle.distributed as many
from eagle.distributed.agreement import Facts, agree

D, N, ROWS, COLUMNS = 4, 3, 2, 5


def blocks() -> list[np.ndarray]:
    return [np.ones((D, N)), np.ones((ROWS, N)), np.ones((D, COLUMNS))]


def messages(change, **options) -> list[str]:
    """What each of three machines raises if `change` is made on the last one."""

    def work(comm):
        mine, own = blocks(), dict(options)
        if comm.rank == 2:
            change(mine, own)
        try:
            many.solve(*mine, comm=comm, **own)
        except (ValueError, TypeError) as error:
            return f"{type(error).__name__}: {error}"
        return "nothing"

    return many.run_local(3, work)


def put(index, value):
    def change(mine, own):
        mine[index] = value

    return change


def bad(index, entry):
    def change(mine, own):
        mine[index] = mine[index].astype(type(entry))
        mine[index][0, 0] = entry

    return change


def option(**options):
    return lambda mine, own: own.update(options)


CASES = {
    "rows of A": (put(0, np.ones((5, N))), "ValueError: rank 2: C with shape"),
    "rows of B": (put(1, np.ones((3, N))), "ranks disagree: B_local has 2 rows on rank 0 and 3 on"),
    "columns of B": (put(1, np.ones((ROWS, 4))), "ValueError: rank 2: B_local with shape (2, 4)"),
    "shape of C": (put(2, np.ones((D, 6))), "ranks disagree: C has shape (4, 5) on rank 0 and"),
    "content of C": (bad(2, 1.0 + 1e-15), "ValueError: ranks disagree: C has the digest"),
    "dtype": (put(0, np.ones((D, N), complex)), "disagree: the data have dtype float64 on rank 0"),
    "nan": (bad(0, np.nan), "ValueError: rank 2: A_local with shape (4, 3) contains NaN"),
    "infinity": (bad(2, np.inf), "ValueError: rank 2: C with shape (4, 5) contains NaN or inf"),
    "object": (put(0, np.array([[None]])), "TypeError: rank 2: A_local must be numeric"),
    "three dimensions": (put(1, np.ones((1, 2, 3))), "rank 2: B_local"),
    "method": (option(method="cg"), "disagree: the method and options"),
    "unknown method": (option(method="krylow"), "rank 2: method 'krylow' is not"),
    "maxiter": (option(maxiter=3), "disagree: the method and options"),
    "rtol": (option(rtol=-1), "ValueError: rank 2: rtol must be"),
    "rng": (option(rng="x"), "TypeError: rank 2: rng must be an int"),
    "time limit": (option(time_limit=0), "rank 2: time_limit must be"),
    "checkpoint": (option(method="tsqr", checkpoint="x"), "rank 2: checkpoint: method"),
    "axis": (option(axis="diagonal"), "rank 2: axis must be 'columns' or 'rows', got 'diagonal'"),
    "another axis": (option(axis="rows"), "ranks disagree: axis is columns on rank 0 and rows on"),
    "ridge": (option(ridge=-1), "rank 2: ridge must be finite"),
    "another ridge": (option(ridge=1.0), "disagree: the method and options"),
    "rank and cutoff": (option(rank=1, cutoff=0.1), "rank 2: rank and cutoff both truncate"),
    "callback": (option(callback=3), "TypeError: rank 2: callback must be callable"),
    "progress": (option(progress=1), "TypeError: rank 2: progress must be True or False"),
    "folder": (option(checkpoint=3), "TypeError: rank 2: checkpoint must be a path, got int"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_all_machines_raise_the_same(case):
    change, start = CASES[case]
    first, *others = messages(change)
    assert set(others) == {first}
    assert start in first


def test_rounding_must_agree():
    def work(comm):
        agree(comm, Facts(A=(1,), B=(1,), rounding="one" if comm.rank else "other"))

    with pytest.raises(ValueError, match="products round like other: use processors of one kind"):
        many.run_local(2, work)


def test_a_long_message_is_cut_and_not_lost():
    with pytest.raises(ValueError, match=r"^aaaa"):
        agree(many.SerialComm(), Facts(error=("ValueError", "a" * 10_000)))


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match="memory_limit"):
        many.solve(*blocks(), comm=many.SerialComm(), memory_limit=1)
    with pytest.raises(TypeError, match="makes its own"):
        many.simulate([blocks()[0]], [blocks()[1]], blocks()[2], comm=many.SerialComm())


def test_a_communicator_of_another_library_is_refused():
    with pytest.raises(TypeError, match=r"comm must be an eagle.distributed.Comm.* got object"):
        many.solve(*blocks(), comm=object())


@pytest.mark.parametrize(
    ("A", "B", "message"),
    [([], [], "A_list is empty"), ([np.ones((2, 2))], [], "A_list has 1 entries but B_list 0")],
)
def test_simulate_wants_as_many_of_each(A, B, message):
    with pytest.raises(ValueError, match=message):
        many.simulate(A, B, np.ones((2, 1)))


def test_the_seed_of_rank_0_counts():
    shards = many.shards_with_diversity(0.2, 3, d=20, rng=0)

    def work(comm):
        return many.solve(
            shards.A[comm.rank], shards.B[comm.rank], shards.C, comm=comm, method="cg",
            rng=comm.rank,
        )  # fmt: skip

    first, *others = many.run_local(3, work)
    for other in others:
        np.testing.assert_array_equal(other.value, first.value)
