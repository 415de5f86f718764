"""The runners' logic, on tiny instances; no time is asserted."""

from __future__ import annotations

import importlib
import json
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.bench import allocations, instances, micro, schedules
from lowtide.bench.instances import (
    ScheduleCase,
    allocation_cases,
    cut_rectangle,
    family_of,
    layered,
    schedule_cases,
    training,
)
from lowtide.bench.micro import Kernel, Timing
from lowtide.errors import InputError, InstanceError, LowtideError
from lowtide.solvers.allocation.bound import lower_bound
from lowtide.solvers.allocation.check import check as check_allocation
from lowtide.solvers.allocation.csv import write_csv
from lowtide.solvers.allocation.pack import pack
from lowtide.solvers.allocation.problem import AllocationProblem, AllocationSolution, Block
from lowtide.solvers.schedule import registry
from lowtide.solvers.schedule.check import peak_of
from lowtide.solvers.schedule.instance import ScheduleInstance, write_instance
from lowtide.solvers.schedule.problem import Buffer, ScheduleProblem
from lowtide.solvers.status import Status

if TYPE_CHECKING:
    from pathlib import Path

# The optimum is 12, the file's order takes 21.
JOIN = ScheduleProblem(
    4,
    (Buffer(10, 0, (2,)), Buffer(10, 1, (3,)), Buffer(1, 2, (3,)), Buffer(1, 3, (), output=True)),
)


@pytest.fixture(autouse=True)
def _every_core(monkeypatch: pytest.MonkeyPatch) -> None:
    """The runners do not keep the tests' process on one core."""
    for module in (schedules, allocations, micro):
        monkeypatch.setattr(module, "one_core", lambda: None)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two schedules with what is known of them, and one table of buffers."""
    (tmp_path / "schedule").mkdir()
    (tmp_path / "allocation").mkdir()
    write_instance(ScheduleInstance(JOIN), tmp_path / "schedule" / "randwire_a.json")
    write_instance(ScheduleInstance(training(4)), tmp_path / "schedule" / "train_b.json")
    (tmp_path / "schedule" / "best_known.csv").write_text(
        "instance,ops,file_order_peak_bytes,best_known_peak_bytes,proven_lower_bound_bytes\n"
        "randwire_a,4,21,12,12\n"
    )
    write_csv(cut_rectangle(0, 6, height=64), tmp_path / "allocation" / "X.64.csv")
    write_csv(cut_rectangle(1, 6, height=64), tmp_path / "allocation" / "Y.csv")
    return tmp_path


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("randwire_net_s0", "RandWire"),
        ("nasnet_cifar", "NAS + SwiftNet"),
        ("swiftnet_cellA", "NAS + SwiftNet"),
        ("darts_cell_s01_concat", "NAS + SwiftNet"),
        ("amoebanet_imagenet", "NAS + SwiftNet"),
        ("pnas_imagenet", "NAS + SwiftNet"),
        ("train_unet", "training"),
        ("resnet50", "other inference"),
        ("onnx_light_vgg19", "other inference"),
    ],
)
def test_families(name: str, family: str) -> None:
    assert family_of(name) == family
    assert family in instances.FAMILIES


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 60))
def test_a_cut_rectangle_fills_every_moment(seed: int, count: int) -> None:
    problem = cut_rectangle(seed, count, height=1 << 12, length=50)
    assert len(problem.blocks) == count
    assert lower_bound(problem) == problem.capacity == 1 << 12
    assert sum(b.size * (b.upper - b.lower) for b in problem.blocks) == 50 << 12


def test_training_graphs_keep_activations_for_the_backward_pass() -> None:
    problem = training(12, skip=3)
    assert problem.num_nodes == 36
    assert peak_of(problem, range(36)) >= sum(b.size for b in problem.buffers[:12])
    assert all(len(b.consumers) >= 2 for b in problem.buffers[:12])


def test_layers_are_wide() -> None:
    problem = layered(6, 4)
    assert problem.num_nodes == 24
    assert {v for v in range(24) if not problem.predecessors[v]} == set(range(6))


def test_folders(folder: Path) -> None:
    cases = {case.name: case for case in schedule_cases(folder)}
    assert list(cases) == ["randwire_a", "train_b"]
    assert (cases["randwire_a"].known_peak, cases["randwire_a"].known_bound) == (12, 12)
    assert cases["train_b"].known_peak is None
    assert cases["randwire_a"].problem.buffers == JOIN.buffers
    layouts = {case.name: case.problem.capacity for case in allocation_cases(folder)}
    assert layouts == {"X.64": 64, "Y": None}
    assert [c.name for c in allocation_cases(folder / "allocation")] == ["X.64", "Y"]
    with pytest.raises(InstanceError, match=r"no \.csv files"):
        list(allocation_cases(folder / "schedule" / "nowhere"))


def test_generated_instances_are_of_every_family_and_repeat() -> None:
    cases = list(schedule_cases(None))
    assert {family_of(case.name) for case in cases} == set(instances.FAMILIES)
    assert next(iter(schedule_cases(None))) == cases[0]
    assert [c.problem.capacity for c in allocation_cases(None)] == [1 << 20] * 4


@pytest.mark.parametrize(
    ("known", "peak", "bound", "verdict"),
    [
        ((None, None), 12, 12, "-"),
        ((12, 12), 12, 12, "equal"),
        ((12, 10), 12, 11, "equal"),
        ((12, 10), 13, 11, "miss"),
        ((12, 10), None, 11, "miss"),
        ((12, 10), 11, 10, "discovery"),
        ((12, 12), 11, 10, "contradiction"),
        ((12, 10), 13, 13, "contradiction"),
    ],
)
def test_verdicts(
    known: tuple[int | None, int | None], peak: int | None, bound: int, verdict: str
) -> None:
    case = ScheduleCase("x", JOIN, *known)
    assert schedules.verdict_of(case, peak, bound) == verdict


def test_schedules_end_to_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = folder / "out" / "table"
    arguments = ["--instances", str(folder), "--solvers", "exact,file,xla", "--runs", "3"]
    assert schedules.main([*arguments, "--output", str(output)]) == 0
    document = json.loads(output.with_suffix(".json").read_text())
    assert document["manifest"]["settings"]["runs"] == 3
    assert len(document["manifest"]["models"]["randwire_a"]) == 64
    row = document["rows"][0]
    assert (row["name"], row["family"], row["verdict"]) == ("randwire_a", "RandWire", "equal")
    assert row["answers"]["exact"]["peak_bytes"] == 12
    assert row["answers"]["exact"]["repeatable"] is True
    assert len(row["answers"]["exact"]["cpu_seconds"]) == 3
    assert row["answers"]["file"]["peak_bytes"] == 21
    text = output.with_suffix(".md").read_text()
    assert text.splitlines()[0].startswith("<!-- python ")
    assert "12 (equal)" in text
    assert "1.750 (1.75)" in text  # the mean of the family's only member
    assert text.endswith(capsys.readouterr().out.rstrip("\n") + "\n")


def test_a_miss_is_said_and_fails(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--instances", str(folder), "--solvers", "file", "--only", "randwire_a"]
    assert schedules.main([*arguments, "--runs", "1"]) == 1
    assert "**miss**: randwire_a" in capsys.readouterr().out


def test_a_run_at_its_limit_is_not_repeated() -> None:
    case = ScheduleCase("hard", layered(12, 12))
    row = schedules.run(
        case, ["exact", "file"], runs=3, time_limit_s=0.0, baseline_time_limit_s=1.0
    )
    assert row.answers["exact"].status == "time_limit"
    assert len(row.answers["exact"].cpu_seconds) == 1
    assert len(row.answers["file"].cpu_seconds) == 3


def test_answers_that_refute_each_other_end_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def boaster(problem: ScheduleProblem, **options: object) -> object:
        found = registry.get_scheduler("file")(problem)
        assert found.peak_bytes is not None
        return replace(found, lower_bound_bytes=found.peak_bytes, status=Status.OPTIMAL)

    def get_scheduler(name: str) -> object:
        return boaster if name == "boaster" else registry.get_scheduler(name)

    monkeypatch.setattr(schedules, "get_scheduler", get_scheduler)
    with pytest.raises(LowtideError, match="exact reaches 12, a bound is 21"):
        schedules.run(ScheduleCase("x", JOIN), ["exact", "boaster"], runs=1, time_limit_s=1.0)


def test_what_changes_from_run_to_run_is_said() -> None:
    row = schedules.run(ScheduleCase("x", JOIN), ["exact"], runs=2, time_limit_s=1.0)
    answer = replace(row.answers["exact"], repeatable=False)
    text = schedules.table([replace(row, answers={"exact": answer})], ["exact"])
    assert "**not repeatable**: x (exact)" in text
    assert "not repeatable" not in schedules.table([row], ["exact"])


def test_allocations_end_to_end(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = folder / "table"
    arguments = ["--instances", str(folder), "--allocators", "pack", "--runs", "2"]
    assert allocations.main([*arguments, "--output", str(output)]) == 0
    document = json.loads(output.with_suffix(".json").read_text())
    assert [row["name"] for row in document["instances"]] == ["X.64", "Y"]
    assert document["instances"][0]["goal"] == 64
    arena = document["arenas"][0]
    assert (arena["name"], arena["goal"]) == ("randwire_a", 12)
    assert arena["answers"]["pack"]["height"] == 12
    assert document["skipped"] == []
    out = capsys.readouterr().out
    assert "within the capacity" in out
    assert "within the peak" in out


def test_the_joint_search_is_measured_beside_the_allocators(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert allocations.main(["--instances", str(folder), "--only", "arenas", "--runs", "2"]) == 0
    assert "| joint | 2 of 2 | 2 |" in capsys.readouterr().out
    answer = allocations.joint(JOIN, (0, 2, 1, 3), runs=2, time_limit_s=5.0)
    assert (answer.height, answer.status, len(answer.cpu_seconds)) == (12, "optimal", 2)


def test_allocators_are_those_of_the_registry(monkeypatch: pytest.MonkeyPatch) -> None:
    assert {"exact", "pack"} <= set(allocations.allocators())

    class Registry:
        def available(self) -> tuple[str, ...]:
            return ("theirs",)

        def get_allocator(self, name: str) -> object:
            assert name == "theirs"
            return pack

    def find_spec(name: str) -> object:
        return name if name.startswith("lowtide.") else None  # no peers

    def import_module(name: str) -> Registry:
        return Registry()

    monkeypatch.setattr(allocations, "find_spec", find_spec)
    monkeypatch.setattr(importlib, "import_module", import_module)
    assert list(allocations.allocators()) == ["theirs"]
    with pytest.raises(InputError, match="no allocator `none`; there are: theirs"):
        allocations.main(["--allocators", "none"])


def test_layouts_that_miss_or_refute(monkeypatch: pytest.MonkeyPatch) -> None:
    problem = AllocationProblem((Block("a", 0, 2, 4), Block("b", 1, 3, 3)), capacity=7)

    def stack(problem: AllocationProblem, **options: object) -> AllocationSolution:
        return AllocationSolution(Status.FEASIBLE, 9, 0, (0, 6))

    def boaster(problem: AllocationProblem, **options: object) -> AllocationSolution:
        return AllocationSolution(Status.OPTIMAL, 9, 9, (0, 6))

    known = {"pack": pack, "stack": stack, "boaster": boaster}
    monkeypatch.setattr(allocations, "allocators", lambda: known)
    row = allocations.run("x", problem, ["pack", "stack"], runs=1, time_limit_s=1.0)
    text = allocations.table([row], ["pack", "stack"], "capacity")
    assert "| pack | 1 of 1 | 1 | 1.0000 | 1.0000 |" in text
    assert "| stack | 0 of 1 | 0 | 1.2857 | 1.2857 |" in text
    with pytest.raises(LowtideError, match="pack reaches 7, a bound is 9"):
        allocations.run("x", problem, ["pack", "boaster"], runs=1, time_limit_s=1.0)
    check_allocation(problem, stack(problem))


def test_kernels_are_repeatable() -> None:
    for name, kernel in micro.KERNELS.items():
        if name in ("check_schedule", "load_bound", "min_cut", "place"):  # the quick ones
            one, two = (micro.time_kernel(kernel, 1) for _ in range(2))
            assert one.fingerprint == two.fingerprint


def test_comparison_of_kernels() -> None:
    before = {"a": Timing(1.0, 5), "b": Timing(1.0, 5), "gone": Timing(1.0, 5)}
    now = {"a": Timing(2.0, 5), "b": Timing(2.0, 6), "new": Timing(1.0, 0)}
    lines = [line.split() for line in micro.compare(before, now).splitlines()]
    assert [line[0] for line in lines] == ["a", "b", "new", "gone"]
    assert lines[0][-1] == "2.000"
    assert "no ratio" in " ".join(lines[1])
    assert lines[2][-1] == "new"


def test_the_history_of_kernels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    kernel = Kernel(lambda: calls.append(1), (lambda: calls.append(0),))
    monkeypatch.setattr(micro, "KERNELS", {"only": kernel})
    history = tmp_path / "new" / "micro.jsonl"
    arguments = ["--history", str(history), "--runs", "3", "--compare"]
    assert micro.main(arguments) == 0
    assert calls == [0, 1, 1, 1, 1]  # prepared, warmed up, timed three times
    assert "compared" not in capsys.readouterr().out
    assert micro.main(arguments) == 0
    assert "compared with" in capsys.readouterr().out
    entries = [json.loads(line) for line in history.read_text().splitlines()]
    assert len(entries) == 2
    assert list(cast("dict[str, object]", entries[0]["kernels"])) == ["only"]
    entries[0]["machine"]["cpu"] = "abacus"
    history.write_text(json.dumps(entries[0]) + "\n")
    micro.main(arguments)
    assert "another machine (abacus)" in capsys.readouterr().out
    for damaged in ("{", "[]", "{}"):
        history.write_text(damaged + "\n")
        with pytest.raises(InputError, match="no entry"):
            micro.main(arguments)
