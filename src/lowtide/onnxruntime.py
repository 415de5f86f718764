"""Run optimized models in ONNX Runtime.

    import lowtide.onnxruntime
    session = lowtide.onnxruntime.create_session("model.lowtide.onnx")
    outputs = session.run(None, {"image": image})

or, with plain sessions and the allocator's own speed:

    options = lowtide.onnxruntime.session_options("model.lowtide.onnx")
    session = onnxruntime.InferenceSession("model.lowtide.onnx", options)
"""

# ONNX Runtime's extension module has no stubs:
# pyright: reportUnknownParameterType=false, reportUnknownVariableType=false

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.backends.onnx import session as _session

if TYPE_CHECKING:
    import os

    import onnxruntime

    from lowtide.backends.onnx.arena import ArenaSession

__all__ = ["create_session", "session_options"]


def session_options(
    model: str | os.PathLike[str], *, threads: int = 0
) -> onnxruntime.SessionOptions:
    """The session options under which ONNX Runtime follows the plan in an optimized model.

    Args:
        model: a file written by `optimize --peak-mem`; its weights are not read.
        threads: intra-op threads, 0 for ONNX Runtime's choice.

    Raises:
        ModelError: the file carries no stamp of Lowtide's, or was written for another CPU or
            version of ONNX Runtime; the message names the remedy.
    """
    return _session.session_options(Path(model), threads=threads)


def create_session(
    model: str | os.PathLike[str], *, threads: int = 0
) -> onnxruntime.InferenceSession | ArenaSession:
    """A session on the CPU that follows the plan in an optimized model, at full speed.

    Its tensors live in one arena as high as the plan needs: the first run with some input shapes is
    recorded and packed, every later one takes the packed offsets. Runs are serialised. A file
    written with `--portable` gets a plain `InferenceSession`.

    Args:
        model: a file written by `optimize --peak-mem`.
        threads: intra-op threads, 0 for ONNX Runtime's choice.

    Raises:
        ModelError: as `session_options`.
    """
    return _session.create_session(Path(model), threads=threads)
