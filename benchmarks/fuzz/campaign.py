"""The campaign: problems one after the other, rivals beside ours, a tally, a checkpoint."""

from __future__ import annotations

import argparse
import json
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import scipy.linalg

import eagle
from benchmarks.common import (
    Parser,
    Report,
    command_line,
    existing_folder,
    new_file,
    positive,
    whole,
    write_json,
)
from benchmarks.fuzz.cases import Case, draw
from benchmarks.fuzz.truth import (
    OUTCOMES,
    SLACK,
    Answer,
    Verdict,
    judge,
    norm,
    reference,
    too_large,
)

ARRAY = 1e4  # in units of eps: what `pinv` promises, which returns no estimate
Array = np.ndarray


@dataclass(frozen=True)
class Said:
    """A value, and what was said of it; an array without a certificate has the estimate 0."""

    value: Array
    estimate: float
    converged: bool
    status: str


def attempt(case: Case) -> list[Said] | Verdict:
    """Solve: the values, one but for a stack, or why there is none."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = case.solve()
        except np.linalg.LinAlgError as error:
            return Verdict("refused", note=str(error)[:80])
        except ValueError as error:
            if "must be square" in str(error):  # LU
                return Verdict("refused", note=str(error)[:80])
            return Verdict("crashed", note=traceback.format_exc(limit=-3))
        except Exception:  # noqa: BLE001 - whatever it is, it is what we look for
            return Verdict("crashed", note=traceback.format_exc(limit=-3))
    warned = [w for w in caught if issubclass(w.category, eagle.ConvergenceWarning)]
    others = [w for w in caught if not issubclass(w.category, eagle.ConvergenceWarning)]
    if others:
        return Verdict("crashed", note=f"{others[0].filename}: {others[0].message}")
    if isinstance(result, np.ndarray):
        values = result if case.copies else [result]
        return [Said(value, 0.0, not warned, "CONVERGED") for value in values]
    if result.converged is bool(warned):
        note = f"status {result.status.name} and {len(warned)} warnings"
        return Verdict("crashed", note=note)
    results = result.results if case.copies else [result]
    return [Said(r.value, r.error_estimate, r.converged, r.status.name) for r in results]


def asked_for(case: Case) -> float:
    """What is as accurate is not wrong, nor an array as accurate as is documented."""
    rtol = case.options.get("rtol") or getattr(case.instance, "default_rtol", None) or 0.0
    return max(rtol, ARRAY * float(np.finfo(case.A.dtype).eps)) if case.function == "pinv" else rtol


def run(case: Case, answers: list[Answer] | None = None) -> Verdict:
    """Solve and judge; of a stack the last."""
    if answers is None:
        answers = reference(case.A, case.B, case.C, **case.spectral)
    if not answers:
        return Verdict("undetermined")
    said = attempt(case)
    if isinstance(said, Verdict):
        return said
    value, estimate, converged = said[-1].value, said[-1].estimate, said[-1].converged
    estimate = max(estimate, asked_for(case) / SLACK)
    error, excess, strict = judge(value, estimate, answers)
    if excess > 1 and case.function == "pinv":  # where it is no more accurate, the estimate tells
        estimate = max(estimate, case.estimate())
        error, excess, strict = judge(value, estimate, answers)
    if excess <= 1:
        outcome = "flagged right" if not converged else "right" if strict <= 1 else "no digits"
        return Verdict(outcome, error, estimate, excess)
    if converged and _exactly(case, value, estimate):
        return Verdict("right", error, estimate, excess, "only rational arithmetic knows it")
    outcome = "SILENT" if converged else "flagged"
    if not converged and too_large(value, answers):
        outcome = "flagged overflow"
    return Verdict(outcome, error, estimate, excess, said[-1].status)


def _exactly(case: Case, value: Array, estimate: float) -> bool:
    """Whether a value is that of rational arithmetic, where extended precision has no digits left.

    Where entries range over hundreds of powers of ten a scaled decomposition may be right and the
    reference, whose rotations compare columns of all sizes, wrong. Takes python-flint.
    """
    try:
        from benchmarks.fuzz.exact import given
    except ImportError:
        return False
    if case.spectral.keys() - {"ridge"}:
        return False
    D = given(case.A, case.B, case.C, **case.spectral)
    if D is None:
        return False
    high = np.clongdouble if D.dtype.kind == "c" else np.longdouble
    D, error = D.astype(high), value.astype(high) - D.astype(high)
    floor = np.longdouble(SLACK * np.finfo(value.dtype).eps)
    return bool(norm(error) <= SLACK * max(np.longdouble(estimate), floor) * norm(D))


def _torch() -> Any:
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    return torch


def rivals(case: Case, answers: list[Answer]) -> dict[str, str]:
    """The same problem through least squares elsewhere: X = lstsq(A, C), then ``B X``."""
    A, B = case.A, case.B
    C = np.eye(len(A), dtype=A.dtype) if case.C is None else case.C
    torch = _torch()
    calls: dict[str, Callable[[], Array]] = {
        f"scipy {name}": lambda name=name: scipy.linalg.lstsq(A, C, lapack_driver=name)[0]
        for name in ("gelsd", "gelsy")
    }
    if torch is not None:
        for name in ("gelsy", "gels", "gelsd"):
            calls[f"torch {name}"] = lambda name=name: torch.linalg.lstsq(
                torch.from_numpy(A.copy()), torch.from_numpy(C.copy()), driver=name
            ).solution.numpy()
    outcomes = {}
    for name, call in calls.items():
        with warnings.catch_warnings(record=True) as caught, np.errstate(all="ignore"):
            warnings.simplefilter("always")
            try:
                X = call()
                value = X if B is None else B @ X
            except (np.linalg.LinAlgError, RuntimeError, ValueError):
                outcomes[name] = "flagged"
                continue
        if caught or not np.isfinite(value).all():
            outcomes[name] = "flagged"
        else:
            _, excess, strict = judge(value, 0.0, answers)
            outcomes[name] = "SILENT" if excess > 1 else "right" if strict <= 1 else "no digits"
    return outcomes


@dataclass
class Tally:
    """Counts of outcomes, and what to look at, of the problems from `start` to before `done`."""

    start: int = 0
    done: int = 0
    ours: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    theirs: Counter[tuple[str, str, str]] = field(default_factory=Counter)
    failures: list[dict[str, Any]] = field(default_factory=list)

    def save(self, path: Path, seed: int) -> None:
        """Whole or not at all."""
        content = {
            "seed": seed,
            "start": self.start,
            "done": self.done,
            "ours": [[*key, count] for key, count in sorted(self.ours.items())],
            "theirs": [[*key, count] for key, count in sorted(self.theirs.items())],
            "failures": self.failures,
        }
        write_json(path, content)

    @classmethod
    def load(cls, path: Path, seed: int) -> Tally:
        """What an earlier run left.

        Raises
        ------
        ValueError
            A file that is no checkpoint, or of another seed.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            ours, theirs = (
                Counter({tuple(row[:3]): row[3] for row in content[name]})
                for name in ("ours", "theirs")
            )
            found = cls(content.get("start", 0), content["done"], ours, theirs, content["failures"])
            theirs_seed = content["seed"]
        except (ValueError, KeyError, TypeError, IndexError) as error:
            raise ValueError(f"{path} is no checkpoint of a campaign") from error
        if theirs_seed != seed:
            raise ValueError(f"{path} belongs to seed {theirs_seed}")
        return found


def _describe(case: Case, verdict: Verdict) -> dict[str, Any]:
    return {
        "index": case.index,
        "family": case.family,
        "blocks": case.blocks,
        "shape": list(case.A.shape),
        "dtype": case.A.dtype.name,
        "function": case.function,
        "method": str(case.instance),
        "copies": case.copies,
        "options": {name: float(value) for name, value in case.options.items()},
        "outcome": verdict.outcome,
        "error": verdict.error,
        "estimate": verdict.estimate,
        "excess": verdict.excess,
        "note": verdict.note,
    }


def one(index: int, seed: int, tally: Tally, *, compare: bool) -> tuple[Case, Verdict]:
    """Problem number `index`, counted."""
    case = draw(index, seed)
    answers = reference(case.A, case.B, case.C, **case.spectral)
    verdict = run(case, answers)
    tally.ours[case.family, case.method, verdict.outcome] += 1
    if verdict.outcome in ("SILENT", "crashed"):
        tally.failures.append(_describe(case, verdict))
    if compare and not case.spectral:
        for name, outcome in rivals(case, answers).items():
            tally.theirs[case.family, name, outcome] += 1
    tally.done = index + 1
    return case, verdict


def _tables(report: Report, tally: Tally) -> None:
    def rows(counts: Counter[tuple[str, str, str]], place: int, names: list[str]) -> None:
        for name in names:
            cells = Counter()
            for key, count in counts.items():
                if key[place] == name:
                    cells[key[2]] += count
            report.row(
                name=name,
                problems=sum(cells.values()),
                **{outcome.replace(" ", "_"): cells[outcome] for outcome in OUTCOMES},
            )

    report.section("Ours, by method")
    rows(tally.ours, 1, sorted({key[1] for key in tally.ours}))
    report.section("Ours, by family")
    rows(tally.ours, 0, sorted({key[0] for key in tally.ours}))
    if tally.theirs:
        report.section("Rivals, on the problems without ridge, rank and cutoff")
        rows(tally.theirs, 1, sorted({key[1] for key in tally.theirs}))
        report.section("Silent wrong answers by family")
        for family in sorted({key[0] for key in tally.ours}):
            ours = sum(c for k, c in tally.ours.items() if k[0] == family and k[2] == "SILENT")
            cells = {name: tally.theirs[family, name, "SILENT"] for name in _names(tally)}
            report.row(family=family, eagle=ours, **cells)
    silent = sum(count for key, count in tally.ours.items() if key[2] == "SILENT")
    crashed = sum(count for key, count in tally.ours.items() if key[2] == "crashed")
    report.say(
        f"\n{sum(tally.ours.values())} problems: {silent} silent wrong answers, {crashed} crashes "
        "or stray warnings"
    )


def _names(tally: Tally) -> list[str]:
    return sorted({key[1] for key in tally.theirs})


def _against_exact_answers(parser: Parser, arguments: argparse.Namespace, problems: int) -> int:
    from benchmarks.fuzz import designs, exact, promise  # flint is not needed elsewhere

    module = exact if arguments.exact else designs
    methods = arguments.methods or list(module.METHODS)
    for name in methods:
        if name not in module.METHODS:
            parser.error(f"--methods: {name!r} is not one of {', '.join(module.METHODS)}")
    if arguments.replay is not None:
        found = module.trials(arguments.replay, arguments.seed, methods, arguments.save)
        for trial in found:
            print(json.dumps(promise.described(trial), indent=1, ensure_ascii=False))
        return int(any(trial.failed for trial in found))
    start = arguments.start or 0
    report = Report("fuzz", quick=arguments.quick)
    status = promise.campaign(
        module.trials,
        range(start, start + problems),
        arguments.seed,
        methods,
        jobs=arguments.jobs,
        seconds=arguments.seconds,
        folder=arguments.save,
        report=report,
    )
    report.save(arguments.json)
    return status


def main(argv: list[str] | None = None) -> int:
    """Run the campaign; with a checkpoint it goes on where the last call ended."""
    parser = command_line("fuzz", __doc__)
    parser.add_argument(
        "--problems",
        type=whole(1),
        help="how many, with those of the checkpoint; 5000 unless told, 200 with --quick",
    )
    parser.add_argument("--start", type=whole(0), help="first problem; 0 unless told")
    parser.add_argument("--seconds", type=positive, default=np.inf, help="stop after so long")
    parser.add_argument("--checkpoint", type=new_file, help="file to go on from")
    parser.add_argument("--no-rivals", action="store_true")
    parser.add_argument("--replay", type=whole(0), metavar="INDEX", help="one problem, in detail")
    add = parser.add_argument_group("problems with exact answers").add_argument
    add("--exact", action="store_true", help="integers times powers of two (needs python-flint)")
    add("--designs", action="store_true", help="least squares as users fit them, float32 and 64")
    add("--methods", nargs="+", metavar="NAME", help="of those in the table; all unless told")
    add("--jobs", type=whole(1), default=1, help="processes")
    add("--save", type=existing_folder, metavar="FOLDER", help="write failing inputs there, .npz")
    arguments = parser.parse_args(argv)
    problems = arguments.problems or (200 if arguments.quick else 5000)
    if arguments.exact or arguments.designs:
        return _against_exact_answers(parser, arguments, problems)
    if arguments.replay is not None:
        case, verdict = one(arguments.replay, arguments.seed, Tally(), compare=False)
        print(json.dumps(_describe(case, verdict), indent=1, ensure_ascii=False))
        return 0
    tally = Tally(arguments.start or 0, arguments.start or 0)
    if arguments.checkpoint and arguments.checkpoint.exists():
        try:
            tally = Tally.load(arguments.checkpoint, arguments.seed)
        except (OSError, ValueError) as error:
            parser.error(f"--checkpoint: {error}")
        if arguments.start not in (None, tally.start):
            parser.error(f"--start: {arguments.checkpoint} starts at {tally.start}")
    report = Report("fuzz", quick=arguments.quick)
    begun = time.perf_counter()
    last = begun
    while tally.done < tally.start + problems:
        one(tally.done, arguments.seed, tally, compare=not arguments.no_rivals)
        now = time.perf_counter()
        if arguments.checkpoint and now - last > 20:
            tally.save(arguments.checkpoint, arguments.seed)
            last = now
        if now - begun > arguments.seconds:
            break
    if arguments.checkpoint:
        tally.save(arguments.checkpoint, arguments.seed)
    _tables(report, tally)
    for failure in tally.failures[:20]:
        report.say(json.dumps(failure, ensure_ascii=False))
    report.save(arguments.json)
    return 1 if tally.failures else 0
