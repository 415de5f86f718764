"""ONNX's own node tests, one after another, through the TensorFlow emitter.

    python -m lowtide.bench.onnx_conformance [--only NAME] [--write docs/onnx-conformance.md]

Every test of `onnx.backend.test` whose operators are of ONNX's own domain is emitted, run and
compared with the expected outputs, at the tolerances that the test states, or two units in the
last place of the type and four of the largest element where that is more. Tests of random numbers
are left out: ONNX fixes no sequence. Inputs stay inputs; where the converter says that an operand
must be constant (a shape, scales, sizes) that operand is bound to the test's value, and the test
counts as passed `bound`.
"""

from __future__ import annotations

import argparse
import re
import sys
import warnings
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import onnx
import onnx_ir

from lowtide.backends.tensorflow.from_onnx.call import ConstantNeededError
from lowtide.backends.tensorflow.from_onnx.definitions import defines
from lowtide.backends.tensorflow.from_onnx.emitter import check
from lowtide.backends.tensorflow.from_onnx.graph import build
from lowtide.backends.tensorflow.from_onnx.lazy import tf
from lowtide.backends.tensorflow.from_onnx.registry import emitted
from lowtide.bench.protocol import markdown
from lowtide.errors import ModelError

if TYPE_CHECKING:
    from onnx.backend.test.case.test_case import TestCase

__all__ = ["Verdict", "cases", "judge", "main", "table"]

Outcome = Literal["pass", "bound", "fail", "unsupported"]
_FLOATS = {1, 10, 11, 16}
# The spacing of numbers at 1, by type.
_UNITS = {"float32": 2.0**-23, "float64": 2.0**-52, "float16": 2.0**-10, "bfloat16": 2.0**-7}
_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomUniform", "RandomUniformLike"}


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


def cases(only: str = "") -> Iterator[TestCase]:
    """The node tests of ONNX's own domain, in order of their names."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = cast("Sequence[TestCase]", collect_testcases(None))
    for case in sorted(found, key=lambda case: case.name):
        if case.model is None or not case.data_sets or only not in case.name:
            continue
        nodes = case.model.graph.node
        if any(node.op_type in _RANDOM for node in nodes) or "training_dropout" in case.name:
            continue
        if all(node.domain in ("", "ai.onnx") for node in nodes):
            yield case


def judge(case: TestCase) -> Verdict:
    """Emit one test's model, run it and compare."""
    model = case.model
    assert model is not None
    assert case.data_sets is not None
    expanded = "_expanded" in case.name
    operator = _operator(case)
    is_float = any(
        value.type.tensor_type.elem_type in _FLOATS
        for value in [*model.graph.input, *model.graph.output]
    )

    def verdict(outcome: Outcome, reason: str = "") -> Verdict:
        return Verdict(case.name, operator, outcome, is_float, expanded, reason)

    if any(
        v.type.WhichOneof("value") != "tensor_type"
        for v in [*model.graph.input, *model.graph.output]
    ):
        return verdict("unsupported", "sequences and optional values")
    outcome: Outcome = "pass"
    bound: dict[str, onnx.TensorProto] = {}
    for inputs, expected in case.data_sets:
        given = {
            value.name: tensor for value, tensor in zip(model.graph.input, inputs, strict=False)
        }
        while True:
            try:
                read = onnx_ir.from_proto(_bound(model, bound))
                check(read)
                built = build(read)
            except ConstantNeededError as error:
                name = _blamed(model, str(error), error.operand, given, bound)
                if name is None:
                    return verdict("fail", _line(error))
                bound[name] = onnx.numpy_helper.from_array(np.asarray(given[name]), name)
                outcome = "bound"
                continue
            except ModelError as error:
                text = _line(error)
                known = "is not emitted" in text or "TensorFlow has no" in text
                known = known or "TensorFlow takes tensors" in text
                return verdict("unsupported" if known else "fail", text)
            except Exception as error:
                return verdict("fail", f"{type(error).__name__}: {_line(error)}")
            break
        try:
            actual = _run(built, given)
            _compare(actual, expected, case.rtol, case.atol)
        except Exception as error:
            return verdict("fail", f"{type(error).__name__}: {_line(error)}")
    return verdict(outcome)


def _operator(case: TestCase) -> str:
    model = cast("onnx.ModelProto", case.model)
    kinds = [node.op_type for node in model.graph.node if node.op_type != "Constant"]
    flat = case.name.removeprefix("test_").replace("_", "")
    matching = [k for k in kinds if flat.startswith(k.lower())]
    return str((matching or kinds or ["Constant"])[0])


def _bound(model: onnx.ModelProto, bound: dict[str, onnx.TensorProto]) -> onnx.ModelProto:
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    copy.graph.initializer.extend(bound.values())
    return copy


def _blamed(
    model: onnx.ModelProto,
    message: str,
    operand: int,
    given: dict[str, Any],
    bound: dict[str, onnx.TensorProto],
) -> str | None:
    """The graph input that an operand comes from; the first unbound one of small integers else."""
    for node in model.graph.node:
        if operand < len(node.input) and node.input[operand] in given:
            name = str(node.input[operand])
            if name not in bound and message.startswith(node.op_type):
                return name
    return next((name for name in given if name not in bound and np.size(given[name]) <= 16), None)


def _run(built: Any, given: dict[str, Any]) -> list[Any]:
    tensors = []
    for name, spec in zip(built.inputs, built.function.structured_input_signature[0], strict=True):
        value = given[name]
        if isinstance(value, onnx.TensorProto):
            value = onnx.numpy_helper.to_array(value)
        tensors.append(tf.constant(np.asarray(value), dtype=spec.dtype))
    results = built.function(*tensors)
    return [results[name].numpy() for name in built.outputs]


def _compare(actual: Sequence[Any], expected: Sequence[Any], rtol: float, atol: float) -> None:
    for have, want in zip(actual, expected, strict=True):
        if isinstance(want, onnx.TensorProto):
            want = onnx.numpy_helper.to_array(want)  # noqa: PLW2901
        want = np.asarray(want)  # noqa: PLW2901
        assert have.shape == want.shape, f"shape {have.shape}, not {want.shape}"
        if want.dtype.kind in "OUS":
            texts = [t.decode() if isinstance(t, bytes) else str(t) for t in have.reshape(-1)]
            assert texts == [str(t) for t in want.reshape(-1)], "strings differ"
            continue
        assert have.dtype == want.dtype, f"type {have.dtype}, not {want.dtype}"
        unit = _UNITS.get(str(want.dtype), 0.0)
        if want.dtype.kind not in "fciub" or unit > 1e-4:
            have, want = have.astype(np.float32), want.astype(np.float32)  # noqa: PLW2901
        largest = float(np.abs(want[np.isfinite(want)]).max(initial=0.0)) if unit else 0.0
        np.testing.assert_allclose(
            have, want, rtol=max(rtol, 2 * unit), atol=max(atol, 4 * unit * largest)
        )


def _line(error: Exception) -> str:
    return re.sub(r"\s+", " ", str(error)).strip()[:200]


def table(verdicts: Sequence[Verdict]) -> str:
    """The conformance table in Markdown."""
    groups: dict[str, list[Verdict]] = defaultdict(list)
    for verdict in verdicts:
        groups[verdict.operator].append(verdict)
    rows = [
        [f"`{name}`", _route(name), *(str(n) if n else "" for n in _counts(groups[name]))]
        for name in sorted(groups)
    ]
    passing = [name for name in groups if any(v.outcome in _PASSED for v in groups[name])]
    own = set(emitted())
    floats = [v for v in verdicts if v.is_float]
    tensors = [v for v in floats if not v.reason.startswith(_NO_TENSORS)]
    direct = [v for v in tensors if not v.expanded]
    reasons = sorted({(v.operator, v.reason) for v in verdicts if v.outcome == "unsupported"})
    kinds: dict[str, set[str]] = defaultdict(set)
    for operator, reason in reasons:
        kinds[_summary(reason)].add(operator)
    lines = [
        "# ONNX conformance of the TensorFlow emitter",
        "",
        "Generated by `python -m lowtide.bench.onnx_conformance --write docs/onnx-conformance.md`:",
        f"every node test of onnx {onnx.__version__} whose operators are of ONNX's domain, each",
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
        f"  {len(own)}, and takes the others' definitions by ONNX.",
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
        "",
    ]
    return "\n".join(lines)


_PASSED = ("pass", "bound")
_NO_TENSORS = ("sequences and optional", "String", "Tfidf", "RegexFullMatch", "ImageDecoder")


def _route(name: str) -> str:
    return "own" if name in emitted() else "definition" if defines("", name, 1 << 20) else "-"


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests; print or write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="tests whose names contain this")
    parser.add_argument("--every", type=int, default=1, help="only each n-th test")
    parser.add_argument("--write", type=Path, help="the Markdown file to write")
    options = parser.parse_args(arguments)
    verdicts: list[Verdict] = []
    for case in list(cases(options.only))[:: options.every]:
        verdict = judge(case)
        verdicts.append(verdict)
        if verdict.outcome in ("fail", "unsupported"):
            print(f"{verdict.outcome:11} {verdict.name}: {verdict.reason}", file=sys.stderr)
    count = Counter(v.outcome for v in verdicts)
    print(dict(count))
    if options.write:
        options.write.write_text(table(verdicts))
    return 0


if __name__ == "__main__":
    sys.exit(main())
