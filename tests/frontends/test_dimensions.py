"""Open dimensions: bound by name, by position or all at once; errors name what is open."""

from __future__ import annotations

import onnx
import pytest
from onnx import helper as h

from lowtide.errors import InputError, ModelError
from lowtide.frontends.onnx import import_graph, optimized_by_ort, read
from tests.frontends.models import chain, model_of, value


def test_by_name_by_position_and_by_star() -> None:
    model = model_of(
        [h.make_node("Add", ["x", "z"], ["y"])],
        [value("x", ["batch", "seq", None]), value("z", ["batch", 1, None])],
        [value("y", ["batch", "seq", 5])],
    )
    source = read(model, dims={"batch": 2, "x[2]": 5, "*": 1})
    graph = import_graph(source.model)
    assert graph.tensor("x").shape == (2, 1, 5)
    assert graph.tensor("z").shape == (2, 1, 1)
    assert graph.tensor("y").shape == (2, 1, 5)
    assert source.dims == {"batch": 2, "x[2]": 5, "*": 1}
    assert source.open_dims == ()


def test_what_is_open_is_named_with_the_remedy() -> None:
    source = read(chain(["batch", 3, None, 8]))
    assert [(d.tensor, d.axis, d.name) for d in source.open_dims] == [
        ("x", 0, "batch"),
        ("x", 2, "x[2]"),
    ]
    for plan in (lambda: import_graph(source.model), lambda: optimized_by_ort(source, level="all")):
        with pytest.raises(ModelError) as caught:
            plan()
        text = str(caught.value)
        assert "`batch` (input `x`, axis 0)" in text
        assert "`x[2]` (input `x`, axis 2)" in text
        assert "--dim batch=VALUE" in text
        assert "--dim '*=1'" in text


def test_an_unknown_name_lists_the_known_ones() -> None:
    with pytest.raises(InputError, match="no such dimension; open are `batch`"):
        read(chain(["batch", 3, 8, 8]), dims={"bacth": 1})
    with pytest.raises(InputError, match="open are none"):
        read(chain(), dims={"batch": 1})


def test_a_star_is_fine_where_nothing_is_open() -> None:
    assert len(import_graph(read(chain(), dims={"*": 1}).model)) == 4


@pytest.mark.parametrize("number", [-1, 1 << 31])
def test_values_out_of_range(number: int) -> None:
    with pytest.raises(InputError, match="a dimension is between 0 and"):
        read(chain(["batch", 3, 8, 8]), dims={"batch": number})


def test_zero_is_a_size() -> None:
    model = model_of(
        [h.make_node("Relu", ["x"], ["y"])], [value("x", ["n", 4])], [value("y", ["n", 4])]
    )
    graph = import_graph(read(model, dims={"n": 0}).model)
    assert graph.tensor("y").nbytes == 0


def test_names_inside_subgraphs_are_bound_too() -> None:
    branch = h.make_graph([h.make_node("Relu", ["x"], ["b"])], "b", [], [value("b", ["n", 4])])
    node = h.make_node("If", ["c"], ["y"], then_branch=branch, else_branch=branch)
    model = model_of([node], [value("x", ["n", 4]), value("c", [], 9)], [value("y", ["n", 4])])
    assert import_graph(read(model, dims={"n": 3}).model).tensor("y").shape == (3, 4)


def test_minus_one_is_an_open_dimension() -> None:
    """As some exporters write it."""
    kind = onnx.TensorProto.FLOAT
    graph = h.make_graph(
        [h.make_node("Exp", ["x"], ["y"])],
        "exp",
        [h.make_tensor_value_info("x", kind, [-1, 3])],
        [h.make_tensor_value_info("y", kind, [-1, 3])],
    )
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9)
    source = read(model)
    assert [(dim.tensor, dim.axis) for dim in source.open_dims] == [("x", 0)]
    bound = import_graph(read(model, dims={"*": 2}).model)
    assert bound.tensor("y").shape == (2, 3)
