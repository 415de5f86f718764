"""Planners of other projects, from PyPI, behind our problems: `pip install "lowtide[peers]"`."""

__all__: list[str] = []
