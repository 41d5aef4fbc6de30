"""Benchmarks that asv tracks over commits: ``asv run --python=same --quick``, see docs."""
