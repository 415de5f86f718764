"""Rewrites: every rule at every site against execution, and what is chosen among them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
from onnx.reference import ReferenceEvaluator

from lowtide.backends.onnx.rebuild import rebuild
from lowtide.errors import InputError, PlanError
from lowtide.frontends.onnx import import_graph, read
from lowtide.frontends.onnx.dialect import OnnxDialect
from lowtide.ir import Accounting, print_graph, simulate
from lowtide.passes.pipeline import parse
from lowtide.passes.rewrite.choose import choose, rewritten
from lowtide.passes.rewrite.registry import EXACT, RULES, parse_rewrite, rule
from lowtide.passes.rewrite.rule import Refusal, Rewrite
from lowtide.passes.rewrite.stage import Rewriting
from tests.passes.rewrite_networks import in_float64, patterned

if TYPE_CHECKING:
    from lowtide.ir import Graph

ACCOUNTING = Accounting(alignment=1)
TOLERANCE = 1e-5  # of a result of about 1, in single precision


def run(model: onnx.ModelProto) -> list[np.ndarray]:
    """The results in ONNX Runtime, nothing optimised."""
    ort: Any = onnxruntime
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = ort.InferenceSession(model.SerializeToString(), options)
    return [np.asarray(found) for found in session.run(None, {"x": image()})]


def image() -> np.ndarray:
    """What the networks read."""
    return np.random.default_rng(0).uniform(-1, 1, (1, 4, 6, 5)).astype(np.float32)


def reference(model: onnx.ModelProto) -> list[np.ndarray]:
    """The results in double precision."""
    evaluator = ReferenceEvaluator(in_float64(model))
    return [np.asarray(r) for r in evaluator.run(None, {"x": image().astype(np.float64)})]


def rebuilt(
    model: onnx_ir.Model, graph: Graph, edited: Graph, *, addends: bool = True
) -> onnx.ModelProto:
    """The new model, checked."""
    new = onnx_ir.to_proto(rebuild(model, graph, edited, addends=addends))
    onnx.checker.check_model(new)
    read = {name for node in new.graph.node for name in node.input}
    assert {weight.name for weight in new.graph.initializer} <= read
    return new


def settled(graph: Graph, dialect: OnnxDialect, rewrite: Rewrite) -> Rewrite:
    """An open rewrite in the order of its open form."""
    form = rewritten(graph, dialect, [rewrite])
    return rule(rewrite.rule).settled(rewrite, [op.name for op in form.ops])


@pytest.mark.parametrize("seed", range(30))
def test_every_site(seed: int) -> None:
    """A rewritten network gives the same bits, or sums regrouped within the tolerance."""
    model = patterned(seed)
    source = read(model)
    graph, dialect = import_graph(source.model), OnnxDialect.of(source.model)
    before = print_graph(graph)
    expected, exact = run(model), reference(model)
    for each in RULES:
        for site in each.sites(graph, dialect):
            if isinstance(site, Refusal):
                continue
            new = rewritten(graph, dialect, [settled(graph, dialect, site)])
            for addends in (True, False):
                found = run(rebuilt(source.model, graph, new, addends=addends))
                for one, other, true in zip(found, expected, exact, strict=True):
                    assert one.shape == other.shape
                    if each.exact:
                        assert np.array_equal(one, other), str(site)
                    error = np.abs(one - true).max() / max(1.0, np.abs(true).max())
                    assert error < TOLERANCE, str(site)
    assert print_graph(graph) == before


@pytest.mark.parametrize("rules", [EXACT, RULES])
@pytest.mark.parametrize("seed", range(30, 45))
def test_choice(seed: int, rules: tuple[object, ...]) -> None:
    """Never worse; what is stated is so; the names give the same model again."""
    model = patterned(seed)
    source = read(model)
    graph, dialect = import_graph(source.model), OnnxDialect.of(source.model)
    choice = choose(graph, dialect, ACCOUNTING, RULES if rules is RULES else EXACT)
    assert simulate(choice.graph, ACCOUNTING).peak_bytes == choice.peak_after_bytes
    if not choice.rewrites:
        assert choice.peak_after_bytes == choice.peak_before_bytes
        return
    assert choice.peak_after_bytes < choice.peak_before_bytes
    again = rewritten(graph, dialect, [parse_rewrite(str(r)) for r in choice.rewrites])
    again.reorder([again.op(op.name) for op in choice.graph.ops])
    assert print_graph(again) == print_graph(choice.graph)
    found = run(rebuilt(source.model, graph, choice.graph))
    for one, true in zip(found, reference(model), strict=True):
        assert np.abs(one - true).max() / max(1.0, np.abs(true).max()) < TOLERANCE
    for left_out in choice.rewrites:  # none is there in vain
        others = [r for r in choice.rewrites if r is not left_out]
        try:
            without = rewritten(graph, dialect, others)
        except PlanError:
            continue
        alone = choose(without, dialect, ACCOUNTING, ())
        assert alone.peak_before_bytes > choice.peak_after_bytes


def test_the_patterns_are_met() -> None:
    """Every rule has sites in the networks that the tests use."""
    met: dict[str, int] = {}
    for seed in range(30):
        source = read(patterned(seed))
        graph, dialect = import_graph(source.model), OnnxDialect.of(source.model)
        for each in RULES:
            found = [s for s in each.sites(graph, dialect) if isinstance(s, Rewrite)]
            met[each.name] = met.get(each.name, 0) + len(found)
    assert min(met.values()) >= 3, met


def test_a_budget_is_met_with_fewer_rewrites() -> None:
    """What is not needed for the budget is left as it was."""
    for seed in range(45, 70):
        source = read(patterned(seed))
        graph, dialect = import_graph(source.model), OnnxDialect.of(source.model)
        most = choose(graph, dialect, ACCOUNTING, RULES)
        if len(most.rewrites) < 2:
            continue
        budget = most.peak_before_bytes - 1
        fewer = choose(graph, dialect, ACCOUNTING, RULES, budget_bytes=budget)
        assert fewer.peak_after_bytes <= budget
        assert len(fewer.rewrites) <= len(most.rewrites)
        none = choose(graph, dialect, ACCOUNTING, RULES, budget_bytes=most.peak_before_bytes)
        assert not none.rewrites
        return
    pytest.fail("no network needed two rewrites")


@pytest.mark.parametrize("text", ["sums", "sums@", "nothing@op", "sums@op", "@op"])
def test_bad_names(text: str) -> None:
    """What is no rewrite is refused by name."""
    with pytest.raises(PlanError):
        parse_rewrite(text)


def test_a_rewrite_that_does_not_apply() -> None:
    """Ops that are not there, and orders that are none."""
    source = read(patterned(0))
    graph, dialect = import_graph(source.model), OnnxDialect.of(source.model)
    sites = [s for s in rule("sums").sites(graph, dialect) if isinstance(s, Rewrite)]
    wrong = [Rewrite("flatten", "no such op"), Rewrite("kernelwise", graph.ops[0].name)]
    wrong += [Rewrite("sums", sites[0].op, option) for option in ("", "0", "0.0", "a.b")]
    for rewrite in wrong:
        with pytest.raises(PlanError):
            rewritten(graph, dialect, [rewrite])


def test_the_stage_in_a_pipeline() -> None:
    """Its option is checked, and says which rules may be used."""
    ((_, found),) = parse("rewrite{rules=float}")
    assert isinstance(found, Rewriting)
    assert found.allowed == RULES
    assert Rewriting().allowed == EXACT
    assert Rewriting("none").allowed == ()
    assert parse("rewrite{rules=none,tiles=false}")[0][1] == Rewriting("none", tiles=False)
    with pytest.raises(InputError, match="fast"):
        parse("rewrite{rules=fast}")
