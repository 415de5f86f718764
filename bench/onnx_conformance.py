"""ONNX's own node tests, one after another, through the TensorFlow emitter.

    python -m lowtide.bench.onnx_conformance [--only NAME] [--output bench/results/onnx_conformance]

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
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
import onnx_ir

from lowtide.backends.tensorflow.from_onnx.call import ConstantNeededError
from lowtide.backends.tensorflow.from_onnx.definitions import defines
from lowtide.backends.tensorflow.from_onnx.emitter import check
from lowtide.backends.tensorflow.from_onnx.graph import build
from lowtide.backends.tensorflow.from_onnx.lazy import tf
from lowtide.backends.tensorflow.from_onnx.registry import emitted
from lowtide.bench.onnx_conformance_table import (
    Operators,
    Outcome,
    Verdict,
    measures,
    table,
)
from lowtide.bench.protocol import end, write
from lowtide.errors import ModelError

if TYPE_CHECKING:
    from onnx.backend.test.case.test_case import TestCase

__all__ = ["cases", "judge", "main"]

_FLOATS = {1, 10, 11, 16}
# The spacing of numbers at 1, by type.
_UNITS = {"float32": 2.0**-23, "float64": 2.0**-52, "float16": 2.0**-10, "bfloat16": 2.0**-7}
_RANDOM = {"Bernoulli", "Multinomial", "RandomNormal", "RandomUniform", "RandomUniformLike"}


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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the tests; print or write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="", help="tests whose names contain this")
    parser.add_argument("--every", type=int, default=1, help="only each n-th test")
    parser.add_argument("--output", type=Path, help="without suffix; .md and .json are written")
    options = parser.parse_args(arguments)
    verdicts: list[Verdict] = []
    for case in list(cases(options.only))[:: options.every]:
        verdict = judge(case)
        verdicts.append(verdict)
        if verdict.outcome in ("fail", "unsupported"):
            print(f"{verdict.outcome:11} {verdict.name}: {verdict.reason}", file=sys.stderr)
    count = Counter(v.outcome for v in verdicts)
    print(dict(count))
    if options.output:
        operators = Operators(onnx.__version__, len(set(emitted())), _routes(verdicts))
        document = {"operators": asdict(operators), "rows": [asdict(v) for v in verdicts]}
        settings = {"only": options.only, "every": options.every}
        text = table(verdicts, operators) + "\n"
        write(options.output, text, document, settings, measures=measures(verdicts))
    return 0


def _routes(verdicts: Sequence[Verdict]) -> dict[str, str]:
    """How each operator of the tests is emitted."""
    own = set(emitted())
    return {
        name: "own" if name in own else "definition" if defines("", name, 1 << 20) else "-"
        for name in sorted({verdict.operator for verdict in verdicts})
    }


if __name__ == "__main__":
    end(main)
