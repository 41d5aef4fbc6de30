"""The command ``eagle``: demo, solve, complete, distributed, train, extract, info."""

from __future__ import annotations

import argparse
import dataclasses
import importlib.metadata
import json
import os
import platform
import re
import sys
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

import eagle
from eagle.options import check_count, check_number
from eagle.result import ConvergenceWarning, Result
from eagle.tables import Table, TableError, check_output, read_table, replacing, write_table

__all__ = ["main"]

STATUS = """exit status:
  0    done
  1    done and written, but a solve ended without the accuracy that was asked for,
       a training diverged, or a model follows no rule
  2    bad input; nothing was written
  3    distributed: a machine failed, or the deadline passed; nothing was written
  130  interrupted; nothing was written (by train: up to the last checkpoint)"""

OPTIONAL = {
    "scikit-learn": "sklearn",
    "matplotlib": "plot",
    "torch": "torch",
    "safetensors": "torch",
    "mpi4py": "mpi",
    "pandas": "parquet",
    "pyarrow": "parquet",
    "threadpoolctl": "",
}
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command.

    Parameters
    ----------
    argv : sequence of str, optional
        Arguments after the name of the program; those of the process by default.

    Returns
    -------
    int
        Exit status, see ``eagle --help``.

    Examples
    --------
    >>> from eagle.cli import main
    >>> main(["complete", "--rank", "some", "table.csv", "-o", "filled.csv"])
    2
    """
    command = "eagle"
    try:
        arguments = _parser().parse_args(argv)
        command = f"eagle {arguments.command}"
        with warnings.catch_warnings():
            # Said below in one line, and by the exit status.
            warnings.simplefilter("ignore", ConvergenceWarning)
            status: int = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except SystemExit as stop:  # argparse after --help or an error
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        return _complain(f"{command}: interrupted", 130)
    except BrokenPipeError:
        # Whoever read the output has enough; the interpreter's last flush must not complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except MemoryError as error:
        return _complain(f"{command}: error: not enough memory ({error})", 2)
    except (ValueError, TypeError, OSError, np.linalg.LinAlgError) as error:
        return _complain(f"{command}: error: {error}", 2)


class _Parser(argparse.ArgumentParser):
    """Errors in one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(_complain(f"{self.prog}: error: {message} (see {self.prog} --help)", 2))


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(
        prog="eagle",
        description="Hidden blocks of low-rank matrices, B A^+ C, with a certificate.",
        epilog=STATUS,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"eagle {eagle.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def add(name: str, run: Any, summary: str, text: str) -> argparse.ArgumentParser:
        each = commands.add_parser(
            name,
            help=summary,
            description=text,
            epilog=STATUS,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        each.set_defaults(run=run)
        return each

    demo = add(
        "demo",
        _demo,
        "compare the methods on real data, on one screen",
        "Hide a block of a kernel matrix of handwritten digits and a block of their pixels, find\n"
        "them again by every method, and draw how the methods converge.",
    )
    demo.add_argument(
        "-o", "--output", type=Path, default=Path("convergence.png"), metavar="FILE",
        help="the picture: .png, .pdf or .svg (default %(default)s)",
    )  # fmt: skip
    demo.add_argument("--seed", type=_seed, default=0, help="of what is hidden (default 0)")

    solve = add(
        "solve",
        _solve,
        "B A^+ C from three files",
        "Compute D = B A^+ C, the hidden block of [[A, C], [B, D]], print how far to trust it and\n"
        "write it. Files: .npy, .npz with one array, .csv or .parquet.",
    )
    for name, shape in (("A", "d x n"), ("B", "d' x n"), ("C", "d x n'")):
        solve.add_argument(name, type=Path, help=shape)
    solve.add_argument("-o", "--output", type=Path, required=True, metavar="D", help="d' x n'")
    solve.add_argument("--rank", type=int, help="replace A by its best approximation of this rank")
    solve.add_argument(
        "--memory-limit", type=_bytes, metavar="BYTES",
        help="working memory, with kB, MB or GB; a .npy of A is then read piece by piece",
    )  # fmt: skip
    _add_options(solve)

    complete = add(
        "complete",
        _complete,
        "fill the missing entries of a table",
        "Fill the missing entries of a table from its complete rows. Missing are NaN and, in a\n"
        ".csv, cells that are empty or say NA, N/A, NaN, null or none. All else stays, in a .csv\n"
        "byte for byte. FILLED may be TABLE itself.",
    )
    complete.add_argument("table", type=Path, metavar="TABLE", help=".csv, .npy, .npz or .parquet")
    complete.add_argument("-o", "--output", type=Path, required=True, metavar="FILLED")
    complete.add_argument(
        "--rank", type=_rank, metavar="cv|none|INT",
        help="directions to use: by cross-validation, all, or this many (default cv; none with "
        "--ridge or --cutoff)",
    )  # fmt: skip
    complete.add_argument(
        "--header", action=argparse.BooleanOptionalAction,
        help="whether the first row of a .csv is a header (default: look)",
    )  # fmt: skip
    complete.add_argument(
        "--labels", action=argparse.BooleanOptionalAction,
        help="whether the first column of a .csv holds labels (default: look)",
    )  # fmt: skip
    complete.add_argument("--key", metavar="NAME", help="which array of a .npz")
    _add_options(complete)

    distributed = add(
        "distributed",
        _distributed,
        "B A^+ C from columns that are spread over machines",
        "Every process reads its own columns of A and B and gets C; rank 0 prints and writes D.\n"
        "Run it as: mpiexec -n 4 python -m mpi4py -m eagle distributed SHARDS -o D.npy\n"
        "SHARDS holds C.npy and either .npz files with A and B, or pairs A-NAME.npy, B-NAME.npy,\n"
        "or A.npy and B.npy, of which every process takes a slice of the columns.",
    )
    _add_distributed(distributed)

    train = add(
        "train",
        _train,
        "train the transformer that rediscovers the rule",
        "Train a linear transformer on masked blocks and write RUN/checkpoint.safetensors,\n"
        "RUN/log.csv and RUN/loss.png. The defaults are the paper's recipe. An interrupted run\n"
        "goes on from its last checkpoint with --resume, to the same result. Exit status 1: the\n"
        "run diverged; the last good checkpoint is kept.",
    )
    _add_training(train)

    extract = add(
        "extract",
        _extract,
        "read the rule out of a trained transformer",
        "Read the update rule out of a model's weights, test its structure, and compare it with\n"
        "the model layer by layer. Exit status 1: the model did not learn the rule.",
    )
    extract.add_argument(
        "source", metavar="RUN", help="a folder of eagle train, a checkpoint, or the name of a "
        "pretrained model: unconstrained-0, distributed-noisy-0 and so on",
    )  # fmt: skip
    extract.add_argument(
        "-o", "--output", type=Path, metavar="FILE", help="the rule, as .json or .py"
    )
    extract.add_argument("--seed", type=_seed, default=0, help="of the test prompts (default 0)")

    add(
        "info",
        _info,
        "versions, BLAS, threads, optional packages",
        "Print what a report of a problem should contain.",
    )
    return parser


def _add_options(parser: argparse.ArgumentParser) -> None:
    """Options of `eagle.solve` by their own names."""
    add = parser.add_argument
    add("--method", default="auto", help=f"auto, {', '.join(eagle.METHODS)} (default auto)")
    add("--rtol", type=float, help="wanted relative error of the value")
    add("--maxiter", type=int, help="most iterations")
    add("--time-limit", type=float, metavar="SECONDS")
    add("--cutoff", type=float, help="relative singular value at or below which A is noise")
    add("--ridge", type=float, default=0.0, help="Tikhonov parameter (default 0)")
    add("--seed", type=_seed, default=0, help="of the random probes and folds (default 0)")
    add("--progress", action="store_true", help="show a progress bar")


def _bytes(text: str) -> int:
    """A number of bytes, such as 300MB."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([kMG]?)B?", text)
    if not found:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of bytes, such as 300MB or 2GB")
    return int(float(found[1]) * {"": 1, "k": 10**3, "M": 10**6, "G": 10**9}[found[2]])


def _add_distributed(parser: argparse.ArgumentParser) -> None:
    """Options of `eagle.distributed.solve` by their own names, and those of a job."""
    add = parser.add_argument
    add("shards", type=Path, metavar="SHARDS", help="folder, the same for all processes")
    add("-o", "--output", type=Path, required=True, metavar="D", help="d' x n'")
    add(
        "--method", default="auto",
        help="auto, krylov, eagle, eagle-frozen, apc, gd, cg, pooled, gram, tsqr or compressed "
        "(default auto)",
    )  # fmt: skip
    add("--rtol", type=float, help="wanted relative error of the value (default 1e-10)")
    add("--maxiter", type=int, help="most iterations")
    add("--time-limit", type=float, metavar="SECONDS", help="then write what there is so far")
    add("--deadline", type=float, metavar="SECONDS", help="then end the job, whatever it does")
    add(
        "--patience", type=float, default=60.0, metavar="SECONDS",
        help="for a process that does not come to a round (default 60)",
    )  # fmt: skip
    add("--checkpoint", type=Path, metavar="FOLDER", help="to go on from after a failure")
    add("--every", type=int, default=20, help="iterations between checkpoints (default 20)")
    add("--seed", type=_seed, default=0, help="of the random probes (default 0)")


def _options(arguments: argparse.Namespace) -> dict[str, Any]:
    names = ("method", "rtol", "maxiter", "time_limit", "cutoff", "ridge", "progress")
    return {name: getattr(arguments, name) for name in names} | {"rng": arguments.seed}


def _add_training(parser: argparse.ArgumentParser) -> None:
    """Fields of `eagle.transformer.TrainConfig` and its parts by their own names."""
    add = parser.add_argument
    add("folder", type=Path, metavar="RUN", help="folder to write to")
    add("--resume", action="store_true", help="go on from the checkpoint in RUN")
    add(
        "--regime", default="unconstrained",
        help="unconstrained, compute-limited, distributed or estimation (default unconstrained)",
    )  # fmt: skip
    add("--family", help="block, scalar, kernel, mixture, condition or asymmetric (default block)")
    add("--noise", type=float, help="variance of noise on X (default 0)")
    add("--condition", type=float, help="of A, family condition (default 1e6)")
    add("--layers", type=int, help="depth (default 4)")
    add("--heads", type=int, help="attention heads (default 1)")
    add("--rank", type=int, help="query and key dimension, compute-limited (default 5)")
    add("--machines", type=int, help="distributed (default 3)")
    add("--lift", help="paper or full, compute-limited (default paper)")
    add("--deviation", type=float, help="of the initial weights (default 0.067, distributed 0.1)")
    add("--steps", type=int, help="(default 20000)")
    add("--batch", type=int, help="prompts per step (default 1024)")
    add("--learning-rate", type=float, help="of Adam (default 1e-3)")
    add("--cooldown", type=float, help="part of the run in which the rate falls to 0 (default 0)")
    add("--clip", type=float, help="largest norm of the gradient (default 0.1)")
    add("--seed", type=_seed, default=0, help="of weights and data (default 0)")
    add("--device", default="cpu", help="cpu, cuda and so on (default cpu)")
    add("--threads", type=int, help="of torch (default: all)")
    add("--quiet", action="store_true", help="no progress bar")


def _rank(text: str) -> str | int:
    if text in ("cv", "none"):
        return text
    try:
        return int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be cv, none or an integer, got {text!r}") from None


def _demo(arguments: argparse.Namespace) -> int:
    from eagle import demo

    demo.main(arguments.output, arguments.seed)
    return 0


def _solve(arguments: argparse.Namespace) -> int:
    check_output(arguments.output)
    limit = arguments.memory_limit
    A = read_table(arguments.A, mapped=limit is not None).values
    B, C = (read_table(path).values for path in (arguments.B, arguments.C))
    result = eagle.solve(A, B, C, rank=arguments.rank, memory_limit=limit, **_options(arguments))
    write_table(arguments.output, Table(result.value), result.value)
    _print(str(result), f"  written to      {arguments.output}")
    return _verdict("eagle solve", [result])


def _complete(arguments: argparse.Namespace) -> int:
    check_output(arguments.output)
    rank = arguments.rank
    if rank is None:
        rank = "cv" if arguments.cutoff is None and not arguments.ridge else "none"
    table = read_table(
        arguments.table, header=arguments.header, labels=arguments.labels, key=arguments.key
    )
    try:
        completion = eagle.complete(
            table.values, rank=None if rank == "none" else rank, **_options(arguments)
        )
    except ValueError as error:
        if not re.search(r"\b(row|column)s?\b", str(error)):  # about an option
            raise
        where = " (counting from 0)" if re.search(r"(row|column)s? \d", str(error)) else ""
        message = str(error).replace(" of X", "")
        raise TableError(f"{arguments.table}: {message}{where}") from None
    write_table(arguments.output, table, completion.X)
    _print(str(completion), *_kept(table), f"  written to      {arguments.output}")
    return _verdict("eagle complete", completion.results)


def _distributed(arguments: argparse.Namespace) -> int:
    for name in ("deadline", "patience"):
        value = getattr(arguments, name)
        if value is not None:
            check_number(name, value, positive=True)
    from eagle.distributed import command

    names = ("method", "rtol", "maxiter", "time_limit", "checkpoint", "every")
    options = {name: getattr(arguments, name) for name in names} | {"rng": arguments.seed}
    result = command.run(
        arguments.shards,
        arguments.output,
        patience=arguments.patience,
        deadline=arguments.deadline,
        options=options,
    )
    if result is None:  # rank 0 has it
        return 0
    _print(str(result), f"  written to      {arguments.output}")
    return _verdict("eagle distributed", [result])


def _kept(table: Table) -> list[str]:
    kept = [name for name, texts in (("header", table.columns), ("labels", table.labels)) if texts]
    return [f"  kept            {' and '.join(kept)}"] if kept else []


def _transformer() -> Any:
    try:
        import eagle.transformer
    except ImportError as error:
        raise ValueError(error) from error
    return eagle.transformer


def _train(arguments: argparse.Namespace) -> int:
    transformer = _transformer()
    import torch

    given = {name: value for name, value in vars(arguments).items() if value is not None}

    def chosen(kind: type, *others: str) -> dict[str, Any]:
        names = {field.name for field in dataclasses.fields(kind)}
        return {name: given[name] for name in names & given.keys() - set(others)}

    config = transformer.TrainConfig.paper(arguments.regime, **chosen(transformer.TrainConfig))
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, **chosen(transformer.ModelConfig)),
        task=dataclasses.replace(config.task, **chosen(transformer.TaskConfig, "rank")),
    )
    if arguments.threads is not None:
        torch.set_num_threads(check_count("threads", arguments.threads))
    try:
        device = torch.device(arguments.device)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        message = str(error).splitlines()[0]
        raise ValueError(f"device {arguments.device!r} cannot be used: {message}") from error
    run = transformer.train(
        config,
        arguments.folder,
        resume=arguments.resume,
        device=device,
        progress=not arguments.quiet,
    )
    _print(str(run), f"written to {arguments.folder}")
    if run.status is transformer.RunStatus.DIVERGED:
        return _complain(f"eagle train: warning: {run.status.name}: {run.status.value}", 1)
    return 0


def _extract(arguments: argparse.Namespace) -> int:
    if arguments.output is not None:
        check_output(arguments.output, (".json", ".py"))
    transformer = _transformer()
    path = Path(arguments.source)
    if not path.exists():
        names = {
            f"{regime}-{'noisy-' if noisy else ''}{seed}": (regime, seed, noisy)
            for noisy in (False, True)
            for regime, seed in transformer.pretrained(noisy=noisy)
        }
        if arguments.source not in names:
            raise ValueError(f"RUN must be a folder, a checkpoint or one of {', '.join(names)}")
        regime, seed, noisy = names[arguments.source]
        path = transformer.pretrained_path(regime, seed, noisy=noisy)
    run = transformer.load_run(path)
    rule = transformer.extract(run.model, seed=arguments.seed)
    _print(str(run), "", str(rule))
    if rule.learned:
        _print("", str(transformer.fidelity(run.model, rule)))
    if arguments.output is not None:
        code = arguments.output.suffix.lower() == ".py"
        text = rule.code() if code else json.dumps(rule.to_dict(), indent=1) + "\n"
        with replacing(arguments.output) as file:
            file.write(text.encode())
        _print("", f"written to {arguments.output}")
    return 0 if rule.learned else 1


def _verdict(command: str, results: Iterable[Result]) -> int:
    """1 and a line of warning if a result is less accurate than was asked for."""
    failed = [result for result in results if not result.converged]
    if not failed:
        return 0
    worst = max(failed, key=lambda result: result.error_estimate)
    return _complain(
        f"{command}: warning: not converged ({worst.status.name}, error estimate "
        f"{worst.error_estimate:.1e}). {worst.status.advice}",
        1,
    )


def _seed(text: str) -> int:
    """A seed from the command line."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a non-negative integer, got {text!r}")
    return int(text)


def _info(arguments: argparse.Namespace) -> int:
    rows = [
        ("eagle", eagle.__version__),
        ("python", f"{platform.python_version()} on {platform.platform()}"),
        *((name, _version(name) or "not installed") for name in ("numpy", "scipy", "numba")),
        *(("BLAS", line) for line in _blas()),
        ("CPUs", str(_cpus())),
        *((name, os.environ[name]) for name in THREADS if name in os.environ),
    ]
    for name, extra in OPTIONAL.items():
        target = f"'eagle-solver[{extra}]'" if extra else name
        rows.append((name, _version(name) or f"not installed (pip install {target})"))
    width = max(len(name) for name, _ in rows)
    _print(*(f"{name:{width}}  {value}" for name, value in rows))
    return 0


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _cpus() -> int:
    """How many this process may use."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every system
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _blas() -> list[str]:
    """One line for each BLAS that is loaded, or what numpy was built with."""
    try:
        from threadpoolctl import threadpool_info  # type: ignore[import-untyped]
    except ImportError:
        built: Any = np.show_config(mode="dicts")
        blas = built.get("Build Dependencies", {}).get("blas", {})
        return [f"{blas.get('name', 'unknown')} {blas.get('version', '')} (numpy's)"]
    import scipy.linalg  # noqa: F401 (loads a BLAS of its own)

    return [
        f"{pool['internal_api']} {pool['version']}, {pool['num_threads']} threads "
        f"({Path(pool['filepath']).parent.name})"
        for pool in threadpool_info()
        if pool["user_api"] == "blas"
    ] or ["none found"]


def _print(*lines: str) -> None:
    sys.stdout.write("\n".join(lines) + "\n")


def _complain(message: str, status: int) -> int:
    if not _is_secondary():
        sys.stderr.write(_line(message) + "\n")
    return status


def _is_secondary() -> bool:
    """Whether rank 0 of an MPI job says the same."""
    if "distributed" not in sys.argv:
        return False
    from eagle.distributed.mpi import launched_rank

    return bool(launched_rank())


def _line(message: str) -> str:
    return " ".join(message.split())
