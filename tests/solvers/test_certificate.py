"""Certificates: made for every bound, accepted by the checker, and rejected once they are changed.

A changed certificate may still be a proof (of less, or by other means), so the oracle is brute
force: what is accepted must be true.
"""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lowtide.errors import CertificateError, InstanceError
from lowtide.solvers import _native
from lowtide.solvers.schedule.certificate import (
    Certificate,
    CutProof,
    Flow,
    NodeProof,
    Proof,
    ReplayProof,
    SearchProof,
    SearchState,
    SplitProof,
    StartProof,
    parse_certificate,
    problem_sha256,
    read_certificate,
    to_json,
    write_certificate,
)
from lowtide.solvers.schedule.certify import certify
from lowtide.solvers.schedule.check_certificate import check_certificate
from lowtide.solvers.schedule.exact import ExactOptions, native_problem, schedule
from lowtide.solvers.schedule.problem import Buffer, InPlace, ScheduleProblem
from tests.solvers.oracles import best_by_ideals
from tests.solvers.strategies import networks, schedule_problems

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"
Place: TypeAlias = "tuple[str | int, ...]"


def claim(problem: ScheduleProblem, bound: int, *proofs: Proof) -> Certificate:
    return Certificate(
        problem_sha256(problem),
        problem.num_nodes,
        problem.inputs_in_arena,
        problem.outputs_live_to_end,
        bound,
        proofs,
    )


def kinds(certificate: Certificate) -> set[str]:
    return {type(proof).__name__ for proof in certificate.proofs}


# Two chains of two into a join; the first node of a chain is large, what it leaves is small.
TWINS = ScheduleProblem(
    6,
    (
        Buffer(1, 0, (1, 3)),
        Buffer(10, 1, (2,)),
        Buffer(2, 2, (5,)),
        Buffer(10, 3, (4,)),
        Buffer(2, 4, (5,)),
        Buffer(1, 5, (), output=True),
    ),
)


@settings(max_examples=350)
@given(schedule_problems(max_nodes=9), st.booleans(), st.booleans())
def test_every_optimum_has_a_certificate(
    problem: ScheduleProblem, min_cut: bool, searches: bool
) -> None:
    solution = schedule(problem)
    certificate = certify(problem, solution, min_cut=min_cut, searches=searches)
    assert certificate.bound_bytes == solution.peak_bytes == best_by_ideals(problem)
    assert check_certificate(problem, certificate) == solution.peak_bytes
    assert parse_certificate(to_json(certificate)) == certificate


@settings(max_examples=150)
@given(schedule_problems(max_nodes=9))
def test_a_replay_proves_what_a_search_proves(problem: ScheduleProblem) -> None:
    solution = schedule(problem)
    certificate = certify(problem, solution, min_cut=False, cases=False, max_states=0)
    assert check_certificate(problem, certificate) == best_by_ideals(problem)
    assert "SearchProof" not in kinds(certificate)


def places(value: Json, place: Place = ()) -> Iterator[Place]:
    yield place
    if isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*place, key))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*place, index))


def mutated(document: Json, place: Place, random: Random) -> Json:
    """A copy of the document, changed at one place."""
    result = copy.deepcopy(document)
    if not place:
        return result
    holder = result
    for key in place[:-1]:
        holder = holder[key]  # type: ignore[index]
    key = place[-1]
    old = cast("Json", holder[key])  # type: ignore[index]
    new: Json
    if isinstance(old, bool):
        new = not old
    elif isinstance(old, int):
        new = random.choice([old + 1, old - 1, 0, -1, old * 2, 1 << 61, random.randrange(12)])
    elif isinstance(old, str):
        new = random.choice(["start", "node", "cut", "search", "replay", "split", "0" * 64])
    elif isinstance(old, list) and old:
        new = list(old)
        at = random.randrange(len(new))
        match random.randrange(5):
            case 0:
                del new[at]
            case 1:
                new.insert(at, copy.deepcopy(random.choice(new)))
            case 2:
                random.shuffle(new)
            case 3:
                new = new[:at]
            case _:
                new[at] = copy.deepcopy(random.choice(new))
    elif isinstance(old, list):
        triple: list[Json] = [0, 0, 1]
        new = [random.choice([0, 1, triple])]
    else:
        new = random.choice([None, 3, [], {}])
    holder[key] = new  # type: ignore[index]
    return result


def accepted(problem: ScheduleProblem, document: Json) -> int | None:
    """The bound that the checker believes; None where it is refused. Nothing else may happen."""
    try:
        return check_certificate(problem, parse_certificate(json.dumps(document)), work_limit=10**6)
    except (CertificateError, InstanceError):
        return None


@settings(max_examples=160, deadline=None)
@given(
    schedule_problems(max_nodes=8),
    st.sampled_from(["cut", "search", "cases", "replay"]),
    st.randoms(use_true_random=False),
)
def test_no_mutation_proves_too_much(problem: ScheduleProblem, kind: str, random: Random) -> None:
    solution = schedule(problem)
    best = best_by_ideals(problem)
    certificate = certify(
        problem,
        solution,
        min_cut=kind == "cut",
        searches=kind != "cases",
        cases=kind == "cases",
        max_states=0 if kind == "replay" else 10**6,
    )
    document = cast("Json", json.loads(to_json(certificate)))
    every = list(places(document))
    for place in random.sample(every, min(len(every), 40)):
        value = accepted(problem, mutated(document, place, random))
        assert value is None or value <= best
    above = cast("Json", json.loads(to_json(replace(certificate, bound_bytes=best + 1))))
    assert accepted(problem, above) is None
    for place in random.sample(every, min(len(every), 20)):
        if place[:1] != ("bound_bytes",):
            twice = mutated(mutated(above, place, random), random.choice(every[:3]), random)
            value = accepted(problem, twice)
            assert value is None or value <= best


@settings(max_examples=30, deadline=None)
@given(st.randoms(use_true_random=False), st.booleans())
def test_no_mutation_of_a_network_proves_too_much(random: Random, cases: bool) -> None:
    problem = networks(random, 13)
    solution = schedule(problem)
    best = best_by_ideals(problem)
    assert solution.peak_bytes == best
    certificate = certify(problem, solution, min_cut=False, searches=not cases, cases=cases)
    for claimed in (certificate, replace(certificate, bound_bytes=best + 1)):
        document = cast("Json", json.loads(to_json(claimed)))
        every = list(places(document))
        for place in random.sample(every, min(len(every), 40)):
            value = accepted(problem, mutated(document, place, random))
            assert value is None or value <= best


@settings(max_examples=100)
@given(schedule_problems(max_nodes=9), st.booleans(), st.booleans())
def test_the_states_of_a_search_that_succeeds_are_no_proof(
    problem: ScheduleProblem, forward: bool, macro: bool
) -> None:
    # The budget is the optimum: all states before the order is found, and none that is dead.
    best = best_by_ideals(problem)
    native = native_problem(problem)
    for begin, end in native.parts():
        found, _, codes, ends = _native.trace_search(
            native, begin, end, best, forward, macro, 10**6, -1.0
        )
        assert found
        if (begin, end) != (0, problem.num_nodes):
            continue
        states: list[SearchState] = []
        first = 0
        for last in ends:
            row = [c for c in codes[first + 2 : last] if c >= 0]
            states.append(SearchState(codes[first], codes[first + 1], tuple((c,) for c in row)))
            first = last
        with pytest.raises(CertificateError):
            check_certificate(
                problem, claim(problem, best + 1, SearchProof(forward, -1, -1, tuple(states)))
            )


@settings(max_examples=100)
@given(schedule_problems(max_nodes=8), st.data())
def test_a_certificate_of_another_problem_is_refused(
    problem: ScheduleProblem, data: st.DataObject
) -> None:
    certificate = certify(problem, schedule(problem))
    change = data.draw(st.sampled_from(["size", "edge", "workspace", "accounting"]))
    if change == "size" and problem.buffers:
        buffers = list(problem.buffers)
        at = data.draw(st.integers(0, len(buffers) - 1))
        buffers[at] = buffers[at]._replace(size=data.draw(st.integers(0, 12)))
        other = replace(problem, buffers=tuple(buffers))
    elif change == "edge" and problem.num_nodes > 1:
        order = problem.topological_order
        other = replace(problem, precedence=(*problem.precedence, (order[0], order[-1])))
    elif change == "workspace" and problem.num_nodes:
        other = replace(problem, workspace=(1,) * problem.num_nodes)
    else:
        other = replace(problem, inputs_in_arena=not problem.inputs_in_arena)
    if problem_sha256(other) != problem_sha256(problem):
        with pytest.raises(CertificateError, match=r"another problem|counts differently"):
            check_certificate(other, certificate)
    # With its name forged, it is refused or happens to be true.
    forged = claim(other, certificate.bound_bytes, *certificate.proofs)
    try:
        value = check_certificate(other, forged)
    except CertificateError:
        return
    assert value <= best_by_ideals(other)


def test_each_kind_is_what_it_should_be() -> None:
    solution = schedule(TWINS)
    assert solution.peak_bytes == 14
    cut = certify(TWINS, replace(solution, lower_bound_bytes=13))
    assert kinds(cut) == {"CutProof"}
    assert isinstance(cut.proofs[0], CutProof)
    assert cut.proofs[0].ideal is not None
    assert kinds(certify(TWINS, solution)) == {"SearchProof"}
    assert kinds(certify(TWINS, solution, searches=False)) == {"SplitProof", "CutProof"}
    assert kinds(certify(TWINS, solution, cases=False, max_states=0)) == {"ReplayProof"}
    alone = ScheduleProblem(2, (Buffer(5, 0, (1,)), Buffer(7, 1, ())))
    assert kinds(certify(alone, schedule(alone))) == {"NodeProof"}
    inputs = ScheduleProblem(1, (Buffer(5, -1, (0,)),), inputs_in_arena=True)
    assert kinds(certify(inputs, schedule(inputs))) == {"StartProof"}


def start_bytes(*commits: tuple[int, ...]) -> SearchProof:
    return SearchProof(True, -1, -1, (SearchState(-1, -1, commits),))


FIRST = Flow((), ((0, 3, 1),), ())


@pytest.mark.parametrize(
    ("bound", "proofs", "message"),
    [
        (12, (), "no proof"),
        (-1, (StartProof(),), "negative"),
        (1, (StartProof(),), "proves 0 bytes, not 1"),
        (12, (NodeProof(1),), "proves 11 bytes, not 12"),
        (11, (NodeProof(6),), "6 is not a node"),
        (11, (NodeProof(-1),), "-1 is not a node"),
        (11, (NodeProof(1), NodeProof(1)), "proof 1 is not used"),
        (12, (CutProof(1, ()),), "no flow spares"),
        (12, (CutProof(1, (Flow((), ((0, 3, 2),), ()),)),), "2 bytes flow through buffer 0 of 1"),
        (12, (CutProof(1, (Flow((), ((0, 1, -1),), ()),)),), "negative"),
        (12, (CutProof(1, (Flow((), ((0, 2, 1),), ()),)),), "node 2 does not read buffer 0"),
        (12, (CutProof(1, (Flow((), ((0, -1, 1),), ()),)),), "does not stay"),
        (12, (CutProof(1, (Flow((), ((9, 1, 1),), ()),)),), "9 is not a buffer"),
        (12, (CutProof(1, (FIRST,)),), "1 bytes of flow are lost or made at node 3"),
        (12, (CutProof(1, (Flow((), (), ((3, 2, 1),)),)),), "node 2 is no predecessor of node 3"),
        (12, (CutProof(1, (Flow((), (), ((3, 0, -1),)),)),), "negative"),
        (12, (CutProof(1, (Flow((), ((0, 1, 1),), ()),)),), "proves 11 bytes, not 12"),
        (11, (CutProof(1, (Flow((), ((0, 1, 1),), ()),), (3,)),), "the ideal reaches 21"),
        (11, (CutProof(1, (Flow((), ((0, 1, 1),), ()),), (4,)),), "ideal is none"),
        (11, (CutProof(1, (Flow((), ((0, 1, 1),), ()),), (2,)),), "ideal is none"),
        (11, (CutProof(1, (Flow((), ((0, 1, 1),), ()),), (0,)),), "twice"),
        (11, (CutProof(1, (Flow((), ((0, 1, 1),), ()),), (77,)),), "77 is not a node"),
        (12, (SplitProof(1, 2, 1, 2), NodeProof(1), NodeProof(1)), "comparable"),
        (12, (SplitProof(1, 1, 1, 2), NodeProof(1), NodeProof(1)), "comparable"),
        (11, (SplitProof(1, 3, 1, 1), NodeProof(1)), "proof 1 is used twice"),
        (12, (SplitProof(1, 3, 0, 1), NodeProof(1)), "0 is not a later proof"),
        (12, (SplitProof(1, 3, 1, 9), NodeProof(1)), "9 is not a later proof"),
        (12, (SplitProof(1, 9, 1, 2), NodeProof(1), NodeProof(1)), "9 is not a node"),
        (12, (SplitProof(1, 3, 1, 2), NodeProof(1), NodeProof(1)), "proof 1 proves 11"),
        (12, (SearchProof(True, -1, -1, ()),), "without states"),
        (12, (SearchProof(True, 1, -1, ()),), "node 1 is not comparable"),
        (12, (start_bytes((0,)),), "a commit does not free"),
        (12, (start_bytes((3,)),), "node 3 is not ready"),
        (12, (start_bytes((77,)),), "77 is not a node between"),
        (12, (start_bytes(()),), "empty commit"),
        (9, (start_bytes((0, 1, 2)),), "exceeds the budget"),
        (12, (start_bytes(),), "node 0 fits within the budget"),
        (12, (SearchProof(True, -1, -1, (SearchState(0, 0, ()),)),), "the first state"),
        (12, (ReplayProof(True, -1, -1, 1),), "more than 1 states"),
        (15, (ReplayProof(True, -1, -1, 99),), "an order stays below 15"),
        (15, (ReplayProof(False, 0, 5, 99),), "an order stays below 15"),
        (12, (ReplayProof(True, 5, 0, 99),), "an order stays below"),
    ],
)
def test_what_is_no_proof(bound: int, proofs: tuple[Proof, ...], message: str) -> None:
    with pytest.raises(CertificateError, match=message):
        check_certificate(TWINS, claim(TWINS, bound, *proofs))


def test_proofs_by_hand() -> None:
    assert check_certificate(TWINS, claim(TWINS, 11, NodeProof(1))) == 11
    # Whichever chain's second node is the last, the other's small result is beside it.
    late = tuple(
        CutProof(v, (Flow((), ((b, v, 10), (other, 5, 2)), ()),))
        for v, b, other in ((4, 3, 2), (2, 1, 4))
    )
    split = claim(TWINS, 14, SplitProof(2, 4, 1, 2), *late)
    assert check_certificate(TWINS, split) == 14
    with pytest.raises(CertificateError, match="proof 1 proves 14 bytes, not 15"):
        check_certificate(TWINS, replace(split, bound_bytes=15))
    with pytest.raises(CertificateError, match="proof 1 proves 12 bytes, not 14"):
        check_certificate(TWINS, replace(split, proofs=(split.proofs[0], *reversed(late))))
    with pytest.raises(CertificateError, match="lost or made"):
        check_certificate(TWINS, claim(TWINS, 14, late[0]))


def test_overwriting_needs_a_flow_for_every_choice() -> None:
    # Node 2 makes one result over one of two operands.
    problem = ScheduleProblem(
        3,
        (Buffer(8, 0, (2,)), Buffer(8, 1, (2,)), Buffer(8, 2, (), output=True)),
        in_place=(InPlace(2, 2, 0), InPlace(2, 2, 1)),
    )
    assert best_by_ideals(problem) == 16
    flows = (Flow((0,), ((1, 2, 8),), ()), Flow((1,), ((0, 2, 8),), ()))
    assert check_certificate(problem, claim(problem, 16, CutProof(2, flows))) == 16
    for wrong in ((flows[0],), (Flow((), ((0, 2, 8), (1, 2, 8)), ()),)):
        with pytest.raises(CertificateError, match="no flow spares"):
            check_certificate(problem, claim(problem, 16, CutProof(2, wrong)))
    with pytest.raises(CertificateError, match="spares"):
        check_certificate(
            problem, claim(problem, 16, CutProof(2, (Flow((0,), ((0, 2, 8),), ()), flows[1])))
        )


def test_checking_ends_at_its_work_limit() -> None:
    with pytest.raises(CertificateError, match="more than 50 steps"):
        check_certificate(TWINS, claim(TWINS, 12, ReplayProof(True, -1, -1, 99)), work_limit=50)


@settings(max_examples=100)
@given(schedule_problems(max_nodes=8))
def test_the_name_of_a_problem_is_its_numbers(problem: ScheduleProblem) -> None:
    zeros = replace(problem, workspace=problem.workspace or (0,) * problem.num_nodes)
    twice = replace(problem, precedence=(*reversed(problem.precedence), *problem.precedence))
    assert problem_sha256(zeros) == problem_sha256(problem) == problem_sha256(twice)
    flipped = replace(problem, outputs_live_to_end=not problem.outputs_live_to_end)
    assert problem_sha256(flipped) != problem_sha256(problem)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "nested too deeply"),
        ("[]", "not an object"),
        ("{}", "no `schema`"),
        ('{"schema": "lowtide.plan/1"}', "the schema is"),
        ('{"schema": "lowtide.certificate/1", "problem": 3}', "`problem` is not an object"),
    ],
)
def test_files_that_are_no_certificates(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "c.json"
    path.write_text(text)
    with pytest.raises(InstanceError, match=message):
        read_certificate(path)
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InstanceError, match="UTF-8"):
        read_certificate(path)


def test_a_certificate_is_written_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    certificate = certify(TWINS, schedule(TWINS))
    path = tmp_path / "c.json"
    write_certificate(certificate, path)
    assert read_certificate(path) == certificate
    with pytest.raises(InstanceError, match="cannot be written"):
        write_certificate(certificate, tmp_path / "missing" / "c.json")
    assert [p.name for p in tmp_path.iterdir()] == ["c.json"]


@settings(max_examples=150)
@given(schedule_problems(max_nodes=9))
def test_exact_states_change_no_verdict(problem: ScheduleProblem) -> None:
    options = ExactOptions(min_cut=False, reorder=False, windows=False, beam=False)
    hashed = schedule(problem, time_limit_s=None, options=options)
    exact = schedule(problem, time_limit_s=None, options=replace(options, exact_states=True))
    assert (exact.status, exact.order) == (hashed.status, hashed.order)
