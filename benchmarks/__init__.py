"""Measured comparisons, run from the root of the repository: ``python -m benchmarks``."""
