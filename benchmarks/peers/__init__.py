"""The same work done by fasttune and by other tuners in one run: ``python -m benchmarks.peers``."""
