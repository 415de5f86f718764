"""What the nodes of a model take on this machine, as ONNX Runtime's profile has it."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lowtide import child
from lowtide.backends.onnx.case import Case
from lowtide.backends.onnx.dependence import node_key
from lowtide.backends.onnx.emit import emit

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir

__all__ = ["op_times"]


def op_times(
    model: onnx_ir.Model,
    *,
    dims: Mapping[str, int],
    threads: int = 0,
    seed: int = 0,
    timeout_s: float = 300.0,
    memory_limit_bytes: int | None = None,
) -> dict[onnx_ir.Node, int]:
    """The median nanoseconds of the nodes in some runs on random inputs, in a child process.

    The model runs as it is, without further optimisation; a node that did not run is left out.

    Raises:
        ChildError: the model cannot be run.
    """
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        path = Path(folder, "graph.onnx")
        emit(model, list(model.graph), path, provenance={})
        case = Case(path, path, path, level="none", dims=dims, threads=threads, seed=seed)
        reply = child.run(
            "lowtide.backends.onnx.trial:op_times",
            {**case.request(), "latency_s": 0.0},
            timeout_s=timeout_s,
            memory_limit_bytes=memory_limit_bytes,
        )
    times = cast("Mapping[str, int]", reply)
    return {node: times[node_key(node)] for node in model.graph if node_key(node) in times}
