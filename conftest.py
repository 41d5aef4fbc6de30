"""What pytest leaves out where an optional package is missing; CI has them all."""

from importlib.util import find_spec

collect_ignore_glob = []
if find_spec("torch") is None or find_spec("safetensors") is None:
    collect_ignore_glob.append("eagle/transformer/*")
if find_spec("sklearn") is None:
    collect_ignore_glob.append("eagle/estimators/*")
if find_spec("torch") is None:
    collect_ignore_glob += ["eagle/attention/*", "eagle/gradients/autograd.py"]
if find_spec("jax") is None:
    collect_ignore_glob.append("eagle/gradients/tracing.py")
