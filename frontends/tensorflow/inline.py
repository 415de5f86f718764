"""Calls of functions inside a traced function, put in their place.

    call: f(a, b)  after ^w                 call/begin (NoOp, after ^w)
                                   ─▶       call/op_1 ... call/op_n      stateful ones after begin
    reader: call:0                          reader: call/op_n:0
    later: ^call                            later: ^call (a NoOp after all of the body)

A SavedModel's signature is one call of a function, and a `tf.function` that calls another one has
the other's body behind one op: a planner would see nothing of it. What runs is the same: stateful
ops of a body ran after what its call waited for, and whoever waited for the call waits for them.
IdentityN is dissolved: Keras's optimizers pass all gradients through one, which would let no update
run before the last gradient is there. Bodies of branches and loops stay where they are, and so do
functions that XLA compiles, unless it compiles the whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from lowtide.errors import ModelError
from lowtide.frontends.tensorflow.rebuild import rebuilt, tensor_name
from lowtide.frontends.tensorflow.tables import describe_tables
from lowtide.tensorflow_types import TfFunction, load_tensorflow

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = ["inline", "is_nested"]

_CALLS = frozenset({"PartitionedCall", "StatefulPartitionedCall"})
_DEPTH = 64
_NODES = 2_000_000


def is_nested(function: TfFunction) -> bool:
    """Whether `inline` would change the function."""
    return any(
        op.type in _CALLS or op.type == "IdentityN" for op in function.graph.get_operations()
    )


def inline(
    function: TfFunction,
    shapes: Mapping[str, Sequence[int | None]] | None = None,
    *,
    compiled: bool = False,
) -> TfFunction:
    """A function of the same signature and captures without calls.

    Args:
        function: a `ConcreteFunction`; it is not changed.
        shapes: for inputs by the name of their placeholder, where they are to be more special; what
            follows from them is inferred anew.
        compiled: take functions that XLA compiles in, too: for one that it compiles as a whole.

    Raises:
        ModelError: functions call each other in a circle, or the result is too large.
    """
    definition = cast("Any", function.graph).as_graph_def()
    library = {f.signature.name: f for f in definition.library.function}
    inliner = _Inliner(library, compiled=compiled)
    inliner.expand(definition.node, "", 0)
    placeholders = {tensor.op.name for tensor in function.graph.inputs}
    nodes = inliner.finished(placeholders)
    return describe_tables(rebuilt(function, nodes, resolve=inliner.resolved, shapes=shapes))


class _Inliner:
    """Nodes of a graph definition with bodies in the place of calls."""

    def __init__(self, library: Mapping[str, Any], *, compiled: bool) -> None:
        self._library = library
        self._compiled = compiled
        self._nodes: dict[str, Any] = {}
        self._shown: dict[str, str] = {}  # a call's result, a body's argument -> what it is
        self._registry = load_tensorflow("tensorflow.python.framework.op_def_registry")
        self._new = load_tensorflow("tensorflow.core.framework.node_def_pb2").NodeDef

    def expand(self, nodes: Iterable[Any], device: str, depth: int) -> None:
        """Take nodes over; those that call are replaced."""
        if depth > _DEPTH:
            raise ModelError(f"functions call each other more than {_DEPTH} deep: in a circle?")
        for node in nodes:
            if len(self._nodes) > _NODES or node.name in self._nodes:
                what = "is there twice" if node.name in self._nodes else "is one of too many"
                raise ModelError(f"op `{node.name}` {what}: the function is damaged")
            taken = self._new()
            taken.CopyFrom(node)
            taken.device = node.device or device
            for name in [name for name in taken.attr if name.startswith("_")]:
                del taken.attr[name]  # hints of the old graph's placement, shapes and gradients
            self._nodes[node.name] = taken
            called = self._library.get(node.attr["f"].func.name) if node.op in _CALLS else None
            if called is not None and (self._compiled or not _compiled(called)):
                self._call(taken, called, depth)
            elif node.op == "IdentityN":
                self._dissolve(taken)

    def _call(self, call: Any, function: Any, depth: int) -> None:
        convert = load_tensorflow("tensorflow.python.framework.function_def_to_graph")
        try:
            body, flat = convert.function_def_to_graph_def(function)
        except (ValueError, KeyError, IndexError) as error:
            raise ModelError(f"op `{call.name}` calls a damaged function: {error}") from None
        operands = [name for name in call.input if not name.startswith("^")]
        waits = [name for name in call.input if name.startswith("^")]
        arguments = [argument.name for argument in function.signature.input_arg]
        if len(operands) != len(arguments):
            raise ModelError(
                f"op `{call.name}` calls a function of {len(arguments)} arguments with "
                f"{len(operands)}"
            )
        begin, inside = f"{call.name}/begin", f"{call.name}/body/"
        for argument, operand in zip(arguments, operands, strict=True):
            self._shown[f"{inside}{argument}:0"] = tensor_name(operand)
        nodes: list[Any] = []
        stateful: list[str] = []
        for node in body.node[len(arguments) :]:
            inputs = [
                f"^{inside}{name[1:]}" if name.startswith("^") else f"{inside}{name}"
                for name in node.input
                if name.removeprefix("^") not in arguments
            ]
            if self._is_stateful(node.op):
                stateful.append(f"^{inside}{node.name}")
                inputs += [f"^{begin}"] if waits else []
            node.name = f"{inside}{node.name}"
            node.input[:] = inputs
            nodes.append(node)
        results = [flat[function.ret[r.name]] for r in function.signature.output_arg]
        for index, result in enumerate(results):
            self._shown[f"{call.name}:{index}"] = f"{inside}{tensor_name(result)}"
        if waits:
            self._nodes[begin] = self._new(name=begin, op="NoOp", input=waits)
        ended = [f"^{inside}{name}" for name in function.control_ret.values()]
        ended += [f"^{inside}{r.partition(':')[0]}" for r in results]
        own = {f"^{inside}{name}" for name in arguments}
        ended = [name for name in dict.fromkeys([*stateful, *ended]) if name not in own]
        done = self._new(name=call.name, op="NoOp", input=ended or waits, device=call.device)
        self._nodes[call.name] = done
        self.expand(nodes, call.device, depth + 1)

    def _dissolve(self, node: Any) -> None:
        """Let readers of an IdentityN read what it shows, each without waiting for the others."""
        operands = [name for name in node.input if not name.startswith("^")]
        waits = [name for name in node.input if name.startswith("^")]
        for index, operand in enumerate(operands):
            self._shown[f"{node.name}:{index}"] = tensor_name(operand)
        waits += [f"^{self.resolved(name).partition(':')[0]}" for name in operands]
        done = self._new(name=node.name, op="NoOp", input=dict.fromkeys(waits), device=node.device)
        self._nodes[node.name] = done

    def _is_stateful(self, kind: str) -> bool:
        found = self._registry.get(kind)
        return found is None or bool(found.is_stateful)

    def resolved(self, name: str) -> str:
        """What a tensor is, through calls and arguments."""
        name = tensor_name(name)
        for _ in range(len(self._shown) + 1):
            if name not in self._shown:
                return name
            name = self._shown[name]
        raise ModelError(f"`{name}` is a function's own argument: the function is damaged")

    def finished(self, placeholders: set[str]) -> list[Any]:
        """All nodes but the placeholders, with their inputs resolved."""
        nodes = [node for name, node in self._nodes.items() if name not in placeholders]
        for node in nodes:
            operands = [self.resolved(n) for n in node.input if not n.startswith("^")]
            waits = [n for n in node.input if n.startswith("^") and n[1:] not in placeholders]
            node.input[:] = [*operands, *dict.fromkeys(waits)]
        return nodes


def _compiled(function: Any) -> bool:
    """Whether XLA compiles a function: it stays one op."""
    return bool(function.attr["_XlaMustCompile"].b) if "_XlaMustCompile" in function.attr else False
