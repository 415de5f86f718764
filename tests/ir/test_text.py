"""The text form: what is printed is read back, and errors name the line."""

from __future__ import annotations

import pytest
from hypothesis import given

from lowtide.errors import InputError
from lowtide.ir import Graph, parse, print_graph, verify
from tests.strategies import graphs

GOLDEN = """\
graph "net" {
  %x = input float32[1,3,8,8]
  %w = constant float32[4,3]
  conv: (%a float32[1,4,8,8]) = o.C(%x, %w, _) {g = 1, pads = [1, 1], a = "S"} workspace(6) flops(9)
  "odd name": (%"b c" float32[1,4,8,8]) = onnx.Relu(%a) pinned in_place(0<-0)
  view: (%c float32[256] alias %"b c"+0) = onnx.Reshape(%"b c") view
  both: (%d int4[3], %e opaque[] bytes(7)) = onnx.Split(%c) workspace(?)
  return %c, %d
}
"""


def test_golden() -> None:
    graph = parse(GOLDEN)
    verify(graph)
    assert print_graph(graph) == GOLDEN
    conv, odd = graph.op("conv"), graph.op("odd name")
    assert conv.attributes == {"g": 1, "pads": (1, 1), "a": "S"}
    assert conv.inputs[2] is None
    assert conv.workspace_bytes == 6
    assert odd.traits.pinned
    assert graph.tensor("c").storage is graph.tensor("b c")
    assert graph.tensor("e").nbytes == 7
    assert not graph.op("both").workspace_known


@given(graphs())
def test_round_trip(graph: Graph) -> None:
    text = print_graph(graph)
    again = parse(text)
    verify(again)
    assert print_graph(again) == text


@pytest.mark.parametrize(
    "name", ["a b", 'q"uote', "_", "", "tail:", "%", "ünï", "line\nbreak", "7"]
)
def test_any_name_round_trips(name: str) -> None:
    graph = Graph(name)
    x = graph.add_tensor(name, "uint8", [1])
    graph.add_op(name, "test", "A", [None], [x])
    graph.add_output(x)
    again = parse(print_graph(graph))
    assert [t.name for t in again.tensors] == [name]
    assert [op.name for op in again.ops] == [name]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "ends where graph"),
        ('graph "g" {\n  %x = input uint8[a]\n  return\n}', "line 2: `a` is not a whole number"),
        ('graph "g" {\n  %x = weird uint8[1]\n}', "line 2: found `weird`"),
        (
            'graph "g" {\n  o: (%y uint8[1]) = t.A(%z)\n  return %y\n}',
            "line 2: `%z` is not defined",
        ),
        ('graph "g" {\n  !\n}', "line 2: cannot read"),
    ],
)
def test_errors_name_the_line(text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse(text)
