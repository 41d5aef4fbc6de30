"""What pytest leaves out where an optional package is missing; CI has them all.

One thread of BLAS unless the environment says otherwise: matrices of tests are small, and threads
that wait for each other take longer. `.ci/kernels` says otherwise.
"""

import os
from importlib.util import find_spec

for name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS"):
    os.environ.setdefault(name, "1")  # before anything imports numpy

collect_ignore_glob = []
if find_spec("torch") is None or find_spec("safetensors") is None:
    collect_ignore_glob.append("eagle/transformer/*")
if find_spec("sklearn") is None:
    collect_ignore_glob.append("eagle/estimators/*")
if find_spec("torch") is None:
    collect_ignore_glob += ["eagle/attention/*", "eagle/gradients/autograd.py"]
if find_spec("jax") is None:
    collect_ignore_glob.append("eagle/gradients/tracing.py")
