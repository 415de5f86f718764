"""ONNX Runtime sessions that follow a planned order."""

# ONNX Runtime's extension module has no stubs:
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false
# pyright: reportUnknownArgumentType=false

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from lowtide.backends.onnx.arena import ArenaSession
from lowtide.backends.onnx.stamp import Level, read_stamp
from lowtide.errors import MissingExtraError

if TYPE_CHECKING:
    from pathlib import Path

    import onnxruntime

__all__ = ["Order", "create_session", "options", "session_options"]

Order = Literal["default", "file"]


def options(
    level: Level, *, order: Order = "default", arena: bool = False, threads: int = 0
) -> onnxruntime.SessionOptions:
    """Options for a session at one optimisation level.

    Args:
        level: ONNX Runtime's graph optimisation level.
        order: its own default order, or the file's (which needs level `none` to mean anything).
        arena: the arena, memory patterns and static buffer reuse, all on as in a stock session, or
            all off. Without them a buffer lives exactly from its producer to its last reader
            (static reuse lets a dead buffer wait for a later tensor of the same size); views and
            in-place kernels share storage either way.
        threads: intra-op threads, 0 for ONNX Runtime's choice.
    """
    ort = _onnxruntime()
    levels = ort.GraphOptimizationLevel
    chosen = ort.SessionOptions()
    chosen.graph_optimization_level = {
        "none": levels.ORT_DISABLE_ALL,
        "basic": levels.ORT_ENABLE_BASIC,
        "extended": levels.ORT_ENABLE_EXTENDED,
        "all": levels.ORT_ENABLE_ALL,
    }[level]
    if order == "file":
        chosen.execution_order = ort.ExecutionOrder.PRIORITY_BASED
    if not arena:
        chosen.enable_cpu_mem_arena = False
        chosen.enable_mem_pattern = False
        chosen.enable_mem_reuse = False
    chosen.intra_op_num_threads = threads
    return chosen


def session_options(model: Path, *, threads: int = 0) -> onnxruntime.SessionOptions:
    """The session options under which ONNX Runtime follows the plan in an emitted model.

    Args:
        model: a file written by `optimize --peak-mem`; its weights are not read.
        threads: intra-op threads, 0 for ONNX Runtime's choice.

    Raises:
        ModelError: the file carries no stamp, or was written for another CPU or ONNX Runtime.
        MissingExtraError: ONNX Runtime is not installed.
    """
    stamp = read_stamp(model)
    _onnxruntime()
    stamp.check(str(model))
    if stamp.route == "portable":
        return options("basic", threads=threads)
    return options("none", order="file", threads=threads)


def create_session(model: Path, *, threads: int = 0) -> onnxruntime.InferenceSession | ArenaSession:
    """A session on the CPU that follows the plan in an emitted model.

    On the exact route its tensors live in one planned arena, where the native allocator was built.

    Raises:
        ModelError, MissingExtraError: as `session_options`.
    """
    chosen = session_options(model, threads=threads)
    if read_stamp(model).route == "exact":
        return ArenaSession(model, chosen)
    return _onnxruntime().InferenceSession(str(model), chosen, providers=["CPUExecutionProvider"])


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtraError(
            f'ONNX Runtime cannot be imported ({error}): pip install "onnxruntime>=1.31,<1.32"'
        ) from None
    return onnxruntime
