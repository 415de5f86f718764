"""Scenes to draw: a planned network, and generated graphs of any size with any names."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from lowtide.ir import Accounting, Graph, Role, simulate
from lowtide.pictures.build import build_scene, run_of
from lowtide.pictures.hot import hot_region
from lowtide.pictures.record import Recorder
from lowtide.pictures.scene import Scene
from lowtide.planning import plan
from lowtide.report import Figures, Report
from lowtide.reporting import build_report
from lowtide.settings import Settings
from lowtide.targets import prepare

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lowtide.ir import Tensor
    from lowtide.planning import Planned

__all__ = ["network", "planned_scene", "scene_of"]


def planned_scene(model: Path, budget: int | None = None) -> tuple[Planned, Scene]:
    """A model planned for ONNX, and what is drawn of it."""
    recorder = Recorder(None)
    started = time.perf_counter()
    settings = Settings.of(target="onnx", budget=budget, threads=1)
    planned = plan(prepare(model, settings, recorder), recorder)
    report = build_report(planned, None, None, started=started)
    return planned, build_scene(planned, report, recorder.record)


def network(
    ops: int,
    name: Callable[[int], str],
    seed: int = 0,
    kind: Callable[[int], str] = lambda _: "Conv",
    channels: int = 64,
) -> Graph:
    """A graph in which every op reads two tensors that were made not long before.

    A tensor has at most so many `channels`.
    """
    numbers = random.Random(seed)
    graph = Graph("generated")
    made: list[Tensor] = [graph.add_tensor("input", "float32", (100,), role=Role.INPUT)]
    for index in range(ops):
        back = [int(numbers.expovariate(0.05)) for _ in range(2)]
        operands = [made[max(0, len(made) - 1 - distance)] for distance in back]
        shape = (1, numbers.randint(1, channels), 56, 56)
        result = graph.add_tensor(f"{name(index)}:0", "float32", shape)
        scratch = numbers.choice((0, 0, 4096))
        graph.add_op(name(index), "onnx", kind(index), operands, [result], workspace_bytes=scratch)
        made.append(result)
    graph.add_output(made[-1])
    return graph


def scene_of(graph: Graph, path: str = "generated.onnx") -> Scene:
    """A scene whose planned order is the graph's own."""
    timeline = simulate(graph, Accounting(alignment=64))
    run = run_of(timeline, 64)
    peak = Figures(timeline.peak_bytes, timeline.peak_bytes, timeline.peak_bytes // 2)
    report = Report(
        model={"path": path, "ops": len(graph), "tensors": len(graph.tensors)},
        target="onnx",
        versions={},
        status="feasible",
        proof={},
        accounting={},
        peak_bytes=peak,
        arena_bytes=peak,
        breakdown_bytes={},
        peak_ops=(),
        verification={},
        measured={},
        seconds={},
    )
    return Scene(path, run, run, peak.lower_bound, None, hot_region(timeline), report, None, {})
