"""ONNX models through TVM's own importer."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING

from lowtide.errors import ModelError
from lowtide.frontends.tvm.version import require_tvm

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx
    import tvm

__all__ = ["from_onnx"]


def from_onnx(model: onnx.ModelProto, dims: Mapping[str, int] | None = None) -> tvm.IRModule:
    """The Relax module of a model, its weights as constants; the function is `main`.

    Args:
        model: it is not changed.
        dims: values for dynamic dimensions by name, `*` for all that are left; what has none
            stays symbolic.

    Raises:
        ModelError: TVM's importer does not take the model.
        MissingExtraError: TVM is missing, or of a version that is not known.
    """
    require_tvm()
    import tvm
    from tvm.relax.frontend import onnx as importer

    given = dict(dims or {})
    weights = {initializer.name for initializer in model.graph.initializer}
    shapes: dict[str, list[object]] = {}
    for value in model.graph.input:
        if value.name in weights or not value.type.tensor_type.HasField("shape"):
            continue
        shape: list[object] = []
        for dim in value.type.tensor_type.shape.dim:
            fixed = given.get(dim.dim_param, given.get("*")) if dim.dim_param else None
            if dim.HasField("dim_value"):
                fixed = int(dim.dim_value)
            shape.append(dim.dim_param if fixed is None else fixed)
        if all(isinstance(dim, int) for dim in shape):
            shapes[value.name] = shape
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns where onnx's checker would reject
            return importer.from_onnx(model, shape_dict=shapes or None)
    except (
        *(AssertionError, AttributeError, IndexError, KeyError, NotImplementedError),
        *(TypeError, ValueError, RuntimeError, tvm.error.InternalError),
    ) as error:
        text = " ".join(str(error).split())[:300]
        raise ModelError(f"TVM's importer does not take this model: {text}") from error
