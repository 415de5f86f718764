"""The command `devices`: the profiles that come with Lowtide, or one of them, or a file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from lowtide.units import format_bytes

if TYPE_CHECKING:
    from lowtide.devices import Device

__all__ = ["devices"]


def devices(
    device: Annotated[
        str | None,
        typer.Argument(help="A name, or a YAML file to check; default: all.", metavar="[DEVICE]"),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the boards that a plan can be made for, or show one."""
    from lowtide.devices import available, load_device

    names = available() if device is None else (device,)
    found = [load_device(name) for name in names]
    if as_json:
        content = {"schema": "lowtide.devices/1", "devices": [d.to_json() for d in found]}
        print(json.dumps(content))
    elif device is None:
        _table(found)
    else:
        _details(found[0])


def _table(found: list[Device]) -> None:
    rows = [("name", "SRAM", "flash", "memories", "kernels")]
    rows += [
        (
            device.name,
            _size(device.sram_bytes),
            _size(device.flash_bytes),
            ", ".join(f"{m.name} {_size(m.size_bytes)}" for m in device.memories),
            device.kernels,
        )
        for device in found
    ]
    widths = [max(len(row[k]) for row in rows) for k in range(len(rows[0]))]
    for row in rows:
        print("  ".join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip())


def _details(device: Device) -> None:
    print(f"{device.name}: {device.title}\nchip: {device.chip}")
    print(f"flash: {_size(device.flash_bytes)}")
    for memory in device.memories:
        reserved = f", {_size(memory.reserved_bytes)} reserved" if memory.reserved_bytes else ""
        print(f"memory: {memory.name} ({memory.kind}) {_size(memory.size_bytes)}{reserved}")
    print(f"pointers: {device.pointer_bytes} bytes\nkernels: {device.kernels}")
    if device.note:
        print(f"note: {device.note}")
    for source in device.sources:
        print(f"source: {source}")


def _size(count: int) -> str:
    """Whole KiB and MiB, which memories are made of; else as everywhere."""
    for factor, unit in ((1 << 20, "MiB"), (1 << 10, "KiB")):
        if count and count % factor == 0:
            return f"{count // factor:,} {unit}"
    return format_bytes(count)
