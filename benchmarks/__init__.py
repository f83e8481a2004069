"""Load for a running switch, and what it measures like. Run with `python -m benchmarks.load --help`."""
