"""What a distributed solve returns."""

from __future__ import annotations

from dataclasses import dataclass

import eagle.problem.result


@dataclass(frozen=True, eq=False)
class Result(eagle.problem.result.Result):
    """`eagle.Result` and what the network had to do for it. Equal on every machine.

    Attributes
    ----------
    flops : float
        Not counted here: nan.
    rounds : int
        Collective operations, from the first one that carries data to the last: setting up,
        planning and verifying included. The agreement on the problem, a message of 2 kB, comes
        before.
    bytes_sent : int
        What this machine put into them.
    diversity : float or None
        Estimate of the smallest positive eigenvalue of the mean projector, for methods that see
        it; it approaches the truth from above.
    communication : float
        Seconds spent in collective operations, the agreement included; by the model of `Network`
        in `simulate`.
    simulated : float or None
        Seconds that the job would take on the machines of `simulate`.
    """

    rounds: int = 0
    bytes_sent: int = 0
    diversity: float | None = None
    communication: float = 0.0
    simulated: float | None = None

    @property
    def advice(self) -> str:
        """What the status means and what to try next that has not been tried and is there."""
        return self.status.advice_after(str(self.method), "direct", "float64")

    def __str__(self) -> str:
        diversity = "unknown" if self.diversity is None else f"{self.diversity:.2g}"
        return (
            super()
            .__str__()
            .replace("eagle.Result", "eagle.distributed.Result", 1)
            .replace(", nan flops", "")
            + f"\n  communication   {self.rounds} rounds, {self.bytes_sent} bytes per machine, "
            f"{self.communication:.3g} s\n"
            f"  diversity       {diversity}"
        )
