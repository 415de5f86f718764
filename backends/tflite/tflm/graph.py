"""What the passes need to know of TFLM to plan a graph for it: accounting, workspace, in-place.

With it the scheduler's peak is the load of TFLM's planner. What the graph lacks of it: inputs that
nobody reads take their room before the first operator, so that the head is at least all inputs
together (`plan_offsets` counts them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.backends.tflite.tflm.in_place import Kernels, shareable
from lowtide.backends.tflite.tflm.lifetimes import ALIGNMENT, arena_buffers, scopes_of
from lowtide.errors import LowtideError
from lowtide.ir import Accounting, InPlace

if TYPE_CHECKING:
    from lowtide.backends.tflite.tflm.scratch import KernelScratch
    from lowtide.frontends.tflite import TfliteModel
    from lowtide.ir import Graph

__all__ = ["ACCOUNTING", "annotate"]

ACCOUNTING = Accounting(
    inputs_in_arena=True, outputs_live_to_end=True, alignment=ALIGNMENT, in_place=True
)


def annotate(
    graph: Graph,
    model: TfliteModel,
    scratch: KernelScratch,
    *,
    kernels: Kernels = Kernels.REFERENCE,
    in_place: bool = True,
) -> None:
    """Give every op its workspace and its in-place candidates under TFLM; the graph is changed.

    An op's workspace is its scratch buffers, each rounded up to 16 bytes; with subgraphs that it
    calls, the most that is alive of them and of scratch while it runs.

    Args:
        graph: the main subgraph as `import_graph` makes it.
        model: whose it is.
        scratch: of the kernels.
        kernels: the library whose in-place whitelist holds.
        in_place: whether there shall be candidates at all.

    Raises:
        LowtideError: an op does not name its operator.
        ModelError: subgraphs call each other in a circle.
    """
    main = model.subgraphs[0]
    scopes = scopes_of(model)
    inner = [
        b
        for b in arena_buffers(model, scratch.sizes)
        if b.first >= 0 and (b.subgraph or b.is_scratch)
    ]
    load: dict[int, int] = {}
    for buffer in inner:
        for scope in range(buffer.first, buffer.last + 1):
            load[scope] = load.get(scope, 0) + buffer.nbytes
    unknown = set(scratch.unknown)
    for op in graph.ops:
        if not isinstance(op.source, int) or op.source >= len(main.operators):
            raise LowtideError(f"op `{op.name}` does not name its operator")
        operator = main.operators[op.source]
        first, last = scopes[op.source]
        op.workspace_bytes = max(load.get(s, 0) for s in range(first, last + 1))
        op.workspace_known = (0, operator.index) not in unknown and not (
            operator.calls and any(subgraph for subgraph, _ in unknown)
        )
        positions = shareable(main, operator, kernels) if in_place else ()
        op.in_place = tuple(InPlace(0, position) for position in positions)
