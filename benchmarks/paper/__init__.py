"""The paper's figures and tables, redrawn: ``python -m benchmarks.paper NAME ...``."""
