"""Offset allocation: problem, solvers, checker."""
