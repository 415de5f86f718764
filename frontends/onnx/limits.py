"""How much an untrusted model may ask for before anything is allocated on its behalf."""

from __future__ import annotations

import os

__all__ = [
    "MAX_ATTRIBUTE_ITEMS",
    "MAX_DEPTH",
    "MAX_EXPANDED_NODES",
    "MAX_NAME",
    "MAX_NODES",
    "MAX_PROTO_BYTES",
    "MAX_RANK",
    "physical_memory_bytes",
]

MAX_PROTO_BYTES = (1 << 31) - 1  # protobuf's own limit
MAX_NODES = 2_000_000  # all graphs and functions of a file together
MAX_EXPANDED_NODES = 2_000_000  # once function calls are inlined
MAX_DEPTH = 24  # graphs within graphs, functions within functions
MAX_NAME = 4096  # characters of a value's or node's name
MAX_RANK = 64  # numpy's limit, far above any kernel's
MAX_ATTRIBUTE_ITEMS = 1_000_000


def physical_memory_bytes() -> int:
    """The machine's memory; what a single tensor may not exceed."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 1 << 40
