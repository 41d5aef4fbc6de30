"""Collective operations: right, counted, independent of scheduling, and failing together."""

from __future__ import annotations

import itertools
import sys
import threading
from types import SimpleNamespace

import numpy as np
import pytest

from eagle.distributed import MPIComm, Network, SerialComm, run_local
from eagle.distributed.mpi import world

SIZES = (1, 2, 3, 7)


def buffer(rank: int) -> np.ndarray:
    return np.random.default_rng(rank).standard_normal((3, 4))


@pytest.mark.parametrize("size", SIZES)
def test_operations_are_what_they_are_called(size):
    def work(comm):
        mine = buffer(comm.rank)
        kept = mine.copy()
        results = (
            comm.sum(mine),
            comm.gather(mine),
            comm.broadcast(mine, size - 1),
            comm.reduce(mine, lambda x, y: 2 * x + y),
        )
        assert (mine == kept).all()
        return results, comm.rounds, comm.bytes_sent

    buffers = [buffer(rank) for rank in range(size)]
    folded = buffers[0]
    for each in buffers[1:]:
        folded = 2 * folded + each
    for (total, gathered, sent, reduced), rounds, bytes_sent in run_local(size, work):
        np.testing.assert_array_equal(total, sum(buffers[1:], buffers[0]))
        np.testing.assert_array_equal(gathered, buffers)
        np.testing.assert_array_equal(sent, buffers[-1])
        np.testing.assert_array_equal(reduced, folded)
        assert (rounds, bytes_sent) == (4, 4 * 8 * 12)


def test_serial_is_local_with_one():
    comm = SerialComm()
    x = buffer(0)
    for result in (comm.sum(x), comm.gather(x)[0], comm.broadcast(x), comm.reduce(x, np.add)):
        np.testing.assert_array_equal(result, x)
        assert result is not x
    assert (comm.rounds, comm.bytes_sent) == (4, 4 * x.nbytes)


def test_results_belong_to_the_machine_that_gets_them():
    def work(comm):
        for operation in (comm.sum, comm.gather, comm.broadcast):
            result = operation(np.ones(5))
            result *= comm.rank + 1
            assert (operation(np.ones(5)) == operation(np.ones(5))).all()
        return comm.reduce(np.ones(5), np.add)

    for result in run_local(3, work):
        assert (result == 3).all()


def test_sums_do_not_depend_on_who_comes_first():
    """Three numbers of which the order decides what rounding leaves."""
    mine = np.array([1.0, 1e16, -1e16])

    def total(order):
        turns = [threading.Event() for _ in order]

        def work(comm):
            place = order.index(comm.rank)
            if place:
                turns[place - 1].wait(10)
            turns[place].set()
            return comm.sum(mine[comm.rank : comm.rank + 1]).item()

        return run_local(3, work)

    orders = list(itertools.permutations(range(3)))
    assert len({(mine[i] + mine[j]) + mine[k] for i, j, k in orders}) > 1
    for order in orders:
        assert total(order) == [(mine[0] + mine[1]) + mine[2]] * 3


def test_an_exception_of_one_machine_is_raised_and_stops_the_others():
    def work(comm):
        if comm.rank == 1:
            raise ZeroDivisionError("one")
        comm.sum(np.ones(1))

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError, match="one"):
        run_local(3, work)
    assert threading.active_count() == before


def test_different_operations_are_an_error_on_all():
    with pytest.raises(RuntimeError, match="different operations"):
        run_local(2, lambda comm: (comm.sum if comm.rank else comm.gather)(np.ones(2)))
    with pytest.raises(RuntimeError, match="different operations"):
        run_local(2, lambda comm: comm.sum(np.ones(2 + comm.rank)))


def test_network_model():
    network = Network(latency=1.0, bandwidth=10.0)
    assert network.allreduce(1, 100) == 0
    assert network.allreduce(2, 0) == 1
    assert network.allreduce(8, 0) == 3
    assert network.allreduce(5, 0) == 3
    # Short buffers go whole, long ones in pieces.
    assert network.allreduce(8, 1) == pytest.approx(3 * (1 + 0.1))
    assert network.allreduce(8, 1000) == pytest.approx(6 + 2 * 7 / 8 * 100)
    assert network.allreduce(8, 1000, divisible=False) == pytest.approx(3 * (1 + 100))
    assert network.broadcast(8, 10) == pytest.approx(3 * 2)
    assert network.gather(8, 10) == pytest.approx(3 + 7)


@pytest.fixture
def processor(monkeypatch):
    """Processor time that passes only when a machine says so, for each machine its own."""
    own = threading.local()
    clock = SimpleNamespace(thread_time=lambda: getattr(own, "time", 0.0))
    clock.work = lambda seconds: setattr(own, "time", clock.thread_time() + seconds)
    monkeypatch.setattr("eagle.distributed.comm.time", clock)
    return clock


def test_simulated_seconds_are_those_of_the_model(processor):
    network = Network(latency=0.5, bandwidth=100.0)

    def work(comm):
        for _ in range(3):
            comm.sum(np.ones(10))
        return comm.seconds, comm.clock

    for seconds, clock in run_local(4, work, network):
        assert seconds == pytest.approx(3 * network.allreduce(4, 80))
        assert clock == seconds


def test_the_clock_waits_for_the_slowest(processor):
    def work(comm):
        for turn in range(2):
            processor.work(5.0 if comm.rank == turn else 1.0)
            comm.sum(np.ones(1))
        return comm.clock, comm.seconds

    assert run_local(3, work) == [(10.0, 0.0)] * 3


def test_without_mpi4py_both_doors_say_what_to_install(monkeypatch):
    for name in ("mpi4py", "mpi4py.MPI"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(ImportError, match=r"^MPIComm needs mpi4py .*'eagle-solver\[mpi\]'$"):
        MPIComm()
    monkeypatch.setenv("PMI_SIZE", "2")
    with pytest.raises(RuntimeError, match=r"started 2 processes, and MPIComm needs mpi4py"):
        world()
