"""How good and how fast searchers are, side by side: ``python -m benchmarks.search_quality``."""
