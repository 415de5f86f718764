"""What a verified flatbuffer must also say to be a model: indices, types, shapes, sizes, order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.errors import ModelError
from lowtide.flatbuffer import Kind
from lowtide.frontends.tflite.control import CONTROL, parse_control
from lowtide.frontends.tflite.dtypes import ELEMENT_TYPES
from lowtide.frontends.tflite.model import (
    TfliteBuffer,
    TfliteMetadata,
    TfliteModel,
    TfliteOperator,
    TfliteSubgraph,
    TfliteTensor,
)
from lowtide.frontends.tflite.operators import (
    BUILTINS,
    CUSTOM,
    PURE_CUSTOM,
    RANDOM,
    STATEFUL,
    builtin_name,
)
from lowtide.frontends.tflite.order import (
    callees_first,
    check_control,
    check_order,
    check_sources,
)
from lowtide.ir.dtype import nbytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.flatbuffer import Table

__all__ = ["check_model"]

_SCHEMA_VERSION = 3
_MAX_RANK = 32  # above any kernel's
_MAX_REFERENCES = 2_000_000  # tensor indices of all operators and subgraphs together
_HANDLES = (13, 14)  # RESOURCE, VARIANT: what they refer to lives outside the tensor
# Tensors of TFLM's compressed models hold indices into a codebook: their sizes are their own.
_COMPRESSED = "COMPRESSION_METADATA"


@dataclass(frozen=True, slots=True)
class _Code:
    builtin: int
    kind: str
    version: int


def check_model(root: Table, data: memoryview) -> TfliteModel:
    """The model that `root` describes.

    Args:
        root: of a verified flatbuffer.
        data: the whole file, for what lies beyond the flatbuffer.

    Raises:
        ModelError: an index is out of range, a type unknown, a size wrong, a tensor made twice or
            read before it is made, a subgraph calls itself.
    """
    return _Check(root, data).run()


class _Check:
    def __init__(self, root: Table, data: memoryview) -> None:
        self.root = root
        self.data = data
        self.references_left = _MAX_REFERENCES
        self.external: dict[int, tuple[int, str]] = {}
        self.compressed = False

    def run(self) -> TfliteModel:
        version = self.root.integer("version")
        if version != _SCHEMA_VERSION:
            raise ModelError(
                f"schema version {version} is not supported, only {_SCHEMA_VERSION}: "
                f"convert the model again with a current converter"
            )
        buffers = tuple(self._buffer(i, t) for i, t in enumerate(self.root.tables("buffers")))
        metadata = tuple(self._metadata(t, len(buffers)) for t in self.root.tables("metadata"))
        for index in self._references(self.root, "metadata_buffer"):
            _in_range(index, len(buffers), "Model.metadata_buffer", "buffer")
        self.compressed = any(m.name == _COMPRESSED for m in metadata)
        self._external_buffers()
        codes = [self._code(i, t) for i, t in enumerate(self.root.tables("operator_codes"))]
        tables = self.root.tables("subgraphs")
        if not tables:
            raise ModelError("the model has no subgraph: the export did not finish")
        control = self._control(metadata, buffers, len(tables))
        operators = [self._operators(i, t, codes) for i, t in enumerate(tables)]
        order = callees_first([{c for op in ops for c in op.calls} for ops in operators])
        done: dict[int, TfliteSubgraph] = {}
        for i in order:
            done[i] = self._subgraph(i, tables[i], operators[i], buffers, control[i], done)
        subgraphs = tuple(done[i] for i in range(len(tables)))
        self._signatures(subgraphs)
        description = self.root.text("description") or ""
        return TfliteModel(description, subgraphs, buffers, metadata, self.root)

    # ---------------------------------------------------------------- the model's own lists

    def _buffer(self, index: int, table: Table) -> TfliteBuffer:
        offset, size = table.integer("offset"), table.integer("size")
        if offset > 1:  # 0 and 1 are placeholders
            if offset + size > len(self.data):
                raise ModelError(
                    f"buffer {index} lies at {offset} with {size} bytes, beyond the end of the "
                    f"file ({len(self.data)} bytes): the file is truncated"
                )
            return TfliteBuffer(offset, offset + size, True, True, table)
        place = table.vector_place("data")
        if not place:
            return TfliteBuffer(0, 0, False, False, table)
        return TfliteBuffer(place + 4, place + 4 + table.count("data"), False, True, table)

    def _metadata(self, table: Table, buffers: int) -> TfliteMetadata:
        name = table.text("name") or ""
        index = table.integer("buffer")
        _in_range(index, buffers, f"metadata {name!r}", "buffer")
        return TfliteMetadata(name, index)

    def _external_buffers(self) -> None:
        groups = self.root.count("external_buffer_groups")
        for table in self.root.tables("external_buffers"):
            number = table.integer("id")
            if number in self.external:
                raise ModelError(f"two external buffers have the id {number}")
            _in_range(table.integer("group"), groups, f"external buffer {number}", "group")
            packing = table.text("packing") or ""
            self.external[number] = (table.integer("length"), packing)

    def _code(self, index: int, table: Table) -> _Code:
        builtin = max(table.integer("builtin_code"), table.integer("deprecated_builtin_code"))
        if builtin < 0:
            raise ModelError(f"operator code {index} is {builtin}: no operator has it")
        version = table.integer("version")
        if builtin != CUSTOM:
            return _Code(builtin, builtin_name(builtin), version)
        name = table.text("custom_code")
        if not name:
            raise ModelError(f"operator code {index} is a custom operator without a name")
        return _Code(CUSTOM, name, version)

    def _control(
        self, metadata: Sequence[TfliteMetadata], buffers: Sequence[TfliteBuffer], subgraphs: int
    ) -> tuple[tuple[tuple[int, int], ...], ...]:
        entry = next((m for m in metadata if m.name == CONTROL), None)
        if entry is None:
            return ((),) * subgraphs
        buffer = buffers[entry.buffer]
        edges = parse_control(self.data[buffer.start : buffer.stop])
        if len(edges) != subgraphs:
            raise ModelError(
                f"metadata `{CONTROL}` is about {len(edges)} subgraphs, the model has {subgraphs}"
            )
        return edges

    def _signatures(self, subgraphs: Sequence[TfliteSubgraph]) -> None:
        for index, table in enumerate(self.root.tables("signature_defs")):
            where = f"signature {index}"
            subgraph = table.integer("subgraph_index")
            _in_range(subgraph, len(subgraphs), where, "subgraph")
            for name in ("inputs", "outputs"):
                for item in table.tables(name):
                    tensor = item.integer("tensor_index")
                    _in_range(tensor, len(subgraphs[subgraph].tensors), where, "tensor")

    # ---------------------------------------------------------------- operators

    def _operators(
        self, subgraph: int, table: Table, codes: Sequence[_Code]
    ) -> tuple[TfliteOperator, ...]:
        tensors = table.count("tensors")
        return tuple(
            self._operator(f"subgraph {subgraph}, operator {index}", index, item, codes, tensors)
            for index, item in enumerate(table.tables("operators"))
        )

    def _operator(
        self, where: str, index: int, table: Table, codes: Sequence[_Code], tensors: int
    ) -> TfliteOperator:
        number = table.integer("opcode_index")
        _in_range(number, len(codes), where, "operator code")
        code = codes[number]
        where = f"{where} ({code.kind})"
        self.references_left -= table.count("mutating_variable_inputs")
        offset = table.integer("large_custom_options_offset")
        if offset > 1 and offset + table.integer("large_custom_options_size") > len(self.data):
            raise ModelError(
                f"{where}: its options lie at {offset}, beyond the end of the file "
                f"({len(self.data)} bytes): the file is truncated"
            )
        return TfliteOperator(
            index,
            code.kind,
            code.builtin,
            code.version,
            self._operands(table, "inputs", where, tensors),
            self._operands(table, "outputs", where, tensors),
            self._operands(table, "intermediates", where, tensors),
            self._calls(table, where),
            table,
        )

    def _operands(self, table: Table, name: str, where: str, tensors: int) -> tuple[int, ...]:
        values = self._references(table, name)
        for value in values:
            _in_range(value, tensors, f"{where}: {name}", "tensor", lowest=-1)
        return values

    def _calls(self, table: Table, where: str) -> tuple[int, ...]:
        """The subgraphs that the options name."""
        options = table.member("builtin_options") or table.member("builtin_options_2")
        if options is None:
            return ()
        found: list[int] = []
        for field in options.kind.fields:
            if field.kind is Kind.SCALAR and field.name in {"subgraph", *_CALLEES}:
                found.append(options.integer(field.name))
            elif field.name in {"branch_subgraph_indices", "called_computations"}:
                found += self._references(options, field.name)
        for subgraph in found:
            _in_range(subgraph, self.root.count("subgraphs"), where, "subgraph")
        return tuple(dict.fromkeys(found))

    def _references(self, table: Table, name: str) -> tuple[int, ...]:
        self.references_left -= table.count(name)
        if self.references_left < 0:
            raise ModelError(f"the model's lists hold more than {_MAX_REFERENCES} indices")
        return table.integers(name)

    # ---------------------------------------------------------------- subgraphs

    def _subgraph(
        self,
        index: int,
        table: Table,
        operators: tuple[TfliteOperator, ...],
        buffers: Sequence[TfliteBuffer],
        control: tuple[tuple[int, int], ...],
        callees: dict[int, TfliteSubgraph],
    ) -> TfliteSubgraph:
        where = f"subgraph {index}"
        count = table.count("tensors")
        inputs = self._references(table, "inputs")
        outputs = self._references(table, "outputs")
        for name, values in (("inputs", inputs), ("outputs", outputs)):
            for value in values:
                _in_range(value, count, f"{where}: {name}", "tensor")
        producer: dict[int, TfliteOperator] = {}
        for op in operators:
            for t in op.outputs:
                if t >= 0 and t in producer:
                    raise ModelError(
                        f"{where}: tensor {t} is made twice: by operators {producer[t].index} and "
                        f"{op.index} ({op.kind})"
                    )
                producer[t] = op
        tensors = tuple(
            self._tensor(f"{where}, tensor {i}", i, item, buffers, made=i in producer)
            for i, item in enumerate(table.tables("tensors"))
        )
        check_sources(where, tensors, producer, inputs)
        check_order(where, tensors, operators, producer, inputs, outputs)
        check_control(where, control, len(operators))
        pinned = {op for edge in control for op in edge}
        stateful = pinned | {
            op.index
            for op in operators
            if _is_stateful(op, tensors) or any(callees[c].stateful for c in op.calls)
        }
        random = {
            op.index
            for op in operators
            if op.kind in RANDOM or any(callees[c].random for c in op.calls)
        }
        return TfliteSubgraph(
            index,
            table.text("name") or "",
            tensors,
            operators,
            inputs,
            outputs,
            control,
            frozenset(stateful),
            frozenset(random),
            table,
        )

    def _tensor(
        self, where: str, index: int, table: Table, buffers: Sequence[TfliteBuffer], *, made: bool
    ) -> TfliteTensor:
        name = table.text("name") or ""
        where = f"{where} ({name!r})" if name else where
        number = table.integer("type")
        if not 0 <= number < len(ELEMENT_TYPES):
            raise ModelError(f"{where}: element type {number} is unknown: update lowtide")
        for field in ("shape", "shape_signature"):
            if table.count(field) > _MAX_RANK:
                raise ModelError(f"{where}: {field} has {table.count(field)} dimensions")
        shape = table.integers("shape")
        negative = next((d for d in shape if d < 0), None)
        if negative is not None:
            raise ModelError(
                f"{where}: shape {list(shape)} has the dimension {negative}: "
                f"convert the model with fixed shapes"
            )
        size = nbytes(ELEMENT_TYPES[number], shape)
        buffer = table.integer("buffer")
        if buffer or buffers:  # files without any buffer name number 0 all the same
            _in_range(buffer, len(buffers), where, "buffer")
        sparse = table.has("sparsity")
        stored = buffers[buffer].stop - buffers[buffer].start if buffers else 0
        if stored and not buffer:
            raise ModelError(
                f"{where}: buffer 0 means no data, yet it holds {stored} bytes, on which runtimes "
                f"disagree: convert the model again"
            )
        outside = table.integer("external_buffer")
        held, packing = stored, ""
        if outside:
            if outside not in self.external:
                raise ModelError(f"{where}: no external buffer has the id {outside}")
            held, packing = self.external[outside]
        constant = held > 0 or outside != 0
        dtype = ELEMENT_TYPES[number]
        exact = dtype != "opaque" and not (sparse or self.compressed)
        if constant and exact and packing in ("", "unpacked") and held != size:
            raise ModelError(
                f"{where}: {dtype}{list(shape)} takes {size} bytes, its buffer {buffer} holds "
                f"{held}: the file is damaged"
            )
        variable = bool(table.integer("is_variable"))
        if variable and constant:
            raise ModelError(f"{where} is a variable with a constant's data; no runtime accepts it")
        if not (made or variable) and size == 0 and dtype != "opaque":
            constant = True  # an empty constant stores nothing
        dynamic = -1 in table.integers("shape_signature")
        return TfliteTensor(
            index, name, number, dtype, shape, size, dynamic, buffer, constant, variable, sparse,
            table,
        )  # fmt: skip


_CALLEES = frozenset(
    {"body_subgraph_index", "comparator_subgraph_index", "cond_subgraph_index"}
    | {"decomposition_subgraph_index", "else_subgraph_index", "init_subgraph_index"}
    | {"then_subgraph_index", "update_computation_subgraph_index"}
)


def _in_range(value: int, count: int, where: str, what: str, *, lowest: int = 0) -> None:
    if not lowest <= value < count:
        raise ModelError(f"{where}: {what} {value} does not exist, there are {count}")


def _is_stateful(op: TfliteOperator, tensors: Sequence[TfliteTensor]) -> bool:
    if op.builtin == CUSTOM:
        known = op.kind in PURE_CUSTOM
    else:
        known = op.builtin < len(BUILTINS) and op.kind not in STATEFUL
    if not known:
        return True
    touched = [tensors[t] for t in (*op.inputs, *op.outputs) if t >= 0]
    return any(t.variable or t.type in _HANDLES for t in touched) or any(
        op.table.integers("mutating_variable_inputs")
    )
