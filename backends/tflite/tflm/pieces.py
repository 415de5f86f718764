"""The graph in which copies that `elide` found take no memory: what the scheduler gets.

A root in which other tensors lie becomes its pieces, each a tensor of its own, made by the operator
that writes its bytes and read by all that read them; so its bytes count from when they are written
to when they are last read, piece by piece. The tensors themselves stay as tokens of no bytes, which
carry the order: who reads a slice runs after the operator SLICE, though that makes nothing.

    X ─▶ SLICE ─▶ s ─▶ CONV         X, s: 0 bytes
    X[0:640], X[640:4096]           read by SLICE and CONV: those of them that are in s

Every order of this graph is one of the original, and its peak is that of the bytes alive, which no
layout can be below.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lowtide.ir import Graph, InPlace, Role, verify

if TYPE_CHECKING:
    from lowtide.backends.tflite.tflm.elide import Elision, Piece
    from lowtide.frontends.tflite import TfliteImport
    from lowtide.ir import Op, Tensor

__all__ = ["elided_graph", "keeps_in_place"]


def elided_graph(imported: TfliteImport, elision: Elision) -> Graph:
    """A copy of the graph, annotated as it is, in pieces; the graph itself where there are none.

    Ops keep their names, sources and the numbers of their operands; in-place candidates among
    tensors that lie in others are dropped, but for parts that are results.
    """
    return _Pieces(imported, elision).run() if elision else imported.graph


def keeps_in_place(source: Graph, pieces: Graph) -> bool:
    """Whether no in-place result that could lower a peak was dropped.

    One that was dropped lowers nothing where the op can always write over another operand instead,
    which has no other reader. Where that is not so, a bound on the graph in pieces holds for orders
    without the dropped results only.
    """
    for op in source.ops:
        if all(result.nbytes == 0 for result in pieces.op(op.name).outputs):
            continue
        kept = pieces.op(op.name).in_place
        always = any(
            (operand := op.inputs[candidate.input]) is not None
            and operand.consumers == (op,)
            and operand not in source.outputs
            for candidate in kept
        )
        if len(kept) < len(op.in_place) and not always:
            return False
    return True


class _Pieces:
    def __init__(self, imported: TfliteImport, elision: Elision) -> None:
        self.imported = imported
        self.elision = elision
        self.graph = Graph(imported.graph.name)
        self.index = {t: i for i, t in enumerate(imported.tensors) if t is not None}
        self.made: dict[Tensor, Tensor] = {}
        self.piece: dict[tuple[int, Piece], Tensor] = {}

    def run(self) -> Graph:
        source = self.imported.graph
        for tensor in source.tensors:
            if tensor.producer is None:
                self._define(tensor)
        for op in source.ops:
            self._add(op)
        for tensor in source.outputs:
            self.graph.add_output(self.made[tensor])
            for extra in self._pieces(tensor):
                if extra is not self.made[tensor]:
                    self.graph.add_output(extra)
        verify(self.graph)
        return self.graph

    def _define(self, tensor: Tensor) -> list[Tensor]:
        """What stands for a tensor: itself, or a token and the pieces that are written with it."""
        index = self.index[tensor]
        root = self.elision.at(index).base
        own = self._own(tensor)
        role = Role.ACTIVATION if tensor.role is Role.OUTPUT else tensor.role
        involved = root in self.elision.pieces
        whole = len(own) == 1 and own[0].stop - own[0].start == tensor.nbytes
        held = tensor.nbytes if not involved or whole else 0
        made = self.graph.add_tensor(
            tensor.name, tensor.dtype, tensor.shape, role=role, nbytes=held
        )
        self.made[tensor] = made
        found = [made]
        if whole:
            self.piece[root, own[0]] = made
            return found
        for piece in own:
            name = f"{tensor.name}[{piece.start}:{piece.stop}]"
            while name in self.graph:
                name += "'"
            size = piece.stop - piece.start
            self.piece[root, piece] = self.graph.add_tensor(name, "uint8", (size,), role=role)
            found.append(self.piece[root, piece])
        return found

    def _own(self, tensor: Tensor) -> list[Piece]:
        """The pieces that are written as this tensor."""
        index = self.index[tensor]
        root = self.elision.at(index).base
        return [p for p in self.elision.pieces.get(root, ()) if p.origin == index]

    def _pieces(self, tensor: Tensor) -> list[Tensor]:
        index = self.index[tensor]
        root = self.elision.at(index).base
        return [self.piece[root, p] for p in self.elision.within(index, tensor.nbytes)]

    def _add(self, op: Op) -> None:
        result = op.outputs[0] if op.outputs else None
        view = result is not None and self.index[result] in self.elision.views
        inputs = [None if t is None else self.made[t] for t in op.inputs]
        read: dict[Tensor, None] = {}
        for operand in op.operands:
            if view and result is not None and operand is op.inputs[0]:
                read.update(dict.fromkeys(self._pieces(result)))
            else:
                read.update(dict.fromkeys(self._pieces(operand)))
        extra = [t for t in read if t not in inputs]
        outputs: list[Tensor] = []
        more: list[Tensor] = []
        for tensor in op.outputs:
            made = self._define(tensor)
            outputs.append(made[0])
            more += made[1:]
        self.graph.add_op(
            op.name,
            op.dialect,
            op.kind,
            [*inputs, *extra],
            [*outputs, *more],
            attributes=op.attributes,
            traits=op.traits,
            in_place=tuple(c for c in op.in_place if self._keeps(op, c)),
            flops=op.flops,
            cost=op.cost,
            workspace_bytes=op.workspace_bytes,
            workspace_known=op.workspace_known,
            source=op.source,
        )

    def _keeps(self, op: Op, candidate: InPlace) -> bool:
        operand, result = op.inputs[candidate.input], op.outputs[candidate.output]
        if operand is None or self.index[operand] in self.elision.involved:
            return False
        return self.index[result] not in self.elision.bases and len(self._own(result)) < 2
