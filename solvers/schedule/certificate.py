"""Certificates of lower bounds: what an independent checker needs to believe one.

    {"schema": "lowtide.certificate/1",
     "problem": {"sha256": str, "nodes": int, "inputs_in_arena": bool, "outputs_live_to_end": bool},
     "bound_bytes": B, "proofs": [proof, ...]}

The claim: no order of the problem has a peak below B.  `proofs[0]` shows it; a `split` refers to
two later proofs.  The kinds, and why each is a proof, are in docs/formats.md and, in full, in
`check_certificate.py`.
"""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, cast

from lowtide.errors import InstanceError
from lowtide.solvers.text_file import read_text

if TYPE_CHECKING:
    from lowtide.solvers.schedule.problem import ScheduleProblem

__all__ = [
    "SCHEMA",
    "Certificate",
    "CutProof",
    "Flow",
    "NodeProof",
    "Proof",
    "ReplayProof",
    "SearchProof",
    "SearchState",
    "SplitProof",
    "StartProof",
    "parse_certificate",
    "problem_sha256",
    "read_certificate",
    "to_json",
    "write_certificate",
]

SCHEMA = "lowtide.certificate/1"

# Limits on what a file may hold, so that a hostile one fails soon and in little memory.
MAX_FILE_BYTES = 64 << 20
MAX_ENTRIES = 20_000_000
_LARGEST = 1 << 62


@dataclass(frozen=True, slots=True)
class StartProof:
    """The bytes at the start are a peak of every order."""


@dataclass(frozen=True, slots=True)
class NodeProof:
    """What is alive in any case while `node` runs; exact for a cut node."""

    node: int


@dataclass(frozen=True, slots=True)
class Flow:
    """A flow through buffers and against dependencies.

    Attributes:
        spared: operands of the node that it is taken not to read (it may overwrite them).
        through: (buffer, reader, bytes); reader -1 is the end, for a buffer that stays to it.
        against: (node, a predecessor of it, bytes).
    """

    spared: tuple[int, ...]
    through: tuple[tuple[int, int, int], ...]
    against: tuple[tuple[int, int, int], ...]


@dataclass(frozen=True, slots=True)
class CutProof:
    """The min-cut bound on the transients of `node`.

    Attributes:
        node: what has to run at some ideal.
        flows: one for every choice of operands that it may overwrite.
        ideal: nodes, beyond the ancestors of `node`, after which its transient is the bound: it
            shows that no flow could prove more. None where overwriting leaves that open.
    """

    node: int
    flows: tuple[Flow, ...]
    ideal: tuple[int, ...] | None = None


class SearchState(NamedTuple):
    """A state of a search: `branch` was taken from the state `parent`, then `commits`, in sets."""

    parent: int
    branch: int
    commits: tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class SearchProof:
    """All states of a search that found no order below the bound.

    Attributes:
        forward: from the start, running nodes; else from the end, un-running them.
        after: the cut node before the nodes that are searched; -1 for none.
        before: the cut node behind them; -1 for none.
        states: a parent precedes its children; the first is the start, with parent and branch -1.
    """

    forward: bool
    after: int
    before: int
    states: tuple[SearchState, ...]


@dataclass(frozen=True, slots=True)
class ReplayProof:
    """A search that the checker makes itself, where its states are too many to list.

    Attributes:
        forward: as in `SearchProof`.
        after: as in `SearchProof`.
        before: as in `SearchProof`.
        states: the checker gives up after this many.
    """

    forward: bool
    after: int
    before: int
    states: int


@dataclass(frozen=True, slots=True)
class SplitProof:
    """One of two nodes runs before the other; both cases are proven.

    Attributes:
        u: a node.
        v: a node that is not comparable with u.
        first: the proof with u before v, an index above this proof's own.
        second: the proof with v before u, likewise.
    """

    u: int
    v: int
    first: int
    second: int


Proof: TypeAlias = StartProof | NodeProof | CutProof | SearchProof | ReplayProof | SplitProof


@dataclass(frozen=True, slots=True)
class Certificate:
    """The claim that no order of a problem has a peak below `bound_bytes`, with its evidence.

    Attributes:
        sha256: of the problem's canonical form, see `problem_sha256`.
        num_nodes: of the problem.
        inputs_in_arena: the accounting that the bound holds for.
        outputs_live_to_end: likewise.
        bound_bytes: what is proven.
        proofs: the first is the proof; splits refer to later ones.
    """

    sha256: str
    num_nodes: int
    inputs_in_arena: bool
    outputs_live_to_end: bool
    bound_bytes: int
    proofs: tuple[Proof, ...]


def problem_sha256(problem: ScheduleProblem) -> str:
    """SHA-256 of the problem's numbers as compact JSON; names do not matter. O(problem)."""
    form = [
        problem.num_nodes,
        [[b.size, b.producer, list(b.consumers), int(b.output)] for b in problem.buffers],
        list(problem.workspace) if any(problem.workspace) else [],
        [list(pair) for pair in sorted(set(problem.precedence))],
        [list(candidate) for candidate in problem.in_place],
        int(problem.inputs_in_arena),
        int(problem.outputs_live_to_end),
    ]
    return hashlib.sha256(json.dumps(form, separators=(",", ":")).encode()).hexdigest()


def to_json(certificate: Certificate) -> str:
    """The certificate as JSON text, one line; `parse_certificate` gives it back."""
    document = {
        "schema": SCHEMA,
        "problem": {
            "sha256": certificate.sha256,
            "nodes": certificate.num_nodes,
            "inputs_in_arena": certificate.inputs_in_arena,
            "outputs_live_to_end": certificate.outputs_live_to_end,
        },
        "bound_bytes": certificate.bound_bytes,
        "proofs": [_document(proof) for proof in certificate.proofs],
    }
    return json.dumps(document, separators=(",", ":"))


def _document(proof: Proof) -> dict[str, object]:
    match proof:
        case StartProof():
            return {"kind": "start"}
        case NodeProof(node):
            return {"kind": "node", "node": node}
        case CutProof(node, flows, ideal):
            cut: dict[str, object] = {
                "kind": "cut",
                "node": node,
                "flows": [
                    {"spared": f.spared, "through": f.through, "against": f.against} for f in flows
                ],
            }
            return cut if ideal is None else {**cut, "ideal": ideal}
        case SearchProof(forward, after, before, states):
            rows = [
                [s.parent, s.branch, *(c[0] if len(c) == 1 else c for c in s.commits)]
                for s in states
            ]
            return {
                "kind": "search",
                "forward": forward,
                "after": after,
                "before": before,
                "states": rows,
            }
        case ReplayProof(forward, after, before, count):
            return {
                "kind": "replay",
                "forward": forward,
                "after": after,
                "before": before,
                "states": count,
            }
        case SplitProof(u, v, first, second):
            return {"kind": "split", "u": u, "v": v, "first": first, "second": second}


def write_certificate(certificate: Certificate, path: str | os.PathLike[str]) -> None:
    """Write the certificate to a file, through a temporary file beside it."""
    where = Path(path)
    part = where.with_name(f"{where.name}.part{os.getpid()}")
    try:
        part.write_text(to_json(certificate) + "\n", encoding="utf-8")
        part.replace(where)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise InstanceError(f"{where}: cannot be written: {error.strerror or error}") from error


def read_certificate(path: str | os.PathLike[str]) -> Certificate:
    """The certificate in a file.

    Raises:
        InstanceError: the file is unreadable, too large, or not a certificate.
    """
    return read_text(path, parse_certificate, most_bytes=MAX_FILE_BYTES, remark="")


def parse_certificate(text: str) -> Certificate:
    """The certificate in a JSON text; it is well formed then, not yet believed.

    Raises:
        InstanceError: the text is anything else.
    """
    try:
        document: object = json.loads(text)
    except (ValueError, RecursionError) as error:
        message = "nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise InstanceError(f"not JSON: {message[:200]}") from error
    top = _Fields(document, "the certificate")
    schema = top.value("schema")
    if schema != SCHEMA:
        raise InstanceError(f"the schema is {str(schema)[:60]!r}, not {SCHEMA!r}")
    problem = _Fields(top.value("problem"), "`problem`")
    sha256 = problem.value("sha256")
    if not isinstance(sha256, str) or len(sha256) != 64:
        raise InstanceError("`problem`: `sha256` is not 64 hexadecimal digits")
    return Certificate(
        sha256=sha256,
        num_nodes=problem.integer("nodes"),
        inputs_in_arena=problem.flag("inputs_in_arena"),
        outputs_live_to_end=problem.flag("outputs_live_to_end"),
        bound_bytes=top.integer("bound_bytes"),
        proofs=tuple(_proof(_Fields(p, f"proof {k}")) for k, p in enumerate(top.list("proofs"))),
    )


def _proof(fields: _Fields) -> Proof:
    match fields.value("kind"):
        case "start":
            return StartProof()
        case "node":
            return NodeProof(fields.integer("node"))
        case "cut":
            flows = tuple(
                Flow(f.integers("spared"), f.triples("through"), f.triples("against"))
                for f in (_Fields(x, fields.where) for x in fields.list("flows"))
            )
            ideal = fields.integers("ideal") if fields.has("ideal") else None
            return CutProof(fields.integer("node"), flows, ideal)
        case "search":
            return SearchProof(
                fields.flag("forward"),
                fields.integer("after"),
                fields.integer("before"),
                tuple(_state(row, fields.where) for row in fields.list("states")),
            )
        case "replay":
            return ReplayProof(
                fields.flag("forward"),
                fields.integer("after"),
                fields.integer("before"),
                fields.integer("states"),
            )
        case "split":
            return SplitProof(
                fields.integer("u"),
                fields.integer("v"),
                fields.integer("first"),
                fields.integer("second"),
            )
        case other:
            raise InstanceError(f"{fields.where}: the kind {str(other)[:60]!r} is not known")


def _state(row: object, where: str) -> SearchState:
    items = _list(row, f"{where}: a state")
    if len(items) < 2:
        raise InstanceError(f"{where}: a state needs a parent and a branch")
    commits: list[tuple[int, ...]] = []
    for item in items[2:]:
        if isinstance(item, list):
            commits.append(tuple(_integer(x, where) for x in cast("list[object]", item)))
        else:
            commits.append((_integer(item, where),))
    return SearchState(_integer(items[0], where), _integer(items[1], where), tuple(commits))


class _Fields:
    """The fields of a JSON object, each checked when it is asked for."""

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, dict):
            raise InstanceError(f"{where} is not an object")
        self._fields = cast("dict[str, object]", value)
        self.where = where

    def has(self, key: str) -> bool:
        return key in self._fields

    def value(self, key: str) -> object:
        if key not in self._fields:
            raise InstanceError(f"{self.where} has no `{key}`")
        return self._fields[key]

    def integer(self, key: str) -> int:
        return _integer(self.value(key), f"{self.where}: `{key}`")

    def flag(self, key: str) -> bool:
        value = self.value(key)
        if not isinstance(value, bool):
            raise InstanceError(f"{self.where}: `{key}` is not true or false")
        return value

    def list(self, key: str) -> list[object]:
        return _list(self.value(key), f"{self.where}: `{key}`")

    def integers(self, key: str) -> tuple[int, ...]:
        return tuple(_integer(x, f"{self.where}: `{key}`") for x in self.list(key))

    def triples(self, key: str) -> tuple[tuple[int, int, int], ...]:
        rows: list[tuple[int, int, int]] = []
        for row in self.list(key):
            items = [_integer(x, self.where) for x in _list(row, self.where)]
            if len(items) != 3:
                raise InstanceError(f"{self.where}: `{key}` needs three numbers an entry")
            rows.append((items[0], items[1], items[2]))
        return tuple(rows)


def _list(value: object, where: str) -> list[object]:
    if not isinstance(value, list):
        raise InstanceError(f"{where} is not a list")
    items = cast("list[object]", value)
    if len(items) > MAX_ENTRIES:
        raise InstanceError(f"{where} has {len(items)} entries, over {MAX_ENTRIES}")
    return items


def _integer(value: object, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _LARGEST:
        raise InstanceError(f"{where}: not an integer within 2^62")
    return value
