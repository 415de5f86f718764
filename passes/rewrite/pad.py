"""Zeros that an op puts around data become the padding of the convolutions that read it.

    conv(pad(x, a, b), before, after)  =  conv(x, before + a, after + b)

A convolution's own padding counts as zeros (zero points), so that the sums are the same, term by
term; where weights are not finite they are not, since a zero times NaN is none. The padded copy of
the data is never made. It is done only where every reader of the copy is a convolution whose
padding the dialect can express: else the copy stays, and nothing is gained.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from lowtide.errors import PlanError
from lowtide.ir.semantics import Convolution, common_padding
from lowtide.ir.semantics import Pad as Meant
from lowtide.passes.rewrite.rule import Refusal, Rewrite, Settled

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from lowtide.ir import Graph, Op
    from lowtide.ir.semantics import Window
    from lowtide.passes.rewrite.dialect import Dialect

__all__ = ["Pad"]


@dataclass(frozen=True, slots=True)
class Pad(Settled):
    """The padding of an op as that of the convolutions behind it."""

    name: str = "pad"
    exact: bool = True

    def sites(self, graph: Graph, dialect: Dialect) -> Iterator[Rewrite | Refusal]:
        """Padding that a convolution reads."""
        for op in graph.ops:
            found = _pattern(op, dialect)
            if found is None:
                continue
            reason = _obstacle(graph, dialect, *found)
            yield Refusal(self.name, op.name, reason) if reason else Rewrite(self.name, op.name)

    def apply(self, graph: Graph, dialect: Dialect, rewrite: Rewrite) -> None:
        """Put convolutions that pad by themselves in the place of those that read padded data."""
        op = graph.op(rewrite.op)
        found = _pattern(op, dialect)
        if found is None or _obstacle(graph, dialect, *found):
            raise PlanError(f"{rewrite}: there is no padding that convolutions can do")
        pad, readers = found
        for index, conv in enumerate(readers):
            old = conv.op.outputs[0]
            new = dialect.again(
                graph,
                f"{op.name}/conv{index}",
                conv.op,
                [pad.data if t is conv.data else t for t in conv.op.inputs],
                old.shape,
                before=conv.op,
                windows=_padded(pad, conv),
            )
            graph.replace_uses(old, new)
            graph.remove(conv.op)
        graph.remove(op)


def _pattern(op: Op, dialect: Dialect) -> tuple[Meant, list[Convolution]] | None:
    """The padding, and the convolutions among its readers."""
    pad = dialect.meaning(op)
    if not isinstance(pad, Meant):
        return None
    meanings = [dialect.meaning(reader) for reader in op.outputs[0].consumers]
    found = [m for m in meanings if isinstance(m, Convolution)]
    return (pad, found) if found else None


def _obstacle(graph: Graph, dialect: Dialect, pad: Meant, readers: Sequence[Convolution]) -> str:
    """Why it cannot be done; empty if it can."""
    result = pad.op.outputs[0]
    if result in graph.outputs or len(readers) < len(result.consumers):
        return "the padded data is read by others too"
    for conv in readers:
        if conv.data is not result or sum(use.op is conv.op for use in result.uses) > 1:
            return f"`{conv.op.name}` reads the padded data as something else"
        if conv.addend is not None:
            return f"`{conv.op.name}` adds to an operand"
        if not pad.sizes.keys() <= conv.windows.keys():
            return f"it pads axes along which `{conv.op.name}` has no window"
        if not dialect.any_padding and not common_padding(_padded(pad, conv), pad.data.shape):
            return f"the format's convolutions cannot pad so, as `{conv.op.name}` would have to"
    return ""


def _padded(pad: Meant, conv: Convolution) -> dict[int, Window]:
    """The convolution's windows on the data without padding."""
    found: dict[int, Window] = {}
    for axis, window in conv.windows.items():
        before, after = pad.sizes.get(axis, (0, 0))
        found[axis] = replace(window, before=window.before + before, after=window.after + after)
    return found
