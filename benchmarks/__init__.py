"""The benchmark suite, run by asv."""
