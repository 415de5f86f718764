"""Reading: files, models in memory, lazy weights, shapes; the source is never touched."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import onnx
import onnx_ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto
from onnx import helper as h

from lowtide.errors import InputError, ModelError
from lowtide.frontends.onnx import import_graph, read
from lowtide.frontends.onnx.structure import check_structure
from lowtide.ir import verify
from tests.frontends.hostile import sound
from tests.frontends.models import INT64, LIGHT, chain, external, model_of, tensor, value


def _shape(model: onnx_ir.Model, name: str) -> list[object]:
    for node in model.graph:
        for output in node.outputs:
            if output.name == name:
                assert output.shape is not None
                return list(output.shape)
    raise KeyError(name)


def test_a_file_is_read_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(chain().SerializeToString())
    data, stamp = path.read_bytes(), path.stat().st_mtime_ns
    source = read(path)
    assert source.path == path
    assert source.sha256 == hashlib.sha256(data).hexdigest()
    assert source.notes == ()
    assert _shape(source.model, "v") == [1, 256]
    assert _shape(source.model, "y") == [1, 10]
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (data, stamp)
    assert list(tmp_path.iterdir()) == [path]
    assert read(str(path)).sha256 == source.sha256


def test_a_proto_is_copied() -> None:
    proto = chain(["batch", 3, 8, 8])
    before = proto.SerializeToString(deterministic=True)
    source = read(proto, dims={"batch": 1})
    source.model.graph.name = "changed"
    assert source.path is None
    assert source.sha256 == hashlib.sha256(before).hexdigest()
    assert proto.SerializeToString(deterministic=True) == before


def test_an_ir_model_is_copied() -> None:
    model = onnx_ir.from_proto(chain(["batch", 3, 8, 8]))
    source = read(model, dims={"*": 1})
    assert source.model is not model
    assert model.graph.inputs[0].shape is not None
    assert not model.graph.inputs[0].shape.is_static()
    assert source.model.graph.inputs[0].shape == onnx_ir.Shape([1, 3, 8, 8])


def test_other_objects_are_refused() -> None:
    with pytest.raises(InputError, match=r"a path, a ModelProto or an onnx_ir\.Model"):
        read(42)  # type: ignore[arg-type] # pyright: ignore[reportArgumentType]


def test_external_data_stays_on_disk_and_small_shapes_in_it_are_used(tmp_path: Path) -> None:
    source = read(external(tmp_path))
    weights = source.model.graph.initializers["w"].const_value
    assert isinstance(weights, onnx_ir.ExternalTensor)
    assert weights.raw is None
    assert _shape(source.model, "y") == [4, 64]
    assert weights.numpy().sum() == 256 * 256
    again = read(source.model)  # an onnx_ir.Model knows the folder of its external data
    assert _shape(again.model, "y") == [4, 64]


def test_a_proto_cannot_say_where_its_external_data_is(tmp_path: Path) -> None:
    proto = onnx.load(external(tmp_path), load_external_data=False)
    with pytest.raises(ModelError, match="hand over the path"):
        read(proto)


def test_three_gigabytes_of_weights_take_little_memory(tmp_path: Path) -> None:
    path = external(tmp_path, rows=3 << 20, sparse=True)
    assert (tmp_path / "w.bin").stat().st_size > 3 << 30
    program = (
        "import sys\n"
        "from pathlib import Path\n"
        "from lowtide.frontends.onnx import import_graph, read\n"
        "graph = import_graph(read(sys.argv[1]).model)\n"
        "assert graph.tensor('w').nbytes == 3 << 30\n"
        "status = Path('/proc/self/status').read_text().splitlines()\n"
        "print(next(int(line.split()[1]) >> 10 for line in status if line.startswith('VmHWM')))\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True
    )
    assert int(run.stdout) < 300  # MiB, the libraries included


def test_a_symlink_inside_the_folder_is_fine(tmp_path: Path) -> None:
    path = external(tmp_path)
    (tmp_path / "w.bin").rename(tmp_path / "real.bin")
    (tmp_path / "w.bin").symlink_to("real.bin")
    assert "w" in import_graph(read(path).model)


def test_a_relative_path_finds_its_weights_after_a_change_of_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    external(tmp_path)
    monkeypatch.chdir(tmp_path)
    source = read("model.onnx")
    monkeypatch.chdir(os.sep)
    tensor_on_disk = source.model.graph.initializers["w"].const_value
    assert tensor_on_disk is not None
    assert tensor_on_disk.numpy().shape == (256, 256)


def test_unsorted_nodes_are_sorted_with_a_note() -> None:
    nodes = [
        h.make_node("Relu", ["b"], ["y"], name="third"),
        h.make_node("Abs", ["a"], ["b"], name="second"),
        h.make_node("Neg", ["x"], ["a"], name="first"),
    ]
    source = read(model_of(nodes, [value("x", [2])], [value("y")]))
    assert [n.name for n in source.model.graph] == ["first", "second", "third"]
    assert source.notes == (
        "the nodes of graph `net` were not in topological order and have been sorted",
    )


@given(st.permutations(range(7)))
@settings(max_examples=60)
def test_any_acyclic_order_is_accepted(order: list[int]) -> None:
    edges = [("x", "a"), ("a", "b"), ("a", "c"), ("b", "d"), ("c", "e"), ("d", "f"), ("f", "y")]
    nodes = [h.make_node("Relu", [i], [o], name=o) for i, o in edges]
    model = model_of([nodes[i] for i in order], [value("x", [2])], [value("y")])
    notes = check_structure(model)
    made = {"x"}
    for node in model.graph.node:
        assert made.issuperset(node.input)
        made.update(node.output)
    assert (not notes) == ([n.name for n in model.graph.node] == [nodes[i].name for i in order])


def test_declared_shapes_do_not_overrule_inference() -> None:
    nodes = [h.make_node("Relu", ["x"], ["a"]), h.make_node("Relu", ["a"], ["y"])]
    model = model_of(
        nodes, [value("x", [2, 3])], [value("y", ["p", "q"])], value_info=[value("a", ["n", "m"])]
    )
    source = read(model)
    assert _shape(source.model, "a") == [2, 3]
    assert _shape(source.model, "y") == [2, 3]


def test_declared_shapes_serve_where_nobody_knows_the_operator() -> None:
    nodes = [
        h.make_node("Mystery", ["x"], ["a"], domain="custom"),
        h.make_node("Relu", ["a"], ["y"]),
    ]
    model = model_of(nodes, [value("x", [2, 3])], [value("y")], value_info=[value("a", [5, 7])])
    graph = import_graph(read(model).model)
    assert graph.tensor("y").shape == (5, 7)
    assert graph.op("Mystery_0").qualified == "onnx.custom.Mystery"


def test_symbolic_inference_helps_where_native_inference_stops() -> None:
    """A shape computed through floating point: native data propagation gives up, sympy does not."""
    nodes = [
        h.make_node("Shape", ["x"], ["s"]),
        h.make_node("Div", ["s", "two"], ["half"]),
        h.make_node("Reshape", ["x", "minus"], ["flat"]),
        h.make_node("Slice", ["x", "zero", "half", "axes"], ["y"]),
    ]
    initializers = [
        tensor("two", [2, 2]),
        tensor("minus", [-1]),
        tensor("zero", [0, 0]),
        tensor("axes", [0, 1]),
    ]
    model = model_of(nodes, [value("x", [8, 6])], [value("y"), value("flat")], initializers)
    native = onnx.shape_inference.infer_shapes(model, data_prop=True)
    dims = next(v for v in native.graph.output if v.name == "y").type.tensor_type.shape.dim
    assert not all(d.HasField("dim_value") for d in dims), "native inference has learnt it"
    assert import_graph(read(model).model).tensor("y").shape == (4, 3)


@pytest.mark.parametrize("path", LIGHT, ids=lambda p: p.stem)
def test_light_models_import(path: Path) -> None:
    graph = import_graph(read(path).model)
    proto = onnx.load(path)
    assert len(graph) == sum(n.op_type != "Constant" for n in proto.graph.node)
    assert all(t.nbytes > 0 for t in graph.tensors)


@settings(max_examples=40)
@given(st.data())
def test_damaged_bytes_are_read_or_refused(data: st.DataObject) -> None:
    """Whatever the damage, the answer is a model or one of our errors."""
    contents = bytearray(sound().SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        where = data.draw(st.integers(0, len(contents) - 1))
        contents[where] ^= 1 << data.draw(st.integers(0, 7))
    try:
        proto = onnx.ModelProto.FromString(bytes(contents))
    except Exception:
        return  # the parser's refusal has its own tests
    with contextlib.suppress(InputError):
        verify(import_graph(read(proto).model))


def test_initializers_among_the_inputs_are_constants() -> None:
    model = chain()
    model.graph.input.append(value("fc.weight", [256, 10]))
    graph = import_graph(read(model).model)
    assert [t.name for t in graph.inputs] == ["x"]
    assert graph.tensor("fc.weight").role == "constant"


def test_ints_in_an_int64_tensor_of_zero_elements_are_legal() -> None:
    model = model_of(
        [h.make_node("Concat", ["x", "none"], ["y"], axis=0)],
        [value("x", [3], INT64)],
        [value("y", None, INT64)],
        [TensorProto(name="none", data_type=INT64, dims=[0])],
    )
    assert import_graph(read(model).model).tensor("y").shape == (3,)
