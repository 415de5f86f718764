"""Run a compiled module in a fresh process: outputs, bytes and seconds.

The allocation meter of `backends/meter.py` is preloaded: TVM takes tensors, storages and the
pages of its workspace pool with an alignment of 64, and nothing else does in a run.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lowtide import child
from lowtide.backends import meter

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from tvm import relax

__all__ = ["Run", "measure", "op_seconds", "serve"]


@dataclass(frozen=True, slots=True)
class Run:
    """One library, run in a process of its own.

    Attributes:
        first_peak_bytes: the highest level of TVM's blocks in the first call, above that before it;
            None without a meter (it exists on Linux).
        warm_peak_bytes: the same for the second call.
        seconds: of the fastest call after the first.
        op_seconds: by the names of kernels, summed over their calls, the least of all runs.
        kernels: the names of the kernels that a run calls, in order.
        error: what a call raised; the rest is then empty.
    """

    first_peak_bytes: int | None
    warm_peak_bytes: int | None
    seconds: float
    op_seconds: Mapping[str, float]
    kernels: tuple[str, ...] = ()
    error: str = ""


def measure(
    library: Path,
    arguments: Path,
    outputs: Path,
    *,
    function: str = "main",
    runs: int = 2,
    instrumented: int = 1,
    timeout_s: float = 300.0,
    memory_limit_bytes: int | None = None,
) -> Run:
    """Call a function of a library that TVM exported.

    Args:
        library: a shared library, from `export_library`.
        arguments: an .npz with `arg0`, `arg1`, ...
        outputs: an .npz that is written with `out0`, `out1`, ...
        function: its name.
        runs: calls after the first.
        instrumented: further calls, for the seconds and the order of the kernels.
        timeout_s: after which the process is killed.
        memory_limit_bytes: address space beyond what the imports take.

    Raises:
        ChildError: the process died or took too long.
    """
    reply = child.run(
        "lowtide.backends.tvm.measure:serve",
        {
            "library": str(library.absolute()),
            "arguments": str(arguments.absolute()),
            "outputs": str(outputs.absolute()),
            "function": function,
            "runs": runs,
            "instrumented": instrumented,
        },
        timeout_s=timeout_s,
        memory_limit_bytes=memory_limit_bytes,
        preload=meter.library(),
    )
    return Run(
        first_peak_bytes=cast("int | None", reply["first"]),
        warm_peak_bytes=cast("int | None", reply["warm"]),
        seconds=cast("float", reply["seconds"]),
        op_seconds=cast("dict[str, float]", reply["op_seconds"]),
        kernels=tuple(cast("list[str]", reply["kernels"])),
        error=cast("str", reply["error"]),
    )


def serve(request: Mapping[str, object]) -> dict[str, object]:
    """The child's side of `measure`."""
    import numpy as np
    import tvm
    from tvm import relax

    machine = relax.VirtualMachine(
        tvm.runtime.load_module(str(request["library"])), tvm.cpu(), memory_cfg="naive"
    )
    with np.load(str(request["arguments"])) as stored:
        arguments = [tvm.runtime.tensor(stored[f"arg{i}"]) for i in range(len(stored.files))]
    call = machine[str(request["function"])]
    counter = meter.Meter() if meter.Meter.available() else None
    peaks: list[int | None] = [None, None]
    seconds: list[float] = []
    result: object = None
    try:
        for index in range(1 + cast("int", request["runs"])):
            result = None
            begin = time.perf_counter()
            if counter is None:
                result = call(*arguments)
            else:
                with counter.window() as window:
                    result = call(*arguments)
                peaks[min(index, 1)] = window.tensor_peak_bytes
            seconds.append(time.perf_counter() - begin)
    except (ValueError, RuntimeError, TypeError, tvm.error.InternalError) as error:
        failed: dict[str, object] = {"first": None, "warm": None, "seconds": 0.0}
        return {**failed, "op_seconds": {}, "kernels": [], "error": str(error)}
    arrays = {f"out{i}": array for i, array in enumerate(_arrays(result))}
    np.savez(str(request["outputs"]), **arrays)  # type: ignore[arg-type]
    costs, kernels = op_seconds(
        machine, lambda: call(*arguments), cast("int", request["instrumented"])
    )
    return {
        "first": peaks[0],
        "warm": peaks[1],
        "seconds": min(seconds[1:], default=seconds[0]),
        "op_seconds": costs,
        "kernels": kernels,
        "error": "",
    }


def _arrays(result: object) -> list[object]:
    """The tensors of a result, which may be a tuple of results."""
    import tvm

    if isinstance(result, tvm.runtime.Tensor):
        return [result.numpy()]
    return [array for field in cast("list[object]", result) for array in _arrays(field)]


def op_seconds(
    machine: relax.VirtualMachine, call: Callable[[], object], runs: int
) -> tuple[dict[str, float], list[str]]:
    """Seconds per kernel, through the VM's instrument, and the kernels in order of execution.

    A kernel's seconds are those of all its calls in a run, the least of some runs. The instrument
    is called around every call of the VM; the runtime's builtins are left out.
    """
    from tvm import relax

    best: dict[str, float] = {}
    now: dict[str, float] = {}
    order: list[str] = []
    begin = 0.0

    def instrument(_: object, name: str, before: bool, *__: object) -> int:
        nonlocal begin
        if name.startswith(("vm.", "lowtide_")):
            return int(relax.VMInstrumentReturnKind.NO_OP)
        if before:
            order.append(name)
            begin = time.perf_counter()
        else:
            now[name] = now.get(name, 0.0) + time.perf_counter() - begin
        return int(relax.VMInstrumentReturnKind.NO_OP)

    machine.set_instrument(instrument)
    for _ in range(runs):
        now.clear()
        order.clear()
        call()
        for name, seconds in now.items():
            best[name] = min(best.get(name, seconds), seconds)
    return dict(sorted(best.items())), order
