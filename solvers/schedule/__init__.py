"""Scheduling: problem, solvers, checker."""
