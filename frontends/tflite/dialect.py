"""TFLite's side of graph rewriting: the contract is `Dialect` in `passes/rewrite`.

`meaning` reads (`lowtide.frontends.tflite.meaning`), the builders write ops of the stock operators.
What they build is a graph only; `backends/tflite/rebuild` makes a file of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from lowtide.errors import ModelError
from lowtide.frontends.tflite.constants import Facts
from lowtide.frontends.tflite.flops import operator_flops
from lowtide.frontends.tflite.meaning import meaning_of
from lowtide.ir import InPlace, Role, Traits, Values
from lowtide.ir.semantics import Add, Convolution, Pad, Pointwise, Pooling, common_padding

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from lowtide.frontends.tflite.importer import TfliteImport
    from lowtide.frontends.tflite.source import TfliteSource
    from lowtide.ir import Graph, Op, Tensor
    from lowtide.ir.op import Attribute
    from lowtide.ir.semantics import Meaning, Window

__all__ = ["Sharing", "TfliteDialect"]

_ACTIVATIONS = {1: "RELU", 2: "RELU_N1_TO_1", 3: "RELU6", 4: "TANH"}
_PADDINGS = {"same": 0, "none": 1}


class Sharing(Protocol):
    """When a kernel may write its result over an operand."""

    @property
    def operands(self) -> tuple[int, ...]:
        """The positions of such operands."""
        ...

    @property
    def dtypes(self) -> tuple[str, ...]:
        """The element types, of operand and result alike."""
        ...

    @property
    def copies(self) -> bool:
        """The kernel only copies the bytes, so that the shapes may differ."""
        ...


class TfliteDialect:
    """Reads what TFLite's operators mean, and builds new ones.

    A new op gets the scratch of the op that it resembles, as an estimate: what the kernels ask for
    is measured on the file that is made of the graph.
    """

    any_padding = False
    accumulates = False

    def __init__(
        self,
        source: TfliteSource,
        imported: TfliteImport,
        *,
        sharing: Mapping[str, Sharing] | None = None,
        most_parts: int | None = None,
    ) -> None:
        """A dialect for the graph of `imported`, and for its copies.

        Args:
            source: the file.
            imported: its main subgraph.
            sharing: the kernels that may write over an operand, by operator; None for none.
            most_parts: how many operands the runtime's CONCATENATION takes; None for any number.
        """
        self._facts = Facts(source, imported)
        self._sharing = dict(sharing or {})
        self.most_parts = most_parts

    def meaning(self, op: Op) -> Meaning | None:
        """What the op computes; None where no rewrite is to know."""
        return meaning_of(op, self._facts)

    # ---------------------------------------------------------------- new ops

    def join(
        self,
        graph: Graph,
        name: str,
        parts: Sequence[Tensor],
        axis: int,
        like: Tensor,
        *,
        before: Op | None,
    ) -> Tensor:
        """The parts along an axis, in the type and scale of `like`.

        Raises:
            ModelError: they have other scales, or are more than the runtime joins.
        """
        other = next((t for t in parts if not self._facts.same_scale(t, like)), None)
        if other is not None:
            raise ModelError(
                f"`{other.name}` and `{like.name}` have other types or scales: CONCATENATION does "
                f"not convert"
            )
        if self.most_parts is not None and len(parts) > self.most_parts:
            raise ModelError(
                f"a concatenation of {len(parts)} tensors: the runtime takes {self.most_parts}"
            )
        shape = list(parts[0].shape)
        shape[axis] = sum(t.shape[axis] for t in parts)
        attributes: dict[str, Attribute] = {"axis": axis, "fused_activation_function": 0}
        return self._add(graph, name, "CONCATENATION", parts, shape, like, before, attributes)

    def slice(
        self,
        graph: Graph,
        name: str,
        data: Tensor,
        axis: int,
        start: int,
        stop: int,
        *,
        before: Op | None,
    ) -> Tensor:
        """`data[start:stop]` along an axis; other axes are taken whole, whatever their length."""
        rank = len(data.shape)
        begin = tuple(start if a == axis else 0 for a in range(rank))
        size = tuple(stop - start if a == axis else -1 for a in range(rank))
        shape = [stop - start if a == axis else n for a, n in enumerate(data.shape)]
        operands = [
            data,
            self._indices(graph, f"{name}/begin", begin),
            self._indices(graph, f"{name}/size", size),
        ]
        return self._add(graph, name, "SLICE", operands, shape, data, before)

    def pad(
        self,
        graph: Graph,
        name: str,
        data: Tensor,
        sizes: Mapping[int, tuple[int, int]],
        *,
        before: Op | None,
    ) -> Tensor:
        """Zeros (zero points) in front of the data and behind it, by axis."""
        pairs = [sizes.get(axis, (0, 0)) for axis in range(len(data.shape))]
        shape = [n + a + b for n, (a, b) in zip(data.shape, pairs, strict=True)]
        flat = tuple(size for pair in pairs for size in pair)
        paddings = graph.add_tensor(
            f"{name}/paddings", "int32", (len(pairs), 2), role=Role.CONSTANT, recipe=Values(flat)
        )
        return self._add(graph, name, "PAD", [data, paddings], shape, data, before)

    def add(
        self, graph: Graph, name: str, terms: Sequence[Tensor], like: Tensor, *, before: Op | None
    ) -> Tensor:
        """The sum of two operands, in the type and scale of `like`, without activation."""
        attributes: dict[str, Attribute] = {
            "fused_activation_function": 0,
            "pot_scale_int16": like.dtype != "int16",
        }
        return self._add(graph, name, "ADD", terms, like.shape, like, before, attributes)

    def activation(
        self, graph: Graph, name: str, like: Op, data: Tensor, *, before: Op | None
    ) -> Tensor:
        """The activation of `like` by itself, of data of the type of its result.

        Raises:
            ModelError: there is no operator for it.
        """
        number = like.attributes.get("fused_activation_function", 0)
        kind = _ACTIVATIONS.get(number) if isinstance(number, int) else None
        if kind is None:
            raise ModelError(f"op `{like.name}`: no operator applies its activation ({number})")
        return self._add(graph, name, kind, [data], data.shape, like.outputs[0], before)

    def again(
        self,
        graph: Graph,
        name: str,
        like: Op,
        inputs: Sequence[Tensor | None],
        shape: Sequence[int],
        *,
        before: Op | None,
        windows: Mapping[int, Window] | None = None,
        groups: int | None = None,
        activation: bool = True,
        addend: Tensor | None = None,
    ) -> Tensor:
        """An op like `like` on other operands, with a result of `shape` in its type and scale.

        What the windows read stays as it is, or is what `windows` say: where the operands' shapes
        ask for the other of TFLite's two paddings, it is taken.

        Raises:
            ModelError: TFLite has no operator for it.
        """
        meaning = self.meaning(like)
        if addend is not None:
            raise ModelError(f"op `{like.name}`: TFLite's convolutions add nothing to their result")
        if not isinstance(meaning, Add | Convolution | Pad | Pointwise | Pooling):
            raise ModelError(f"op `{like.name}` ({like.kind}) cannot be built on other operands")
        attributes = dict(like.attributes)
        if isinstance(meaning, Convolution | Pooling):
            data = _given(like, inputs, meaning.data)
            wanted = meaning.windows if windows is None else windows
            attributes["padding"] = self._padding(like, data, wanted, shape)
        operands = list(inputs)
        if isinstance(meaning, Convolution):
            self._check_groups(like, meaning, operands, groups)
            if meaning.bias is not None and len(operands) > 2 and operands[2] is None:
                operands[2] = self._no_bias(graph, f"{name}/bias", meaning.bias, shape)
        if not activation:
            attributes["fused_activation_function"] = 0
        return self._add(
            graph, name, like.kind, operands, shape, like.outputs[0], before, attributes, like
        )

    # ---------------------------------------------------------------- steps

    def _padding(
        self, like: Op, data: Tensor, windows: Mapping[int, Window], shape: Sequence[int]
    ) -> int:
        found = common_padding(windows, data.shape)
        sizes = {axis: w.results(data.shape[axis]) for axis, w in windows.items()}
        if not found or any(shape[axis] != size for axis, size in sizes.items()):
            ways = ", ".join(f"axis {a}: {w.before} and {w.after}" for a, w in windows.items())
            raise ModelError(
                f"op `{like.name}` cannot pad like this in TFLite ({ways}; data "
                f"{list(data.shape)}, result {list(shape)})"
            )
        options = {_PADDINGS[name] for name in found}
        own = like.attributes.get("padding")
        return own if isinstance(own, int) and own in options else min(options)

    def _check_groups(
        self,
        like: Op,
        meaning: Convolution,
        inputs: Sequence[Tensor | None],
        groups: int | None,
    ) -> None:
        """TFLite's convolutions have no number of groups: it follows from the shapes."""
        data = _given(like, inputs, meaning.data)
        weights = _given(like, inputs, meaning.weights)
        axis = meaning.inputs_axis
        read = 1 if axis is None else weights.shape[axis]
        channels = data.shape[meaning.channels]
        wanted = meaning.groups if groups is None else groups
        if channels != wanted * read or weights.shape[meaning.outputs_axis] % wanted:
            raise ModelError(
                f"op `{like.name}`: {channels} channels and weights {list(weights.shape)} are not "
                f"{wanted} groups"
            )

    def _no_bias(
        self, graph: Graph, name: str, bias: Tensor, shape: Sequence[int]
    ) -> Tensor | None:
        """Zeros: not all runtimes take convolutions without a bias. None where scales forbid it."""
        if bias.dtype == "float32":
            zeros = Values((0.0,))
            return graph.add_tensor(name, "float32", shape[-1:], role=Role.CONSTANT, recipe=zeros)
        if bias.shape != tuple(shape[-1:]):
            return None
        like = bias.like or bias
        return graph.add_tensor(
            name, bias.dtype, bias.shape, role=Role.CONSTANT, like=like, recipe=Values((0,))
        )

    def _indices(self, graph: Graph, name: str, values: tuple[int, ...]) -> Tensor:
        return graph.add_tensor(
            name, "int32", (len(values),), role=Role.CONSTANT, recipe=Values(values)
        )

    def _add(
        self,
        graph: Graph,
        name: str,
        kind: str,
        inputs: Sequence[Tensor | None],
        shape: Sequence[int],
        like: Tensor,
        before: Op | None,
        attributes: Mapping[str, Attribute] | None = None,
        resembles: Op | None = None,
    ) -> Tensor:
        result = graph.add_tensor(name, like.dtype, shape, like=like)
        options = dict(attributes or {})
        graph.add_op(
            name,
            "tflite",
            kind,
            inputs,
            [result],
            attributes=options,
            traits=Traits(commutes=kind in {"ADD", "MAXIMUM", "MINIMUM", "MUL"}),
            in_place=self._in_place(kind, inputs, result),
            flops=operator_flops(kind, options, inputs, [result]),
            workspace_bytes=0 if resembles is None else resembles.workspace_bytes,
            workspace_known=resembles is None or resembles.workspace_known,
            source=None if resembles is None else resembles.source,
            before=before,
        )
        return result

    def _in_place(
        self, kind: str, inputs: Sequence[Tensor | None], result: Tensor
    ) -> tuple[InPlace, ...]:
        entry = self._sharing.get(kind)
        if entry is None:
            return ()
        found: list[InPlace] = []
        for position in entry.operands:
            operand = inputs[position] if position < len(inputs) else None
            if operand is None or operand.role in (Role.CONSTANT, Role.STATE):
                continue
            if operand.dtype != result.dtype or operand.dtype not in entry.dtypes:
                continue
            same = (
                operand.nbytes == result.nbytes if entry.copies else operand.shape == result.shape
            )
            if same:
                found.append(InPlace(0, position))
        return tuple(found)


def _given(like: Op, inputs: Sequence[Tensor | None], operand: Tensor) -> Tensor:
    """What stands where `operand` stands in `like`."""
    position = like.inputs.index(operand)
    given = inputs[position] if position < len(inputs) else None
    if given is None:
        raise ModelError(f"op `{like.name}`: operand {position} is missing")
    return given
