"""Emission: the order changes, nothing else does, and a file appears whole or not at all."""

from __future__ import annotations

import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from lowtide.backends.onnx.emit import arrange, emit
from lowtide.backends.onnx.stamp import Stamp
from lowtide.errors import InputError, ModelError, PlanError
from tests.backends.models import everything, keys, random_dag, random_order, with_data

STAMP = {"lowtide.plan": "a plan"}


def _swapped(model: ir.Model) -> list[ir.Node]:
    first, second, *rest = model.graph
    return [second, first, *rest]


def test_only_the_order_and_the_stamp_change(tmp_path: Path) -> None:
    source = everything()
    model = ir.from_proto(source)
    emit(model, _swapped(model), tmp_path / "out.onnx", provenance=STAMP)
    result = onnx.load_model(str(tmp_path / "out.onnx"))
    onnx.checker.check_model(result, full_check=True)
    assert [node.name for node in result.graph.node[:2]] == ["second", "first"]
    assert {p.key: p.value for p in result.metadata_props} == {"author": "someone", **STAMP}

    reordered = [result.graph.node[i] for i in (1, 0, 2, 3, 4)]
    expected = list(source.graph.node)
    assert reordered == expected
    for message in (source, result):
        del message.graph.node[:]
        del message.metadata_props[:]
        for values in (message.graph.value_info, message.functions, message.opset_import):
            values.sort(key=str)
    # onnx_ir also writes down the types of initializers
    extra = [v for v in result.graph.value_info if v not in source.graph.value_info]
    assert {v.name for v in extra} <= {"w", "d"}
    del result.graph.value_info[:], source.graph.value_info[:]
    del result.functions[0].value_info[:]
    assert result == source


def test_the_model_in_memory_stays_as_it_was(tmp_path: Path) -> None:
    model = ir.from_proto(random_dag(30, 1))
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    emit(model, random_order(model.graph, 2), tmp_path / "out.onnx", provenance=STAMP)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_the_same_arguments_give_the_same_bytes(tmp_path: Path) -> None:
    proto = random_dag(30, 3)
    for name in ("a.onnx", "b.onnx"):
        model = ir.from_proto(proto)
        emit(model, random_order(model.graph, 4), tmp_path / name, provenance=STAMP)
    assert (tmp_path / "a.onnx").read_bytes() == (tmp_path / "b.onnx").read_bytes()


@pytest.mark.parametrize("seed", range(8))
def test_constants_stand_before_their_first_reader(tmp_path: Path, seed: int) -> None:
    model = ir.from_proto(random_dag(40, seed))
    order = random_order(model.graph, seed)
    emit(model, order, tmp_path / "out.onnx", provenance=STAMP)
    onnx.checker.check_model(str(tmp_path / "out.onnx"), full_check=True)
    result = ir.load(tmp_path / "out.onnx")
    assert keys(list(result.graph)) == keys(order)
    assert len(result.graph) == len(model.graph)


def test_orders_that_are_none_are_refused() -> None:
    model = ir.from_proto(everything())
    first, second, third, fourth, last = model.graph
    stranger = next(iter(ir.from_proto(everything()).graph))
    for order, complaint in (
        ([first, second, third, last], "leaves out If node 'd'"),
        ([first, second, third, fourth, last, last], "1 of them twice"),
        ([stranger, second, third, fourth, last], "1 that are not in graph"),
        ([third, first, second, fourth, last], "Twice node 'c' is ordered before Relu node 'a'"),
        ([first, third, fourth, second, last], "If node 'd' is ordered before Sigmoid node 'b'"),
    ):
        with pytest.raises(PlanError, match=complaint):
            arrange(model.graph, order)


def test_input_files_are_never_written_to(tmp_path: Path) -> None:
    path, data = tmp_path / "in.onnx", tmp_path / "in.bin"
    with_data(everything(), path, data.name)
    (tmp_path / "link.onnx").symlink_to(path)
    before = path.read_bytes(), data.read_bytes()
    model = ir.load(path)
    for destination in (path, data, tmp_path / "link.onnx", tmp_path / "." / "in.onnx"):
        with pytest.raises(InputError, match="is an input file and is never written to"):
            emit(model, _swapped(model), destination, provenance=STAMP, source=path)
    assert (path.read_bytes(), data.read_bytes()) == before


def test_a_data_file_in_the_way_of_an_input_is_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    path = tmp_path / "in.onnx"
    with_data(everything(), path, "in.bin")
    data = tmp_path / "other" / "out.onnx.data"
    (tmp_path / "in.bin").rename(data)
    (tmp_path / "in.bin").symlink_to(data)
    model = ir.load(path)
    with pytest.raises(InputError, match=r"out\.onnx\.data is an input file"):
        emit(model, _swapped(model), tmp_path / "other" / "out.onnx", provenance=STAMP)


def test_existing_files_are_kept_without_force(tmp_path: Path) -> None:
    model = ir.from_proto(everything())
    path = tmp_path / "out.onnx"
    path.write_text("precious")
    with pytest.raises(InputError, match="exists already"):
        emit(model, _swapped(model), path, provenance=STAMP, force=False)
    assert path.read_text() == "precious"
    (tmp_path / "a").mkdir()
    with_data(everything(), tmp_path / "a" / "in.onnx", "in.bin")
    (tmp_path / "new.onnx.data").write_text("precious")
    other = ir.load(tmp_path / "a" / "in.onnx")
    with pytest.raises(InputError, match=r"new\.onnx\.data exists already"):
        emit(other, _swapped(other), tmp_path / "new.onnx", provenance=STAMP, force=False)
    assert not (tmp_path / "new.onnx").exists()
    emit(model, _swapped(model), path, provenance=STAMP, force=True)
    assert len(onnx.load_model(str(path)).graph.node) == 5


def test_external_data_in_the_same_folder_stays_a_reference(tmp_path: Path) -> None:
    with_data(everything(), tmp_path / "in.onnx", "in.bin")
    model = ir.load(tmp_path / "in.onnx")
    emit(model, _swapped(model), tmp_path / "out.onnx", provenance=STAMP)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.bin", "in.onnx", "out.onnx"]
    result = ir.load(tmp_path / "out.onnx")
    _assert_weights(result, model)


def test_external_data_follows_into_another_folder(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with_data(everything(), tmp_path / "a" / "in.onnx", "in.bin")
    model = ir.load(tmp_path / "a" / "in.onnx")
    emit(model, _swapped(model), tmp_path / "b" / "out.onnx", provenance=STAMP)
    names = sorted(p.name for p in (tmp_path / "b").iterdir())
    assert names == ["out.onnx", "out.onnx.data"]
    onnx.checker.check_model(str(tmp_path / "b" / "out.onnx"), full_check=True)
    _assert_weights(ir.load(tmp_path / "b" / "out.onnx"), model)


def _assert_weights(result: ir.Model, source: ir.Model) -> None:
    have, want = (m.graph.initializers["w"].const_value for m in (result, source))
    assert isinstance(have, ir.ExternalTensor)
    assert want is not None
    np.testing.assert_array_equal(have.numpy(), want.numpy())


def test_missing_external_data_is_a_clear_error(tmp_path: Path) -> None:
    with_data(everything(), tmp_path / "in.onnx", "in.bin")
    model = ir.load(tmp_path / "in.onnx")
    (tmp_path / "in.bin").unlink()
    with pytest.raises(ModelError, match=r"in.bin does not exist"):
        emit(model, _swapped(model), tmp_path / "out.onnx", provenance=STAMP)
    assert [p.name for p in tmp_path.iterdir()] == ["in.onnx"]


def test_weights_beyond_two_gigabytes_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    nbytes = 3 << 30
    data = tmp_path / "a" / "in.bin"
    with data.open("wb") as stream:
        stream.truncate(nbytes)
        stream.seek(nbytes // 2)
        stream.write(b"in the middle")
    model = ir.from_proto(everything())
    tensor = ir.ExternalTensor(
        "in.bin", 0, nbytes, ir.DataType.UINT8, shape=ir.Shape([nbytes]), name="big",
        base_dir=data.parent,
    )  # fmt: skip
    model.graph.register_initializer(ir.val("big", const_value=tensor))
    for folder in ("a", "b"):
        tracemalloc.start()
        emit(model, _swapped(model), tmp_path / folder / "out.onnx", provenance=STAMP)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 64 << 20
        assert tensor.raw is None
    copy = tmp_path / "b" / "out.onnx.data"
    assert copy.stat().st_size == nbytes
    assert copy.stat().st_blocks <= data.stat().st_blocks + 64
    with copy.open("rb") as stream:
        stream.seek(nbytes // 2)
        assert stream.read(13) == b"in the middle"
    copy.unlink()
    data.unlink()


def test_weights_that_no_protobuf_holds_go_to_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("lowtide.backends.onnx.weights._PROTO_LIMIT_BYTES", 10_000)
    model = ir.from_proto(everything())
    arrays = {f"large{i}": np.full(1000 + i, i, np.float32) for i in range(3)}
    for name, array in arrays.items():
        model.graph.register_initializer(ir.val(name, const_value=ir.Tensor(array, name=name)))
    emit(model, _swapped(model), tmp_path / "out.onnx", provenance=STAMP)
    assert all(not isinstance(v.const_value, ir.ExternalTensor)
               for v in model.graph.initializers.values())  # fmt: skip
    assert (tmp_path / "out.onnx.data").stat().st_size == sum(a.nbytes for a in arrays.values())
    onnx.checker.check_model(str(tmp_path / "out.onnx"))
    result = ir.load(tmp_path / "out.onnx").graph.initializers
    for name, array in arrays.items():
        tensor = result[name].const_value
        assert isinstance(tensor, ir.ExternalTensor)
        np.testing.assert_array_equal(tensor.numpy(), array)
    assert not isinstance(result["w"].const_value, ir.ExternalTensor)


_FAILING = """
import os, resource, signal, sys
from pathlib import Path
import numpy as np
import onnx_ir as ir
from lowtide.backends.onnx.emit import emit
from lowtide.errors import InputError

how, source, destination = sys.argv[1:]
model = ir.load(source)
if how == "disk full":
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
else:
    def die():
        os.kill(os.getpid(), signal.SIGKILL)
    lazy = ir.LazyTensor(die, dtype=ir.DataType.FLOAT, shape=ir.Shape([4]), name="lazy")
    model.graph.register_initializer(ir.val("lazy", const_value=lazy))
try:
    emit(model, list(model.graph), Path(destination), provenance={})
except InputError as error:
    print(error)
"""


@pytest.mark.parametrize(("how", "said"), [("disk full", "cannot write"), ("killed", "")])
def test_failures_leave_nothing_behind(tmp_path: Path, how: str, said: str) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    with_data(everything(), tmp_path / "a" / "in.onnx", "in.bin")
    (tmp_path / "b" / "out.onnx").write_text("older")
    command = [sys.executable, "-c", _FAILING, how]
    paths = [str(tmp_path / "a" / "in.onnx"), str(tmp_path / "b" / "out.onnx")]
    done = subprocess.run([*command, *paths], capture_output=True, text=True, check=False)
    assert said in done.stdout, done.stderr
    assert (done.returncode == 0) == bool(said)
    assert [p.name for p in (tmp_path / "b").iterdir()] == ["out.onnx"]
    assert (tmp_path / "b" / "out.onnx").read_text() == "older"


def test_stamp_keys_are_ours(tmp_path: Path) -> None:
    model = ir.from_proto(everything())
    with pytest.raises(ValueError, match=r"must begin with 'lowtide\.'"):
        emit(model, list(model.graph), tmp_path / "out.onnx", provenance={"author": "us"})
    stamp = Stamp.here("onnxruntime", "exact", "all", "hash").metadata()
    assert all(key.startswith("lowtide.") for key in stamp)
