"""Data spread over machines by columns: ``B A^+ C`` with few and small messages.

Importing this needs no MPI; `MPIComm` imports mpi4py when it is made. Extra ``mpi``:
``pip install 'eagle-solver[mpi]'``.
"""

from eagle.distributed.api import simulate, solve
from eagle.distributed.comm import Comm, LocalComm, Network, Pending, SerialComm, run_local
from eagle.distributed.diversity import Shards, diversity, shards_with_diversity
from eagle.distributed.methods import METHODS
from eagle.distributed.mpi import MPIComm
from eagle.distributed.result import Result

__all__ = [
    "METHODS",
    "Comm",
    "LocalComm",
    "MPIComm",
    "Network",
    "Pending",
    "Result",
    "SerialComm",
    "Shards",
    "diversity",
    "run_local",
    "shards_with_diversity",
    "simulate",
    "solve",
]
