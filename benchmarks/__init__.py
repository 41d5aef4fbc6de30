"""Benchmarks: ratios against rivals in the same run, never tests."""
