"""Whole solves: ours by regime, and LAPACK's as a yardstick of the machine."""

from typing import ClassVar

import scipy.linalg

import eagle
import eagle.distributed


class Central:
    """Dense full rank, two rows, ten columns."""

    params: ClassVar = ([100, 500], ["auto", "minimax", "cholesky", "gelsy"])
    param_names: ClassVar = ["n", "method"]

    def setup(self, n: int, method: str) -> None:
        self.problem = eagle.problems.low_rank(n, n, 2, 10, condition=1e4, rng=0)

    def time_solve(self, n: int, method: str) -> None:
        solve(self.problem, method)

    def track_iterations(self, n: int, method: str) -> int:
        return 0 if method == "gelsy" else solve(self.problem, method).iterations

    def track_error(self, n: int, method: str) -> float:
        found = solve(self.problem, method)
        return self.problem.error(found if method == "gelsy" else found.value)

    def peakmem_solve(self, n: int, method: str) -> None:
        solve(self.problem, method)


class LowRank:
    """Rank 50 of 1000, not given."""

    params: ClassVar = ["auto", "compressed", "sketched", "gelsy"]
    param_names: ClassVar = ["method"]

    def setup(self, method: str) -> None:
        self.problem = eagle.problems.low_rank(1000, 1000, 10, 10, rank=50, condition=1e4, rng=0)

    def time_solve(self, method: str) -> None:
        solve(self.problem, method)


class Distributed:
    """Four machines played by threads; diversity 0.1."""

    params: ClassVar = ["krylov", "eagle-frozen", "gram", "tsqr"]
    param_names: ClassVar = ["method"]

    def setup(self, method: str) -> None:
        self.shards = eagle.distributed.shards_with_diversity(0.1, 4, d=120, rng=0)

    def time_solve(self, method: str) -> None:
        self.solve(method)

    def track_rounds(self, method: str) -> int:
        return self.solve(method).rounds

    def solve(self, method: str) -> eagle.distributed.Result:
        blocks = self.shards.A, self.shards.B, self.shards.C
        return eagle.distributed.simulate(*blocks, method=method, rtol=1e-8, rng=0)


def timeraw_import() -> str:
    """A fresh process that imports."""
    return "import eagle"


def solve(problem: eagle.problems.Blocks, method: str) -> object:
    """The value of gelsy, the result of anything of ours."""
    if method == "gelsy":
        return problem.B @ scipy.linalg.lstsq(problem.A, problem.C, lapack_driver="gelsy")[0]
    schedules = {"minimax", "cholesky"}
    chosen = eagle.Eagle(method) if method in schedules else method
    return eagle.solve(problem.A, problem.B, problem.C, method=chosen, rng=0)
