"""The runner of edge models, on tiny ones; no time is asserted."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from lowtide.bench import edge
from lowtide.bench.edge import run
from lowtide.bench.edge_models import NETWORKS
from lowtide.bench.edge_table import Row, table
from tests.backends.c.tflite_bytes import tflite_bytes
from tests.bench.test_edge_models import small_uint8


@pytest.fixture(scope="module")
def chain() -> Row:
    """A chain in which every result can be written over its operand, but for the first and last."""
    data = tflite_bytes(("RELU", "RELU", "RELU", "RELU"), shape=(1, 64))
    return run("chain", "generated", data, runs=2)


@pytest.fixture(scope="module")
def refused() -> Row:
    return run("refused", "swiftnet", small_uint8(), runs=1)


def test_a_model_that_runs(chain: Row) -> None:
    assert (chain.ops, chain.note, chain.scratch) == (4, "", "planner")
    assert chain.file_peak == chain.xla_peak == chain.order.peak_bytes == 128
    assert chain.file_peak_outside == chain.outside.peak_bytes == 128
    assert chain.in_place.peak_bytes == chain.head == 128
    assert chain.order.status == chain.in_place.status == "optimal"
    assert len(chain.order.cpu_seconds) == 2
    assert chain.head_proven
    assert chain.arena is not None
    assert chain.arena.head_before == chain.greedy_file
    assert chain.arena.head_after == chain.head
    assert chain.arena.required_after >= chain.arena.head_after + chain.arena.tail_after
    assert chain.arena.fails_below
    assert chain.arena.executions >= 3
    assert chain.litert is True


def test_a_model_that_does_not_run(refused: Row) -> None:
    """uint8 convolutions: nothing is in place, nothing is called optimal, LiteRT compares."""
    assert refused.arena is None
    assert "TFLite Micro does not run" in refused.note
    assert not refused.head_proven
    assert refused.in_place.peak_bytes == refused.order.peak_bytes
    assert refused.litert is True


def test_the_table(chain: Row, refused: Row) -> None:
    text = table([chain, refused])
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("| chain | 4 | 128 | 128 | 128 | 1.000 |")]
    assert chain.arena is not None
    required = f"{chain.arena.required_before:,} | {chain.arena.required_after:,}"
    (row,) = [line for line in lines if line.startswith("| chain | 128 |")]
    assert row.endswith(f"| yes | {required} | identical |")
    assert [line for line in lines if line.startswith("| refused ") and "does not run" in line]
    assert "| all generated | 1 | 1.000 |" in text
    assert "TFLite Micro does not run these" not in table([chain])


def test_the_command(
    chain: Row,
    refused: Row,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Markdown and JSON; a model that cannot be read is named, and the exit code is 1."""

    def few(*_: object) -> Iterator[tuple[str, str, bytes]]:
        yield "good", "generated", tflite_bytes()
        yield "bad", "mediapipe", b"TFL3"

    def nothing() -> None:
        pass

    monkeypatch.setattr(edge, "cases", few)
    monkeypatch.setattr(edge, "one_core", nothing)
    output = tmp_path / "edge"
    assert edge.main(["--runs", "1", "--output", str(output)]) == 1
    out, err = capsys.readouterr()
    assert "- bad: the model" in out
    assert err.startswith("good ")
    content = json.loads(output.with_suffix(".json").read_text())
    assert [row["name"] for row in content["rows"]] == ["good"]
    assert content["manifest"]["settings"]["runs"] == 1
    assert content["manifest"]["versions"]["tflite-micro"]
    assert str(tmp_path) not in output.with_suffix(".json").read_text()


def test_the_cases(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def converted(network: object) -> bytes:
        return repr(network)[:8].encode()

    monkeypatch.setattr(edge, "convert", converted)
    names = [name for name, _, _ in edge.cases(None, None, ())]
    assert names == list(NETWORKS)
    swiftnet = tmp_path / "s.tflite"
    swiftnet.write_bytes(small_uint8())
    (tmp_path / "d" / "e").mkdir(parents=True)
    shutil.copy(swiftnet, tmp_path / "d" / "z.tflite")
    shutil.copy(swiftnet, tmp_path / "d" / "e" / "a.tflite")
    found = list(edge.cases(swiftnet, tmp_path / "d", ()))[len(NETWORKS) :]
    assert [(name, family) for name, family, _ in found] == [
        ("swiftnet_uint8", "swiftnet"),
        ("swiftnet_int8_twin", "swiftnet"),
        ("a", "mediapipe"),
        ("z", "mediapipe"),
    ]
    only = list(edge.cases(swiftnet, tmp_path / "d", ("a", "nasnet_32")))
    assert [name for name, _, _ in only] == ["nasnet_32", "a"]
