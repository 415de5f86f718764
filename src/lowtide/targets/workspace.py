"""Kernels whose scratch nobody knows."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lowtide.ir import Graph

__all__ = ["unknown_workspace"]


def unknown_workspace(graph: Graph) -> tuple[str, ...]:
    """A note that names the kinds of ops whose scratch is not modelled; empty where all is."""
    kinds = sorted({op.qualified for op in graph.ops if not op.workspace_known})
    if not kinds:
        return ()
    return (
        f"the scratch of {', '.join(kinds[:8])} is not modelled: it counts as 0, and no "
        f"proof covers it",
    )
