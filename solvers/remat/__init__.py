"""Rematerialization: run ops again instead of keeping their results, within a budget of bytes."""
