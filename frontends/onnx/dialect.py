"""ONNX graphs for rewrites: what ops mean, and ops of its own."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

from lowtide.errors import ModelError
from lowtide.frontends.onnx.flops import node_flops
from lowtide.frontends.onnx.kernels import KernelQuery, TensorType, kernel_memory
from lowtide.frontends.onnx.meaning import meaning, recipe_integers
from lowtide.ir import Role, Values

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir

    from lowtide.ir import Graph, Op, Tensor
    from lowtide.ir.op import Attribute
    from lowtide.ir.semantics import Meaning, Window

__all__ = ["OnnxDialect"]

_MAX_ITEMS = 64
_MS = "com.microsoft"
_FLOAT, _INTEGERS = 1, (6, 7)  # float32; int32, int64
_PARAMETERS = {  # of FusedConv's activations, in the order of `activation_params`
    "Relu": (),
    "Sigmoid": (),
    "Tanh": (),
    "LeakyRelu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
}


@dataclass(frozen=True)
class OnnxDialect:
    """The dialect of one model.

    Attributes:
        versions: of the operator sets, by domain.
        integers: small constants of whole numbers, by name.
        threads: of the session, on which some kernels' scratch depends.
        scratch: whether kernels need any: those for blocks of channels, which ONNX Runtime puts
            there at its highest level, do not.
        accumulates: whether a convolution can add to an operand, as ONNX Runtime's FusedConv does.
    """

    versions: Mapping[str, int]
    integers: Mapping[str, tuple[int, ...]] = field(default_factory=dict[str, tuple[int, ...]])
    threads: int = 1
    scratch: bool = True
    accumulates: bool = True

    @classmethod
    def of(
        cls,
        model: onnx_ir.Model,
        *,
        threads: int = 1,
        scratch: bool = True,
        accumulates: bool = True,
    ) -> OnnxDialect:
        """The dialect of a model."""
        versions = {("" if d == "ai.onnx" else d): v for d, v in model.opset_imports.items()}
        found: dict[str, tuple[int, ...]] = {}
        for name, value in model.graph.initializers.items():
            found |= _integers(name, value.const_value)
        for node in model.graph:
            if node.op_type == "Constant" and "value" in node.attributes:
                found |= _integers(str(node.outputs[0].name), node.attributes["value"].as_tensor())
        return cls(versions, found, threads, scratch, accumulates)

    @property
    def any_padding(self) -> bool:
        """Whether windows may pad each side by itself."""
        return True

    @property
    def most_parts(self) -> int | None:
        """How many tensors a Concat takes: any number."""
        return None

    def meaning(self, op: Op) -> Meaning | None:
        """What the op computes; None where no rewrite is to know."""

        def integers(tensor: Tensor) -> tuple[int, ...] | None:
            return recipe_integers(tensor) or self.integers.get(tensor.name)

        return meaning(op, integers)

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
        """The parts along an axis."""
        shape = list(parts[0].shape)
        shape[axis] = sum(part.shape[axis] for part in parts)
        return self._append(graph, name, "", "Concat", parts, shape, {"axis": axis}, like, before)

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
        """`data[start:stop]` along an axis."""
        shape = list(data.shape)
        shape[axis] = stop - start
        values = {"starts": start, "ends": stop, "axes": axis}
        if self.versions.get("", 1) < 10:
            attributes: dict[str, Attribute] = {key: (value,) for key, value in values.items()}
            return self._append(graph, name, "", "Slice", [data], shape, attributes, data, before)
        operands = [data]
        for key, value in values.items():
            recipe = Values((value,))
            operands.append(
                graph.add_tensor(f"{name}/{key}", "int64", (1,), role=Role.CONSTANT, recipe=recipe)
            )
        return self._append(graph, name, "", "Slice", operands, shape, {}, data, before)

    def add(
        self, graph: Graph, name: str, terms: Sequence[Tensor], like: Tensor, *, before: Op | None
    ) -> Tensor:
        """The sum of two operands of one shape."""
        return self._append(graph, name, "", "Add", terms, terms[0].shape, {}, like, before)

    def activation(
        self, graph: Graph, name: str, like: Op, data: Tensor, *, before: Op | None
    ) -> Tensor:
        """The activation of a FusedConv by itself.

        Raises:
            ModelError: it is one that ONNX has no operator for.
        """
        kind = str(like.attributes.get("activation", ""))
        if kind not in _PARAMETERS:
            raise ModelError(f"the activation `{kind}` of `{like.name}` is not known")
        given = cast("tuple[float, ...]", like.attributes.get("activation_params", ()))
        attributes: dict[str, Attribute] = dict(zip(_PARAMETERS[kind], given, strict=True))
        return self._append(graph, name, "", kind, [data], data.shape, attributes, data, before)

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
        """An op like `like` on other operands, with a result of `shape`."""
        attributes = dict(like.attributes)
        domain = like.dialect.removeprefix("onnx").removeprefix(".")
        kind, operands = like.kind, list(inputs)
        if windows is not None:
            ordered = [windows[axis] for axis in sorted(windows)]
            pads = [w.before for w in ordered] + [w.after for w in ordered]
            attributes.pop("auto_pad", None)
            attributes["pads"] = tuple(pads)
        if groups is not None:
            attributes["group"] = groups
        if not activation:
            attributes.pop("activation", None)
            attributes.pop("activation_params", None)
            if kind == "FusedConv" and addend is None:
                domain, kind = "", "Conv"
        if addend is not None:
            domain, kind = _MS, "FusedConv"
            operands = [*[*operands, None, None][:3], addend]
        return self._append(
            graph, name, domain, kind, operands, shape, attributes, like.outputs[0], before, like
        )

    def _append(
        self,
        graph: Graph,
        name: str,
        domain: str,
        kind: str,
        operands: Sequence[Tensor | None],
        shape: Sequence[int],
        attributes: Mapping[str, Attribute],
        like: Tensor,
        before: Op | None,
        source: Op | None = None,
    ) -> Tensor:
        result = graph.add_tensor(name, like.dtype, shape, like=like.like or like)
        kept = list(operands)
        while kept and kept[-1] is None:
            kept.pop()
        inputs = [None if t is None else TensorType(t.dtype, t.shape) for t in kept]
        outputs = [TensorType(result.dtype, result.shape)]
        memory = kernel_memory(
            KernelQuery(
                domain=domain,
                kind=kind,
                version=self.versions.get(domain, 1),
                attributes=attributes,
                inputs=tuple(inputs),
                outputs=tuple(outputs),
                constant=tuple(t is not None and t.role is Role.CONSTANT for t in kept),
                threads=self.threads,
            )
        )
        graph.add_op(
            name,
            f"onnx.{domain}" if domain else "onnx",
            kind,
            kept,
            [result],
            attributes=attributes,
            in_place=memory.in_place,
            flops=node_flops(kind, attributes, inputs, outputs),
            workspace_bytes=memory.workspace_bytes if self.scratch else 0,
            workspace_known=memory.workspace_known or not self.scratch,
            source=None if source is None else source.source,
            before=before,
        )
        return result


def _integers(name: str, tensor: onnx_ir.TensorProtocol | None) -> dict[str, tuple[int, ...]]:
    """The values of a small constant of integers, or of one float that is whole, by its name."""
    if tensor is None or tensor.size > _MAX_ITEMS:
        return {}
    kind = tensor.dtype.value
    if kind not in _INTEGERS and (kind != _FLOAT or tensor.size != 1):
        return {}
    values = [value.item() for value in tensor.numpy().reshape(-1)]
    if not all(float(value).is_integer() for value in values):
        return {}
    return {name: tuple(int(value) for value in values)}
