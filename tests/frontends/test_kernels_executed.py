"""The kernel table against executions; each test starts one child process."""

from __future__ import annotations

import pytest

from lowtide.backends import meter
from lowtide.bench.model_peaks import light_models, peak_of, peaks_of
from lowtide.bench.probe_kernels import Row, rows
from lowtide.frontends.onnx.ort_kernels import KERNELS
from tests.frontends.random_networks import random_network

_NEEDS_CACHE_OF = "com.microsoft.MultiHeadAttention"


@pytest.fixture(scope="module")
def executed() -> list[Row]:
    """Every case, run once for all tests of this file; nothing to run where there is no meter."""
    if meter.library() is None:
        return []
    return rows(standard=False) + rows(standard=True)


def test_storage_and_workspace_agree_to_the_byte(executed: list[Row]) -> None:
    wrong = [row for row in executed if not row.failure and row.listed and not row.agrees]
    assert wrong == []


def test_the_cases_cover_the_table(executed: list[Row]) -> None:
    ran = {row.kind for row in executed if not row.failure and row.known}
    listed = {f"{domain or 'onnx'}.{kind}" for domain, kind in KERNELS}
    # Shape and Size run ahead of the probe's marks; the rest ORT refuses in ONNX's node tests.
    missing = listed - ran if executed else set[str]()
    assert missing <= {"onnx.Shape", "onnx.Size"}


def test_random_networks_peak_as_simulated() -> None:
    if meter.library() is None:
        return
    peaks = peaks_of([random_network(seed) for seed in range(60)])
    assert [p.tensors for p in peaks] == [p.predicted for p in peaks]
    assert all(p.tensors <= p.reusing for p in peaks)
    assert any(p.tensors < p.reusing for p in peaks)


@pytest.mark.parametrize("level", ["all", "extended"])
def test_squeezenet_within_one_percent(level: str) -> None:
    if meter.library() is None:
        return
    path = next(p for p in light_models() if "squeezenet" in p.stem)
    peak = peak_of(path, "all" if level == "all" else "extended")
    assert peak.tensors == peak.predicted
    assert peak.everything == pytest.approx(peak.predicted, rel=0.01)
