"""Rewriting: other ops that compute the same and need less memory."""
