"""Generated training graphs of repeated blocks: the forward ops, then their gradients, mirrored.

Sizes are in KiB of activations, costs in units of about a million operations; weights and their
gradients are no activations and take no bytes.  The gradient of an op reads the gradients of what
reads the op's result, and what the op's kind saves: its operands (a matrix product, a
normalisation), its result (softmax), or nothing (a sum).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from lowtide.solvers.remat.problem import RematProblem
from lowtide.solvers.schedule.problem import Buffer

__all__ = ["resnet_training", "transformer_training"]


@dataclass
class _Tape:
    """Forward ops as they are added; `finish` appends the gradients."""

    reads: list[tuple[int, ...]] = field(default_factory=list[tuple[int, ...]])
    sizes: list[int] = field(default_factory=list[int])
    costs: list[int] = field(default_factory=list[int])
    saved: list[str] = field(default_factory=list[str])
    weights: list[bool] = field(default_factory=list[bool])

    def op(
        self,
        reads: tuple[int, ...],
        size: int,
        cost: int,
        saved: str = "",
        *,
        weights: bool = False,
    ) -> int:
        """Add an op that saves its `operands`, its `result` or nothing; its index."""
        self.reads.append(reads)
        self.sizes.append(size << 10)
        self.costs.append(cost)
        self.saved.append(saved)
        self.weights.append(weights)
        return len(self.sizes) - 1

    def finish(self) -> RematProblem:
        """The training graph, without a budget."""
        count = len(self.sizes)
        reads, sizes, costs = list(self.reads), list(self.sizes), list(self.costs)
        outputs = [False] * count
        arriving: list[list[int]] = [[] for _ in range(count)]  # gradients of a result
        for v in reversed(range(count)):
            kept = {"operands": self.reads[v], "result": (v,)}.get(self.saved[v], ())
            gradient: tuple[int, ...] = tuple(arriving[v])
            if self.weights[v]:
                reads.append((*kept, *gradient))
                sizes.append(0)
                costs.append(self.costs[v])
                outputs.append(True)
            for operand in self.reads[v]:
                reads.append((*kept, *gradient))
                sizes.append(self.sizes[operand])
                costs.append(self.costs[v])
                outputs.append(False)
                arriving[operand].append(len(reads) - 1)
        readers: list[set[int]] = [set() for _ in reads]
        for v, some in enumerate(reads):
            for u in some:
                readers[u].add(v)
        buffers = tuple(
            Buffer(size, v, tuple(sorted(r)), out or not r)
            for v, (size, r, out) in enumerate(zip(sizes, readers, outputs, strict=True))
        )
        return RematProblem(len(reads), buffers, tuple(costs), 0)


def transformer_training(layers: int) -> RematProblem:
    """Decoder layers of width 512, 512 tokens and 8 heads: about 50 ops a layer."""
    tape, width, scores = _Tape(), 512, 4096
    x = tape.op((), width, 10, weights=True)
    for _ in range(layers):
        norm = tape.op((x,), width, 2, "operands", weights=True)
        q, k, v = (tape.op((norm,), width, 134, "operands", weights=True) for _ in range(3))
        score = tape.op((q, k), scores, 134, "operands")
        soft = tape.op((score,), scores, 10, "result")
        mixed = tape.op((soft, v), width, 134, "operands")
        out = tape.op((mixed,), width, 134, "operands", weights=True)
        x = tape.op((x, out), width, 1)
        norm = tape.op((x,), width, 2, "operands", weights=True)
        up = tape.op((norm,), 4 * width, 536, "operands", weights=True)
        act = tape.op((up,), 4 * width, 8, "operands")
        down = tape.op((act,), width, 536, "operands", weights=True)
        x = tape.op((x, down), width, 1)
    tape.op((x,), 1, 20, "operands", weights=True)
    return tape.finish()


def resnet_training(blocks: int) -> RematProblem:
    """Bottleneck blocks in four stages of halving resolution: about 30 ops a block."""
    tape = _Tape()
    size = 4096
    x = tape.op((), size, 120, weights=True)
    for stage in range(4):
        for block in range(-(-blocks // 4)):
            skip = x
            if stage and not block:
                size //= 2
                skip = tape.op((x,), size, 200, "operands", weights=True)
            narrow = x
            for ratio, cost in ((4, 100), (4, 230), (1, 100)):
                conv = tape.op((narrow,), size // ratio, cost, "operands", weights=True)
                norm = tape.op((conv,), size // ratio, 4, "operands", weights=True)
                narrow = norm if ratio == 1 else tape.op((norm,), size // ratio, 2, "result")
            added = tape.op((skip, narrow), size, 3)
            x = tape.op((added,), size, 2, "result")
    tape.op((x,), 1, 20, "operands", weights=True)
    return tape.finish()
