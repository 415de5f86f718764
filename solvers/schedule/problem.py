"""The scheduling problem: order the nodes of a DAG so that the highest live-byte count is least.

A state is an ideal S (a set of nodes closed under predecessors).

    mem(S)   = bytes of the buffers that are made in S (or handed over, where inputs count) and
               still have a consumer outside S, or are outputs that live to the end
    run v    : mem(S) + out(v) + workspace(v) - overwritten(S, v)      the transient of v at S
    peak     = the highest transient of the order (and of the start, where inputs count)

`overwritten(S, v)` is what v writes in place: for each in-place candidate (v, output o, input i),
in the order of the list, o takes the buffer i when all consumers of i but v are in S, neither o nor
i was matched before, i is not an output kept to the end, i counts at all, and both have the same
size.  (Writing over a graph input that does not count saves no byte that was counted.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from lowtide.errors import InstanceError

__all__ = ["MAX_BYTES", "MAX_NODES", "Buffer", "InPlace", "ScheduleProblem"]

# No sum of sizes may exceed this, so that 64-bit arithmetic in the native core cannot overflow.
MAX_BYTES = 1 << 60
# What 32-bit indices and ordinary memory hold with ease.
MAX_NODES = 1 << 24


class Buffer(NamedTuple):
    """Bytes made by one node and read by others.

    Attributes:
        size: in bytes.
        producer: the node that makes it; -1 for what is handed over at the start (graph inputs).
        consumers: the distinct nodes that read it, ascending.
        output: handed to the caller at the end.
    """

    size: int
    producer: int
    consumers: tuple[int, ...]
    output: bool = False


class InPlace(NamedTuple):
    """Node `node` may write buffer `output`, which it makes, over `input`, which it reads."""

    node: int
    output: int
    input: int


@dataclass(frozen=True)
class ScheduleProblem:
    """A scheduling problem on plain integers.

    Attributes:
        num_nodes: nodes are 0 .. num_nodes - 1; the order 0, 1, 2, ... need not be valid.
        buffers: producers precede consumers.
        workspace: scratch bytes per node, live while it runs; empty for none.
        precedence: further (before, after) pairs: control edges, views, pinned ops.
        in_place: candidates in the runtime's order of preference.
        inputs_in_arena: buffers with producer -1 count, from the start until their last consumer.
        outputs_live_to_end: outputs stay to the end; else they go after their last consumer.

    Raises:
        InstanceError: an index out of range, a negative size, sizes that sum above 2^60, more
            than 2^24 nodes, a cycle.
    """

    num_nodes: int
    buffers: tuple[Buffer, ...]
    workspace: tuple[int, ...] = ()
    precedence: tuple[tuple[int, int], ...] = ()
    in_place: tuple[InPlace, ...] = ()
    inputs_in_arena: bool = False
    outputs_live_to_end: bool = True

    def __post_init__(self) -> None:
        n = self.num_nodes
        if n < 0:
            raise InstanceError(f"the number of nodes is negative: {n}")
        if n > MAX_NODES:
            raise InstanceError(f"{n} nodes are more than 2^24")
        total = 0
        for index, buffer in enumerate(self.buffers):
            if buffer.size < 0:
                raise InstanceError(f"buffer {index} has the negative size {buffer.size}")
            total += buffer.size
            if not -1 <= buffer.producer < n:
                raise InstanceError(f"buffer {index}: producer {buffer.producer} is not a node")
            for before, after in zip((-1, *buffer.consumers), buffer.consumers, strict=False):
                if not before < after < n:
                    raise InstanceError(
                        f"buffer {index}: consumers {list(buffer.consumers)[:8]} are not distinct, "
                        f"ascending nodes below {n}"
                    )
        if self.workspace and len(self.workspace) != n:
            raise InstanceError(f"workspace has {len(self.workspace)} entries for {n} nodes")
        if any(w < 0 for w in self.workspace):
            raise InstanceError(f"a workspace is negative: {min(self.workspace)}")
        total += sum(self.workspace)
        if total > MAX_BYTES:
            raise InstanceError(f"the sizes sum to {total} bytes, over 2^60")
        for pair in self.precedence:
            if not (0 <= pair[0] < n and 0 <= pair[1] < n):
                raise InstanceError(f"precedence {pair} names a node that is not there")
        self._check_in_place()
        if len(self.topological_order) != n:
            stuck = set(range(n)).difference(self.topological_order)
            raise InstanceError(f"the nodes depend on each other in a cycle, near {min(stuck)}")

    def _check_in_place(self) -> None:
        for candidate in self.in_place:
            node, output, source = candidate
            if not (0 <= output < len(self.buffers) and 0 <= source < len(self.buffers)):
                raise InstanceError(f"{candidate} names a buffer that is not there")
            if self.buffers[output].producer != node:
                raise InstanceError(f"{candidate}: node {node} does not make buffer {output}")
            if node not in self.buffers[source].consumers:
                raise InstanceError(f"{candidate}: node {node} does not read buffer {source}")

    @cached_property
    def predecessors(self) -> tuple[tuple[int, ...], ...]:
        """Direct predecessors of every node, ascending and distinct."""
        sets: list[set[int]] = [set() for _ in range(self.num_nodes)]
        for buffer in self.buffers:
            if buffer.producer >= 0:
                for consumer in buffer.consumers:
                    sets[consumer].add(buffer.producer)
        for before, after in self.precedence:
            sets[after].add(before)
        return tuple(tuple(sorted(s)) for s in sets)

    @cached_property
    def successors(self) -> tuple[tuple[int, ...], ...]:
        """Direct successors of every node, ascending and distinct."""
        lists: list[list[int]] = [[] for _ in range(self.num_nodes)]
        for node, before in enumerate(self.predecessors):
            for predecessor in before:
                lists[predecessor].append(node)
        return tuple(map(tuple, lists))

    @cached_property
    def topological_order(self) -> tuple[int, ...]:
        """Kahn's order, lowest index first; shorter than `num_nodes` if there is a cycle."""
        import heapq

        missing = [len(p) for p in self.predecessors]
        ready = [v for v in range(self.num_nodes) if missing[v] == 0]
        order: list[int] = []
        while ready:
            node = heapq.heappop(ready)
            order.append(node)
            for successor in self.successors[node]:
                missing[successor] -= 1
                if missing[successor] == 0:
                    heapq.heappush(ready, successor)
        return tuple(order)
