"""Compiled Relax modules, run in fresh processes."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from lowtide.backends.tvm.measure import measure

if TYPE_CHECKING:
    from collections.abc import Sequence

    import tvm
    from numpy.typing import NDArray

    from lowtide.backends.tvm.measure import Run

    Arrays = list[NDArray[np.generic]]

__all__ = ["run_finished"]


def run_finished(
    module: tvm.IRModule,
    arguments: Sequence[NDArray[Any]],
    *,
    function: str = "main",
    runs: int = 1,
    timeout_s: float = 600.0,
) -> tuple[Run, Arrays]:
    """A module that went through all passes: figures and outputs of one function.

    Raises:
        RuntimeError: a call failed.
    """
    import tvm

    with tempfile.TemporaryDirectory(prefix="lowtide-") as name:
        folder = Path(name)
        library, given, outputs = (folder / n for n in ("model.so", "in.npz", "out.npz"))
        executable = tvm.compile(module, target="llvm", relax_pipeline=None)
        executable.export_library(str(library))
        arrays = {f"arg{index}": value for index, value in enumerate(arguments)}
        np.savez(given, **arrays)  # type: ignore[arg-type]
        run = measure(
            library,
            given,
            outputs,
            function=function,
            runs=runs,
            instrumented=0,
            timeout_s=timeout_s,
        )
        if run.error:
            raise RuntimeError(run.error)
        with np.load(outputs) as stored:
            return run, [stored[f"out{i}"] for i in range(len(stored.files))]
