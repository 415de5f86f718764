"""What it costs to run an op: given by the user, measured by a frontend, or by a roofline.

    cost = overhead + max(flops / throughput, bytes read and written / bandwidth)

in whole nanoseconds of one core. The rates depend on dialect and kind; `bench.op_costs` compares
them with what ONNX Runtime's kernels take. Only ratios matter: they decide what is cheap to compute
again.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from lowtide.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from lowtide.ir import Graph, Op

__all__ = ["DEFAULT_RATES", "KIND_RATES", "CostModel", "Rates"]

_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Rates:
    """How fast kernels of a kind are.

    Attributes:
        flops_per_ns: floating-point operations, as frontends count them.
        bytes_per_ns: of operands and results together.
        overhead_ns: of a run, whatever its size.
    """

    flops_per_ns: float = 60.0
    bytes_per_ns: float = 15.0
    overhead_ns: int = 1_000

    def cost(self, op: Op) -> int:
        """Nanoseconds of an op with these rates, rounded up."""
        moved = sum(t.nbytes for t in op.operands) + sum(t.nbytes for t in op.outputs)
        compute = -(-op.flops // self.flops_per_ns)
        return self.overhead_ns + int(max(compute, -(-moved // self.bytes_per_ns)))


DEFAULT_RATES = Rates()

# By dialect and kind, where one core is far from the default (bench/results/op_costs.md).
_NCHWC = "onnx.com.microsoft.nchwc"
KIND_RATES: Mapping[str, Rates] = {
    f"{_NCHWC}.Conv": Rates(flops_per_ns=75.0),
    f"{_NCHWC}.AveragePool": Rates(bytes_per_ns=20.0),
    f"{_NCHWC}.GlobalAveragePool": Rates(bytes_per_ns=30.0),
    f"{_NCHWC}.MaxPool": Rates(bytes_per_ns=20.0),
    "onnx.Add": Rates(bytes_per_ns=40.0),
    "onnx.AveragePool": Rates(bytes_per_ns=8.0),
    "onnx.Concat": Rates(bytes_per_ns=11.0),
    "onnx.LRN": Rates(bytes_per_ns=0.17),
    "onnx.MaxPool": Rates(bytes_per_ns=10.0),
    "onnx.Mul": Rates(bytes_per_ns=40.0),
    "onnx.Relu": Rates(bytes_per_ns=50.0),
    "onnx.Softmax": Rates(bytes_per_ns=0.8),
    "onnx.Sum": Rates(bytes_per_ns=7.5),
    "onnx.Transpose": Rates(bytes_per_ns=7.5),
}


@dataclass(frozen=True)
class CostModel:
    """Costs of the ops of a graph; a view costs nothing.

    Attributes:
        ops: nanoseconds by the op's name; they come first, then what the op itself carries.
        kinds: rates by dialect and kind (`onnx.Conv`).
        default: the rates of every other kind.
    """

    ops: Mapping[str, int] = field(default_factory=dict[str, int])
    kinds: Mapping[str, Rates] = field(default_factory=lambda: KIND_RATES)
    default: Rates = DEFAULT_RATES

    def of(self, op: Op) -> int:
        """Nanoseconds of one run."""
        if op.traits.view:
            return 0
        if op.name in self.ops:
            return self.ops[op.name]
        if op.cost is not None:
            return max(0, round(op.cost * _NS))
        return self.kinds.get(op.qualified, self.default).cost(op)

    def of_all(self, graph: Graph) -> tuple[int, ...]:
        """The cost of every op, in the graph's order."""
        return tuple(self.of(op) for op in graph.ops)

    def by_op(self, graph: Graph) -> dict[Op, int]:
        """The cost of every op."""
        return {op: self.of(op) for op in graph.ops}

    def measured(self, ops: Mapping[str, int]) -> CostModel:
        """The same model where it has no measurement."""
        return replace(self, ops={**ops, **self.ops})

    def check(self, graph: Graph) -> None:
        """Every op and kind that costs are given for is in the graph.

        Raises:
            InputError: one is not; with the nearest one that is.
        """
        names = {op.name for op in graph.ops}
        kinds = {op.qualified for op in graph.ops}
        for what, given, known in (("op", self.ops, names), ("kind", self.kinds, kinds)):
            if given is KIND_RATES:
                continue
            for name in given:
                if name not in known and name not in KIND_RATES:
                    near = difflib.get_close_matches(name, known, 1, 0.4)
                    hint = f"; the nearest is `{near[0]}`" if near else ""
                    raise InputError(
                        f"costs are given for the {what} `{name}`, which the graph that is planned "
                        f"does not have{hint}"
                    )
