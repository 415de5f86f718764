"""Compare the table of ONNX Runtime's CPU kernels with what they do when executed.

    python -m lowtide.bench.probe_kernels [--standard] [--all]

Prints the nodes where table and execution disagree (with --all also the others), and a summary per
operator. Run it against a new version of ORT before `ort_kernels.py` is said to hold for it.
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, cast

from lowtide import child
from lowtide.backends import meter
from lowtide.bench.kernel_cases import cases, standard_cases
from lowtide.bench.kernel_probe import predict, probe
from lowtide.frontends.onnx.ort_kernels import KERNELS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["Row", "main", "measure", "rows"]


@dataclass(frozen=True, slots=True)
class Row:
    """One case.

    Attributes:
        name: the case.
        kind: domain and operator.
        listed: whether the table has the kernel.
        known: whether its workspace is modelled for this node.
        own: which results got storage of their own, as measured.
        predicted_own: the same by the table.
        workspace_bytes: as measured.
        predicted_bytes: the same by the table.
        plain_bytes: what the kernel took from malloc directly.
        failure: why ORT did not run it, or empty.
    """

    name: str
    kind: str
    listed: bool
    known: bool = False
    own: tuple[bool | None, ...] = ()
    predicted_own: tuple[bool | None, ...] = ()
    workspace_bytes: int = 0
    predicted_bytes: int = 0
    plain_bytes: int = 0
    failure: str = ""

    @property
    def agrees(self) -> bool:
        """Storage as predicted, and workspace to the byte where it is modelled."""
        workspace = not self.known or self.workspace_bytes == self.predicted_bytes
        return self.own == self.predicted_own and workspace


def rows(*, standard: bool) -> list[Row]:
    """All cases (or ONNX's own node tests), executed in a child process under the meter."""
    reply = child.run(
        "lowtide.bench.probe_kernels:measure",
        {"standard": standard},
        timeout_s=600,
        preload=meter.library(),
    )
    found: list[Row] = []
    for fields in cast("list[dict[str, object]]", reply["rows"]):
        for name in ("own", "predicted_own"):
            fields[name] = tuple(cast("list[bool | None]", fields[name]))
        found.append(Row(**fields))  # type: ignore[arg-type]
    return found


def measure(request: Mapping[str, object]) -> dict[str, object]:
    """The child's side of `rows`."""
    import onnxruntime as ort

    ort.set_default_logger_severity(4)
    counter = meter.Meter()
    found: list[Row] = []
    for case in standard_cases() if request["standard"] else cases():
        kind = f"{case.node.domain or 'onnx'}.{case.node.op_type}"
        listed = (case.node.domain, case.node.op_type) in KERNELS
        try:
            seen = probe(case, counter)
        except Exception as error:  # ORT's exceptions have no base of their own
            text = " ".join(str(error).split())[:200]
            found.append(Row(case.name, kind, listed, failure=text or type(error).__name__))
            continue
        own, workspace, known = predict(seen.query)
        found.append(
            Row(
                name=case.name,
                kind=kind,
                listed=listed,
                known=known,
                own=seen.own,
                predicted_own=own,
                workspace_bytes=seen.workspace_bytes,
                predicted_bytes=workspace,
                plain_bytes=seen.plain_bytes,
            )
        )
    return {"rows": [asdict(row) for row in found]}


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; 1 when table and execution disagree."""
    parser = argparse.ArgumentParser(prog="probe_kernels", description=__doc__)
    parser.add_argument("--standard", action="store_true", help="ONNX's own node tests too")
    parser.add_argument("--all", action="store_true", help="print every case")
    options = parser.parse_args(arguments)
    found = rows(standard=False)
    if options.standard:
        found += rows(standard=True)
    ran = [row for row in found if not row.failure]
    wrong = [row for row in ran if row.listed and not row.agrees]
    for row in found if options.all else wrong:
        verdict = row.failure or ("agrees" if row.agrees else "DISAGREES")
        print(f"{row.name}: {verdict}")
        if not row.failure:
            print(f"    own storage {row.own}, predicted {row.predicted_own}")
            modelled = row.predicted_bytes if row.known else "unknown"
            print(f"    workspace {row.workspace_bytes}, predicted {modelled}")
    agreed = Counter(row.kind for row in ran if row.listed and row.agrees and row.known)
    unknown = Counter(row.kind for row in ran if row.listed and not row.known)
    unlisted = Counter(row.kind for row in ran if not row.listed)
    for title, counter in (
        ("agree to the byte", agreed),
        ("workspace of this variant unknown", unknown),
        ("not in the table", unlisted),
        ("not run by ORT", Counter(row.kind for row in found if row.failure)),
    ):
        kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(counter.items()))
        print(f"{title}: {counter.total()} ({kinds})")
    print(f"disagree: {len(wrong)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
