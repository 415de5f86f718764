"""`lowtide solve`: what DESIGN.md promises of exit codes, JSON and Ctrl-C, on small instances."""

from __future__ import annotations

import json
import signal
from typing import TYPE_CHECKING, cast

import pytest

from lowtide.cli import main
from lowtide.live import Progress
from lowtide.solvers.schedule.instance import ScheduleInstance, write_instance
from lowtide.solvers.schedule.problem import Buffer, ScheduleProblem
from lowtide.solvers.schedule.solution import ScheduleSolution
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from pathlib import Path

EDGES = (1 << 62, (1 << 63) - 1, 1 << 64, 10**30, -1, -(1 << 62))


def call(
    *arguments: object, capsys: pytest.CaptureFixture[str]
) -> tuple[int, dict[str, object], str]:
    """Exit code, the JSON answer (empty if there is none) and stderr of `lowtide solve`."""
    with pytest.raises(SystemExit) as exited:
        main(["solve", *map(str, arguments), "--json"])
    out, err = capsys.readouterr()
    return cast("int", exited.value.code), json.loads(out) if out else {}, err


def wide(path: Path, count: int = 60) -> ScheduleProblem:
    """An instance too wide to be solved."""
    readers = [
        tuple(sorted({w for w in (v + 7, v + 11 + v % 5, v + 23 + v % 7) if w < count}))
        for v in range(count)
    ]
    problem = ScheduleProblem(
        count, tuple(Buffer(3 + 7 * v * v % 11, v, r) for v, r in enumerate(readers))
    )
    write_instance(ScheduleInstance(problem), path)
    return problem


def one_tensor(size: int) -> str:
    tensor = f'{{"size": {size}, "producer": 0, "consumers": [], "output": true}}'
    return f'{{"nodes": [{{}}], "tensors": [{tensor}]}}'


@pytest.mark.parametrize("size", EDGES)
def test_sizes_at_the_edge_are_exit_code_2(
    size: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    instance = tmp_path / "i.json"
    instance.write_text(one_tensor(size))
    code, answer, err = call("schedule", instance, capsys=capsys)
    assert (code, answer) == (2, {})
    assert "2^60" in err
    table = tmp_path / "i.csv"
    rows = [f"a,0,1,{size}", f"a,0,{size},1"]
    if abs(size) > 1 << 60:  # a lifetime may begin before zero, within reason
        rows.append(f"a,{-abs(size)},1,1")
    for row in rows:
        table.write_text(f"id,lower,upper,size\n{row}\n")
        code, answer, err = call("allocate", table, capsys=capsys)
        assert (code, answer) == (2, {})
        assert "error: " in err
    table.write_text("id,lower,upper,size\na,0,1,1\n")
    code, _, err = call("allocate", table, f"--capacity={size}", capsys=capsys)
    assert code == 2
    assert "size" in err


def test_the_largest_size_is_solved(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    instance = tmp_path / "i.json"
    instance.write_text(one_tensor(1 << 60))
    assert call("schedule", instance, capsys=capsys)[1]["peak_bytes"] == 1 << 60


def test_a_seed_of_any_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = tmp_path / "i.csv"
    rows = [f"{k},{k * 7 % 10},{k * 7 % 10 + 3},{5 + k * k % 11}" for k in range(20)]
    table.write_text("\n".join(["id,lower,upper,size", *rows]))
    assert call("allocate", table, f"--seed={10**30}", capsys=capsys)[0] == 0


@pytest.mark.parametrize(
    ("rows", "capacity", "code", "status"),
    [
        (["a,0,2,4,", "b,1,3,3,"], None, 0, "optimal"),
        (["a,0,2,4,", "b,1,3,3,"], 7, 0, "optimal"),
        (["a,0,2,4,", "b,1,3,3,"], 6, 3, "infeasible"),
        (["a,0,2,4,0", "b,1,3,3,2"], None, 3, "infeasible"),  # fixed over each other
        (["a,0,3,1,", "b,0,1,1,0", "c,2,3,1,1"], 2, None, "infeasible"),
    ],
)
def test_exit_codes_of_allocate(
    rows: list[str],
    capacity: int | None,
    code: int | None,
    status: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    table = tmp_path / "i.csv"
    table.write_text("\n".join(["id,lower,upper,size,offset", *rows]))
    limit = [] if capacity is None else [f"--capacity={capacity}"]
    found, answer, err = call("allocate", table, *limit, capsys=capsys)
    assert err == ""
    if code is None:  # without a proof it is "not met"
        code, status = {3: (3, "infeasible"), 4: (4, "feasible")}[found]
    assert (found, answer["status"]) == (code, status)
    if status == "infeasible":
        assert answer["height"] is None
        assert answer["offsets"] is None


def test_an_interrupt_prints_the_best_order(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []

    def interrupt(self: Progress, incumbent: int | None, bound: int) -> None:
        del self, incumbent
        if not sent:
            sent.append(bound)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Progress, "bounds", interrupt)
    problem = wide(tmp_path / "i.json")
    code, answer, err = call("schedule", tmp_path / "i.json", "--time-limit", "10m", capsys=capsys)
    assert (code, err) == (0, "")
    assert answer["status"] == "time_limit"
    assert sorted(cast("list[int]", answer["order"])) == list(range(problem.num_nodes))


@pytest.mark.parametrize("as_json", [False, True])
def test_a_scheduler_may_end_without_an_order(
    as_json: bool,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from lowtide.solvers.schedule import registry

    def nothing(problem: ScheduleProblem, **options: object) -> ScheduleSolution:
        return ScheduleSolution(Status.TIME_LIMIT, None, 3, None)

    def get_scheduler(name: str) -> object:
        return nothing

    monkeypatch.setattr(registry, "get_scheduler", get_scheduler)
    wide(tmp_path / "i.json")
    with pytest.raises(SystemExit) as exited:
        main(["solve", "schedule", str(tmp_path / "i.json"), *(["--json"] if as_json else [])])
    out, err = capsys.readouterr()
    assert (exited.value.code, err) == (0, "")
    if as_json:
        answer = json.loads(out)
        assert (answer["order"], answer["peak_bytes"]) == (None, None)
    else:
        assert "no order" in out
        assert "time_limit" in out
