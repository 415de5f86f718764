"""A lowered Relax function to `ir.Graph`: kernels with destinations, views, what is pinned.

The function is taken as it runs, after TVM's `CallTIRRewrite` and before its memory planning:

    alloc = R.builtin.alloc_tensor(shape, dtype)       a tensor
    kernel(x, w, alloc)                                an op; what it writes are its results
    lv = alloc                                         another name: no op
    lv1 = R.reshape(lv, shape)                         a view
    any other call                                     a pinned op, whose tensors stay TVM's

Bindings that run nothing (names, tuples, constants) are `glue`: a backend puts each where all that
it names is there. TVM's planner ignores what this importer calls apart: results of the function,
which the caller keeps, and tensors that something else than a kernel sees.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, cast

from lowtide.errors import ModelError
from lowtide.frontends.tvm.imported import UNBOUNDED, Allocation, Imported
from lowtide.frontends.tvm.kernels import Kernels
from lowtide.frontends.tvm.sizes import Bounds, dims_of, element_type
from lowtide.ir import Alias, Graph, Role, Tensor, Traits

if TYPE_CHECKING:
    import tvm
    from tvm import relax

__all__ = ["import_function"]

_ALLOC = "relax.builtin.alloc_tensor"
_VIEWS = frozenset(
    {"relax.reshape", "relax.memory.view", "relax.memory.ensure_zero_offset", "relax.view"}
)

# What a Relax variable stands for: a tensor, a tuple of such values, or nothing that has bytes.
Value = Tensor | tuple["Value", ...] | None


def import_function(module: tvm.IRModule, name: str = "main") -> Imported:
    """The graph of one lowered function of `module`.

    Raises:
        ModelError: the function is not lowered, has control flow, or uses what is not known here.
    """
    from tvm import relax

    function = module[name]
    if not isinstance(function, relax.Function):
        raise ModelError(f"`{name}` is a {type(function).__name__}, no Relax function")
    return _Reader(module, name, function).read()


class _Reader:
    """One pass over the bindings, in order."""

    def __init__(self, module: tvm.IRModule, name: str, function: relax.Function) -> None:
        self.module, self.function = module, function
        self.graph = Graph(name)
        self.bounds = Bounds.of(function)
        self.kernels = Kernels(module)
        self.values: dict[tvm.ir.Var, Value] = {}
        self.fresh: dict[tvm.ir.Var, relax.VarBinding] = {}  # allocated, not yet written
        self.made: dict[Tensor, relax.VarBinding] = {}
        self.apart: dict[Tensor, str] = {}
        self.unbounded: set[Tensor] = set()
        self.glue: list[relax.Binding] = []
        self.names: set[str] = set()
        self.constants: dict[tvm.ir.GenericConst, Tensor] = {}
        self.fixed_order = ""

    def read(self) -> Imported:
        self._parameters()
        for block in self.function.body.blocks:
            for binding in block.bindings:
                self._binding(binding)
        for tensor in _leaves(self._value(self.function.body.body)):
            self.graph.add_output(tensor)
            self.apart[tensor.storage] = "it is a result of the function, which the caller keeps"
        notes: tuple[str, ...] = ()
        if self.fixed_order:
            notes = (f"the order of `{self.graph.name}` is kept: {self.fixed_order}",)
            for op in self.graph.ops:
                op.traits = replace(op.traits, pinned=True)
        allocations = {
            tensor.name: Allocation(
                tensor,
                binding,
                tuple(binding.value.args[0].values),
                tensor.nbytes,
                self.apart.get(tensor, ""),
                tensor in self.unbounded,
            )
            for tensor, binding in self.made.items()
        }
        return Imported(
            self.graph,
            self.function,
            allocations,
            tuple(self.glue),
            self.bounds,
            {t.name: value.value.numpy() for value, t in self.constants.items()},
            notes,
        )

    # ---------------------------------------------------------------- what comes from outside

    def _parameters(self) -> None:
        attributes = self.function.attrs or {}
        parameters = list(self.function.params)
        inputs = int(attributes["num_input"]) if "num_input" in attributes else len(parameters)
        for index, parameter in enumerate(parameters):
            role = Role.INPUT if index < inputs else Role.CONSTANT
            self.values[parameter] = self._typed(parameter.name, parameter.ty, role)

    def _typed(self, name: str, type_: tvm.ir.Type, role: Role) -> Value:
        """A value of that type; what is neither a tensor nor a tuple has no bytes."""
        from tvm import relax

        if isinstance(type_, relax.TupleType):
            fields = enumerate(type_.fields)
            return tuple(self._typed(f"{name}.{index}", field, role) for index, field in fields)
        if not isinstance(type_, relax.TensorType):
            return None
        dims = dims_of(type_)
        shape = None if dims is None else self.bounds.shape(dims)
        if shape is None or type_.dtype is None:  # pyright: ignore[reportUnnecessaryComparison]
            return self.graph.add_tensor(self._unique(name), "opaque", (), role=role, nbytes=0)
        return self.graph.add_tensor(
            self._unique(name), element_type(type_.dtype), shape, role=role
        )

    def _unique(self, name: str) -> str:
        found, number = name, 0
        while found in self.names:
            number += 1
            found = f"{name}.{number}"
        self.names.add(found)
        return found

    def _value(self, expression: tvm.ir.Expr) -> Value:
        """What an argument stands for."""
        from tvm import ir, relax

        if isinstance(expression, ir.Var):
            return self.values.get(expression)
        if isinstance(expression, relax.Tuple):
            return tuple(self._value(field) for field in expression.fields)
        if isinstance(expression, relax.TupleGetItem):
            value = self._value(expression.tuple_value)
            return value[expression.index] if isinstance(value, tuple) else value
        if isinstance(expression, ir.GenericConst) and isinstance(expression.ty, relax.TensorType):
            if expression not in self.constants:
                name = f"constant{len(self.constants)}"
                made = self._typed(name, expression.ty, Role.CONSTANT)
                self.constants[expression] = cast("Tensor", made)
            return self.constants[expression]
        return None

    # ---------------------------------------------------------------- bindings

    def _binding(self, binding: relax.Binding) -> None:
        from tvm import ir, relax

        value = binding.value
        if isinstance(binding, relax.MatchCast):
            self._match_cast(binding)
        elif isinstance(value, relax.If | relax.SeqExpr | relax.Function):
            raise ModelError(
                f"`{self.graph.name}` has control flow or a function of its own at "
                f"`{binding.var.name}`"
            )
        elif isinstance(value, ir.Call):
            self._call(binding)
        else:
            self._touch(value)
            self.values[binding.var] = self._value(value)
            if isinstance(value, ir.Var) and value in self.fresh:
                raise ModelError(f"`{value.name}` is given another name before it is written")
            self.glue.append(binding)

    def _match_cast(self, binding: relax.MatchCast) -> None:
        """Another name for a value, which may define symbolic dimensions at run time."""
        self._pinned(binding, "match_cast", [binding.value])
        self.values[binding.var] = self._value(binding.value)
        self.fixed_order = "a `match_cast` may define dimensions that other bindings use"

    def _call(self, binding: relax.VarBinding) -> None:
        from tvm import ir, tirx

        call = binding.value
        name = str(getattr(call.op, "name", ""))
        if name == _ALLOC:
            self.fresh[binding.var] = binding
        elif name in _VIEWS and isinstance(self._value(call.args[0]), Tensor):
            self._view(binding, name)
        elif isinstance(call.op, ir.GlobalVar) and isinstance(self.module[call.op], tirx.PrimFunc):
            self._kernel(binding, call.op.name_hint)
        else:
            known = (name, *(getattr(call.op, key, "") for key in ("name_hint", "global_symbol")))
            kind = next((str(each) for each in known if each), "call")
            self._pinned(binding, kind.removeprefix("relax."), list(call.args))

    def _view(self, binding: relax.VarBinding, name: str) -> None:
        base = cast("Tensor", self._value(binding.value.args[0]))
        dims = dims_of(binding.var.ty)
        shape = None if dims is None else self.bounds.shape(dims)
        if name == "relax.reshape" and shape is not None:
            dtype, offset = element_type(binding.var.ty.dtype), 0
        else:
            dtype, shape, offset = "opaque", (), 0
        view = self.graph.add_tensor(
            self._unique(binding.var.name),
            dtype,
            shape,
            nbytes=base.nbytes,
            alias=Alias(base, offset),
        )
        self.graph.add_op(
            self._unique(f"{binding.var.name}:view"),
            "tvm",
            name.rpartition(".")[2],
            [base],
            [view],
            traits=Traits(view=True),
            source=binding,
        )
        self.values[binding.var] = view

    def _kernel(self, binding: relax.VarBinding, name: str) -> None:
        from tvm import ir

        arguments = list(binding.value.args)
        shapes = [self._shape(argument) for argument in arguments]
        kernel = self.kernels.of(name, shapes)
        inputs: list[Tensor] = []
        outputs: list[Tensor] = []
        places: list[Tensor | None] = []
        for index, argument in enumerate(arguments):
            if isinstance(argument, ir.Var) and argument in self.fresh:
                outputs.append(self._allocate(argument))
                places.append(outputs[-1])
                continue
            leaves = _leaves(self._value(argument))
            places.append(leaves[0] if len(leaves) == 1 else None)
            inputs.extend(leaves)
            if index in kernel.writes and leaves:
                self.fixed_order = f"`{name}` writes over an operand"
        attributes: dict[str, tuple[int, ...]] = {}
        if kernel.workspace:
            attributes["workspace"] = kernel.workspace
        known = [place for place in places if place is not None]
        operands = [*inputs, *outputs]
        if known != operands:  # else the arguments are the operands and the results, in order
            attributes["arguments"] = tuple(map(operands.index, known))
        self.graph.add_op(
            self._unique(name),
            "tvm",
            name,
            inputs,
            outputs,
            flops=kernel.flops,
            attributes=attributes,
            workspace_bytes=sum(kernel.workspace or ()),
            workspace_known=kernel.workspace is not None,
            traits=Traits(pinned=not outputs),
            source=binding,
        )

    def _pinned(self, binding: relax.Binding, kind: str, arguments: list[tvm.ir.Expr]) -> None:
        """Something that runs once, in its place among its like, and whose tensors stay TVM's."""
        from tvm import ir

        inputs: list[Tensor] = []
        outputs: list[Tensor] = []
        reason = f"`{kind}` sees it, which is no kernel"
        for argument in arguments:
            if isinstance(argument, ir.Var) and argument in self.fresh:
                outputs.append(self._allocate(argument))
                self.apart[outputs[-1]] = reason
            for leaf in _leaves(self._value(argument)):
                if leaf not in outputs:
                    inputs.append(leaf)
                self.apart[leaf.storage] = reason
        result = self._typed(binding.var.name, binding.var.ty, Role.ACTIVATION)
        self.values[binding.var] = result
        for leaf in _leaves(result):
            outputs.append(leaf)
            self.apart[leaf] = reason
        self.graph.add_op(
            self._unique(f"{kind}:{binding.var.name}"),
            "tvm",
            kind,
            inputs,
            outputs,
            traits=Traits(pinned=True),
            workspace_known=False,
            source=binding,
        )

    def _allocate(self, variable: tvm.ir.Var) -> Tensor:
        """The tensor of an allocation, at the call that writes it first."""
        binding = self.fresh.pop(variable)
        dims, dtype, device, scope = binding.value.args
        name = element_type(dtype.value)
        shape = self.bounds.shape(dims.values)
        tensor = self.graph.add_tensor(
            self._unique(variable.name),
            "opaque" if shape is None else name,
            shape or (),
            nbytes=0 if shape is None else None,
        )
        self.values[variable] = tensor
        self.made[tensor] = binding
        if shape is None:
            self.apart[tensor] = UNBOUNDED
            self.unbounded.add(tensor)
        elif str(scope.value) != "global":
            self.apart[tensor] = f"its storage scope is {scope.value}"
        elif int(device.value) != 0 or binding.var.ty.vdevice is not None:
            self.apart[tensor] = "it is on a device of its own"
        return tensor

    def _shape(self, argument: tvm.ir.Expr) -> tuple[int, ...] | None:
        dims = dims_of(argument.ty)
        return None if dims is None else self.bounds.shape(dims)

    def _touch(self, expression: tvm.ir.Expr) -> None:
        """Something that runs nothing may not name a tensor that nobody has written."""
        from tvm import relax

        for field in expression.fields if isinstance(expression, relax.Tuple) else ():
            if field in self.fresh:
                raise ModelError(f"`{field.name}` is used before it is written")


def _leaves(value: Value) -> list[Tensor]:
    """The tensors in a value, in order."""
    if value is None:
        return []
    if isinstance(value, Tensor):
        return [value]
    return [leaf for field in value for leaf in _leaves(field)]
