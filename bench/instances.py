"""The instances of the solver benchmarks: those of a folder, or generated ones.

    schedule     FOLDER/schedule/*.json or FOLDER/*.json, beside them best_known.csv
    allocation   FOLDER/allocation/*.csv or FOLDER/*.csv, the capacity in the name: A.1048576.csv

Without a folder, scheduling problems are lowered from the networks of `networks.py`, or made of
plain integers, and allocation problems are rectangles cut into pieces, so that the optimum is
known.
"""

from __future__ import annotations

import csv
import random
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from lowtide.errors import InstanceError
from lowtide.solvers.allocation.csv import read_csv
from lowtide.solvers.allocation.problem import AllocationProblem, Block
from lowtide.solvers.schedule.instance import read_instance
from lowtide.solvers.schedule.problem import Buffer, ScheduleProblem

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "FAMILIES",
    "AllocationCase",
    "ScheduleCase",
    "allocation_cases",
    "cut_rectangle",
    "family_of",
    "layered",
    "schedule_cases",
    "training",
]

FAMILIES = ("RandWire", "NAS + SwiftNet", "other inference", "training")
_NAS = ("nasnet", "darts", "amoebanet", "pnas", "swiftnet")
_SCHEDULE_FOLDER, _ALLOCATION_FOLDER = "schedule", "allocation"


@dataclass(frozen=True, slots=True)
class ScheduleCase:
    """A named problem, with the best peak and bound that are known for it."""

    name: str
    problem: ScheduleProblem
    known_peak: int | None = None
    known_bound: int | None = None


@dataclass(frozen=True, slots=True)
class AllocationCase:
    """A named problem; its capacity is what has to be met."""

    name: str
    problem: AllocationProblem


def family_of(name: str) -> str:
    """The family of a scheduling instance, by its name."""
    if name.startswith("randwire"):
        return "RandWire"
    if name.startswith(_NAS):
        return "NAS + SwiftNet"
    return "training" if name.startswith("train_") else "other inference"


def schedule_cases(folder: Path | None) -> Iterator[ScheduleCase]:
    """The scheduling instances of a folder, by name; generated ones without a folder.

    Raises:
        InstanceError: the folder has none, or a file is no instance.
    """
    if folder is None:
        yield from _generated_schedules()
        return
    folder = _subfolder(folder, _SCHEDULE_FOLDER)
    known = _best_known(folder / "best_known.csv")
    for path in _files(folder, "json"):
        peak, bound = known.get(path.stem, (None, None))
        yield ScheduleCase(path.stem, read_instance(path), peak, bound)


def allocation_cases(folder: Path | None) -> Iterator[AllocationCase]:
    """The allocation instances of a folder, by name; generated ones without a folder.

    Raises:
        InstanceError: the folder has none, or a file is no instance.
    """
    if folder is None:
        for seed, count in ((0, 40), (1, 80), (2, 160), (3, 320)):
            yield AllocationCase(f"cut_s{seed}_{count}", cut_rectangle(seed, count))
        return
    for path in _files(_subfolder(folder, _ALLOCATION_FOLDER), "csv"):
        if path.name == "best_known.csv":
            continue
        capacity = path.stem.rpartition(".")[2]
        limit = int(capacity) if capacity.isdecimal() else None
        yield AllocationCase(path.stem, read_csv(path, capacity=limit))


def cut_rectangle(
    seed: int, count: int, *, height: int = 1 << 20, length: int = 1000
) -> AllocationProblem:
    """A rectangle of time and address, cut into `count` blocks by straight cuts.

    Its height is the optimum: every moment is filled, and the cuts undone are a layout.
    """
    generator = random.Random(seed)
    pieces = [(0, length, height)]  # lower, upper, size
    for _ in range(10 * count):
        if len(pieces) == count:
            break
        lower, upper, size = pieces.pop(generator.randrange(len(pieces)))
        if generator.random() < 0.5 and upper - lower >= 2:
            at = generator.randrange(lower + 1, upper)
            pieces += [(lower, at, size), (at, upper, size)]
        elif size >= 2:
            part = generator.randrange(1, size)
            pieces += [(lower, upper, part), (lower, upper, size - part)]
        else:
            pieces.append((lower, upper, size))
    generator.shuffle(pieces)
    blocks = tuple(Block(str(k), *piece) for k, piece in enumerate(pieces))
    return AllocationProblem(blocks, capacity=height)


def training(layers: int, seed: int = 0, *, skip: int = 4) -> ScheduleProblem:
    """A residual chain with its backward pass and weight gradients, which are outputs.

    Forward node k makes activation k, read by k + 1, every `skip` layers by a later one, and by
    the backward pass.
    """
    generator = random.Random(seed)
    sizes = [generator.choice((64, 96, 128)) << 10 for _ in range(layers)]
    readers: list[list[int]] = [[] for _ in range(layers)]
    extra: list[Buffer] = []
    for k in range(1, layers):
        readers[k - 1].append(k)
        if k % skip == 0:
            readers[k - skip].append(k)
    node = layers
    upstream: int | None = None  # the buffer of the gradient from above
    for k in reversed(range(layers)):
        weight, down = node, node + 1
        node += 2
        readers[k] += [weight, down]
        if upstream is not None:
            above = extra[upstream]
            extra[upstream] = above._replace(consumers=(*above.consumers, weight, down))
        extra.append(Buffer(generator.choice((16, 32)) << 10, weight, (), output=True))
        upstream = len(extra)
        extra.append(Buffer(sizes[k], down, ()))
    forward = [
        Buffer(size, k, tuple(sorted(set(r))))
        for k, (size, r) in enumerate(zip(sizes, readers, strict=True))
    ]
    return ScheduleProblem(node, (*forward, *extra))


def layered(width: int, layers: int) -> ScheduleProblem:
    """Layers of nodes, each reading three of the layer before: from width 12 on, out of reach."""
    n = width * layers
    readers: list[set[int]] = [set() for _ in range(n)]
    for node in range(width, n):
        row, column = divmod(node, width)
        for k in (0, 1, 5):
            readers[(row - 1) * width + (column * 3 + k * row) % width].add(node)
    return ScheduleProblem(
        n,
        tuple(
            Buffer(3 + (7 * node * node + node) % 11, node, tuple(sorted(read)))
            for node, read in enumerate(readers)
        ),
    )


def _generated_schedules() -> Iterator[ScheduleCase]:
    import onnx

    from lowtide.bench.graphs import branching, chain
    from lowtide.bench.networks import NETWORKS
    from lowtide.frontends.onnx import import_graph, read
    from lowtide.ir import Accounting
    from lowtide.passes import lower

    accounting = Accounting(in_place=False)
    with tempfile.TemporaryDirectory(prefix="lowtide-") as folder:
        for name, build in NETWORKS.items():
            for seed in range(3 if name == "randwire" else 1):
                path = Path(folder, f"{name}.onnx")
                onnx.save(build(seed), path)
                graph = import_graph(read(path).model)
                yield ScheduleCase(f"{name}_s{seed}", lower(graph, accounting).problem)
    yield ScheduleCase("branching_300", branching(300))
    yield ScheduleCase("chain_300", chain(300))
    yield ScheduleCase("train_residual_40", training(40))


def _subfolder(folder: Path, kind: str) -> Path:
    return folder / kind if (folder / kind).is_dir() else folder


def _files(folder: Path, suffix: str) -> list[Path]:
    paths = sorted(folder.glob(f"*.{suffix}"))
    if not paths:
        raise InstanceError(f"{folder} has no .{suffix} files: give the folder of the instances")
    return paths


def _best_known(path: Path) -> dict[str, tuple[int, int]]:
    """Peak and bound by instance; empty if there is no such file."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {
            row["instance"]: (
                int(row["best_known_peak_bytes"]),
                int(row["proven_lower_bound_bytes"]),
            )
            for row in csv.DictReader(file)
        }
