"""A traced TensorFlow function to the graph IR.

    tensor names    op:0, op:1, ...      as TensorFlow has them
                    op:0@state           the bytes of the variable behind a resource handle
                    op:0@old2            those that its third assignment replaces, still read after
                    op:0@own             those that it gets in place of a constant's
                    op:0@winners         what oneDNN's max pooling keeps for its gradient
                    ^op                  a token without bytes: op has run (control dependencies)

Constants are tensors without a producer; what TensorFlow folds into constants has no bytes. A
variable's value is a view of its bytes: reading copies nothing, and what was read stays what it
was, because TensorFlow assigns by replacing the bytes, or copies them first while somebody still
holds the old ones. So whoever reads a value before the variable is assigned in the trace gets a
token through which the assignment waits for it: then no copy is made, and old and new bytes are not
alive together.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from lowtide.errors import ModelError
from lowtide.frontends.tensorflow.dtypes import element_type
from lowtide.frontends.tensorflow.flops import op_flops
from lowtide.frontends.tensorflow.kernels import (
    foldable,
    forwarded,
    op_traits,
    pooling_workspace,
    viewed,
)
from lowtide.frontends.tensorflow.trace import execution_order
from lowtide.ir import Alias, Graph, InPlace, Role, Tensor, verify
from lowtide.tensorflow_types import load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.tensorflow_types import TfFunction, TfOperation, TfTensor

__all__ = ["import_function"]

_Version = tuple[str, int]  # a variable's handle, and how often it was assigned before
_LISTED = 4
_SOURCES = frozenset({"Const", "Placeholder"})


def import_function(function: TfFunction, sequence: Sequence[TfOperation] | None = None) -> Graph:
    """The graph of a traced function.

    Args:
        function: a `ConcreteFunction`.
        sequence: all operations but constants and placeholders in an order that data, control
            dependencies and the tokens of the graph allow; else that of `execution_order`.

    Every op's `source` is its `tf.Operation`. Workspace is not modelled here: it is the profile's.

    Raises:
        ModelError: a shape is unknown, or the graph cannot be ordered.
    """
    order = execution_order(function)
    if sequence is not None:
        order = (*(op for op in order if op.type in _SOURCES), *sequence)
    _require_known(order)
    return _Importer(function).run(order)


class _Importer:
    def __init__(self, function: TfFunction) -> None:
        self.function = function
        self.graph = Graph(function.graph.name)
        self.made: dict[str, Tensor] = {}
        self.constant: set[str] = set()
        self.tokens: dict[str, Tensor] = {}
        self.winners: dict[str, int] = {}  # pooled tensor -> bytes of its oneDNN workspace
        self.kept: list[str] = []  # bytes that stay when the step ends
        self.reads_winners: dict[str, str] = {}  # gradient -> the pooled tensor

    def run(self, order: Sequence[TfOperation]) -> Graph:
        """The graph."""
        self._define_inputs()
        constant = _constants(order)
        self.constant = constant
        known = _Order(order, constant, self.function.graph.outputs)
        waits = known.waits
        for op in order:
            found = pooling_workspace(op)
            if found is not None:
                self.winners[found[0]] = found[1]
                self.reads_winners[op.name] = found[0]
        followed = {name for names in waits.values() for name in names}
        for op in order:
            if op.type == "Const":
                self._define(op.outputs[0], Role.CONSTANT, None)
            elif op.type != "Placeholder":
                self._add(op, known, op.name in followed)
        for tensor in self.function.graph.outputs:
            if tensor.name not in self.made:
                self._define(tensor, Role.CONSTANT, None)
            self.graph.add_output(self.made[tensor.name])
        for extra in (*(_old(v) for v in known.kept), *self.kept):
            if extra in self.graph:
                self.graph.add_output(self.graph.tensor(extra))
        verify(self.graph)
        return self.graph

    def _define_inputs(self) -> None:
        inputs = self.function.graph.inputs
        given = len(inputs) - len(self.function.captured_inputs)
        for index, tensor in enumerate(inputs):
            role = Role.INPUT if index < given else Role.CONSTANT
            self._define(tensor, role, None)
            if element_type(tensor.dtype) == "opaque":
                self._define_state(tensor)

    def _define_state(self, handle: TfTensor) -> None:
        """The bytes of the variable behind a resource handle, where they are known."""
        util = load_tensorflow("tensorflow.python.ops.handle_data_util")
        tensorflow = load_tensorflow()
        data = util.get_resource_handle_data(handle)
        if not data.is_set or len(data.shape_and_type) != 1:
            return
        shape = tensorflow.TensorShape(data.shape_and_type[0].shape)
        if shape.is_fully_defined():
            dtype = element_type(tensorflow.as_dtype(data.shape_and_type[0].dtype))
            self.graph.add_tensor(_state(handle), dtype, shape.as_list(), role=Role.STATE)

    def _define(self, tensor: TfTensor, role: Role, alias: Alias | None) -> Tensor:
        dtype = element_type(tensor.dtype)
        shape = tensor.shape.as_list() if tensor.shape.is_fully_defined() else []
        folded = 0 if role is Role.ACTIVATION and tensor.name in self.constant else None
        found = self.graph.add_tensor(
            tensor.name, dtype, shape, role=role, alias=alias, nbytes=folded
        )
        self.made[tensor.name] = found
        return found

    def _add(self, op: TfOperation, known: _Order, followed: bool) -> None:
        inputs = [self.made[t.name] for t in op.inputs]
        if op.type == "ReadVariableOp" and _state(op.inputs[0]) in self.graph:
            inputs.append(self.graph.tensor(_state(op.inputs[0])))
        outputs: list[Tensor] = []
        views, offset = False, 0
        for index, tensor in enumerate(op.outputs):
            base = self._base(op, inputs, index)
            views = views or base is not None
            alias = None if base is None else Alias(base, offset)
            outputs.append(self._define(tensor, Role.ACTIVATION, alias))
            if op.type == "Split":
                offset += outputs[-1].nbytes
        candidates = tuple(c for c in forwarded(op) if _fits(inputs, outputs, c))
        outputs += [
            self.graph.add_tensor(_winners(tensor.name), "uint8", (self.winners[tensor.name],))
            for tensor in op.outputs
            if tensor.name in self.winners
        ]
        if op.name in self.reads_winners:
            inputs.append(self.graph.tensor(_winners(self.reads_winners[op.name])))
        inputs += [self.graph.tensor(_old(v)) for v in known.late.get(op.name, ()) if self._has(v)]
        inputs += [self.graph.tensor(_own(h)) for h in known.returned.get(op.name, ())]
        outputs += self._replaced(op, known)
        if followed:
            self.tokens[op.name] = self.graph.add_tensor(f"^{op.name}", "opaque", ())
            outputs.append(self.tokens[op.name])
        self.graph.add_op(
            op.name,
            "tensorflow",
            op.type,
            [*inputs, *(self.tokens[name] for name in known.waits.get(op.name, ()))],
            outputs,
            traits=op_traits(op, view=views),
            in_place=candidates,
            flops=op_flops(op),
            source=op,
        )

    def _has(self, version: _Version) -> bool:
        return _old(version) in self.graph

    def _replaced(self, op: TfOperation, known: _Order) -> list[Tensor]:
        """Bytes that an update leaves beside the variable's: old ones still read, or its own."""
        found: list[Tensor] = []
        wanted = {v for versions in known.late.values() for v in versions} | set(known.kept)
        for version, name in known.makes.items():
            if name == op.name and version in wanted:
                found += self._bytes_of(version[0], _old(version))
        for handle in known.shared.get(op.name, ()):
            found += self._bytes_of(handle, _own(handle))
            if not any(handle in handles for handles in known.returned.values()):
                self.kept.append(_own(handle))
        return found

    def _bytes_of(self, handle: str, name: str) -> list[Tensor]:
        state = f"{handle}@state"
        if state not in self.graph:
            return []
        variable = self.graph.tensor(state)
        return [self.graph.add_tensor(name, variable.dtype, variable.shape)]

    def _base(self, op: TfOperation, inputs: Sequence[Tensor], output: int) -> Tensor | None:
        """The tensor whose bytes an output shows."""
        position = viewed(op, output)
        if position is None:
            return None
        if op.type == "ReadVariableOp":
            return inputs[1] if len(inputs) > 1 else None
        return inputs[position]


def _state(handle: TfTensor) -> str:
    return f"{handle.name}@state"


def _old(version: _Version) -> str:
    return f"{version[0]}@old{version[1]}"


def _own(handle: str) -> str:
    return f"{handle}@own"


def _winners(pooled: str) -> str:
    return f"{pooled}@winners"


class _Order:
    """What must be known of variables and control dependencies before ops are added.

    Attributes:
        waits: for every op, those that it must follow although it reads nothing of them.
        makes: (variable, version) -> the op that replaces that version.
        late: op -> versions that it reads although they were replaced.
        kept: versions that are handed out although they were replaced.
        shared: update op -> variables that hold a constant's bytes, and get bytes of their own.
        returned: assignment -> variables that take a constant's bytes again.
    """

    def __init__(
        self, order: Sequence[TfOperation], constant: set[str], outputs: Sequence[TfTensor]
    ) -> None:
        self.constant = constant
        self.waits: dict[str, tuple[str, ...]] = {}
        self.makes: dict[_Version, str] = {}
        self.late: dict[str, tuple[_Version, ...]] = {}
        self.shared: dict[str, list[str]] = {}
        self.returned: dict[str, list[str]] = {}
        running = {op.name for op in order if op.type not in _SOURCES}
        version: dict[str, int] = {}
        shown: dict[str, _Version] = {}  # value -> the version whose bytes it shows
        readers: dict[_Version, dict[str, None]] = {}
        for op in order:
            own = {c.name: None for c in op.control_inputs if c.name in running}
            if op.type == "ReadVariableOp":
                handle = op.inputs[0].name
                shown[op.outputs[0].name] = (handle, version.get(handle, 0))
            elif _updates(op):
                for tensor in op.inputs:
                    if tensor.dtype.name != "resource":
                        continue
                    old = tensor.name, version.get(tensor.name, 0)
                    own.update(readers.pop(old, {}))
                    self.makes[old] = op.name
                    version[tensor.name] = old[1] + 1
            versions = dict.fromkeys(shown[t.name] for t in op.inputs if t.name in shown)
            for found in versions:
                readers.setdefault(found, {})[op.name] = None
            late = tuple(v for v in versions if v[1] < version.get(v[0], 0))
            late = tuple(v for v in late if self.makes[v] != op.name)
            if late:
                self.late[op.name] = late
            for index, tensor in enumerate(op.outputs):
                base = viewed(op, index) if op.type != "ReadVariableOp" else None
                if base is not None and op.inputs[base].name in shown:
                    shown[tensor.name] = shown[op.inputs[base].name]
            read = {t.op.name for t in op.inputs}
            names = tuple(n for n in own if n != op.name and n not in read)
            if names:
                self.waits[op.name] = names
        out = dict.fromkeys(shown[t.name] for t in outputs if t.name in shown)
        self.kept = tuple(v for v in out if v[1] < version.get(v[0], 0))
        self._find_shared(order)

    def _find_shared(self, order: Sequence[TfOperation]) -> None:
        """A variable that is assigned a constant shares its bytes until it is updated in place."""
        back = [
            o for o in order if o.type == "AssignVariableOp" and o.inputs[1].name in self.constant
        ]
        last = {op.inputs[0].name: op for op in back}
        seen: set[str] = set()
        for op in order:
            if not _updates(op) or op.type == "AssignVariableOp":
                continue
            for tensor in op.inputs:
                if tensor.name in last and tensor.name not in seen:
                    seen.add(tensor.name)
                    self.shared.setdefault(op.name, []).append(tensor.name)
        where = {op.name: index for index, op in enumerate(order)}
        for handle in seen:
            update = next(n for n, found in self.shared.items() if handle in found)
            if where[update] < where[last[handle].name]:
                self.returned.setdefault(last[handle].name, []).append(handle)


def _updates(op: TfOperation) -> bool:
    """Whether an op replaces or changes the variables that it takes."""
    reads = ("Gather", "Shape", "IsInitialized", "Read")
    takes = any(t.dtype.name == "resource" for t in op.inputs)
    return op.op_def.is_stateful and takes and not any(word in op.type for word in reads)


def _constants(order: Sequence[TfOperation]) -> set[str]:
    """Tensors whose values TensorFlow knows before the function runs."""
    found: set[str] = set()
    for op in order:
        if op.type == "Const" or (foldable(op) and all(t.name in found for t in op.inputs)):
            found.update(t.name for t in op.outputs)
    return found


def _fits(inputs: Sequence[Tensor], outputs: Sequence[Tensor], candidate: InPlace) -> bool:
    """Whether the kernel can write that output over that input, as far as types say."""
    source, result = inputs[candidate.input], outputs[candidate.output]
    once = sum(t.storage is source.storage for t in inputs) == 1
    same = source.dtype == result.dtype and math.prod(source.shape) == math.prod(result.shape)
    return once and same and source.nbytes > 0 and result.alias is None


def _require_known(order: Sequence[TfOperation]) -> None:
    unknown = [
        f"`{tensor.name}` ({op.type})"
        for op in order
        for tensor in op.outputs
        if not tensor.shape.is_fully_defined()
        and element_type(tensor.dtype) != "opaque"
        and op.type != "Placeholder"
    ]
    given = [
        f"`{op.name}`"
        for op in order
        if op.type == "Placeholder"
        and element_type(op.outputs[0].dtype) != "opaque"
        and not op.outputs[0].shape.is_fully_defined()
    ]
    if given:
        raise ModelError(
            f"the shape of input {', '.join(given[:_LISTED])} is not fully known: trace with "
            f"example inputs, or with a TensorSpec whose batch size is a number"
        )
    if unknown:
        more = f" and {len(unknown) - _LISTED} more" if len(unknown) > _LISTED else ""
        raise ModelError(
            f"the shapes of {len(unknown)} values are unknown: {', '.join(unknown[:_LISTED])}"
            f"{more}; sizes that depend on data cannot be planned (use a fixed size, or leave "
            f"that part out of the function)"
        )
