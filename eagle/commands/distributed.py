"""``eagle distributed``: B A^+ C from columns that are spread over machines."""

from __future__ import annotations

import argparse
from pathlib import Path

from eagle.commands.common import say, seed, verdict
from eagle.problem.options import check_number

SUMMARY = "B A^+ C from columns or rows that are spread over machines"
TEXT = (
    "Every process reads its own columns of A and B and gets C; rank 0 prints and writes D.\n"
    "Run it as: mpiexec -n 4 python -m mpi4py -m eagle distributed SHARDS -o D.npy\n"
    "SHARDS holds C.npy and either .npz files with A and B, or pairs A-NAME.npy, B-NAME.npy,\n"
    "or A.npy and B.npy, of which every process takes a slice of the columns.\n"
    "With --axis rows the parts are of A and C; B.npy is for all, without it D is the fit A^+ C."
)


def add(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    add = parser.add_argument
    add("shards", type=Path, metavar="SHARDS", help="folder, the same for all processes")
    add(
        "--axis", choices=("columns", "rows"), default="columns",
        help="what of A the processes have (default columns)",
    )  # fmt: skip
    add("-o", "--output", type=Path, required=True, metavar="D", help="d' x n'")
    add(
        "--method", default="auto",
        help="auto, krylov, eagle, eagle-frozen, apc, gd, cg, pooled, seminormal, gram, tsqr "
        "or compressed "
        "(default auto)",
    )  # fmt: skip
    add("--rtol", type=float, help="wanted relative error of the value (default 1e-10)")
    add("--maxiter", type=int, help="most iterations")
    add("--ridge", type=float, default=0.0, help="add RIDGE to the squared singular values")
    add("--rank", type=int, help="keep this many singular directions")
    add("--cutoff", type=float, help="drop singular values below CUTOFF times the largest")
    add("--time-limit", type=float, metavar="SECONDS", help="then write what there is so far")
    add("--deadline", type=float, metavar="SECONDS", help="then end the job, whatever it does")
    add(
        "--patience", type=float, default=60.0, metavar="SECONDS",
        help="for a process that does not come to a round (default 60)",
    )  # fmt: skip
    add("--checkpoint", type=Path, metavar="FOLDER", help="to go on from after a failure")
    add("--every", type=int, default=20, help="iterations between checkpoints (default 20)")
    add("--seed", type=seed, default=0, help="of the random probes (default 0)")


def run(arguments: argparse.Namespace) -> int:
    """Run the command; the exit status."""
    for name in ("deadline", "patience"):
        value = getattr(arguments, name)
        if value is not None:
            check_number(name, value, positive=True)
    from eagle.distributed import command

    names = (
        "axis", "method", "rtol", "maxiter", "time_limit", "ridge", "rank", "cutoff",
        "checkpoint", "every",
    )  # fmt: skip
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
    say(str(result), f"  written to      {arguments.output}")
    return verdict("eagle distributed", [result])
