"""Updates moved forward, on hand-made steps."""

from __future__ import annotations

import random

from lowtide.backends.tensorflow.accounting import ACCOUNTING
from lowtide.ir import Graph, Op, Role, Tensor, Traits, simulate
from lowtide.training.early import early_updates

GRADIENT = 1000
PINNED = Traits(pinned=True)


def step(layers: int, *, clipped: bool) -> tuple[Graph, set[str]]:
    """All gradients, then all updates, each of a slot and of a variable."""
    graph = Graph()
    x = graph.add_tensor("x", "uint8", (10,), role=Role.INPUT)
    variables = [graph.add_tensor(f"w{k}", "opaque", (), role=Role.CONSTANT) for k in range(layers)]
    gradients: list[Tensor] = []
    tokens: list[Tensor] = []
    for k in reversed(range(layers)):
        gradients.append(graph.add_tensor(f"g{k}", "uint8", (GRADIENT,)))
        tokens.append(graph.add_tensor(f"^backward{k}", "opaque", ()))
        graph.add_op(f"backward{k}", "test", "Grad", [x, variables[k]], [gradients[-1], tokens[-1]])
        x = gradients[-1] if k % 2 else x
    if clipped:
        norm = graph.add_tensor("norm", "uint8", (1,))
        graph.add_op("norm", "test", "Norm", gradients, [norm])
        made = [graph.add_tensor(f"c{k}", "uint8", (GRADIENT,)) for k in range(layers)]
        for k, gradient in enumerate(gradients):
            graph.add_op(f"clip{k}", "test", "Mul", [gradient, norm], [made[k]])
        gradients = made
    done: list[Tensor] = []
    for k, gradient in zip(reversed(range(layers)), gradients, strict=True):
        slot = graph.add_tensor(f"^slot{k}", "opaque", ())
        graph.add_op(f"slot{k}", "test", "AssignAdd", [gradient], [slot], traits=PINNED)
        done.append(graph.add_tensor(f"^update{k}", "opaque", ()))
        operands = [variables[k], gradient, slot, tokens[layers - 1 - k]]
        graph.add_op(f"update{k}", "test", "AssignSub", operands, [done[-1]], traits=PINNED)
    loss = graph.add_tensor("loss", "uint8", (4,))
    graph.add_op("loss", "test", "Loss", [x, *done], [loss])
    graph.add_output(loss)
    return graph, {t.name for t in variables}


def check_order(graph: Graph, order: tuple[Op, ...]) -> None:
    place = {op: index for index, op in enumerate(order)}
    assert len(place) == len(order) == len(graph)
    assert set(place) == set(graph.ops)
    for op in graph.ops:
        for tensor in op.operands:
            if tensor.producer is not None:
                assert place[tensor.producer] < place[op]


def test_gradients_are_not_kept() -> None:
    graph, variables = step(9, clipped=False)
    order = early_updates(graph, variables)
    check_order(graph, order)
    assert simulate(graph, ACCOUNTING).peak_bytes >= 9 * GRADIENT
    assert simulate(graph, ACCOUNTING, order).peak_bytes <= 3 * GRADIENT


def test_where_all_gradients_meet_nothing_is_early() -> None:
    graph, variables = step(5, clipped=True)
    order = early_updates(graph, variables)
    check_order(graph, order)
    names = [op.name for op in order]
    assert names.index("norm") < min(names.index(f"update{k}") for k in range(5))


def test_random_graphs_stay_in_a_valid_order() -> None:
    for seed in range(40):
        generator = random.Random(seed)
        graph = Graph()
        made = [graph.add_tensor("w", "opaque", (), role=Role.CONSTANT)]
        for k in range(25):
            operands = generator.sample(made, min(len(made), generator.randint(1, 3)))
            results = [graph.add_tensor(f"{generator.choice(['t', '^t'])}{k}", "uint8", (k,))]
            traits = Traits(pinned=generator.random() < 0.3)
            graph.add_op(f"op{k}", "test", "Op", operands, results, traits=traits)
            made += results
        graph.add_output(made[-1])
        check_order(graph, early_updates(graph, {"w"}))
