"""A planned order and layout as Relax bindings: one storage, and every tensor at its offset.

    guard(n)                                               above its bound: an error, no overlap
    arena = R.memory.alloc_storage([height], "uint8")
    t = R.memory.alloc_tensor(arena, offset, shape, dtype)
    alloc = R.memory.ensure_zero_offset(t)                 kernels reject a byte offset
    kernel(x, w, alloc)

What is kept apart stays with TVM's own `R.builtin.alloc_tensor`, right before its first use.
An op that comes again (a recomputation) gets fresh variables, and later uses read the newest.
"""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from lowtide.errors import LowtideError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import tvm
    from tvm import relax

    from lowtide.frontends.tvm import Imported
    from lowtide.frontends.tvm.imported import Allocation
    from lowtide.ir import Op

__all__ = ["emit"]

_ALIGNMENT = 64  # TVM silently copies a tensor that is less aligned


def emit(
    module: tvm.IRModule,
    imported: Imported,
    order: Sequence[Op],
    offsets: Mapping[str, int],
    arena_bytes: int,
) -> tvm.IRModule:
    """The module with the function's bindings in the planned order, its tensors in one arena.

    Args:
        module: where the function comes from; it is not changed.
        imported: what the plan was made for.
        order: ops whose `source` is a binding of the function, all of them at least once.
        offsets: by the names of the ops' results; multiples of 64.
        arena_bytes: the height of the layout.

    Raises:
        LowtideError: the layout leaves out a tensor, or an offset is not aligned (a bug).
    """
    import tvm
    from tvm import relax

    writer = _Writer(imported, offsets, arena_bytes)
    for op in order:
        writer.run(op)
    result = writer.resolved(imported.function.body.body)
    function = imported.function
    body = relax.SeqExpr([relax.BindingBlock(writer.bindings)], result)
    made = relax.Function(
        function.params, body, function.ret_ty, function.is_pure, function.attrs, function.span
    )
    functions = dict(module.functions)
    functions[module.get_global_var(imported.graph.name)] = made
    for guard in writer.guards:
        functions[guard.name] = guard.function
    changed = tvm.IRModule(functions, attrs=module.attrs, global_infos=module.global_infos)
    return relax.transform.Normalize()(changed)


@dataclass(frozen=True, slots=True)
class _Guard:
    """A kernel of one number that raises an error where the number is above a bound."""

    name: tvm.ir.GlobalVar
    function: object


class _Writer:
    """The bindings so far, and what every variable of the old function stands for now."""

    def __init__(self, imported: Imported, offsets: Mapping[str, int], arena_bytes: int) -> None:
        from tvm import relax

        self.imported, self.offsets, self.arena_bytes = imported, offsets, arena_bytes
        self.bindings: list[relax.Binding] = []
        self.guards: list[_Guard] = []
        self.arena: tvm.ir.Var | None = None
        self.guarded: set[tvm.ir.Var] = set()
        self.newest: dict[tvm.ir.Var, tvm.ir.Var] = {}
        self.runs: dict[tvm.ir.Var, int] = {}
        self.glue = {binding.var: binding for binding in imported.glue}
        self.named: dict[tuple[tvm.ir.Var, ...], tvm.ir.Var] = {}
        self.emitted: set[tvm.ir.Var] = set()
        self.owned = _owners(imported)
        self.relax = relax

    def run(self, op: Op) -> None:
        """The binding of an op, after the allocations that it is the first to write."""
        binding = cast("relax.VarBinding", op.source)
        self.runs[binding.var] = run = self.runs.get(binding.var, 0) + 1
        owned = self.owned.get(binding.var, ())
        for allocation, tensor in zip(owned, op.outputs, strict=False):  # allocated ones are first
            self._allocate(allocation, tensor.name, run)
        if isinstance(binding, self.relax.MatchCast):
            value = self.resolved(binding.value)
            self.bindings.append(self.relax.MatchCast(binding.var, value, binding.ty))
            return
        value = self.resolved(binding.value)
        self._bind(binding.var, value, run)

    def _bind(self, variable: tvm.ir.Var, value: tvm.ir.Expr, run: int) -> None:
        """Bind the value to the variable itself, or to a fresh one for a recomputation."""
        if run > 1:
            fresh = self.relax.Var(f"{variable.name}_{run}", variable.ty)
            self.newest[variable] = fresh
            variable = fresh
        else:
            self.newest[variable] = variable
        self.bindings.append(self.relax.VarBinding(variable, value))

    def _allocate(self, allocation: Allocation, name: str, run: int) -> None:
        from tvm import ir

        relax = self.relax
        variable = allocation.binding.var
        if allocation.apart:
            self._bind(variable, allocation.binding.value, run)
            return
        offset = self.offsets.get(name)
        if offset is None or offset % _ALIGNMENT:
            raise LowtideError(f"the layout gives `{name}` the offset {offset}: please report this")
        self._guard(self.imported.bounds.variables(allocation.dims))
        if self.arena is None:
            self.arena = relax.Var("arena", relax.ObjectType())
            storage = relax.op.memory.alloc_storage(
                relax.ShapeExpr([self.arena_bytes]), 0, "global", "uint8"
            )
            self.bindings.append(relax.VarBinding(self.arena, storage))
        shape, dtype = allocation.binding.value.args[0], str(allocation.binding.value.args[1].value)
        tensor = relax.op.memory.alloc_tensor(self.arena, offset, shape, dtype)
        if offset:
            inside = relax.Var(f"{variable.name}_at", variable.ty)
            self.bindings.append(relax.VarBinding(inside, tensor))
            zero = ir.Op.get("relax.memory.ensure_zero_offset")
            tensor = relax.Call(zero, [inside])
        self._bind(variable, tensor, run)

    def _guard(self, variables: Iterable[tvm.ir.Var]) -> None:
        """Before a tensor of symbolic size: an error where a dimension is above its bound."""
        relax = self.relax
        for variable in variables:
            if variable in self.guarded:
                continue
            self.guarded.add(variable)
            least = self.imported.bounds.lower.get(variable.name, 0)
            most = self.imported.bounds.upper[variable.name]
            name = f"lowtide_{self.imported.graph.name}_{variable.name}_{len(self.guarded)}"
            guard = _guard(name, variable.name, least, most, str(variable.ty.dtype))
            self.guards.append(guard)
            call = relax.Call(guard.name, [variable])
            self.bindings.append(relax.VarBinding(relax.Var("_", relax.TupleType([])), call))

    def resolved(self, expression: tvm.ir.Expr) -> tvm.ir.Expr:
        """The expression in terms of the newest variables; glue is emitted where it is needed."""
        from tvm import ir

        relax = self.relax
        if isinstance(expression, ir.Var):
            return self._variable(expression)
        if isinstance(expression, ir.Call):
            arguments = [self.resolved(argument) for argument in expression.args]
            return relax.Call(
                expression.op, arguments, expression.attrs, expression.ty_args, expression.span
            )
        if isinstance(expression, relax.Tuple):
            return relax.Tuple([self.resolved(field) for field in expression.fields])
        if isinstance(expression, relax.TupleGetItem):
            return relax.TupleGetItem(self.resolved(expression.tuple_value), expression.index)
        return expression

    def _variable(self, variable: tvm.ir.Var) -> tvm.ir.Var:
        from tvm.relax.analysis import free_vars

        if variable in self.newest:
            return self.newest[variable]
        binding = self.glue.get(variable)
        if binding is None:
            return variable  # a parameter, or a symbolic dimension
        # Names of names may go deep: the chain is walked before it is emitted.
        value = self.resolved(binding.value)
        key = variable, *free_vars(value)
        if key not in self.named:
            made = variable
            if variable in self.emitted:  # what it names was computed again
                made = self.relax.Var(f"{variable.name}_again", variable.ty)
            self.emitted.add(variable)
            self.named[key] = made
            self.bindings.append(self.relax.VarBinding(made, value))
        return self.named[key]


def _owners(imported: Imported) -> dict[tvm.ir.Var, tuple[Allocation, ...]]:
    """Per binding, by its variable, the allocations that its call is the first to write."""
    found: dict[tvm.ir.Var, tuple[Allocation, ...]] = {}
    for op in imported.graph.ops:
        owned = tuple(
            imported.allocations[tensor.name]
            for tensor in op.outputs
            if tensor.name in imported.allocations
        )
        found[cast("relax.VarBinding", op.source).var] = owned
    return found


def _guard(name: str, dimension: str, least: int, most: int, dtype: str) -> _Guard:
    """A kernel that runs on the host and checks one dimension."""
    from tvm import ir, relax, tirx

    number = tirx.Var(dimension, dtype)
    message = (
        f"lowtide: the dimension `{dimension}` is outside of [{least}, {most}], for which the "
        f"arena was planned: compile with a larger bound"
    )
    inside = tirx.all(number >= tirx.const(least, dtype), number <= tirx.const(most, dtype))
    # The constructor of 0.27 names its arguments the other way round than it takes them.
    check = tirx.AssertStmt(inside, ir.StringImm("ValueError"), [ir.StringImm(message)])
    body = tirx.SeqStmt([check, tirx.Evaluate(tirx.const(0, "int32"))])
    function = tirx.PrimFunc([number], body)
    function = function.with_attr("global_symbol", name).with_attr("tirx.is_host_func", True)
    # The builder gives the name its type.
    return _Guard(relax.BlockBuilder().add_func(function, name), function)
