"""Bytes of tensors, symbolic shapes at their upper bounds included."""

# pyright: reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportMissingTypeArgument=false
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false
# pyright: reportCallIssue=false, reportUnknownLambdaType=false
# TVM has no stubs, and its annotations are narrower than what it takes.

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

from lowtide.errors import ModelError
from lowtide.ir.dtype import BITS, MAX_BYTES, nbytes

if TYPE_CHECKING:
    import tvm
    from tvm import relax

__all__ = ["Bounds", "dims_of", "element_type"]

# The largest value that TVM's interval analysis gives stands for "not bounded".
_LARGEST = 1 << 61


class Bounds:
    """The ranges of the symbolic dimensions of one function, and what follows from them.

    They are TVM's own: the attributes `tir_var_upper_bound` and `tir_var_lower_bound` map the name
    of a dimension to its largest and least value. Dimensions that shapes name are not negative.
    """

    def __init__(self, upper: Mapping[str, int], lower: Mapping[str, int]) -> None:
        self.upper, self.lower = dict(upper), dict(lower)

    @classmethod
    def of(cls, function: relax.Function) -> Bounds:
        """The bounds that the function's attributes state."""
        found: list[dict[str, int]] = []
        for key in ("tir_var_upper_bound", "tir_var_lower_bound"):
            value = function.attrs[key] if function.attrs and key in function.attrs else {}
            found.append({str(name): int(bound) for name, bound in value.items()})
        return cls(*found)

    def most(self, expression: tvm.ir.Expr) -> int | None:
        """The largest value of a dimension; None where no bound follows from the attributes.

        Exact for products of dimensions and constants; else an upper bound by intervals.
        """
        from tvm import ir, sym, tirx

        if isinstance(expression, tirx.IntImm):
            return int(expression.value)
        analyzer = sym.Analyzer()
        for variable in free_variables(expression):
            least = self.lower.get(variable.name, 0)
            if variable.name not in self.upper:
                return None
            analyzer.bind(
                variable,
                ir.Range(
                    tirx.const(least, variable.ty.dtype),
                    tirx.const(self.upper[variable.name] + 1, variable.ty.dtype),
                ),
            )
        largest = int(analyzer.const_int_bound(expression).max_value)
        return largest if 0 <= largest < _LARGEST else None

    def shape(self, dims: Iterable[tvm.ir.Expr]) -> tuple[int, ...] | None:
        """The largest value of every dimension; None where one has no bound."""
        found = [self.most(dim) for dim in dims]
        return None if None in found else tuple(cast("list[int]", found))

    def variables(self, dims: Iterable[tvm.ir.Expr]) -> tuple[tvm.ir.Var, ...]:
        """The symbolic variables in a shape."""
        return tuple(dict.fromkeys(v for dim in dims for v in free_variables(dim)))

    def nbytes(self, dtype: str, dims: Iterable[tvm.ir.Expr]) -> int | None:
        """The most bytes that a tensor of that shape takes; None where no bound follows.

        Raises:
            ModelError: an element type or a size that no graph may have.
        """
        shape = self.shape(dims)
        return None if shape is None else nbytes(dtype, shape)


def free_variables(expression: tvm.ir.Expr) -> list[tvm.ir.Var]:
    """The variables of a dimension, in order of appearance."""
    import tvm_ffi
    from tvm import ir

    found: dict[tvm.ir.Var, None] = {}

    def visit(node: tvm.ir.Var) -> None:
        found[node] = None

    tvm_ffi.structural_walk(expression, [(ir.Var, visit)])
    return list(found)


def dims_of(type_: tvm.ir.Type) -> tuple[tvm.ir.Expr, ...] | None:
    """The dimensions of a tensor's type; None where it does not state them."""
    from tvm import relax

    shape = getattr(type_, "shape", None)
    if isinstance(type_, relax.TensorType) and isinstance(shape, relax.ShapeExpr):
        return tuple(shape.values)
    return None


def element_type(dtype: object) -> str:
    """The name of an element type in `ir.dtype`; vectors of elements are not known there.

    Raises:
        ModelError: the type is unknown.
    """
    name = str(getattr(dtype, "dtype", dtype))
    name = {"float8_e4m3fn": "float8e4m3fn", "float8_e5m2": "float8e5m2"}.get(name, name)
    if name not in BITS:
        raise ModelError(f"TVM's element type `{name}` is not supported")
    return name


assert MAX_BYTES < _LARGEST
