"""Benchmarks of Wegent beside the servers that do the same job."""
