"""A new .tflite from an edited graph: for rewrites, which change more than the operators' order.

The source's flatbuffer is taken apart into tables (`lowtide.flatbuffer.Node`), the main subgraph's
operators and tensors are replaced by those of the graph, and all of it is written anew. What the
graph kept is the source's own table, stored field by stored field: quantization, options, names.
Other subgraphs stay as they are.

    tensors     the source's in their order, without those that lost their last use; then new ones
    operators   in the graph's order; new ones with the code and options of the one they resemble
    buffers     the source's in their order, without those that lost their last use; then new
                constants, equal bytes once
    indices     of tensors, buffers and operators, wherever they are stored, follow

What newly stands for an output takes the name of the one before; signatures go with it. An offline
memory plan is left out: it was made for the tensors that were.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from lowtide.backends.tflite.control import CONTROL, encode_control
from lowtide.backends.tflite.emit import PLAN
from lowtide.backends.tflite.operators import new_operator
from lowtide.backends.tflite.recipes import Constants
from lowtide.errors import ModelError, VerificationError
from lowtide.flatbuffer import Node, verify, write
from lowtide.ir import Joined, Part, Role

if TYPE_CHECKING:
    from lowtide.frontends.tflite import TfliteImport, TfliteSource, TfliteTensor
    from lowtide.ir import Graph, Op, Tensor

__all__ = ["rebuild"]

_COMPRESSED = "COMPRESSION_METADATA"
_ALIGNMENTS = {("Buffer", "data"): 16}
_TYPES = {"float32": 0, "int32": 2, "int64": 4}  # of constants that are like none in the file


def rebuild(source: TfliteSource, original: TfliteImport, edited: Graph) -> bytes:
    """The file whose main subgraph computes `edited`. The same graph gives the same bytes.

    Args:
        source: the model that was edited.
        original: its main subgraph as it was imported.
        edited: that graph, or a copy of it, after rewriting: what is of the source has its name.

    Raises:
        ModelError: the file cannot be written anew (data outside the flatbuffer, fields that are
            newer than this version, over 2 GiB), or a constant cannot be made.
        VerificationError: the graph does not belong to the source, or the result is damaged: a
            mistake of ours.
    """
    _refuse(source)
    data = _Rebuild(source, original, edited).run()
    try:
        verify(memoryview(data), source.model.table.schema)
    except ModelError as error:
        raise VerificationError(f"the rewritten file is damaged: {error}") from None
    return data


def _refuse(source: TfliteSource) -> None:
    """What a rewritten file could not keep."""
    remedy = "it cannot be rewritten"
    if any(buffer.outside for buffer in source.model.buffers):
        raise ModelError(f"the model's data lies outside its flatbuffer: {remedy}")
    for subgraph in source.model.subgraphs:
        for op in subgraph.operators:
            if op.table.integer("large_custom_options_offset") > 1:
                raise ModelError(
                    f"operator {op.index} ({op.kind}) has options outside the flatbuffer: {remedy}"
                )
    if any(entry.name == _COMPRESSED for entry in source.model.metadata):
        raise ModelError(f"the model's tensors are compressed for TFLite Micro: {remedy}")
    if not source.model.buffers:
        raise ModelError(f"the model has no buffers, not even number 0: {remedy}")


class _Rebuild:
    def __init__(self, source: TfliteSource, original: TfliteImport, edited: Graph) -> None:
        self.source = source
        self.main = original.subgraph
        self.edited = edited
        self.root = Node.of(source.model.table)
        self.graph = self.root.nodes("subgraphs")[self.main.index]
        self.stored = {
            tensor.name: self.main.tensors[index]
            for index, tensor in enumerate(original.tensors)
            if tensor is not None
        }
        self.operators = {
            op.name: op.source for op in original.graph.ops if isinstance(op.source, int)
        }
        self.constants = Constants(self._data, self._quantization)
        self.number: dict[Tensor, int] = {}  # where the graph's tensors are in the new list
        self.moved: dict[int, int] = {}  # from the old list to the new one
        self.new: list[Tensor] = []  # what follows the source's tensors

    def run(self) -> bytes:
        self._tensors()
        places = self._operators()
        self._outputs()
        self._metadata(places)
        self._buffers()
        schema = self.source.model.table.schema
        return write(self.root, identifier=schema.identifier, alignments=_ALIGNMENTS)

    # ---------------------------------------------------------------- the graph's own

    def _kept(self, op: Op) -> int | None:
        """The operator of the source that the op is; None for a new one."""
        index = self.operators.get(op.name)
        if index is None:
            return None
        operator = self.main.operators[index]
        results = sum(t >= 0 for t in operator.outputs)
        if op.source != index or len(op.outputs) != results:
            raise VerificationError(f"op `{op.name}` is not the source's operator {index} any more")
        return index

    def _known(self, tensor: Tensor) -> TfliteTensor | None:
        """The tensor of the source that it is; None for a new one."""
        if tensor.like is not None or tensor.recipe is not None:
            return None
        stored = self.stored.get(tensor.name)
        if stored is None:
            raise VerificationError(f"tensor `{tensor.name}` is new, and like no other")
        if (stored.dtype, stored.shape) != (tensor.dtype, tensor.shape):
            raise VerificationError(f"tensor `{tensor.name}` is not the source's any more")
        return stored

    def _data(self, tensor: Tensor) -> memoryview:
        stored = self._known(tensor)
        if stored is None or not stored.constant or stored.sparse:
            raise ModelError(f"`{tensor.name}` is no constant whose data is in the file")
        return self.source.buffer(stored.buffer)

    def _quantization(self, tensor: Tensor) -> Node | None:
        """The scales of a tensor of the source, or of the one that a new one is like."""
        while tensor.like is not None:
            tensor = tensor.like
        if tensor.recipe is not None:
            return self.constants.quantization(tensor)
        stored = self._known(tensor)
        table = None if stored is None else stored.table.table("quantization")
        return None if table is None else Node.of(table)

    # ---------------------------------------------------------------- tensors

    def _tensors(self) -> None:
        """The new list: the source's tensors but those that lost their last use, then new ones."""
        used: dict[Tensor, None] = dict.fromkeys(self.edited.inputs)
        intermediates: set[int] = set()
        for op in self.edited.ops:
            used.update(dict.fromkeys((*op.operands, *op.outputs)))
            kept = self._kept(op)
            if kept is not None:
                intermediates.update(self.main.operators[kept].intermediates)
        used.update(dict.fromkeys(self.edited.outputs))
        known: dict[int, Tensor] = {}
        for tensor in used:
            stored = self._known(tensor)
            if stored is None:
                self.new.append(tensor)
            else:
                known[stored.index] = tensor
        held = sorted((known.keys() | self._untouched() | intermediates) - {-1})
        self.moved = {old: new for new, old in enumerate(held)}
        self.number = {tensor: self.moved[old] for old, tensor in known.items()}
        self.number |= {tensor: len(held) + i for i, tensor in enumerate(self.new)}
        old = self.graph.nodes("tensors")
        nodes = [old[i] for i in held] + [self._node(t) for t in self.new]
        if nodes or "tensors" in self.graph.fields:
            self.graph.fields["tensors"] = nodes

    def _untouched(self) -> set[int]:
        """Tensors that the source's operators do not touch either."""
        touched: set[int] = set()
        for op in self.main.operators:
            touched.update(op.inputs, op.outputs, op.intermediates)
        return set(range(len(self.main.tensors))) - touched

    def _node(self, tensor: Tensor) -> Node:
        node = Node(self.root.schema, "Tensor")
        node.set_numbers("shape", tensor.shape)
        node.set("type", self._type(tensor))
        node.set("buffer", 0)
        node.set_data("name", tensor.name.encode())
        made = tensor.role is Role.CONSTANT
        scales = self.constants.quantization(tensor) if made else self._quantization(tensor)
        if scales is not None:
            node.set_node("quantization", scales)
        node.set("has_rank", 1)
        return node

    def _type(self, tensor: Tensor) -> int:
        """The number of the element type."""
        model = tensor
        while model.like is not None or isinstance(model.recipe, Part | Joined):
            if model.like is not None:
                model = model.like
            elif isinstance(model.recipe, Part):
                model = model.recipe.base
            elif isinstance(model.recipe, Joined):
                model = model.recipe.parts[0]
        stored = self._known(model)
        number = _TYPES.get(model.dtype) if stored is None else stored.type
        if number is None or model.dtype != tensor.dtype:
            raise VerificationError(f"tensor `{tensor.name}` is {tensor.dtype}, but like no other")
        return number

    # ---------------------------------------------------------------- operators

    def _operators(self) -> dict[int, int]:
        """The new list; the place of each operator that was kept."""
        old = self.graph.nodes("operators")
        codes = self.root.nodes("operator_codes")
        places: dict[int, int] = {}
        made: list[Node] = []
        for op in self.edited.ops:
            kept = self._kept(op)
            if kept is None:
                node = new_operator(op, self.main.operators, old, codes)
                inputs = self._numbers(op.inputs)
                while inputs and inputs[-1] < 0:
                    inputs.pop()
                node.set_numbers("inputs", inputs)
                node.set_numbers("outputs", self._numbers(op.outputs))
            else:
                places[kept] = len(made)
                node = self._renumbered(old[kept].copy(), op, kept)
            made.append(node)
        if made or "operators" in self.graph.fields:
            self.graph.fields["operators"] = list(made)
        self._codes()
        return places

    def _codes(self) -> None:
        """Drop operator codes that lost their last use."""
        codes = self.root.nodes("operator_codes")
        before = {
            op.integer("opcode_index")
            for s in self.source.model.subgraphs
            for op in s.table.tables("operators")
        }
        users = [op for s in self.root.nodes("subgraphs") for op in s.nodes("operators")]
        used = {int(op.number("opcode_index")) for op in users}
        kept = [i for i in range(len(codes)) if i in used or i not in before]
        moved = {old: new for new, old in enumerate(kept)}
        for user in users:
            old = int(user.number("opcode_index"))
            if moved[old] != old:
                user.set("opcode_index", moved[old])
        self.root.fields["operator_codes"] = [codes[i] for i in kept]

    def _renumbered(self, node: Node, op: Op, kept: int) -> Node:
        operator = self.main.operators[kept]
        results = iter(self._numbers(op.outputs))
        # Stored as before: an absent list stays absent.
        for name, values in (
            ("inputs", self._numbers(op.inputs)),
            ("outputs", [next(results) if t >= 0 else t for t in operator.outputs]),
            ("intermediates", [self.moved.get(t, t) for t in operator.intermediates]),
        ):
            if values or name in node.fields:
                node.set_numbers(name, values)
        return node

    def _numbers(self, tensors: tuple[Tensor | None, ...]) -> list[int]:
        return [-1 if t is None else self.number[t] for t in tensors]

    # ---------------------------------------------------------------- who names tensors

    def _outputs(self) -> None:
        """The subgraph's inputs and outputs, and the signatures that name them."""
        if len(self.edited.outputs) != len(self.main.outputs):
            raise VerificationError("the rewritten graph has another number of outputs")
        for name, values in (
            ("inputs", [self.moved[i] for i in self.main.inputs]),
            ("outputs", [self.number[t] for t in self.edited.outputs]),
        ):
            if values or name in self.graph.fields:
                self.graph.set_numbers(name, values)
        nodes = self.graph.nodes("tensors")
        fixed = set(self.main.inputs) | {i for i in self.main.outputs if i in self.moved}
        named = {self.moved[i] for i in fixed}
        moved = dict(self.moved)
        for old, tensor in zip(self.main.outputs, self.edited.outputs, strict=True):
            number = self.number[tensor]
            if old in self.moved and self.moved[old] != number:
                raise VerificationError(f"output `{tensor.name}` replaces one that is still there")
            moved[old] = number
            if number not in named:
                named.add(number)
                nodes[number] = nodes[number].copy()
                nodes[number].fields.pop("name", None)
                held = self.main.tensors[old].table.encoded("name")
                if held is not None:
                    nodes[number].set_data("name", held)
        for signature in self.root.nodes("signature_defs"):
            if signature.number("subgraph_index") == self.main.index:
                self._signature(signature, moved)

    def _signature(self, signature: Node, moved: dict[int, int]) -> None:
        for name in ("inputs", "outputs"):
            for item in signature.nodes(name):
                old = int(item.number("tensor_index"))
                if old not in moved:
                    raise ModelError(
                        f"a signature names tensor {old}, which is neither an input nor an output "
                        f"and was rewritten away: it cannot be rewritten"
                    )
                if moved[old] != old:
                    item.set("tensor_index", moved[old])

    # ---------------------------------------------------------------- metadata, buffers

    def _metadata(self, places: dict[int, int]) -> None:
        """Without the offline plan; control edges name the operators' new places."""
        if "metadata" not in self.root.fields:
            return
        entries = self.root.nodes("metadata")
        self.root.fields["metadata"] = [
            e for e in entries if bytes(e.data("name")) != PLAN.encode()
        ]
        control = next((e for e in entries if bytes(e.data("name")) == CONTROL.encode()), None)
        if control is None or places == {i: i for i in range(len(self.main.operators))}:
            return
        edges = [s.control for s in self.source.model.subgraphs]
        if any(op not in places for edge in self.main.control for op in edge):
            raise VerificationError("an operator that control edges name was rewritten away")
        edges[self.main.index] = tuple((places[a], places[b]) for a, b in self.main.control)
        if any(before > after for before, after in edges[self.main.index]):
            raise VerificationError("the rewritten graph breaks a control edge")
        node = Node(self.root.schema, "Buffer")
        node.set_data("data", encode_control(edges))
        self.root.nodes("buffers").append(node)
        control.set("buffer", len(self.root.nodes("buffers")) - 1)

    def _buffers(self) -> None:
        """New constants get theirs; those that nobody names any more are dropped."""
        buffers = self.root.nodes("buffers")
        before = {t.buffer for s in self.source.model.subgraphs for t in s.tensors}
        before |= {entry.buffer for entry in self.source.model.metadata}
        before.update(self.source.model.table.integers("metadata_buffer"))
        self._new_constants(buffers)
        users = [t for s in self.root.nodes("subgraphs") for t in s.nodes("tensors")]
        if "metadata" in self.root.fields:
            users += self.root.nodes("metadata")
        listed = [int(i) for i in self.root.numbers("metadata_buffer")]
        used = {0, *listed, *(int(user.number("buffer")) for user in users)}
        kept = [i for i in range(len(buffers)) if i in used or i not in before]
        moved = {old: new for new, old in enumerate(kept)}
        for user in users:
            old = int(user.number("buffer"))
            if moved[old] != old:
                user.set("buffer", moved[old])
        if listed:
            self.root.set_numbers("metadata_buffer", [moved[i] for i in listed])
        self.root.fields["buffers"] = [buffers[i] for i in kept]

    def _new_constants(self, buffers: list[Node]) -> None:
        wanted = [
            (self.graph.nodes("tensors")[self.number[t]], self.constants.data(t))
            for t in self.new
            if t.role is Role.CONSTANT
        ]
        lengths = {len(data) for _, data in wanted}
        held: dict[bytes, int] = {}
        for subgraph in self.root.nodes("subgraphs"):
            for tensor in subgraph.nodes("tensors"):
                index = int(tensor.number("buffer"))
                data = buffers[index].data("data")
                if index and len(data) in lengths:
                    held.setdefault(hashlib.sha256(data).digest(), index)
        for node, data in wanted:
            if not data:
                continue
            digest = hashlib.sha256(data).digest()
            if digest not in held:
                held[digest] = len(buffers)
                made = Node(self.root.schema, "Buffer")
                made.set_data("data", data)
                buffers.append(made)
            node.set("buffer", held[digest])
