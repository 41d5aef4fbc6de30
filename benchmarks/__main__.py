"""``python -m benchmarks NAME``."""

from __future__ import annotations

import argparse
import importlib
import sys

NAMES = ("central", "distributed", "limited", "transformer")


def main(argv: list[str] | None = None) -> int:
    """Run one benchmark; the rest of the command line is its own."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("name", choices=NAMES, help="which benchmark")
    arguments, rest = parser.parse_known_args(argv)
    return importlib.import_module(f"benchmarks.{arguments.name}").main(rest)


if __name__ == "__main__":
    sys.exit(main())
