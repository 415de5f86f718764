"""The verdicts of `onnx_conformance.py`, and the page made of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from lowtide.bench.protocol import markdown
from lowtide.bench.record import Measure

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

__all__ = ["Operators", "Outcome", "Verdict", "measures", "table"]

Outcome = Literal["pass", "bound", "fail", "unsupported"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How one test ended.

    Attributes:
        operator: what it tests.
        outcome: `bound` is a pass with operands bound to constants.
        is_float: whether an input or output is of a floating-point type.
        reason: why it did not pass.
    """

    name: str
    operator: str
    outcome: Outcome
    is_float: bool
    expanded: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Operators:
    """What the tests were of.

    Attributes:
        onnx: the version of the package that has the tests.
        own: how many operators the emitter has functions for.
        routes: by operator of the tests: `own`, `definition` or `-`.
    """

    onnx: str
    own: int
    routes: Mapping[str, str]


def measures(verdicts: Sequence[Verdict]) -> Iterator[Measure]:
    """How many tests do not pass, of all and by operator."""
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups["all"].append(verdict)
        groups[verdict.operator].append(verdict)
    for name, of in groups.items():
        missed = sum(verdict.outcome not in _PASSED for verdict in of)
        yield Measure(name, "lowtide", "tests that do not pass", "%", 100 * missed / len(of))


def table(verdicts: Sequence[Verdict], operators: Operators) -> str:
    """The summary and the tables in Markdown, below a page's title."""
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups[verdict.operator].append(verdict)
    rows = [
        [f"`{name}`", operators.routes[name], *(str(n) if n else "" for n in _counts(groups[name]))]
        for name in sorted(groups)
    ]
    passing = [name for name in groups if any(v.outcome in _PASSED for v in groups[name])]
    floats = [v for v in verdicts if v.is_float]
    tensors = [v for v in floats if not v.reason.startswith(_NO_TENSORS)]
    direct = [v for v in tensors if not v.expanded]
    reasons = sorted({(v.operator, v.reason) for v in verdicts if v.outcome == "unsupported"})
    kinds: dict[str, set[str]] = defaultdict(set)
    for operator, reason in reasons:
        kinds[_summary(reason)].add(operator)
    lines = [
        f"Every node test of onnx {operators.onnx} whose operators are of ONNX's domain, each",
        "emitted as a `tf.function`, run, and compared with the expected outputs at the test's",
        "own tolerance (or two units in the last place of the type, and four of the largest",
        "element). Tests of random numbers and of dropout in training are left out: ONNX fixes no",
        "sequence.",
        "",
        f"- All tests: {_share(verdicts)}.",
        f"- Tests with a float among inputs and outputs: {_share(floats)}.",
        f"- Of these, without sequences, optional values and text: {_share(tensors)}.",
        f"- Of these, tests of an operator itself, not of its expansion: {_share(direct)}.",
        f"- {len(passing)} operators have a passing test. The emitter has functions for",
        f"  {operators.own}, and takes the others' definitions by ONNX.",
        "",
        "`bound`: passes once operands that must be known when a model is converted (shapes,",
        "scales, axes) are constants, as they are in most models. In all other tests every operand",
        "is an input. `own`: an emitter of its own. `definition`: by ONNX's definition.",
        "",
        markdown(("operator", "by", "pass", "bound", "fail", "unsupported"), rows),
        "",
        "## Not supported",
        "",
        markdown(
            ("why", "operators of the tests"),
            [[why, ", ".join(f"`{n}`" for n in sorted(names))] for why, names in kinds.items()],
        ),
        "",
        "## Failing",
        "",
        *([f"- `{v.name}`: {v.reason}" for v in verdicts if v.outcome == "fail"] or ["None."]),
    ]
    return "\n".join(lines)


_PASSED = ("pass", "bound")
_NO_TENSORS = ("sequences and optional", "String", "Tfidf", "RegexFullMatch", "ImageDecoder")


def _counts(verdicts: Sequence[Verdict]) -> list[int]:
    count = Counter(v.outcome for v in verdicts)
    return [count[kind] for kind in ("pass", "bound", "fail", "unsupported")]


def _share(verdicts: Sequence[Verdict]) -> str:
    passed = sum(v.outcome in _PASSED for v in verdicts)
    bound = sum(v.outcome == "bound" for v in verdicts)
    percent = 100 * passed / max(len(verdicts), 1)
    return f"{passed} of {len(verdicts)} pass ({percent:.1f} %, {bound} of them bound)"


def _summary(reason: str) -> str:
    """A reason without the names of one test."""
    if "TensorFlow takes tensors" in reason or "TensorFlow has no" in reason:
        return "element types that TensorFlow lacks"
    if "is not emitted" in reason:
        return "not emitted"
    return reason
