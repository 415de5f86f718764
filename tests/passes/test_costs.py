"""The cost model, and the files in which users give costs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lowtide.errors import InputError
from lowtide.ir import Graph, Role, Traits
from lowtide.passes.cost_file import read_costs
from lowtide.passes.costs import KIND_RATES, CostModel, Rates

if TYPE_CHECKING:
    from pathlib import Path


def chain(kind: str = "f") -> Graph:
    """x -> a -> b, with 100 bytes each."""
    graph = Graph("chain")
    last = graph.add_tensor("x", "uint8", (100,), nbytes=100, role=Role.INPUT)
    for name in "ab":
        tensor = graph.add_tensor(name, "uint8", (100,), nbytes=100)
        graph.add_op(f"f{name}", "test", kind, [last], [tensor])
        last = tensor
    graph.add_output(last)
    return graph


def written(path: Path, **content: object) -> Path:
    """A file of costs."""
    file = path / "costs.json"
    file.write_text(json.dumps({"schema": "lowtide.costs/1", **content}))
    return file


def test_who_is_asked_first() -> None:
    """The user's cost, then the op's own, then the rates of its kind; a view costs nothing."""
    graph = chain()
    op = graph.op("fa")
    model = CostModel(kinds={"test.f": Rates(1.0, 2.0, 7)})
    assert model.of(op) == 7 + 100
    op.flops = 1000
    assert model.of(op) == 7 + 1000
    assert CostModel(default=Rates(0.5, 1.0, 9)).of(op) == 9 + 2000
    op.cost = 0.5
    assert model.of(op) == 500_000_000
    assert CostModel(ops={"fa": 3}).of(op) == 3
    assert CostModel().measured({"fa": 9, "fb": 8}).of_all(graph) == (9, 8)
    assert CostModel(ops={"fa": 3}).measured({"fa": 9}).of(op) == 3
    op.traits = Traits(view=True)
    assert CostModel(ops={"fa": 3}).of(op) == 0


@given(st.integers(0, 10**12), st.integers(0, 10**12), st.sampled_from(sorted(KIND_RATES)))
def test_more_work_never_costs_less(flops: int, more: int, kind: str) -> None:
    """For the rates of every kind."""
    op = chain().op("fa")
    op.flops = flops
    before = KIND_RATES[kind].cost(op)
    op.flops += more
    assert before <= KIND_RATES[kind].cost(op)


def test_a_file(tmp_path: Path) -> None:
    """Seconds become nanoseconds; a kind's missing rates are the file's default."""
    rates = {"flops_per_s": 2e9, "overhead_s": 1e-6}
    path = written(
        tmp_path, ops={"fa": 0.001}, kinds={"test.f": rates}, default={"bytes_per_s": 5e8}
    )
    model = read_costs(path)
    model.check(chain())
    assert model.of_all(chain()) == (1_000_000, 1000 + 400)
    assert model.kinds["test.f"] == Rates(2.0, 0.5, 1000)
    assert model.kinds["onnx.Relu"] == KIND_RATES["onnx.Relu"]


def test_names_that_the_graph_does_not_have(tmp_path: Path) -> None:
    """An error that names the nearest one."""
    with pytest.raises(InputError, match=r"the op `fz`.*nearest is `f[ab]`"):
        read_costs(written(tmp_path, ops={"fz": 1})).check(chain())
    with pytest.raises(InputError, match=r"the kind `test.ff`.*nearest is `test.f`"):
        read_costs(written(tmp_path, kinds={"test.ff": {}})).check(chain())


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "is not JSON"),
        ("[]", "the file must be an object"),
        ("{}", '`schema` must be "lowtide.costs/1", not None'),
        ('{"schema": "lowtide.costs/2"}', "`schema` must be"),
        ('{"schema": "lowtide.costs/1", "op": {}}', "unknown key `op`"),
        ('{"schema": "lowtide.costs/1", "ops": 3}', "`ops` must be an object"),
        ('{"schema": "lowtide.costs/1", "ops": {"a": -1}}', "`ops.a` must be from 0"),
        ('{"schema": "lowtide.costs/1", "ops": {"a": NaN}}', "`ops.a` must be from 0"),
        ('{"schema": "lowtide.costs/1", "ops": {"a": 1e999}}', "`ops.a` must be from 0"),
        ('{"schema": "lowtide.costs/1", "ops": {"a": true}}', "`ops.a` must be a number"),
        ('{"schema": "lowtide.costs/1", "ops": {"a": 1, "a": 2}}', "`a` is given twice"),
        ('{"schema": "lowtide.costs/1", "kinds": {"k": {"x": 1}}}', "unknown key `x`"),
        (
            '{"schema": "lowtide.costs/1", "kinds": {"k": {"flops_per_s": 0}}}',
            "`kinds.k.flops_per_s` must be at least 1",
        ),
        (
            '{"schema": "lowtide.costs/1", "default": {"bytes_per_s": Infinity}}',
            "`default.bytes_per_s` must be from 0 to inf and finite",
        ),
        ("[" * 200_000, "is not JSON"),
    ],
)
def test_refused_files(tmp_path: Path, content: str, said: str) -> None:
    """What is wrong is said with the file's name."""
    file = tmp_path / "costs.json"
    file.write_text(content)
    with pytest.raises(InputError, match=said) as caught:
        read_costs(file)
    assert str(file) in str(caught.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    """And one that is too large to be costs."""
    with pytest.raises(InputError, match="cannot be read"):
        read_costs(tmp_path / "none.json")
    with (tmp_path / "huge.json").open("wb") as stream:
        stream.truncate(1 << 30)
    with pytest.raises(InputError, match="too large"):
        read_costs(tmp_path / "huge.json")
