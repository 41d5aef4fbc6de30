"""``B A^+ C`` where the arrays are: on a GPU, or wherever a library of the array API has them.

The arrays never leave the device. What the host sees are a few numbers per matrix and iteration:
the coefficients of two Lanczos runs and the sizes of what moved. From these it decides for every
matrix by itself, on its own norm, schedule, stopping and status; a matrix that is done is taken
out of the batch. In the order of the data flow: `eagle.algebra.stacked`, what the array API spells
in more words; `eagle.device.problem`, blocks and probes; `eagle.device.iteration`, the steps of
EAGLE; `eagle.device.run`, methods, endings and results.
"""

from eagle.device.run import Snapshot, solve

__all__ = ["Snapshot", "solve"]
