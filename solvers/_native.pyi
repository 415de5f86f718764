"""Native core of lowtide.solvers."""

from collections.abc import Sequence

class Schedule:
    """A scheduling problem, ready to be solved."""

    def __init__(
        self,
        *,
        num_nodes: int,
        sizes: Sequence[int],
        producers: Sequence[int],
        consumers: Sequence[Sequence[int]],
        outputs: Sequence[bool],
        workspace: Sequence[int],
        precedence: Sequence[tuple[int, int]],
        in_place: Sequence[tuple[int, int, int]],
        inputs_in_arena: bool,
        outputs_live_to_end: bool,
    ) -> None: ...
    def peak(self, order: Sequence[int]) -> int:
        """The peak of a valid order, in bytes; ValueError if it is not valid."""

    def parts(self) -> list[tuple[int, int]]:
        """Positions [begin, end) between cut nodes, the same in every order."""

    def min_cut(self, node: int) -> int:
        """The least transient of a node over all ideals."""

    def deduce(self, budget: int) -> tuple[bool, int, list[tuple[int, int]]]:
        """What all orders within a budget have in common.

        Whether there is none, the least budget for which that is not said, (before, after) pairs.
        """

class ScheduleTechniques:
    """Switches of the exact method."""

    def __init__(
        self,
        *,
        one_step: bool,
        macro: bool,
        backward: bool,
        min_cut: bool,
        reorder: bool,
        windows: bool,
        cut_nodes: bool,
        beam: bool,
        deduce: bool,
        probe: bool,
        guards: bool,
        visited_bytes: int,
        exact_states: bool,
    ) -> None: ...

class ScheduleOutcome:
    """What a solve found."""

    @property
    def order(self) -> list[int]: ...
    @property
    def peak(self) -> int: ...
    @property
    def bound(self) -> int: ...
    @property
    def method(self) -> str: ...
    @property
    def bound_method(self) -> str: ...
    @property
    def stopped(self) -> bool: ...
    @property
    def interrupted(self) -> bool: ...
    @property
    def states(self) -> int: ...
    @property
    def flows(self) -> int: ...
    @property
    def work(self) -> int: ...

def solve_schedule(
    problem: Schedule,
    starts: Sequence[tuple[str, Sequence[int]]],
    techniques: ScheduleTechniques,
    time_limit_s: float,
    work_limit: int,
    progress: object | None,
) -> ScheduleOutcome:
    """Solve until proven, or stopped by a limit, Ctrl-C, or True from `progress`."""

def solve_serenity(
    problem: Schedule,
    starts: Sequence[tuple[str, Sequence[int]]],
    *,
    divide: bool,
    soft_budget: bool,
    step_states: int,
    memory_bytes: int,
    time_limit_s: float,
    work_limit: int,
    progress: object | None,
) -> ScheduleOutcome:
    """SERENITY's dynamic programming, divide and conquer, and adaptive soft budgeting."""

def transients(problem: Schedule, order: Sequence[int]) -> list[int]:
    """The transients of a valid order's steps; ValueError if it is not valid."""

def min_cut_evidence(
    problem: Schedule, node: int
) -> tuple[
    int,
    list[int],
    list[tuple[list[int], int, list[tuple[int, int, int]], list[tuple[int, int, int]]]],
]:
    """The min-cut bound, the smallest ideal where it is reached, and the flows behind it."""

def with_precedence(problem: Schedule, edges: Sequence[tuple[int, int]]) -> Schedule:
    """The problem with further (before, after) pairs; ValueError if they make a cycle."""

def trace_search(
    problem: Schedule,
    begin: int,
    end: int,
    budget: int,
    forward: bool,
    macro: bool,
    state_limit: int,
    time_limit_s: float,
) -> tuple[bool | None, int, list[int], list[int]]:
    """Whether there is an order within the budget at positions [begin, end) between cut nodes.

    None where that is not known; the states, and their trace.
    """

def deduce_between(
    problem: Schedule, begin: int, end: int, budget: int
) -> tuple[bool, list[tuple[int, int]]]:
    """Whether a budget is refuted there, and the (before, after) pairs that hold within it."""

def probe(
    problem: Schedule,
    begin: int,
    end: int,
    budget: int,
    slice: int,
    case_limit: int,
    time_limit_s: float,
) -> tuple[bool | None, list[tuple[int, int, int]]]:
    """Whether there is an order within the budget, by cases, and the steps: (kind, u, v).

    The kinds are deduced, forward, backward, split.
    """

class Packer:
    """Blocks to pack, with their overlaps in time."""

    def __init__(
        self,
        blocks: Sequence[tuple[int, int, int, int, int]],
        gaps: Sequence[tuple[int, int, int]],
        shares: Sequence[tuple[int, int]],
    ) -> None:
        """Blocks are (lower, upper, size, fixed offset or -1, alignment).

        Gaps are (block, lower, upper), ascending for each block; shares are pairs of blocks.
        """

    def neighbours(self) -> list[list[int]]:
        """The blocks that each block meets in time."""

    def loads(self) -> list[tuple[int, int]]:
        """For each block, the number of blocks it meets and the sum of their sizes."""

    def fixed_clash(self) -> bool:
        """Whether two fixed blocks overlap."""

    def place(self, order: Sequence[int], best_fit: bool) -> tuple[int, list[int]]:
        """The height and the offsets of an order."""

    def search(
        self,
        order: Sequence[int],
        best_fit: bool,
        target: int,
        seed: int,
        time_limit_s: float,
        work_limit: int,
    ) -> tuple[int, list[int], bool, int]:
        """Local search over orders: height, offsets, whether the clock or Ctrl-C ended it, work."""

class Allocation:
    """An allocation problem, ready to be solved."""

    def __init__(self, items: Sequence[tuple[Sequence[tuple[int, int, int]], int, int]]) -> None:
        """Items are (pieces of (lower, upper, size), alignment, fixed offset or -1)."""

    @property
    def lower_bound(self) -> int:
        """The greatest load, alignment considered; no layout is lower."""

    @property
    def contradictory(self) -> bool:
        """Whether fixed items overlap, so that there is no layout."""

class AllocationTechniques:
    """Switches of the exact allocator."""

    def __init__(self, *, wait_bound: bool, release: bool, twins: bool, backjump: bool) -> None: ...

class AllocationOutcome:
    """What an exact solve found."""

    @property
    def offsets(self) -> list[int] | None: ...
    @property
    def height(self) -> int: ...
    @property
    def bound(self) -> int: ...
    @property
    def method(self) -> str: ...
    @property
    def bound_method(self) -> str: ...
    @property
    def stopped(self) -> bool: ...
    @property
    def interrupted(self) -> bool: ...
    @property
    def branches(self) -> int: ...
    @property
    def work(self) -> int: ...

def solve_allocation(
    problem: Allocation,
    starts: Sequence[tuple[str, Sequence[int]]],
    options: AllocationTechniques,
    seed: int,
    enough: int,
    time_limit_s: float,
    work_limit: int,
    progress: object | None,
) -> AllocationOutcome:
    """Solve until the height is the bound or `enough` (-1: none), or until stopped."""

class Remat:
    """A rematerialization problem, ready to be searched."""

    def __init__(
        self,
        *,
        num_nodes: int,
        sizes: Sequence[int],
        producers: Sequence[int],
        consumers: Sequence[Sequence[int]],
        outputs: Sequence[bool],
        workspace: Sequence[int],
        costs: Sequence[float],
        pinned: Sequence[bool],
        order: Sequence[int],
        in_place: Sequence[tuple[int, int, int]],
        budget: int,
    ) -> None: ...

class RematSequence:
    """A sequence of runs under moves."""

    def __init__(self, problem: Remat, nodes: Sequence[int]) -> None:
        """ValueError if the sequence is not valid."""

    @property
    def nodes(self) -> list[int]: ...
    @property
    def first_runs(self) -> list[int]: ...
    def figures(self) -> tuple[float, int, int, list[int]]:
        """Cost, sum of overflow, greatest overflow, and the bytes of every run."""

    def evaluate(
        self, edits: Sequence[tuple[int, int]], most: int = ...
    ) -> tuple[bool, float, int, int]:
        """Whether a move is valid; its cost, sum of overflow and greatest overflow.

        Edits descend: (position, -1) deletes, (boundary, node) inserts. False, too, once both
        overflows together are sure to exceed `most`.
        """

    def make(self, edits: Sequence[tuple[int, int]]) -> None:
        """Make a move; ValueError if it is not valid."""

class RematOutcome:
    """What a search found."""

    @property
    def sequence(self) -> list[int]: ...
    @property
    def cost(self) -> float: ...
    @property
    def moves(self) -> int: ...
    @property
    def work(self) -> int: ...
    @property
    def clock(self) -> bool: ...

def search_remat(
    problem: Remat,
    starts: Sequence[Sequence[int]],
    *,
    fixed_order: bool,
    warm: bool = False,
    seed: int,
    target: float,
    threads: int,
    time_limit_s: float,
    work_limit: int,
    progress: object | None,
) -> RematOutcome:
    """Anneal from the starts until `target` is reached or a limit strikes.

    `progress` is called with the best cost so far, -1 for none; True from it stops.
    """
