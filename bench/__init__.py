"""Benchmarks: generated networks, protocol, runners."""
