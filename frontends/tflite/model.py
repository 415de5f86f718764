"""What of a TFLite model a planner needs to know; the rest stays in the file, behind `table`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from lowtide.flatbuffer import Kind

if TYPE_CHECKING:
    from lowtide.flatbuffer import Table
    from lowtide.ir.op import Attribute

__all__ = [
    "TfliteBuffer",
    "TfliteMetadata",
    "TfliteModel",
    "TfliteOperator",
    "TfliteSubgraph",
    "TfliteTensor",
]

_MAX_ITEMS = 64  # of a list attribute that is carried over; longer ones stay in the file


@dataclass(frozen=True, slots=True, eq=False)
class TfliteBuffer:
    """Bytes of a constant or of metadata, in the file: `data[start:stop]`.

    Attributes:
        start: 0 for a buffer without data.
        stop: one past the last byte.
        outside: they lie beyond the flatbuffer, named by `offset` and `size` (models over 2 GB).
        stored: there is data, possibly of no bytes.
        table: the `Buffer` table.
    """

    start: int
    stop: int
    outside: bool
    stored: bool
    table: Table


@dataclass(frozen=True, slots=True, eq=False)
class TfliteTensor:
    """A tensor of a subgraph.

    Attributes:
        index: in its subgraph; the identity that plans and metadata refer to.
        name: its first 256 bytes: possibly empty or the same as another's.
        type: the number of its element type.
        dtype: the IR's name of it.
        shape: the dimensions.
        nbytes: dense bytes; 0 for strings, resources and variants.
        dynamic: a dimension is not fixed (`shape_signature` has -1).
        buffer: the index of its buffer; 0 for none.
        constant: its data is in the file, or in a file that the model names.
        variable: it keeps its value across executions.
        sparse: its data is compressed by `sparsity`.
        table: the `Tensor` table (quantization, sparsity, ...).
    """

    index: int
    name: str
    type: int
    dtype: str
    shape: tuple[int, ...]
    nbytes: int
    dynamic: bool
    buffer: int
    constant: bool
    variable: bool
    sparse: bool
    table: Table


@dataclass(frozen=True, slots=True, eq=False)
class TfliteOperator:
    """An operator of a subgraph.

    Attributes:
        index: its place in the file's order.
        kind: the builtin operator's name, or the custom operator's code.
        builtin: the builtin operator's number; that of CUSTOM for a custom one.
        version: of the operator.
        inputs: tensor indices, -1 for an absent one.
        outputs: likewise.
        intermediates: tensors that carry quantization only.
        calls: the subgraphs that it may run.
        table: the `Operator` table.
    """

    index: int
    kind: str
    builtin: int
    version: int
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    intermediates: tuple[int, ...]
    calls: tuple[int, ...]
    table: Table

    @property
    def options(self) -> Table | None:
        """The builtin operator's options, None where there are none or they are unknown."""
        return self.table.member("builtin_options") or self.table.member("builtin_options_2")

    def attributes(self) -> dict[str, Attribute]:
        """The options as plain attributes, defaults filled in; enumerations are their numbers."""
        options = self.options
        if options is None:
            return {}
        found: dict[str, Attribute] = {}
        for field in options.kind.fields:
            if field.kind is Kind.SCALAR:
                value = options.number(field.name)
                found[field.name] = bool(value) if field.code == "?" else value
            elif field.kind is Kind.STRING:
                found[field.name] = options.text(field.name) or ""
            elif (
                field.kind is Kind.SCALARS
                and field.code != "B"  # bytes are no list of numbers
                and options.count(field.name) <= _MAX_ITEMS
            ):
                found[field.name] = _items(options, field.name, floats=field.code in "fd")
        return found


def _items(table: Table, name: str, *, floats: bool) -> Attribute:
    values = table.numbers(name) or ()
    return tuple(float(v) for v in values) if floats else tuple(int(v) for v in values)


@dataclass(frozen=True, slots=True, eq=False)
class TfliteSubgraph:
    """A subgraph: number 0 is the main one.

    Attributes:
        index: its number.
        name: as stored.
        tensors: by index.
        operators: in the file's order, which is the execution order.
        inputs: tensor indices.
        outputs: tensor indices.
        control: edges between operators that the converter demands beside the data's.
        stateful: the operators, by index, whose order among one another must stay.
        random: the operators of which two runs differ.
        table: the `SubGraph` table.
    """

    index: int
    name: str
    tensors: tuple[TfliteTensor, ...]
    operators: tuple[TfliteOperator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    control: tuple[tuple[int, int], ...]
    stateful: frozenset[int]
    random: frozenset[int]
    table: Table

    def predecessors(self) -> tuple[tuple[int, ...], ...]:
        """For every operator, those that must run before it. O(operators + references).

        The producers of what it reads, the stateful operator before it, and control edges.
        """
        producer = {t: op.index for op in self.operators for t in op.outputs if t >= 0}
        before: list[dict[int, None]] = []
        last: int | None = None
        for op in self.operators:
            needed = {producer[t]: None for t in op.inputs if t in producer}
            if op.index in self.stateful:
                if last is not None:
                    needed[last] = None
                last = op.index
            before.append(needed)
        for source, target in self.control:
            before[target][source] = None
        return tuple(tuple(needed) for needed in before)


@dataclass(frozen=True, slots=True, eq=False)
class TfliteMetadata:
    """A named buffer: `name` as stored, and the buffer's index."""

    name: str
    buffer: int


@dataclass(frozen=True, slots=True, eq=False)
class TfliteModel:
    """A checked model: every index that it holds is in range.

    Attributes:
        description: what the converter left there.
        subgraphs: by index.
        buffers: by index.
        metadata: in the file's order; names may repeat.
        table: the root table.
    """

    description: str
    subgraphs: tuple[TfliteSubgraph, ...]
    buffers: tuple[TfliteBuffer, ...]
    metadata: tuple[TfliteMetadata, ...]
    table: Table
