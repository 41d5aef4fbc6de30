"""Steps and sums are their formulas, before anything corrects them."""

from __future__ import annotations

import numpy as np
import pytest

import eagle.distributed as many
from eagle.distributed import run_local
from eagle.distributed.methods import METHODS, averaging, normal
from eagle.distributed.methods.reductions import reduced
from eagle.distributed.problem import LocalProblem
from eagle.distributed.session import Session
from eagle.update import Blocks, average, update
from tests.distributed.machines import simulate, split, uneven
from tests.systems import KINDS, orthonormal, system
from tests.systems import normal as gaussian
from tests.tolerances import relative_error, tolerance


def machines(case, cuts, work):
    """What `work` of a problem and a session returns, on every machine."""
    A, B = split(case, cuts)

    def one(comm):
        mine = A[comm.rank], B[comm.rank]
        return work(LocalProblem.agreed(comm, *mine, case.C, 0, "", ""), Session(comm))

    return run_local(len(A), one)


def distance(found, wanted):
    """In the Frobenius norm, of blocks side by side."""
    found, wanted = (np.hstack(x) if isinstance(x, list | tuple) else x for x in (found, wanted))
    return np.linalg.norm(found - wanted)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_a_round_of_averaging_is_algorithm_1(dtype):
    """With ``eta = 1/3``, ``gamma = 1``, A rescaled by 3/2 and C and D averaged."""
    case = system((12, 30), condition=5, dtype=dtype)
    rounds = 4

    def work(problem, session):
        state = METHODS["eagle"].init(problem, session)
        start = Blocks(state.A, state.B, state.C, state.D)
        half = np.linalg.norm(state.A - state.A @ state.A.conj().T @ state.A) / 2
        for _ in range(rounds):
            METHODS["eagle"].step(state, session)
        assert state.conditioned == rounds
        end = Blocks(state.A, state.B, state.C, state.D)
        again = METHODS["eagle"].init(problem, session)
        assert averaging._condition(again) == pytest.approx(half, rel=1e-12)
        return start, end

    results = machines(case, [7, 15], work)
    blocks = [start for start, _ in results]
    for each in blocks:
        assert np.linalg.norm(each.A, 2) == pytest.approx(1)
    for _ in range(rounds):
        blocks = average([update(each, 1 / 3, 1) for each in blocks])
        blocks = [Blocks(1.5 * each.A, 1.5 * each.B, each.C, each.D) for each in blocks]
    for (_, end), wanted in zip(results, blocks, strict=True):
        for found, truth in zip(end, wanted, strict=True):
            assert relative_error(found, truth) <= tolerance(dtype, 5)


@pytest.mark.parametrize("name", ["eagle", "eagle-frozen", "krylov"])
def test_what_is_left_is_what_is_wrong(name):
    """For ``W = I`` the error is the residual; C is so large that the probe is nothing to it."""
    rng = np.random.default_rng(0)
    A = [rng.standard_normal((30, 18)) for _ in range(4)]
    C = 1e6 * rng.standard_normal((30, 2))
    result = simulate(A, A, C, method=name, rng=0, rtol=1e-6)
    assert result.converged
    assert result.history[-1].change == pytest.approx(relative_error(result.value, C), rel=0.1)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("columns", [6, 30])
def test_a_reduction_keeps_both_gram_matrices_and_says_what_is_lost(columns, size, dtype):
    """``L L^H = A A^H``, ``(B N) L^H = B A^H`` and ``||B||^2 = ||B N||^2 + lost``."""
    case = system((8, columns), kind="inconsistent B", dtype=dtype)
    cuts = uneven(columns, size)
    for L, BN, lost, total in machines(
        case, cuts, lambda problem, session: reduced(problem.A, problem.B, session)
    ):
        A, B = case.A, case.B
        assert relative_error(L @ L.conj().T, A @ A.conj().T) <= tolerance(dtype)
        assert relative_error(BN @ L.conj().T, B @ A.conj().T) <= tolerance(dtype)
        square = np.linalg.norm(B) ** 2
        assert total == pytest.approx(square, rel=1e-12)
        assert np.linalg.norm(BN) ** 2 + lost == pytest.approx(square, rel=1e-12)
        if columns > 8:
            outside = np.linalg.norm(B - B @ np.linalg.pinv(A) @ A) ** 2
            assert lost == pytest.approx(outside, rel=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.complex128])
def test_the_evidence_of_krylov_is_what_it_is_called(dtype):
    """Residuals ``C - P Z``, their images under P, and the error of the probe."""
    case = system((12, 30), condition=5, dtype=dtype)

    def work(problem, session):
        state = METHODS["krylov"].init(problem, session)
        for _ in range(2):
            METHODS["krylov"].step(state, session)
        return problem.factors.U, state, METHODS["krylov"].verify(state, session)

    results = machines(case, [7, 15], work)
    P = sum(U @ U.conj().T for U, _, _ in results) / len(results)
    W = case.B @ case.pinv
    for _, state, evidence in results:
        start = state.setup.columns
        R = start - P @ state.minimiser.Z
        assert 0.01 < np.linalg.norm(R) / np.linalg.norm(start) < 1
        small = tolerance(dtype) * np.linalg.norm(start)
        assert distance([evidence.residual, evidence.probe_residual], R) <= small
        assert distance([evidence.image, evidence.probe_image], P @ R) <= small
        assert distance(evidence.white, [P @ R[:, -1:], R[:, -1:]]) <= small
        # B is consistent: what is wrong is what W makes of the residual.
        small *= np.linalg.norm(W)
        errors = [evidence.value - W @ case.C, evidence.probe_error]
        assert distance(errors, -W @ R) <= small
        misfit = np.linalg.norm(W @ R[:, -1:]) / np.linalg.norm(state.setup.answer)
        assert state.inconsistency == pytest.approx(misfit, rel=1e-9)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["gd", "cg", "pooled"])
def test_the_evidence_on_the_pooled_data_is_what_it_is_called(name, kind):
    """Residuals ``C - A x`` with x in the row space, and ``-W`` times those as errors."""
    case = system((24, 40), condition=3, kind=kind)
    count = case.C.shape[1]
    white = slice(count, count + normal.PROBES)

    def work(problem, session):
        state = METHODS[name].init(problem, session)
        for _ in range(2):
            METHODS[name].step(state, session)
        x = state.inverse * state.minimiser.Z if name == "pooled" else state.x
        return state.probes, x, METHODS[name].verify(state, session)

    results = machines(case, [7, 15], work)
    if name == "pooled":
        x = case.A.T @ results[0][1]
    else:
        x = np.concatenate([mine for _, mine, _ in results])
    for probes, _, evidence in results:
        R = probes.columns - case.A @ x
        image = case.A @ (case.A.T @ R)
        # The normal equations square the condition number.
        small = tolerance(float, 3**2) * np.linalg.norm(probes.columns)
        assert distance(evidence.residual, R[:, :count]) <= small
        assert distance(evidence.image, image[:, :count]) <= small * probes.scale
        assert distance(evidence.white, [image[:, white], R[:, white]]) <= small
        assert evidence.white_start == pytest.approx(np.linalg.norm(probes.columns[:, white]))
        errors = case.B @ x[:, count:] - probes.answers
        used = evidence.probe_error.shape[1]
        small *= np.linalg.norm(case.W)
        assert distance(evidence.probe_error, errors[:, -used:]) <= small
        assert distance(evidence.probe_residual, R[:, -used:]) <= small
        # Range probes have an answer that inconsistent B does not spoil.
        ranged = slice(-normal.PROBES, None)
        assert distance(errors[:, ranged], -case.W @ R[:, ranged]) <= small
        assert np.linalg.norm(errors[:, ranged]) > 1e6 * small


def test_power_iteration_sends_one_column_a_round(monkeypatch):
    case = system((12, 30))
    A, B = split(case, [7, 15])
    sent = []
    for rounds in (4, 5):
        monkeypatch.setattr(normal, "POWER_ROUNDS", rounds)
        sent.append(simulate(A, B, case.C, method="gd", rng=0, maxiter=1).bytes_sent)
    assert sent[1] - sent[0] == 12 * 8


@pytest.mark.parametrize("name", ["tsqr", "compressed", "gram"])
@pytest.mark.parametrize("columns", [7, 30])
def test_reductions_measure_the_inconsistency_wherever_it_is(name, columns):
    """Lost on the way, or left in a factor that has more columns than rank."""
    rng = np.random.default_rng(0)
    A = orthonormal(rng, 12, 4, float) @ gaussian(rng, (4, columns), float)
    B, C = gaussian(rng, (40, columns), float), gaussian(rng, (12, 2), float)
    truth = np.linalg.norm(B - B @ np.linalg.pinv(A, rcond=1e-10) @ A) / np.linalg.norm(B)
    cuts = uneven(columns, 2)
    result = simulate(np.split(A, cuts, axis=1), np.split(B, cuts, axis=1), C, method=name, rng=0)
    assert result.inconsistency == pytest.approx(truth, rel=0.5)  # four probes tell


@pytest.mark.parametrize("name", many.METHODS)
def test_consistent_data_have_no_inconsistency(name):
    case = system((13, 40), condition=3)
    A, B = split(case, [9, 20])
    result = many.simulate(A, B, case.C, method=name, rng=0, rtol=1e-8)
    assert result.inconsistency <= 1e-6


@pytest.mark.usefixtures("apart")
def test_the_estimate_of_gram_is_the_rounding_of_its_sums_to_first_order():
    """``(dH - W dG) G^+ C`` from the norms of its factors; the condition is that of A."""
    case = system((9, 30), condition=10)
    A, B = split(case, [9, 20])
    result = many.simulate(A, B, case.C, method="gram", rng=0)
    G, H = case.A @ case.A.T, case.B @ case.A.T
    norm = np.linalg.norm
    rounding = norm(H) + norm(case.W) * norm(G, 2)
    wanted = np.finfo(float).eps * 9**0.5 * rounding * norm(np.linalg.solve(G, case.C))
    wanted /= norm(case.value)
    assert result.error_estimate == pytest.approx(wanted, rel=1e-6, abs=0)
    assert result.condition == pytest.approx(10, rel=1e-6)


@pytest.mark.usefixtures("apart")
def test_gram_knows_how_much_it_lacks_without_a_direction_that_it_has_lost():
    """Below ``sqrt(eps)``; the probes miss it too, and one direction is found exactly."""
    rng = np.random.default_rng(0)
    U, V = orthonormal(rng, 6, 6, float), orthonormal(rng, 20, 6, float)
    s = np.array([1, 0.8, 0.6, 0.4, 0.2, 1e-9])
    A, W = (U * s) @ V.T, rng.standard_normal((2, 6))
    C = U @ (s[:, None] * rng.standard_normal((6, 2)) * np.array([1, 1, 1, 1, 1, 1e9])[:, None])
    cuts = uneven(20, 2)
    result = simulate(
        np.split(A, cuts, axis=1), np.split(W @ A, cuts, axis=1), C, method="gram", rng=0
    )
    assert result.rank == 5
    truth = relative_error(result.value, W @ C) * np.linalg.norm(W @ C)
    estimate = result.error_estimate * np.linalg.norm(result.value)
    assert estimate == pytest.approx(truth, rel=1e-3)
