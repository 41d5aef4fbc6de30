"""The commands of the program ``eagle``, one module each.

A module has ``SUMMARY`` and ``TEXT`` for its help, ``add``, which declares its arguments, and
``run``, which returns the exit status.
"""

from __future__ import annotations

COMMANDS = ("demo", "solve", "complete", "distributed", "train", "extract", "info")
