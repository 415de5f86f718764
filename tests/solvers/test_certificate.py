"""Certificates: made for every bound, accepted by the checker, and rejected once they are changed.

A changed certificate may still be a proof (of less, or by other means), so the oracle is brute
force: what is accepted must be true.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lowtide.errors import CertificateError, InstanceError
from lowtide.solvers.schedule.certificate import (
    Certificate,
    CutProof,
    NodeProof,
    Proof,
    SearchProof,
    parse_certificate,
    problem_sha256,
    read_certificate,
    to_json,
    write_certificate,
)
from lowtide.solvers.schedule.certify import certify
from lowtide.solvers.schedule.check_certificate import check_certificate
from lowtide.solvers.schedule.exact import ExactOptions, schedule
from lowtide.solvers.schedule.problem import Buffer, ScheduleProblem
from lowtide.solvers.status import Status
from tests.solvers.oracles import best_by_ideals
from tests.solvers.strategies import schedule_problems

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from random import Random

    Json = None | bool | int | str | list["Json"] | dict[str, "Json"]


def kinds(certificate: Certificate) -> set[str]:
    return {type(proof).__name__ for proof in certificate.proofs}


def claim(problem: ScheduleProblem, bound: int, *proofs: Proof) -> Certificate:
    return Certificate(
        problem_sha256(problem),
        problem.num_nodes,
        problem.inputs_in_arena,
        problem.outputs_live_to_end,
        bound,
        proofs,
    )


@settings(max_examples=1000)
@given(schedule_problems(max_nodes=9))
def test_every_optimum_has_a_certificate(problem: ScheduleProblem) -> None:
    solution = schedule(problem)
    certificate = certify(problem, solution)
    assert certificate.bound_bytes == solution.peak_bytes == best_by_ideals(problem)
    assert check_certificate(problem, certificate) == solution.peak_bytes
    assert parse_certificate(to_json(certificate)) == certificate
    with pytest.raises(CertificateError):
        check_certificate(problem, replace(certificate, bound_bytes=certificate.bound_bytes + 1))
