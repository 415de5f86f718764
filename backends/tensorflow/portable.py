"""A traced function as files: what another process needs to run the very same graph.

    functions.pb    FunctionDefLibrary: the function (first) and all that it calls
    values.npz      the arguments and captured tensors whose values matter, by position
    description     plain data: for each input variable or tensor, its type and shape

Variables travel as type and shape only; the other process fills them with numbers of its own. What
is measured there (bytes, time) does not depend on them.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from lowtide.errors import InputError
from lowtide.tensorflow_types import TfFunction, load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["export_function", "import_call"]


def export_function(
    function: TfFunction, folder: Path, arguments: Sequence[object] | None = None
) -> dict[str, object]:
    """Write a function's files into `folder` and return its description (JSON-able).

    Args:
        function: a `ConcreteFunction`.
        folder: an existing one.
        arguments: flat values of the function's own inputs; made up where None.

    Raises:
        InputError: the function reads a resource other than a variable, or inputs of unknown shape.
    """
    tensorflow = load_tensorflow()
    library = load_tensorflow("tensorflow.core.framework.function_pb2").FunctionDefLibrary()
    concrete: Any = function
    library.function.append(concrete.inference_fn.definition)
    library.function.extend(concrete.graph.as_graph_def().library.function)
    (folder / "functions.pb").write_bytes(library.SerializeToString())
    captured = list(function.captured_inputs)
    given = len(function.graph.inputs) - len(captured)
    values: list[object] = [*(arguments or [None] * given), *captured]
    if len(values) != len(function.graph.inputs):
        raise InputError(f"{len(values) - len(captured)} arguments are given, {given} are expected")
    saved: dict[str, Any] = {}
    inputs: list[dict[str, object]] = []
    for index, (symbol, value) in enumerate(zip(function.graph.inputs, values, strict=True)):
        if symbol.dtype.name == "resource":
            inputs.append(_variable(symbol))
            continue
        if symbol.dtype.name == "variant":
            raise InputError(f"input `{symbol.name}` is a variant: it cannot be sent elsewhere")
        if value is not None:
            saved[str(index)] = np.asarray(tensorflow.convert_to_tensor(value))
            if saved[str(index)].dtype.kind not in "?biufc":  # bfloat16, strings
                del saved[str(index)]
        elif not symbol.shape.is_fully_defined():
            raise InputError(f"the shape of input `{symbol.name}` is unknown: give example inputs")
        shape = symbol.shape.as_list() if value is None else list(cast("Any", value).shape)
        inputs.append({"kind": "tensor", "dtype": symbol.dtype.name, "shape": shape})
    np.savez(folder / "values.npz", **saved)
    return {"folder": str(folder), "inputs": inputs, "captured": len(captured)}


def _variable(handle: Any) -> dict[str, object]:
    util = load_tensorflow("tensorflow.python.ops.handle_data_util")
    tensorflow = load_tensorflow()
    data = util.get_resource_handle_data(handle)
    if not data.is_set or len(data.shape_and_type) != 1:
        raise InputError(
            f"input `{handle.name}` is a resource other than a variable (a table, an iterator): "
            f"it cannot be sent to the process that measures"
        )
    shape = tensorflow.TensorShape(data.shape_and_type[0].shape)
    if not shape.is_fully_defined():
        raise InputError(f"the shape of variable `{handle.name}` is unknown")
    dtype = tensorflow.as_dtype(data.shape_and_type[0].dtype).name
    return {"kind": "variable", "dtype": dtype, "shape": shape.as_list()}


class Call:
    """An imported function with its inputs; every call runs it once, with Grappler off.

    Attributes:
        name: the function's, in this process.
        inputs: tensors and variables, those that the function captured last.
        captured: how many those are.
    """

    def __init__(
        self, name: str, inputs: list[Any], captured: int, outputs: int, config: bytes
    ) -> None:
        self.name = name
        self.inputs = inputs
        self.captured = captured
        self._outputs = outputs
        self._config = config
        self._context = load_tensorflow("tensorflow.python.eager.context").context()
        self._execute = load_tensorflow("tensorflow.python.eager.execute").execute

    def __call__(self) -> list[object]:
        """The flat outputs."""
        return cast(
            "list[object]",
            self._execute(
                self.name,
                num_outputs=self._outputs,
                inputs=[getattr(i, "handle", i) for i in self.inputs],
                attrs=("executor_type", "", "config_proto", self._config),
                ctx=self._context,
            ),
        )


def import_call(description: dict[str, object], config: bytes) -> Call:
    """The other side: register the function in this process and make up its inputs.

    Args:
        description: from `export_function`.
        config: a serialized `ConfigProto`.
    """
    tensorflow = load_tensorflow()
    folder = Path(str(description["folder"]))
    library = load_tensorflow("tensorflow.core.framework.function_pb2").FunctionDefLibrary()
    library.ParseFromString((folder / "functions.pb").read_bytes())
    context = load_tensorflow("tensorflow.python.eager.context").context()
    context.ensure_initialized()
    for definition in library.function:
        if not context.has_function(definition.signature.name):
            context.add_function_def(definition)
    generator = np.random.default_rng(0)
    inputs: list[Any] = []
    with np.load(folder / "values.npz") as archive:
        saved = cast("dict[str, Any]", {name: archive[name] for name in archive.files})
    specs = cast("list[dict[str, Any]]", description["inputs"])
    for index, spec in enumerate(specs):
        dtype = tensorflow.as_dtype(spec["dtype"])
        if str(index) in saved:
            value = tensorflow.constant(saved[str(index)])
        elif dtype.is_floating:
            # Positive and small: roots and logarithms are defined, nothing overflows.
            value = tensorflow.constant(generator.uniform(0.01, 0.1, spec["shape"]), "float32")
        else:
            value = tensorflow.zeros(spec["shape"], "int32")
        value = tensorflow.cast(value, dtype)
        inputs.append(tensorflow.Variable(value) if spec["kind"] == "variable" else value)
    signature = library.function[0].signature
    captured = int(str(description["captured"]))
    return Call(signature.name, inputs, captured, len(signature.output_arg), config)
