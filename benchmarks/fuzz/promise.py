"""The forward promise: the error of a converged value is within ten times its estimate.

Judged against exact answers (`benchmarks.fuzz.exact`, `benchmarks.fuzz.designs`): *beyond* counts
what is CONVERGED, without a warning, and further than ``10 error_estimate + floor`` from the
answer, relative to it; the floor is 1e-14, in single precision 1e-6. *silent* counts those among
them that are not the answer of blocks within rounding of the given ones either, which is the
verdict of `benchmarks.fuzz.truth`. The size of a promise is ``estimate / max(error, eps)``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.common import Report
from benchmarks.fuzz.campaign import asked_for, attempt
from benchmarks.fuzz.cases import Case
from benchmarks.fuzz.truth import SLACK, Verdict, judge, norm, reference

Array = np.ndarray


@dataclass(frozen=True)
class Trial:
    """One problem, given to one method."""

    index: int
    method: str
    outcome: str  # kept, beyond, flagged, refused, undetermined, crashed
    error: float = np.nan  # relative, in the Frobenius norm
    estimate: float = np.nan
    promise: float = np.nan  # estimate / max(error, eps)
    silent: bool = False  # beyond, and no answer of neighbouring blocks
    rival: float = np.nan  # numpy's error, of designs in single precision
    kind: dict[str, str] = field(default_factory=dict)
    note: str = ""

    def __str__(self) -> str:
        said = f"error {self.error:.1e} estimate {self.estimate:.1e}"
        said += f" numpy's {self.rival:.1e}" if self.worse else ""
        kind = ", ".join(f"{name} {what}" for name, what in self.kind.items())
        return f"--methods {self.method!r}: {self.outcome}, {said}; {kind} {self.note}"

    @property
    def failed(self) -> bool:
        return self.outcome in ("beyond", "crashed") or self.worse

    @property
    def worse(self) -> bool:
        """Whether numpy is more than ten times as accurate, and nothing was said."""
        return self.outcome == "kept" and self.error > SLACK * self.rival


def described(trial: Trial) -> dict[str, Any]:
    """All there is to say, None for what is no number."""
    fields = asdict(trial) | {"failed": trial.failed}
    return {
        name: None if isinstance(entry, float) and not np.isfinite(entry) else entry
        for name, entry in fields.items()
    }


Trials = Callable[[int, int, Sequence[str], Path | None], list[Trial]]


def floor(dtype: Any) -> float:
    """What nobody calls an error, relative to the answer."""
    return 1e-14 if np.finfo(dtype).eps < 1e-10 else 1e-6


def forward(case: Case, D: Array, kind: dict[str, str], rival: float = np.nan) -> Trial:
    """Solve, and compare with the answer; of a stack the worst counts."""
    named = partial(Trial, case.index, case.method, kind=kind)
    said = attempt(case)
    if isinstance(said, Verdict):
        return named(said.outcome, note=said.note)
    eps = float(np.finfo(case.A.dtype).eps)
    size = norm(D)
    if not size:  # then relative to what is usual for such blocks
        blocks = [max(1.0, float(norm(X))) if X is not None else 1.0 for X in (case.B, case.C)]
        size = blocks[0] * blocks[1] / (float(norm(case.A)) or 1.0)

    def one(value: Array, estimate: float, *, converged: bool, status: str) -> Trial:
        wide = value.astype(np.complex128 if value.dtype.kind == "c" else np.float64)
        error = float(norm(wide - D) / size) if np.isfinite(value).all() else np.inf
        allowed = SLACK * estimate
        if case.function == "pinv":
            # It warns where four digits are not certain, in single precision two.
            allowed, estimate = eps**0.25, np.nan
        beyond = converged and not error <= allowed + floor(value.dtype)
        promise = estimate / max(error, eps) if converged else np.nan
        silent = False
        if beyond:
            backward = max(allowed, asked_for(case)) / SLACK
            answers = reference(case.A, case.B, case.C, **case.spectral)
            silent = bool(answers) and judge(value, backward, answers)[1] > 1
        outcome = "beyond" if beyond else "kept" if converged else "flagged"
        return named(outcome, error, estimate, promise, silent, rival, note=status)

    trials = [
        one(each.value, each.estimate, converged=each.converged, status=each.status)
        for each in said
    ]
    return max(trials, key=lambda trial: (trial.failed, trial.error))


def _table(
    report: Report, trials: list[Trial], title: str, words: Callable[[Trial], list[str]]
) -> None:
    report.section(f"By {title}")
    named = [(words(trial), trial) for trial in trials]
    for key in sorted({word for found, _ in named for word in found}):
        ours = [trial for found, trial in named if key in found]
        promises = [trial.promise for trial in ours if np.isfinite(trial.promise)]
        middle, high = np.quantile(promises, [0.5, 0.99]) if promises else (np.nan, np.nan)
        outcomes = [trial.outcome for trial in ours]
        report.row(
            name=key,
            solves=len(ours),
            beyond=outcomes.count("beyond"),
            silent=sum(trial.silent for trial in ours),
            worse=sum(trial.worse for trial in ours),
            flagged=f"{100 * outcomes.count('flagged') / len(ours):.1f} %",
            refused=outcomes.count("refused"),
            undetermined=outcomes.count("undetermined"),
            crashed=outcomes.count("crashed"),
            median=float(middle),
            percentile_99=float(high),
        )


def _in_turn(
    tasks: list[int], work: Callable[[int], list[Trial]], jobs: int, seconds: float
) -> Iterator[list[Trial]]:
    """The results in their order, until the time is over."""
    stop = time.perf_counter() + seconds
    if jobs == 1:
        for task in tasks:
            if time.perf_counter() > stop:
                return
            yield work(task)
        return
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for result in pool.map(work, tasks, chunksize=20):
            yield result
            if time.perf_counter() > stop:
                pool.shutdown(wait=False, cancel_futures=True)
                return


def campaign(
    trials: Trials,
    numbers: range,
    seed: int,
    methods: Sequence[str],
    *,
    jobs: int,
    seconds: float,
    folder: Path | None,
    report: Report,
) -> int:
    """Problems by their number, each given to all methods; 1 if a promise was broken."""
    begun, done, found = time.perf_counter(), 0, []
    work = partial(trials, seed=seed, methods=methods, folder=folder)
    for latest in _in_turn(list(numbers), work, jobs, seconds):
        done += 1
        found += latest
    taken = time.perf_counter() - begun
    _table(report, found, "method", lambda trial: [trial.method])
    for name in sorted({name for trial in found for name in trial.kind}):
        _table(report, found, name, lambda trial, name=name: trial.kind[name].split("+"))
    call = f"--{trials.__module__.rpartition('.')[2]}"
    failures = [trial for trial in found if trial.failed]
    for trial in failures:
        report.say(f"{call} --seed {seed} --replay {trial.index} {trial}")
    report.say(
        f"\n{done} problems, {len(found)} solves in {taken:.0f} s ({done / taken:.0f} problems/s, "
        f"{len(found) / taken:.0f} solves/s): {len(failures)} failures"
    )
    return 1 if failures else 0
