"""Benchmarks on a provisioned lab: programs that print figures, never tests."""
