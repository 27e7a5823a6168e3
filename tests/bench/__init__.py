"""Benchmarks: ratios against peers, in one interleaved run (see `python -m tests.bench --help`)."""
