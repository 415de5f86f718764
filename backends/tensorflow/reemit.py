"""Emit a traced function anew, in a planned order and with ops run again.

    plan   a  b  c  a' d             every name a step; a name again is a recomputation
    emit   a ─▶ b ─▶ c ─▶ a' ─▶ d    control dependencies, beside the data flow

TensorFlow's executor runs whatever is ready, so nothing short of a chain keeps an order: each op
waits for the one before it. Constants and reads of variables stay off the chain (they allocate
nothing; what they must wait for, they wait for as in the trace), and so do ops that read the result
of their predecessor anyway. Inter-op parallelism is given up; kernels still use all threads.

oneDNN's graph pass fuses some pairs of ops into one, regardless of the dependencies in between, and
would make a cycle of them. An Identity, a view, in front of such an operand keeps the pair apart.

Devices are kept as traced. Attributes that begin with `_` are hints of TensorFlow's own passes and
are dropped: those of the old graph's placement and shapes would be wrong in the new one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lowtide.errors import PlanError
from lowtide.tensorflow_types import TfFunction, TfOperation, TfTensor, load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Emitter", "reemit"]

_SOURCES = frozenset({"Const", "Placeholder"})
_OFF_CHAIN = frozenset({"ReadVariableOp"})
# Operands that oneDNN would fuse with their producer: operator -> position.
_BARRIERS = {
    "BiasAdd": 0,
    "BiasAddGrad": 0,
    "Conv2D": 0,
    "Conv3D": 0,
    "DepthwiseConv2dNative": 0,
    "MaxPool3D": 0,
}


def reemit(function: TfFunction, sequence: Sequence[str]) -> TfFunction:
    """A function of the same signature and captures that runs `sequence` in that order.

    Args:
        function: a `ConcreteFunction`; it is not changed.
        sequence: names of its operations without constants and placeholders; one named again is
            recomputed from the newest results of what it reads.

    Returns:
        A `ConcreteFunction`; call it with Grappler off (`call.run_planned`), which would merge
        what is computed twice.

    Raises:
        PlanError: an op is unknown or missing, runs before what it needs, or is repeated although
            it is stateful; or the function captures values at call time.
    """
    return Emitter(function).run(sequence)


class Emitter:
    """What emits; `reemit_xla` puts its own barriers in the place of this one's."""

    def __init__(self, function: TfFunction) -> None:
        framework = load_tensorflow("tensorflow.python.framework.func_graph")
        self._internal = load_tensorflow("tensorflow.python.ops.handle_data_util")
        self._function: Any = function
        self._old: Any = function.graph
        self._graph: Any = framework.FuncGraph(f"{function.graph.name}_planned")
        self._newest: dict[str, Any] = {}
        self._ran: dict[str, Any] = {}  # op name -> its newest operation
        self._runs: dict[str, int] = {}

    def run(self, sequence: Sequence[str]) -> TfFunction:
        """The emitted function."""
        if self._old.deferred_external_captures:
            raise PlanError(
                f"function `{self._old.name}` captures values at call time (deferred captures), "
                f"which a plan cannot follow: pass them as arguments"
            )
        operations: dict[str, TfOperation] = {o.name: o for o in self._old.get_operations()}
        for function in self._old._functions.values():
            self._graph._add_function_recursive(function)
        with self._graph.as_default():
            self._placeholders()
            last: Any = None
            for name in sequence:
                if name not in operations:
                    raise PlanError(f"the plan runs op `{name}`, which the function does not have")
                made = self._emit(operations[name], last)
                if operations[name].type not in _OFF_CHAIN:
                    last = made
            self._finish()
        concrete = load_tensorflow("tensorflow.python.eager.polymorphic_function.concrete_function")
        emitted = concrete.ConcreteFunction.from_func_graph(
            self._graph, self._function.function_type, self._attributes()
        )
        emitted._arg_keywords = self._function._arg_keywords
        emitted._num_positional_args = self._function._num_positional_args
        return cast("TfFunction", emitted)

    def _attributes(self) -> dict[str, object]:
        """Of the emitted function."""
        return {"_noinline": True}

    def _placeholders(self) -> None:
        captured = {inner.name: outer for outer, inner in self._old.captures}
        for old in self._old.inputs:
            tensorflow = load_tensorflow()
            new = tensorflow.compat.v1.placeholder(old.dtype, old.shape, name=old.op.name)
            self._internal.copy_handle_data(old, new)
            self._newest[old.name] = new
            if old.name in captured:
                self._graph.add_capture(captured[old.name], new)
            else:
                self._graph.inputs.append(new)

    def _emit(self, op: TfOperation, last: Any) -> Any:
        run = self._runs[op.name] = self._runs.get(op.name, 0) + 1
        if run > 1 and op.op_def.is_stateful:
            raise PlanError(f"the plan runs the stateful op `{op.name}` ({op.type}) twice")
        inputs = self._apart(op, [self._value(op, tensor) for tensor in op.inputs], last)
        waits = [self._ran[c.name] for c in op.control_inputs if self._must_wait(op, c)]
        if last is not None and op.type not in _OFF_CHAIN:
            waits.append(last)
        read = {value.op for value in inputs}
        waits = [w for w in dict.fromkeys(waits) if w not in read]
        name = op.name if run == 1 else f"{op.name}/again_{run}"
        made = self._create(op, inputs, waits, name)
        self._ran[op.name] = made
        for old, new in zip(op.outputs, made.outputs, strict=True):
            self._internal.copy_handle_data(old, new)
            self._newest[old.name] = new
        return made

    def _apart(self, op: TfOperation, inputs: list[Any], last: Any) -> list[Any]:
        """What an op reads, kept apart from what would be merged with it."""
        position = _BARRIERS.get(op.type)
        if position is not None:
            inputs[position] = self._identity(inputs[position], op, last)
        return inputs

    def _create(self, op: TfOperation, inputs: list[Any], waits: list[Any], name: str) -> Any:
        node: Any = op.node_def
        attributes = {k: v for k, v in node.attr.items() if not k.startswith("_")}
        with self._graph.control_dependencies(waits):
            made = self._graph.create_op(
                op.type,
                inputs,
                [t.dtype for t in op.outputs],
                name=name,
                attrs=attributes,
                compute_device=False,
            )
        if op.device:
            made._set_device_from_string(op.device)
        return made

    def _identity(self, value: Any, op: TfOperation, last: Any) -> Any:
        tensorflow = load_tensorflow()
        with self._graph.control_dependencies([] if last is None else [last]):
            kept = tensorflow.identity(value, name=f"{op.name}/apart")
        if op.device:
            kept.op._set_device_from_string(op.device)
        return kept

    def _must_wait(self, op: TfOperation, before: TfOperation) -> bool:
        if before.type in _SOURCES:
            return False
        if before.name not in self._ran:
            raise PlanError(f"op `{op.name}` runs before `{before.name}`, which it must follow")
        return True

    def _value(self, op: TfOperation, tensor: TfTensor) -> Any:
        found = self._newest.get(tensor.name)
        if found is None and tensor.op.type == "Const":
            self._create(tensor.op, [], [], tensor.op.name)
            self._newest[tensor.name] = found = self._graph.get_tensor_by_name(tensor.name)
        if found is None:
            raise PlanError(f"op `{op.name}` runs before `{tensor.op.name}`, whose result it reads")
        return found

    def _finish(self) -> None:
        tensorflow = load_tensorflow()
        left_out = [
            c.name
            for c in self._old.control_outputs
            if c.name not in self._ran and c.type not in _SOURCES
        ]
        left_out += [
            o.name
            for o in self._old.get_operations()
            if o.op_def.is_stateful and o.name not in self._ran and o.type != "Placeholder"
        ]
        if left_out:
            raise PlanError(f"the plan leaves out op `{left_out[0]}`, which has effects")
        values: dict[str, Any] = {}
        for tensor in self._old.outputs:
            values[tensor.name] = self._value(tensor.op, tensor)
            self._graph.outputs.append(values[tensor.name])
        self._graph.control_outputs.extend(
            self._ran[c.name] for c in self._old.control_outputs if c.name in self._ran
        )
        self._graph.variables = self._old.variables
        self._graph.structured_input_signature = self._old.structured_input_signature

        def mapped(value: object) -> object:
            name = getattr(value, "name", None)
            return values.get(name, value) if isinstance(name, str) else value

        self._graph.structured_outputs = tensorflow.nest.map_structure(
            mapped, self._old.structured_outputs, expand_composites=True
        )
