"""Graph: building, changing, invariants."""

from __future__ import annotations

import pytest

from lowtide.errors import LowtideError, ModelError
from lowtide.ir import Alias, Graph, InPlace, Role, parse, print_graph, verify


def chain() -> Graph:
    graph = Graph("chain")
    x = graph.add_tensor("x", "float32", [4], role=Role.INPUT)
    a = graph.add_tensor("a", "float32", [4])
    b = graph.add_tensor("b", "float32", [4])
    graph.add_op("first", "test", "A", [x], [a])
    graph.add_op("second", "test", "B", [a, a], [b])
    graph.add_output(b)
    return graph


def test_uses_and_consumers_are_ordered_and_distinct() -> None:
    graph = chain()
    a = graph.tensor("a")
    assert [(u.op.name, u.position) for u in a.uses] == [("second", 0), ("second", 1)]
    assert [op.name for op in a.consumers] == ["second"]
    verify(graph)


def test_names_are_unique() -> None:
    graph = chain()
    with pytest.raises(ModelError, match="`x`"):
        graph.add_tensor("x", "float32", [1])
    with pytest.raises(ModelError, match="`first`"):
        graph.add_op("first", "test", "A", [], [])


def test_a_tensor_has_one_producer() -> None:
    graph = chain()
    with pytest.raises(ModelError, match="produced twice"):
        graph.add_op("third", "test", "C", [], [graph.tensor("a")])


def test_remove_refuses_what_is_read_and_takes_what_is_not() -> None:
    graph = chain()
    with pytest.raises(LowtideError, match="still used"):
        graph.remove(graph.op("first"))
    dead = graph.add_tensor("dead", "float32", [1])
    op = graph.add_op("third", "test", "C", [graph.tensor("a")], [dead])
    before = print_graph(graph)
    graph.remove(op)
    assert print_graph(graph) != before
    assert "dead" not in graph
    assert len(graph.tensor("a").uses) == 2
    verify(graph)


def test_replace_uses_moves_readers_and_outputs() -> None:
    graph = chain()
    c = graph.add_tensor("c", "float32", [4])
    graph.add_op("third", "test", "C", [graph.tensor("x")], [c], before=graph.op("second"))
    graph.replace_uses(graph.tensor("a"), c)
    assert graph.op("second").inputs == (c, c)
    assert graph.tensor("a").uses == ()
    graph.replace_uses(graph.tensor("b"), c)
    assert graph.outputs == (c,)
    assert c.role is Role.OUTPUT
    assert graph.tensor("b").role is Role.ACTIVATION
    verify(graph)


def test_insert_before_keeps_execution_order() -> None:
    graph = chain()
    c = graph.add_tensor("c", "float32", [4])
    graph.add_op("third", "test", "C", [graph.tensor("x")], [c], before=graph.op("first"))
    assert [op.name for op in graph.ops] == ["third", "first", "second"]


def test_insertions_in_a_row() -> None:
    """In front of ops, in front of what was just inserted, and of what then goes."""
    graph = chain()

    def insert(name: str, before: str) -> None:
        result = graph.add_tensor(f"of {name}", "float32", [4])
        anchor = graph.op(before)
        graph.add_op(name, "test", "C", [graph.tensor("x")], [result], before=anchor)

    for name, before in (("c", "second"), ("d", "second"), ("e", "c"), ("f", "first"), ("g", "d")):
        insert(name, before)
    assert [op.name for op in graph.ops] == ["f", "first", "e", "c", "g", "d", "second"]
    insert("h", "d")
    graph.remove(graph.op("d"))
    assert [op.name for op in graph.ops] == ["f", "first", "e", "c", "g", "h", "second"]
    with pytest.raises(LowtideError, match="not here"):
        graph.add_op("i", "test", "C", [], [], before=chain().op("first"))


def test_reorder_refuses_broken_dependencies() -> None:
    graph = chain()
    first, second = graph.ops
    with pytest.raises(LowtideError, match="would run before `first`"):
        graph.reorder([second, first])
    with pytest.raises(LowtideError, match="permutation"):
        graph.reorder([first])


def test_to_networkx_sums_parallel_tensors() -> None:
    graph = Graph("two")
    a, b = (graph.add_tensor(n, "uint8", [s]) for n, s in (("a", 3), ("b", 5)))
    c = graph.add_tensor("c", "uint8", [1])
    graph.add_op("make", "test", "M", [], [a, b])
    graph.add_op("read", "test", "R", [a, b, a], [c])
    nx_graph = graph.to_networkx()
    assert list(nx_graph.nodes) == ["make", "read"]
    assert nx_graph.edges["make", "read"] == {"tensors": ["a", "b"], "nbytes": 8}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("%v = input uint8[4] alias %v+0", "not defined above"),
        ("o: (%v uint8[9] alias %x+0) = t.View(%x) view", "outside its base"),
        ("o: (%v uint8[4] alias %y+0) = t.View(%x) view", "does not read"),
        ("o: (%v uint8[4]) = t.A(%x) in_place(0<-1)", "in-place input 1"),
        ("o: (%v uint8[4]) = t.A(%x) in_place(1<-0)", "in-place output 1"),
    ],
)
def test_verify_finds_broken_invariants(text: str, message: str) -> None:
    source = f'graph "g" {{\n%x = input uint8[4]\n%y = input uint8[4]\n{text}\nreturn %x\n}}'
    with pytest.raises(LowtideError, match=message):
        verify(parse(source))


def test_verify_finds_an_order_that_breaks_a_dependency() -> None:
    graph = chain()
    graph._ops = dict(reversed(graph._ops.items()))  # pyright: ignore[reportPrivateUsage]
    with pytest.raises(ModelError, match="before it is made"):
        verify(graph)


def test_verify_finds_a_circle_of_aliases() -> None:
    graph = chain()
    a, b = graph.tensor("a"), graph.tensor("b")
    a.alias, b.alias = Alias(b, 0), Alias(a, 0)
    with pytest.raises(ModelError, match="circle"):
        verify(graph)


def test_sizes_are_bounded() -> None:
    graph = Graph("big")
    with pytest.raises(ModelError, match="2\\^60"):
        graph.add_tensor("x", "float32", [1 << 40, 1 << 30])
    with pytest.raises(ModelError, match="negative"):
        graph.add_tensor("y", "float32", [-1])
    for index in range(3):
        graph.add_tensor(f"t{index}", "uint8", [1 << 59], role=Role.INPUT)
    with pytest.raises(ModelError, match="together"):
        verify(graph)


@pytest.mark.parametrize(
    ("dtype", "shape", "size"),
    [
        ("float32", [3], 12),
        ("int4", [3], 2),
        ("uint2", [5], 2),
        ("bool", [2, 3], 6),
        ("int8", [0], 0),
    ],
)
def test_odd_types_have_exact_sizes(dtype: str, shape: list[int], size: int) -> None:
    assert Graph().add_tensor("t", dtype, shape).nbytes == size


def test_in_place_is_a_pair() -> None:
    assert InPlace(output=0, input=1) == (0, 1)
