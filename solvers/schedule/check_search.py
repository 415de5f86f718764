"""The checker's part for searches: do these states show that no order stays below the bound?

Part of `check_certificate`, on the nodes between two cut nodes.  A cut node is comparable with
every node, so in every order the same nodes run before, between and after them; the nodes before
are the base of every state here.

Let the budget be bound - 1.  A state S is the set of the nodes that have run (forward) or that have
not been un-run yet (backward).  S is dead if no order of what is left stays within the budget.
Every state P of a certificate comes with groups X1, X2, ... of nodes that lead from it to a closed
state Q, and the checker verifies:

(a) every group X at its state S is a commit, see below, so S is dead if S + X is, and so P is dead
    if Q is;
(b) for every node v that is ready at Q, v exceeds the budget there, or Q + v is a state of the
    certificate (compared as sets): Q is dead if those are.

Both (a) and (b) rest on larger states only (smaller ones, backward), and the end, which is not
dead, is not among them.  So by induction on the number of nodes left all states are dead, the start
among them: every order has a transient above the budget.  How the states were found, and in which
order, does not matter.

Commits, forward, without candidates for overwriting.  X may be run at S in the given order within
the budget, and mem(S+X) <= mem(S+Y) for every part Y of X, the empty one included, such that S+Y is
an ideal.  Take an order that completes S within the budget and move X to its front.  A node u
outside X that ran at T now runs at T+X; with Y = X in T, submodularity of mem gives
mem(T+X) <= mem(T) + mem(S+X) - mem(S+Y) <= mem(T), so u still fits.  With candidates, X must be a
single node: savings are monotone in T, so u saves at T+X what it saved at T.  (The transients of X
itself are those at S, and are compared as they are.)

Commits, backward.  X may be un-run at S within the budget, and mem(S-X) <= mem(S-Y) for every such
part Y.  Move X to the end of an order of S.  A node u that ran at T now runs at T-X, and with
Y = X outside T, mem(T-X) <= mem(T) + mem(S-X) - mem(S-Y) <= mem(T).  With candidates, X must be a
single node x, and x may not read an operand that another node may overwrite: that node might save
it at T, but not at T-x.  Nothing else that u saves changes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lowtide.errors import CertificateError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lowtide.solvers.schedule.certificate import ReplayProof, SearchProof

__all__ = ["Meter", "Piece", "check_replay", "check_search"]

_MOST_NODES = 20_000  # between two cut nodes: sets are kept as bits
_MOST_PARTS = 4096  # of one group
_MOST_REPLAYED = 5_000_000  # states of a replay: they are kept in memory


class Meter:
    """The work that a check may take."""

    def __init__(self, limit: int) -> None:
        self._left = limit
        self._limit = limit

    def spend(self, work: int) -> None:
        """Raise `CertificateError` when the limit is reached."""
        self._left -= work
        if self._left < 0:
            raise CertificateError(
                f"checking takes more than {self._limit} steps: raise the work limit"
            )


def _members(bits: int) -> list[int]:
    found: list[int] = []
    while bits:
        low = bits & -bits
        found.append(low.bit_length() - 1)
        bits ^= low
    return found


class _State(NamedTuple):
    ran: int  # a bit per node
    live: int  # mem
    ready: int  # forward: may run; backward: may be un-run


class Piece:
    """The nodes between two cut nodes, numbered from 0, their sets as bits of an integer.

    Args:
        meter: pays for all work.
        inside: the nodes.
        past: the nodes that ran before in every order.
        before: direct predecessors of every node.
        buffers: (size, producer or -1, readers, stays) of all that count.
        work: of every node, bytes made and scratch.
        candidates: per node inside (result, operand, size, readers of the operand).
    """

    def __init__(
        self,
        *,
        meter: Meter,
        inside: list[int],
        past: set[int],
        before: Sequence[set[int]],
        buffers: list[tuple[int, int, set[int], bool]],
        work: Sequence[int],
        candidates: dict[int, list[tuple[int, int, int, set[int]]]],
    ) -> None:
        if len(inside) > _MOST_NODES:
            raise CertificateError(f"a search among {len(inside)} nodes, over {_MOST_NODES}")
        self.meter = meter
        self._unit = 2 + len(inside) // 64  # the work of a step, a set being a long number
        self.names = inside
        self.local = {v: k for k, v in enumerate(inside)}
        self.all = (1 << len(inside)) - 1
        self.work = [work[v] for v in inside]
        self.need = [self._bits(before[v]) for v in inside]
        self.feeds = [0] * len(inside)
        for k, needed in enumerate(self.need):
            for p in _members(needed):
                self.feeds[p] |= 1 << k
        # What is read after the piece stays, as far as the piece is concerned.
        known = past | self.local.keys()
        self.kept = [0] * len(inside)  # made by the node and alive after it
        self.operands: list[list[tuple[int, int]]] = [[] for _ in inside]  # size, readers
        self.base = self.end = 0  # mem at the start and the end
        for size, producer, readers, lasts in buffers:
            mine = self._bits(readers)
            stays = lasts or not readers <= known
            if producer in self.local:
                self.kept[self.local[producer]] += size if mine or stays else 0
            elif producer < 0 or producer in past:
                self.base += size if mine or stays else 0
            else:
                continue
            if stays:
                self.end += size
            else:
                for k in _members(mine):
                    self.operands[k].append((size, mine))
        self.candidates: list[list[tuple[int, int, int, int]]] = [[] for _ in inside]
        self.overwrites = False
        self.shared = 0  # the nodes that read what another node may overwrite
        for v, pairs in candidates.items():
            k = self.local[v]
            for result, operand, size, readers in pairs:
                if readers <= known:
                    others = self._bits(readers) & ~(1 << k)
                    self.candidates[k].append((result, operand, size, others))
                    self.shared |= others
                    self.overwrites = True

    def _bits(self, nodes: set[int]) -> int:
        self.meter.spend(len(nodes))
        return sum(1 << self.local[v] for v in nodes if v in self.local)

    def number(self, node: int, where: str) -> int:
        """The number of a node inside."""
        if node not in self.local:
            raise CertificateError(f"{where}: {node} is not a node between the cut nodes")
        return self.local[node]

    def root(self, forward: bool) -> _State:
        """Where a search begins."""
        if forward:
            ready = sum(1 << k for k, needed in enumerate(self.need) if not needed)
            return _State(0, self.base, ready)
        ready = sum(1 << k for k, fed in enumerate(self.feeds) if not fed)
        return _State(self.all, self.end, ready)

    def _dying(self, k: int, ran: int) -> int:
        """The bytes of what dies when k runs at `ran`."""
        open_nodes = self.all & ~ran
        return sum(size for size, readers in self.operands[k] if readers & open_nodes == 1 << k)

    def transient(self, k: int, ran: int, live: int) -> int:
        """Of k at the ideal `ran`, without k, with mem `live`."""
        self.meter.spend(1 + len(self.candidates[k]))
        total = live + self.work[k]
        if self.candidates[k]:
            taken: set[int] = set()
            for result, operand, size, others in self.candidates[k]:
                if not others & ~ran and result not in taken and operand not in taken:
                    taken |= {result, operand}
                    total -= size
        return total

    def step(self, state: _State, k: int, forward: bool) -> tuple[int, _State]:
        """The transient of k, which is ready, and the state after it ran, or was un-run."""
        bit = 1 << k
        self.meter.spend(self._unit + len(self.operands[k]))
        if forward:
            cost = self.transient(k, state.ran, state.live)
            live = state.live + self.kept[k] - self._dying(k, state.ran)
            ran = state.ran | bit
            ready = state.ready & ~bit
            for s in _members(self.feeds[k]):
                if not self.need[s] & ~ran:
                    ready |= 1 << s
        else:
            ran = state.ran & ~bit
            live = state.live - self.kept[k] + self._dying(k, ran)
            cost = self.transient(k, ran, live)
            ready = state.ready & ~bit
            for p in _members(self.need[k]):
                if not self.feeds[p] & ran:
                    ready |= 1 << p
        return cost, _State(ran, live, ready)

    def commit(
        self, state: _State, group: Sequence[int], budget: int, forward: bool, where: str
    ) -> _State:
        """The state after a group of nodes, if it loses nothing."""
        if self.overwrites and (len(group) > 1 or (not forward and self.shared >> group[0] & 1)):
            raise CertificateError(f"{where}: a commit that overwriting may break")
        now = state
        for k in group:
            if not now.ready >> k & 1:
                raise CertificateError(f"{where}: node {self.names[k]} is not ready")
            cost, now = self.step(now, k, forward)
            if cost > budget:
                raise CertificateError(f"{where}: a commit exceeds the budget")
        if now.live > self._least(state, now.ran ^ state.ran, forward, where):
            raise CertificateError(f"{where}: a commit does not free what a part of it does")
        return now

    def _least(self, state: _State, group: int, forward: bool, where: str) -> int:
        """The least mem over the proper parts of `group` that can be run, or un-run, first."""
        least = state.live
        level = {state.ran: state}
        seen = 1
        while level:
            wider: dict[int, _State] = {}
            for part in level.values():
                least = min(least, part.live)
                for k in _members(part.ready & group):
                    _, following = self.step(part, k, forward)
                    if following.ran != state.ran ^ group:
                        wider[following.ran] = following
            seen += len(wider)
            if seen > _MOST_PARTS:
                raise CertificateError(f"{where}: a commit of more than {_MOST_PARTS} parts")
            level = wider
        return least

    def is_end(self, state: _State, forward: bool) -> bool:
        """Whether nothing is left to do."""
        return state.ran == (self.all if forward else 0)


def check_search(piece: Piece, proof: SearchProof, bound: int, where: str) -> None:
    """Verify (a) and (b) of the module's text for every state of the certificate.

    Raises:
        CertificateError: they do not hold, or the certificate is malformed.
    """
    forward, budget = proof.forward, bound - 1
    closed: list[_State] = []
    dead: set[int] = set()
    for index, entry in enumerate(proof.states):
        here = f"{where}, state {index}"
        piece.meter.spend(4)
        if index == 0:
            if entry.parent != -1 or entry.branch != -1:
                raise CertificateError(f"{here}: the first state is the start")
            state = piece.root(forward)
        else:
            if not 0 <= entry.parent < index:
                raise CertificateError(f"{here}: {entry.parent} is not an earlier state")
            parent = closed[entry.parent]
            branch = piece.number(entry.branch, here)
            if not parent.ready >> branch & 1:
                raise CertificateError(f"{here}: node {entry.branch} is not ready")
            _, state = piece.step(parent, branch, forward)
        dead.add(state.ran)
        for names in entry.commits:
            group = [piece.number(v, here) for v in names]
            if not group:
                raise CertificateError(f"{here}: an empty commit")
            state = piece.commit(state, group, budget, forward, here)
        dead.add(state.ran)
        if piece.is_end(state, forward):
            raise CertificateError(f"{here}: the end is reached")
        closed.append(state)
    if not closed:
        raise CertificateError(f"{where}: a search without states")
    expanded: set[int] = set()
    for index, state in enumerate(closed):
        if state.ran in expanded:
            continue
        expanded.add(state.ran)
        for k in _members(state.ready):
            cost, child = piece.step(state, k, forward)
            if cost <= budget and child.ran not in dead:
                raise CertificateError(
                    f"{where}, state {index}: node {piece.names[k]} fits within the budget, and "
                    f"what follows is not refuted"
                )


def check_replay(piece: Piece, proof: ReplayProof, bound: int, where: str) -> None:
    """Search for an order within the budget, with commits of single nodes and sets of states.

    Raises:
        CertificateError: there is one, or there are more states than the certificate says.
    """
    if proof.states > _MOST_REPLAYED:
        raise CertificateError(f"{where}: {proof.states} states, over {_MOST_REPLAYED}")
    forward, budget = proof.forward, bound - 1
    dead: set[int] = set()
    stack = [piece.root(forward)]
    states = 0
    while stack:
        state = stack.pop()
        if state.ran in dead:
            continue
        dead.add(state.ran)
        states += 1
        if states > proof.states:
            raise CertificateError(f"{where}: the search takes more than {proof.states} states")
        if piece.is_end(state, forward):
            raise CertificateError(f"{where}: an order stays below {bound} bytes")
        children: list[_State] = []
        free: _State | None = None
        for k in _members(state.ready):
            cost, child = piece.step(state, k, forward)
            if cost > budget:
                continue
            children.append(child)
            if child.live <= state.live and not (
                piece.overwrites and not forward and piece.shared >> k & 1
            ):
                free = child
                break
        stack.extend([free] if free is not None else children)
