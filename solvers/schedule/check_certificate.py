"""The independent checker of certificates: does the evidence show that no order is below the bound?

It shares no code with any solver, and has its own view of the problem: buffers, dependencies,
candidates for overwriting.  A certificate is hostile input here: whatever it holds, the answer is a
proof that holds, or a `CertificateError`, within a limit on the work.

Below, T is an ideal (a set of nodes closed under predecessors), mem(T) the bytes alive between
steps when T has run, and  t(v, T) = mem(T) + work(v) - saving(v, T)  the transient of v at T, where
saving(v, T) is what v writes over its operands: the candidates of v in the order of the list, each
taken when its operand has no consumer left but v and neither of its buffers is taken.  In every
order every v runs at some T with ancestors(v) in T and neither v nor a descendant of v in T.

`start`.  mem of the empty ideal, with all inputs that are read or stay, is part of every peak.

`node`.  mem(T) is at least the bytes of the buffers that are made by ancestors of v and stay, or
are read by v or a descendant of v.  saving(v, T) is at most its value where every node but v and
its descendants has run: one more operand that may be overwritten changes a greedy matching along an
alternating path that begins with a new pair, so the matching never becomes smaller.  If v is
comparable with every node, T is ancestors(v) in every order, and both are exact.

`cut`.  First without candidates.  Flow runs in units of bytes along  producer -> reader  through a
buffer, at most its size in all, and along  u -> p  for a predecessor p of u, without limit; it is
conserved at every node but the ancestors of v (sources, and what is handed over at the start) and
v and its descendants (sinks, and the end, for buffers that stay).  For T as above, no arc u -> p
leaves T, so whatever the sinks receive crosses out of T through buffers made in T with a reader
outside T (or that stay), whose sizes are part of mem(T).  So mem(T) >= the flow's value.
With candidates, let M be a set of operands that v may overwrite, and forbid v to receive through
them.  An operand in M is alive before v; it crosses out of T elsewhere unless all its consumers but
v are in T, so that  mem(T) - (bytes of the operands in M that may be overwritten at T) >= value.
saving(v, T) is at most the sum over those operands of some M with at most as many operands of every
size as there are results of it.  So a flow for every such M (or for a set that contains it) with
value + work(v) >= bound is a proof.  A certificate that gives an ideal besides must give one where
the transient is the least of these values, which shows that it is the greatest bound for v.

`search` and `replay`: see `check_search.py`.

`split`.  For u and v that are not comparable, every order has u before v or v before u.  So two
proofs, for the problem with either dependency added, are a proof.  (Costs do not change.)
"""

from __future__ import annotations

from itertools import combinations, product
from math import comb
from typing import TYPE_CHECKING

from lowtide.errors import CertificateError
from lowtide.solvers.schedule.certificate import (
    CutProof,
    NodeProof,
    ReplayProof,
    SearchProof,
    SplitProof,
    StartProof,
    problem_sha256,
)
from lowtide.solvers.schedule.check_search import Meter, Piece, check_replay, check_search

if TYPE_CHECKING:
    from collections.abc import Iterable

    from lowtide.solvers.schedule.certificate import Certificate, Flow, Proof
    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = ["check_certificate"]

_MOST_SETS = 64  # choices of operands that are told apart


def check_certificate(
    problem: ScheduleProblem, certificate: Certificate, *, work_limit: int = 1_000_000_000
) -> int:
    """The bound that the certificate proves for every order of `problem`, in bytes.

    Args:
        problem: what the certificate is said to be about.
        certificate: to be checked.
        work_limit: about so many looks at a number; 10^7 take about a second.

    Raises:
        CertificateError: it belongs to another problem, it is no proof, or checking takes longer.
    """
    if certificate.inputs_in_arena is not problem.inputs_in_arena or (
        certificate.outputs_live_to_end is not problem.outputs_live_to_end
    ):
        raise CertificateError(
            f"the certificate counts differently: inputs_in_arena "
            f"{certificate.inputs_in_arena}, outputs_live_to_end {certificate.outputs_live_to_end}"
        )
    if certificate.num_nodes != problem.num_nodes or certificate.sha256 != problem_sha256(problem):
        raise CertificateError(
            f"the certificate is about another problem: {certificate.sha256[:12]}... with "
            f"{certificate.num_nodes} nodes, not {problem_sha256(problem)[:12]}... with "
            f"{problem.num_nodes}"
        )
    if certificate.bound_bytes < 0:
        raise CertificateError(f"the bound is negative: {certificate.bound_bytes}")
    if not certificate.proofs:
        raise CertificateError("the certificate has no proof")
    view = _View(problem, Meter(work_limit))
    _check_all(view, certificate.proofs, certificate.bound_bytes)
    return certificate.bound_bytes


def _check_all(view: _View, proofs: tuple[Proof, ...], bound: int) -> None:
    """Proof 0 and what it refers to, each at most once, under the dependencies of its splits."""
    used = [False] * len(proofs)
    # What is left to do, last first: a proof, or a dependency to remove again.
    tasks: list[tuple[int, int, int] | tuple[int, int]] = [(0, -1, -1)]
    while tasks:
        task = tasks.pop()
        if len(task) == 2:
            view.remove(*task)
            continue
        index, before, after = task
        if used[index]:
            raise CertificateError(f"proof {index} is used twice")
        used[index] = True
        if before >= 0:
            view.add(before, after)
            tasks.append((before, after))
        proof = proofs[index]
        where = f"proof {index}"
        if isinstance(proof, SplitProof):
            u, v = view.node(proof.u, where), view.node(proof.v, where)
            if u == v or v in view.below(u) or u in view.below(v):
                raise CertificateError(f"{where}: nodes {u} and {v} are comparable")
            for child in (proof.first, proof.second):
                if not index < child < len(proofs):
                    raise CertificateError(f"{where}: {child} is not a later proof")
            tasks.append((proof.second, v, u))
            tasks.append((proof.first, u, v))
        else:
            _check_one(view, proof, bound, where)
    if not all(used):
        raise CertificateError(f"proof {used.index(False)} is not used")


def _check_one(view: _View, proof: Proof, bound: int, where: str) -> None:
    match proof:
        case StartProof():
            value = view.start()
        case NodeProof(node):
            value = _own_need(view, view.node(node, where))
        case CutProof():
            value = _check_cut(view, proof, where)
        case SearchProof():
            check_search(view.piece(proof.after, proof.before, where), proof, bound, where)
            return
        case ReplayProof():
            check_replay(view.piece(proof.after, proof.before, where), proof, bound, where)
            return
        case _:
            raise CertificateError(f"{where} is of an unknown kind")
    if value < bound:
        raise CertificateError(f"{where} proves {value} bytes, not {bound}")


class _View:
    """The problem as the checker sees it: nothing but its buffers, and dependencies from splits."""

    def __init__(self, problem: ScheduleProblem, meter: Meter) -> None:
        n = problem.num_nodes
        self.meter = meter
        self.count = n
        self.before: list[set[int]] = [set() for _ in range(n)]  # direct
        self.after: list[set[int]] = [set() for _ in range(n)]
        self.size = [b.size for b in problem.buffers]
        self.producer = [b.producer for b in problem.buffers]
        self.readers = [set(b.consumers) for b in problem.buffers]
        self.stays = [b.output and problem.outputs_live_to_end for b in problem.buffers]
        self.counts = [b.producer >= 0 or problem.inputs_in_arena for b in problem.buffers]
        self.work = list(problem.workspace) if problem.workspace else [0] * n
        for b, maker in enumerate(self.producer):
            if maker >= 0:
                self.work[maker] += self.size[b]
                for reader in self.readers[b]:
                    self.before[reader].add(maker)
                    self.after[maker].add(reader)
        for first, second in problem.precedence:
            self.before[second].add(first)
            self.after[first].add(second)
        # What a node may write where: (result, operand), in the order of preference.
        self.candidates: dict[int, list[tuple[int, int]]] = {}
        for node, result, operand in problem.in_place:
            if (
                self.counts[operand]
                and not self.stays[operand]
                and self.size[result] == self.size[operand] > 0
            ):
                self.candidates.setdefault(node, []).append((result, operand))
        self._looks = n + sum(1 + len(r) for r in self.readers) + len(problem.precedence)

    def spend(self) -> None:
        """Pay for one look at the whole problem."""
        self.meter.spend(1 + self._looks)

    def node(self, value: int, where: str) -> int:
        if not 0 <= value < self.count:
            raise CertificateError(f"{where}: {value} is not a node; there are {self.count}")
        return value

    def add(self, first: int, second: int) -> None:
        self.before[second].add(first)
        self.after[first].add(second)

    def remove(self, first: int, second: int) -> None:
        self.before[second].remove(first)
        self.after[first].remove(second)

    def above(self, node: int) -> set[int]:
        """The ancestors of `node`."""
        return self._closure(self.before, node)

    def below(self, node: int) -> set[int]:
        """The descendants of `node`."""
        return self._closure(self.after, node)

    def _closure(self, neighbours: list[set[int]], node: int) -> set[int]:
        self.spend()
        found: set[int] = set()
        stack = [node]
        while stack:
            for v in neighbours[stack.pop()]:
                if v not in found:
                    found.add(v)
                    stack.append(v)
        return found

    def start(self) -> int:
        return sum(
            size
            for b, size in enumerate(self.size)
            if self.counts[b] and self.producer[b] < 0 and (self.readers[b] or self.stays[b])
        )

    def memory(self, ran: set[int]) -> int:
        """mem(ran)."""
        self.spend()
        return sum(
            size
            for b, size in enumerate(self.size)
            if self.counts[b]
            and (self.producer[b] < 0 or self.producer[b] in ran)
            and (self.stays[b] or not self.readers[b] <= ran)
        )

    def saving(self, node: int, open_nodes: set[int]) -> int:
        """What `node` may overwrite while `open_nodes`, of which it is one, have not run."""
        taken: set[int] = set()
        saved = 0
        for result, operand in self.candidates.get(node, ()):
            self.meter.spend(1 + len(self.readers[operand]))
            if (
                result not in taken
                and operand not in taken
                and self.readers[operand] & open_nodes == {node}
            ):
                taken |= {result, operand}
                saved += self.size[result]
        return saved

    def piece(self, first: int, last: int, where: str) -> Piece:
        """The nodes between the cut nodes `first` and `last`, -1 for none, as a problem."""
        inside = set(range(self.count))
        past: set[int] = set()
        for cut, is_first in ((first, True), (last, False)):
            if cut == -1:
                continue
            above, below = self.above(self.node(cut, where)), self.below(cut)
            if len(above) + len(below) != self.count - 1:
                raise CertificateError(f"{where}: node {cut} is not comparable with every node")
            inside &= below if is_first else above
            if is_first:
                past = above | {cut}
        self.spend()
        return Piece(
            meter=self.meter,
            inside=sorted(inside),
            past=past,
            before=self.before,
            buffers=[
                (self.size[b], self.producer[b], self.readers[b], self.stays[b])
                for b in range(len(self.size))
                if self.counts[b]
            ],
            work=self.work,
            candidates={
                v: [(r, o, self.size[r], self.readers[o]) for r, o in pairs]
                for v, pairs in self.candidates.items()
                if v in inside
            },
        )


def _own_need(view: _View, node: int) -> int:
    """What is alive in any case while `node` runs."""
    above, late = view.above(node), view.below(node) | {node}
    view.spend()
    alive = sum(
        size
        for b, size in enumerate(view.size)
        if view.counts[b]
        and (view.producer[b] < 0 or view.producer[b] in above)
        and (view.stays[b] or not view.readers[b].isdisjoint(late))
    )
    return alive + view.work[node] - view.saving(node, late)


def _check_cut(view: _View, proof: CutProof, where: str) -> int:
    """The bound that the flows prove."""
    node = view.node(proof.node, where)
    above, late = view.above(node), view.below(node) | {node}
    flows = [(frozenset(f.spared), _value(view, node, above, late, f, where)) for f in proof.flows]
    values: list[int] = []
    for chosen in _choices(view, node, late):
        view.meter.spend(len(flows) * (1 + len(chosen)))
        enough = [value for spared, value in flows if chosen <= spared]
        if not enough:
            raise CertificateError(f"{where}: no flow spares the operands {sorted(chosen)}")
        values.append(max(enough))
    bound = min(values) + view.work[node]
    if proof.ideal is not None:
        ran = above | {view.node(v, where) for v in proof.ideal}
        if not ran.isdisjoint(late) or any(not view.before[v] <= ran for v in proof.ideal):
            raise CertificateError(f"{where}: the ideal is none at which node {node} may run")
        if len(ran) != len(above) + len(proof.ideal):
            raise CertificateError(f"{where}: the ideal names nodes twice")
        view.spend()
        open_nodes = set(range(view.count)) - ran
        reached = view.memory(ran) + view.work[node] - view.saving(node, open_nodes)
        if reached != bound:
            raise CertificateError(
                f"{where}: the flows prove {bound} bytes, and the ideal reaches {reached}"
            )
    return bound


def _choices(view: _View, node: int, late: set[int]) -> Iterable[frozenset[int]]:
    """The sets M of operands, by size as many as there are results; all at once if many."""
    results: dict[int, set[int]] = {}
    operands: dict[int, set[int]] = {}
    for result, operand in view.candidates.get(node, ()):
        if view.readers[operand] & late == {node}:
            results.setdefault(view.size[result], set()).add(result)
            operands.setdefault(view.size[result], set()).add(operand)
    number = 1
    for size, group in operands.items():
        take = min(len(group), len(results[size]))
        # n over k is at least n, unless k is n.
        number *= _MOST_SETS + 1 if take < len(group) > _MOST_SETS else comb(len(group), take)
        if number > _MOST_SETS:
            return [frozenset().union(*operands.values())]
    return [
        frozenset().union(*parts)
        for parts in product(
            *(
                [frozenset(c) for c in combinations(sorted(g), min(len(g), len(results[size])))]
                for size, g in operands.items()
            )
        )
    ]


def _value(view: _View, node: int, above: set[int], late: set[int], flow: Flow, where: str) -> int:
    """What reaches the sinks, if the flow is one. O(flow + problem)."""
    view.spend()
    view.meter.spend(len(flow.through) + len(flow.against) + len(flow.spared))
    used: dict[int, int] = {}  # of every buffer
    surplus: dict[int, int] = {}  # received less sent, of every node
    received = 0
    spared = set(flow.spared)
    for b, reader, amount in flow.through:
        if not 0 <= b < len(view.size) or not view.counts[b]:
            raise CertificateError(f"{where}: {b} is not a buffer that counts")
        if amount < 0:
            raise CertificateError(f"{where}: the flow through buffer {b} is negative")
        if reader == -1:
            if not view.stays[b]:
                raise CertificateError(f"{where}: buffer {b} does not stay to the end")
        elif reader not in view.readers[b]:
            raise CertificateError(f"{where}: node {reader} does not read buffer {b}")
        elif reader == node and b in spared:
            raise CertificateError(f"{where}: the flow uses buffer {b}, which node {node} spares")
        used[b] = used.get(b, 0) + amount
        if view.producer[b] >= 0:
            surplus[view.producer[b]] = surplus.get(view.producer[b], 0) - amount
        if reader == -1:
            received += amount
        else:
            surplus[reader] = surplus.get(reader, 0) + amount
    for b, total in used.items():
        if total > view.size[b]:
            raise CertificateError(
                f"{where}: {total} bytes flow through buffer {b} of {view.size[b]}"
            )
    for tail, head, amount in flow.against:
        if head not in view.before[view.node(tail, where)]:
            raise CertificateError(f"{where}: node {head} is no predecessor of node {tail}")
        if amount < 0:
            raise CertificateError(f"{where}: the flow from node {tail} to {head} is negative")
        surplus[tail] = surplus.get(tail, 0) - amount
        surplus[head] = surplus.get(head, 0) + amount
    for v, extra in surplus.items():
        if v in late:
            received += extra
        elif v not in above and extra != 0:
            raise CertificateError(f"{where}: {extra} bytes of flow are lost or made at node {v}")
    return received
