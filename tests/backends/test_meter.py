from __future__ import annotations

import sys
from typing import TYPE_CHECKING, cast

import onnx
import pytest
from onnx import TensorProto, helper

from lowtide import child
from lowtide.backends import meter
from lowtide.errors import LowtideError

if TYPE_CHECKING:
    from pathlib import Path

_MIB = 1 << 20
_HERE = "tests.backends.metered"


def _run(name: str, **request: object) -> dict[str, object]:
    return child.run(f"{_HERE}:{name}", request, timeout_s=120, preload=meter.library())


def _integer(value: object) -> int:
    assert isinstance(value, int)
    return value


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> None:
    monkeypatch.setenv("PYTHONPATH", str(pytestconfig.rootpath))


def test_library_is_built_on_linux() -> None:
    path = meter.library()
    assert (path is not None and path.is_file()) == sys.platform.startswith("linux")


def test_without_the_library_there_is_no_meter() -> None:
    assert not meter.Meter.available()
    with pytest.raises(LowtideError, match="LD_PRELOAD"):
        meter.Meter()
    assert _run("probe")["available"] is True


def test_arrays_within_one_percent() -> None:
    reply = _run("arrays")
    assert _integer(reply["peak"]) == pytest.approx(8 * _MIB, rel=0.01)
    assert _integer(reply["kept"]) == pytest.approx(_integer(reply["expected_kept"]), rel=0.01)


def test_every_entry_point_is_counted() -> None:
    reply = _run("entry_points")
    growth = cast("dict[str, list[int]]", reply["growth"])
    assert reply["overflow"] == 0
    regrown = growth.pop("regrown")
    assert regrown[0] == pytest.approx(3 * _MIB, rel=0.01)
    assert regrown[1:] == [_MIB, 0]
    aligned = {"memalign", "aligned_alloc", "valloc", "posix_memalign"}
    for name, (peak, tensors, kept) in growth.items():
        assert peak == pytest.approx(_MIB, rel=0.01), name
        assert tensors == (_MIB if name in aligned else 0), name
        assert kept == 0, name


def test_threads_lose_nothing() -> None:
    reply = _run("threads")
    assert reply["kept"] == 4 * _MIB
    assert reply["after"] == -4 * _MIB
    assert reply["count"] == 4 * (300 * 20 + 1)
    assert 4 * _MIB <= _integer(reply["peak"]) <= 4 * _MIB + 4 * 20 * 448


def test_windows_nest() -> None:
    reply = _run("nested")
    assert _integer(reply["large"]) == pytest.approx(4 * _MIB, rel=0.01)
    assert _integer(reply["small"]) == pytest.approx(1 * _MIB, rel=0.01)
    assert _integer(reply["outer"]) == pytest.approx(4 * _MIB, rel=0.01)


def test_onnxruntime_tensors_to_the_byte(tmp_path: Path) -> None:
    # x -> Abs a -> MaxPool b -> Neg c -> y: at most a (1 MiB) and b (1/4), then b and c.
    shape, pooled = [1, 1, 512, 512], [1, 1, 256, 256]
    nodes = [
        helper.make_node("Abs", ["x"], ["a"]),
        helper.make_node("MaxPool", ["a"], ["b"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Neg", ["b"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, pooled)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path = tmp_path / "model.onnx"
    onnx.save(model, path)
    reply = _run("session", model=str(path))
    assert reply["tensors"] == _MIB + _MIB // 4
    assert reply["events"] == [_MIB, _MIB // 4, -_MIB, _MIB // 4, -_MIB // 4]
    assert _integer(reply["peak"]) == pytest.approx(_MIB + _MIB // 4, rel=0.01)
