"""What this library costs, one question a file. Run from the root: `python -m benchmarks`."""
