"""What a profile says: memories, pointer width, and the kernels that the firmware is built with."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

__all__ = ["KERNEL_LIBRARIES", "MEMORY_KINDS", "Device", "KernelLibrary", "Memory", "MemoryKind"]

KernelLibrary = Literal["reference", "cmsis-nn", "esp-nn"]
MemoryKind = Literal["tcm", "sram", "psram", "sdram"]

KERNEL_LIBRARIES: tuple[KernelLibrary, ...] = get_args(KernelLibrary)
MEMORY_KINDS: tuple[MemoryKind, ...] = get_args(MemoryKind)


@dataclass(frozen=True, slots=True)
class Memory:
    """A memory that may hold tensors.

    Attributes:
        name: as the chip's manual names it.
        kind: `tcm` (coupled to the core), `sram` (on the chip), `psram` or `sdram` (outside it).
        size_bytes: all of it.
        reserved_bytes: what is not for tensors: stack, heap, caches, the firmware's own data.
    """

    name: str
    kind: MemoryKind
    size_bytes: int
    reserved_bytes: int = 0

    @property
    def available_bytes(self) -> int:
        """What is left for tensors."""
        return self.size_bytes - self.reserved_bytes

    @property
    def on_chip(self) -> bool:
        """Whether it counts as SRAM."""
        return self.kind in ("tcm", "sram")


@dataclass(frozen=True, slots=True)
class Device:
    """A board or chip.

    Attributes:
        name: what `--device` takes.
        title: for people.
        chip: the microcontroller.
        flash_bytes: for code, the model and its weights.
        memories: the one to fill first comes first.
        pointer_bytes: the width of a pointer, on which the runtime's own structures depend.
        kernels: the kernel library that the runtime is usually built with there.
        sources: where the figures are from.
        note: what else is to be known.
    """

    name: str
    title: str
    chip: str
    flash_bytes: int
    memories: tuple[Memory, ...]
    pointer_bytes: int
    kernels: KernelLibrary
    sources: tuple[str, ...]
    note: str = ""

    @property
    def sram_bytes(self) -> int:
        """All memory on the chip that a profile names, reserved bytes included."""
        return sum(memory.size_bytes for memory in self.memories if memory.on_chip)

    @property
    def available_bytes(self) -> int:
        """The most that one arena can have: arenas do not span memories."""
        return max(memory.available_bytes for memory in self.memories)

    def to_json(self) -> dict[str, object]:
        """JSON-able data, sizes in bytes."""
        return {
            "name": self.name,
            "title": self.title,
            "chip": self.chip,
            "flash_bytes": self.flash_bytes,
            "sram_bytes": self.sram_bytes,
            "memories": [
                {
                    "name": memory.name,
                    "kind": memory.kind,
                    "size_bytes": memory.size_bytes,
                    "reserved_bytes": memory.reserved_bytes,
                    "available_bytes": memory.available_bytes,
                }
                for memory in self.memories
            ],
            "pointer_bytes": self.pointer_bytes,
            "kernels": self.kernels,
            "sources": list(self.sources),
            "note": self.note,
        }
