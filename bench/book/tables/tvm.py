"""TVM's checkpoints and freestanding C (`bench/tvm_training.py`, `bench/tvm_c.py`)."""

from __future__ import annotations

from lowtide.bench.book.grid import Table, grid
from lowtide.bench.book.results import load

__all__ = ["TABLES"]

_PROGRAMS = {
    "lenet": "LeNet",
    "mobilenet_v2": "MobileNetV2, 96 px",
    "unet": "U-Net",
    "squeezenet": "SqueezeNet",
}


def _checkpoints() -> str:
    """Of each network, the row at the least peak that TVM's checkpoints reach."""
    found = [r for r in load("tvm_training.json").records("rows") if "block" in r.text("plan")]
    rows: list[list[str]] = []
    for network in dict.fromkeys(row.text("network") for row in found):
        of = [row for row in found if row.text("network") == network]
        row = min(of, key=lambda row: row.whole("theirs"))
        sides = [
            f"{row.whole(peak):,}, {row.number(work):+.1f} %"
            for peak, work in (("theirs", "their_flops"), ("measured", "flops"))
        ]
        rows.append([network, *sides])
    return grid(["network", "TVM's checkpoints", "ours within those bytes"], "lrr", rows)


def _programs() -> str:
    found = load("tvm_c.json")
    rows: list[list[str]] = []
    for name, title in _PROGRAMS.items():
        row = found.one("rows", lambda row: row.whole("arena") == row.whole("bound"), network=name)
        rows.append([title, *(f"{row.whole(key):,}" for key in ("arena", "text", "weights"))])
    return grid(["network", "arena (= bound)", "text", "weights"], "lrrr", rows)


TABLES = {
    "tvm_checkpoints": Table(("tvm_training.json",), _checkpoints),
    "tvm_c": Table(("tvm_c.json",), _programs),
}
