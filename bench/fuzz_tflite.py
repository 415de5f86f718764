"""Fuzz the TFLite reader, importer and emitter.

    python -m lowtide.bench.fuzz_tflite --minutes 10 --models FOLDER

Valid models (generated ones, and those of a folder) are damaged where it hurts: in offsets, counts,
vtables and scalars. Every case must end as accepted (then it is imported, emitted with new metadata
and read again) or as an error with exit code 2; anything else is a finding. Cases run in a child
process under limits of memory and of CPU time per case; a case is a number, which `--case`
repeats.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import resource
import signal
import struct
import subprocess
import sys
import tempfile
import time
import traceback
from collections import Counter
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, cast

from lowtide.backends.tflite import PLAN, emit, rebuild
from lowtide.bench.tflite_builder import branching, outside, quantized, stateful
from lowtide.errors import LowtideError
from lowtide.flatbuffer import verify
from lowtide.frontends.tflite import import_graph, read
from lowtide.frontends.tflite.schema import tflite_schema

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["Seed", "mutate", "seed_of", "seeds", "try_model"]

_MEMORY_BYTES = 1 << 30  # of address space, beyond what the imports take
_CASE_SECONDS = 60  # of CPU time, after which a case counts as a hang


@dataclass(frozen=True, slots=True)
class Seed:
    """A valid model: its bytes, and the positions of its tables, vtables and vectors' heads."""

    name: str
    data: bytes
    places: tuple[int, ...]
    starts: tuple[int, ...]


def seed_of(name: str, data: bytes) -> Seed:
    """A model with the positions of what is worth damaging (constants' contents are not)."""
    ranges = verify(memoryview(data), tflite_schema(), ranges=True).ranges
    places: set[int] = set()
    for found in ranges:
        stop = min(found.stop, found.start + 64) if found.what == "vector" else found.stop
        places.update(range(found.start, stop))
    starts = sorted({found.start for found in ranges})
    return Seed(name, data, tuple(sorted(places | set(range(8)))), tuple(starts))


def seeds(folder: Path | None = None) -> list[Seed]:
    """The generated models, and the .tflite files of a folder."""
    found = [seed_of(f"branching {i}", branching(i, 4 + i)) for i in range(6)]
    found += [seed_of(f"quantized {i}", quantized(i)) for i in range(2)]
    found += [seed_of("stateful", stateful()), seed_of("outside", outside())]
    if folder is not None:
        found += [seed_of(p.name, p.read_bytes()) for p in sorted(folder.glob("*.tflite"))]
    return found


def mutate(rng: random.Random, seed: Seed) -> bytes:
    """A damaged copy of a model: one to eight changes, at places that matter."""
    data = bytearray(seed.data)
    for _ in range(1 + min(int(rng.expovariate(0.7)), 7)):
        change = rng.choice(_CHANGES)
        change(rng, seed, data)
        if len(data) < 16:
            break
    return bytes(data)


def _flip(rng: random.Random, seed: Seed, data: bytearray) -> None:
    place = rng.choice(seed.places)
    if place < len(data):
        data[place] ^= 1 << rng.randrange(8)


def _byte(rng: random.Random, seed: Seed, data: bytearray) -> None:
    place = rng.choice(seed.places)
    if place < len(data):
        data[place] = rng.choice((0, 1, 2, 127, 128, 255, rng.randrange(256)))


def _half(rng: random.Random, seed: Seed, data: bytearray) -> None:
    place = rng.choice(seed.places) & ~1
    value = rng.choice((0, 1, 3, 4, 6, 8, 64, 255, 0x7FFF, 0x8000, 0xFFFF, rng.randrange(1 << 16)))
    if place + 2 <= len(data):
        struct.pack_into("<H", data, place, value)


def _word(rng: random.Random, seed: Seed, data: bytearray) -> None:
    place = rng.choice(seed.places) & ~3
    size = len(data)
    chosen = (0, 1, 2, 3, 4, 8, 16, 1 << 20, 1 << 30, (1 << 31) - 1, 1 << 31, (1 << 32) - 2)
    sizes = ((1 << 32) - 1, size, size - place, size // 4)
    value = rng.choice((*chosen, *sizes, rng.randrange(1 << 32), rng.randrange(1000)))
    if place + 4 <= size:
        struct.pack_into("<I", data, place, value & 0xFFFFFFFF)


def _long(rng: random.Random, seed: Seed, data: bytearray) -> None:
    place = rng.choice(seed.places) & ~7
    value = rng.choice((2, 1 << 31, 1 << 40, (1 << 63) - 1, 1 << 63, (1 << 64) - 1, len(data)))
    if place + 8 <= len(data):
        struct.pack_into("<Q", data, place, value)


def _redirect(rng: random.Random, seed: Seed, data: bytearray) -> None:
    """An offset to some other object: sharing, overlaps, tables of the wrong type."""
    place = rng.choice(seed.places) & ~3
    target = rng.choice(seed.starts) + rng.choice((0, 0, 0, 4, -4))
    if place + 4 <= len(data) and target > place:
        struct.pack_into("<I", data, place, target - place)


def _copy(rng: random.Random, seed: Seed, data: bytearray) -> None:
    source, place, length = rng.choice(seed.places), rng.choice(seed.places), rng.randrange(1, 64)
    if max(source, place) + length <= len(data):
        data[place : place + length] = data[source : source + length]


def _cut(rng: random.Random, seed: Seed, data: bytearray) -> None:
    del data[rng.choice(seed.places) + rng.randrange(64) :]


def _grow(rng: random.Random, seed: Seed, data: bytearray) -> None:
    data += rng.randbytes(rng.choice((1, 4, 64, len(seed.places) % 1000)))


_CHANGES: tuple[Callable[[random.Random, Seed, bytearray], None], ...] = (
    *(_flip, _byte, _half, _word, _long, _redirect, _copy) * 3,
    _cut,
    _grow,
)


def try_model(data: bytes) -> str:
    """Read, import, emit and read again; `accepted`, or the class of the error with exit code 2.

    The same with the file written anew from its graph.

    Raises:
        Exception: whatever else happened: a finding.
    """
    try:
        source = read(data)
        for subgraph in range(len(source.model.subgraphs)):
            import_graph(source, subgraph)
    except LowtideError as error:
        if error.exit_code != 2 or not str(error).isprintable():
            raise
        return type(error).__name__
    imported = import_graph(source)
    try:
        read(rebuild(source, imported, imported.graph))
    except LowtideError as error:
        if error.exit_code != 2:
            raise
    order = _other_order(source.model.subgraphs[0].predecessors())
    try:
        again = read(emit(source, order, metadata={PLAN: b"plan"}))
    except LowtideError as error:
        if error.exit_code != 2:
            raise
        return "accepted, not emitted"
    if bytes(again.metadata(PLAN) or b"") != b"plan":
        raise AssertionError("the metadata was not stored")
    return "accepted"


def _other_order(before: Sequence[Sequence[int]]) -> list[int]:
    """The order that takes the last operator that can run."""
    missing = [len(needed) for needed in before]
    after: list[list[int]] = [[] for _ in before]
    for operator, needed in enumerate(before):
        for other in needed:
            after[other].append(operator)
    ready = [-operator for operator, count in enumerate(missing) if not count]
    heapq.heapify(ready)
    order: list[int] = []
    while ready:
        operator = -heapq.heappop(ready)
        order.append(operator)
        for other in after[operator]:
            missing[other] -= 1
            if not missing[other]:
                heapq.heappush(ready, -other)
    return order


# -------------------------------------------------------------------- the run


@dataclass
class _Report:
    cases: int = 0
    outcomes: Counter[str] = field(default_factory=Counter[str])
    findings: list[str] = field(default_factory=list[str])
    slowest_s: float = 0.0
    slowest_case: int = -1
    peak_bytes: int = 0


def _case(models: Sequence[Seed], seed: int, number: int) -> bytes:
    rng = random.Random(f"{seed}:{number}")
    small = [m for m in models if len(m.data) < 100_000] or models
    return mutate(rng, rng.choice(small if rng.random() < 0.8 else models))


def _serve(folder: Path | None, seed: int, first: int, cpu_seconds: float, state: Path) -> None:
    """The child: cases from `first` on until the CPU time is used up; one JSON line a case."""
    models = seeds(folder)
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + _MEMORY_BYTES, mapped + _MEMORY_BYTES))
    start = time.process_time()
    with state.open("a", buffering=1) as log:
        for number in count(first):
            began = time.process_time()
            if began - start > cpu_seconds:
                break
            log.write(f'{{"case": {number}}}\n')
            signal.setitimer(signal.ITIMER_PROF, _CASE_SECONDS)
            try:
                outcome = try_model(_case(models, seed, number))
            except Exception:
                outcome = "finding: " + traceback.format_exc(limit=-4)
            signal.setitimer(signal.ITIMER_PROF, 0)
            seconds = time.process_time() - began
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
            log.write(json.dumps({"outcome": outcome, "seconds": seconds, "peak": peak}) + "\n")
        log.write('{"done": true}\n')


def _collect(state: Path, report: _Report) -> tuple[int, bool, float]:
    """Add a child's cases; the last case's number, whether the child finished, its CPU seconds."""
    number, done, spent = -1, False, 0.0
    for line in state.read_text().splitlines():
        entry = cast("dict[str, object]", json.loads(line))
        if "case" in entry:
            number = int(cast("int", entry["case"]))
        elif "done" in entry:
            done = True
        else:
            seconds, outcome = float(cast("float", entry["seconds"])), str(entry["outcome"])
            spent += seconds
            report.cases += 1
            report.peak_bytes = max(report.peak_bytes, int(cast("int", entry["peak"])))
            report.outcomes[outcome.partition(":")[0]] += 1
            if seconds > report.slowest_s:
                report.slowest_s, report.slowest_case = seconds, number
            if outcome.startswith("finding"):
                report.findings.append(f"case {number}: {outcome}")
    return number, done, spent


def main() -> None:
    """Run until the CPU time is used up; exit code 1 when there are findings."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=10, help="CPU minutes of the cases")
    parser.add_argument("--models", type=Path, help="a folder with .tflite files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--case", type=int, help="repeat this case here, without limits")
    parser.add_argument("--serve", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve is not None:
        first, cpu_seconds, state = options.serve
        _serve(options.models, options.seed, int(first), float(cpu_seconds), Path(state))
        return
    if options.case is not None:
        print(try_model(_case(seeds(options.models), options.seed, options.case)))
        return
    report, first, left = _Report(), 0, options.minutes * 60.0
    command = [sys.executable, "-m", "lowtide.bench.fuzz_tflite", "--seed", str(options.seed)]
    if options.models is not None:
        command += ["--models", str(options.models)]
    with tempfile.TemporaryDirectory() as folder:
        while left > 0:
            state = Path(folder, f"{first}.jsonl")
            state.touch()
            serve = ["--serve", str(first), str(left), str(state)]
            child = subprocess.run([*command, *serve], check=False)
            last, done, spent = _collect(state, report)
            left = 0 if done else left - max(spent, 1)
            if not done:
                report.findings.append(f"case {last}: the child ended with {child.returncode}")
            first = last + 1
    print(f"{report.cases} cases: {dict(report.outcomes.most_common())}")
    print(f"slowest: case {report.slowest_case} with {report.slowest_s:.2f} CPU seconds")
    print(f"memory of the child, imports included: at most {report.peak_bytes >> 20} MiB")
    print(f"findings: {len(report.findings)}", *report.findings[:20], sep="\n")
    sys.exit(1 if report.findings else 0)


if __name__ == "__main__":
    main()
