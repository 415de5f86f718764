"""Hypothesis strategies for graphs of the IR."""

from __future__ import annotations

from hypothesis import strategies as st

from lowtide.ir import Accounting, Alias, Graph, InPlace, Op, Role, Traits

__all__ = ["accountings", "graphs", "topological_orders"]


@st.composite
def graphs(draw: st.DrawFn, *, max_ops: int = 8) -> Graph:
    """A valid random graph with views, in-place candidates, workspace, constants and pinned ops."""
    graph = Graph("random")
    values = [graph.add_tensor("x", "uint8", [draw(st.integers(1, 4))], role=Role.INPUT)]
    if draw(st.booleans()):
        values.append(graph.add_tensor("w", "uint8", [4], role=Role.CONSTANT))
    for index in range(draw(st.integers(0, max_ops))):
        inputs = draw(st.lists(st.sampled_from(values), max_size=3))
        base = inputs[0] if inputs and draw(st.integers(0, 4)) == 0 else None
        if base is not None:
            alias = Alias(base, 0)
            outputs = [
                graph.add_tensor(
                    f"t{index}_0", "uint8", base.shape, alias=alias, nbytes=base.nbytes
                )
            ]
        else:
            sizes = draw(st.lists(st.integers(0, 6), min_size=1, max_size=2))
            outputs = [graph.add_tensor(f"t{index}_{k}", "uint8", [s]) for k, s in enumerate(sizes)]
        candidates = [
            InPlace(o, i)
            for o in range(len(outputs))
            for i in range(len(inputs))
            if draw(st.booleans())
        ]
        graph.add_op(
            f"op{index}",
            "test",
            "Any",
            inputs,
            outputs,
            traits=Traits(pinned=draw(st.integers(0, 5)) == 0, view=base is not None),
            in_place=tuple(candidates),
            workspace_bytes=draw(st.sampled_from([0, 0, 0, 3])),
        )
        values.extend(outputs)
    for tensor in draw(st.lists(st.sampled_from(values), max_size=2, unique=True)):
        graph.add_output(tensor)
    return graph


@st.composite
def topological_orders(draw: st.DrawFn, graph: Graph) -> list[Op]:
    """Any valid order of the ops, pinned ops in their own order."""
    done: set[Op] = set()
    order: list[Op] = []
    rest = list(graph.ops)
    while rest:
        pinned = next((op for op in rest if op.traits.pinned), None)
        ready = [
            op
            for op in rest
            if all(t.producer is None or t.producer in done for t in op.operands)
            and (not op.traits.pinned or op is pinned)
        ]
        op = draw(st.sampled_from(ready))
        rest.remove(op)
        done.add(op)
        order.append(op)
    return order


def accountings() -> st.SearchStrategy[Accounting]:
    """All ways of counting that runtimes have."""
    return st.builds(
        Accounting,
        inputs_in_arena=st.booleans(),
        outputs_live_to_end=st.booleans(),
        alignment=st.sampled_from([1, 4]),
        in_place=st.booleans(),
    )
