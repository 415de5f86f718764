"""How a runtime counts memory: stated with every number."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Accounting"]


@dataclass(frozen=True, slots=True)
class Accounting:
    """The rules under which bytes are counted.

    Attributes:
        inputs_in_arena: the graph's inputs take part in the peak, from the start to their last use.
        outputs_live_to_end: the graph's outputs stay until the end of the execution.
        alignment: every buffer's size is rounded up to a multiple of this many bytes.
        in_place: the runtime writes a result over a dying operand where an op's `in_place` says so.
    """

    inputs_in_arena: bool = False
    outputs_live_to_end: bool = True
    alignment: int = 1
    in_place: bool = True

    def to_dict(self) -> dict[str, int | bool]:
        """What reports and plans state of it."""
        return {
            "inputs_in_arena": self.inputs_in_arena,
            "outputs_live_to_end": self.outputs_live_to_end,
            "alignment": self.alignment,
        }

    def round_up(self, nbytes: int) -> int:
        """`nbytes` rounded up to the alignment."""
        return -(-nbytes // self.alignment) * self.alignment
