// What certificates of scheduling bounds are made of.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bindings/hook.hpp"
#include "bindings/parts.hpp"
#include "control.hpp"
#include "schedule/deduce.hpp"
#include "schedule/min_cut.hpp"
#include "schedule/probe.hpp"
#include "schedule/problem.hpp"
#include "schedule/search.hpp"

namespace lowtide::bindings {

using namespace nb::literals;

namespace {

using schedule::Bytes;
using schedule::Index;
using schedule::Node;

std::vector<Bytes> transients(const schedule::Problem& problem, const std::vector<Node>& order) {
  return problem.transients(order);
}

// The bound, the smallest ideal where it is reached, and the flows: spared, bound, through,
// against.
using FlowTuple = std::tuple<std::vector<Index>, Bytes, std::vector<std::tuple<Index, Node, Bytes>>,
                             std::vector<std::tuple<Node, Node, Bytes>>>;
std::tuple<Bytes, std::vector<Node>, std::vector<FlowTuple>> min_cut_evidence(
    const schedule::Problem& problem, Node v) {
  if (v < 0 || v >= problem.num_nodes()) throw nb::index_error("not a node");
  lowtide::Control control(-1.0, 0, {});
  const schedule::Segment segment = problem.whole();
  schedule::Cut cut = schedule::min_cut(problem, segment, v, control);
  std::vector<FlowTuple> flows;
  for (schedule::Flow& f : schedule::min_cut_flows(problem, segment, v, control)) {
    flows.emplace_back(std::move(f.spared), f.bound, std::move(f.through), std::move(f.against));
  }
  return {cut.bound, std::move(cut.inside), std::move(flows)};
}

// The nodes at positions [begin, end) between cut nodes.
schedule::Segment segment_at(const schedule::Problem& problem, std::size_t begin, std::size_t end) {
  const std::span<const Node> all(problem.topological_order());
  if (begin > end || end > all.size()) throw nb::index_error("not positions of nodes");
  return problem.make_segment(all.first(begin), all.subspan(begin, end - begin));
}

std::optional<bool> is_feasible(schedule::Verdict verdict) {
  if (verdict == schedule::Verdict::kUnknown) return std::nullopt;
  return verdict == schedule::Verdict::kFeasible;
}

// Runs without the GIL; Ctrl-C is an exception.
template <typename Call>
auto run(double time_limit_s, const Call& call) {
  Hook hook([] { return nb::none(); });
  lowtide::Control control(time_limit_s, 0, [&] { return hook(); });
  decltype(call(control)) result;
  {
    const nb::gil_scoped_release release;
    result = call(control);
  }
  hook.rethrow();
  if (hook.interrupted()) {
    PyErr_SetNone(PyExc_KeyboardInterrupt);
    throw nb::python_error();
  }
  return result;
}

std::tuple<std::optional<bool>, std::uint64_t, std::vector<std::int32_t>, std::vector<std::size_t>>
trace_search(const schedule::Problem& problem, std::size_t begin, std::size_t end, Bytes budget,
             bool forward, bool macro, std::uint64_t state_limit, double time_limit_s) {
  const schedule::Segment segment = segment_at(problem, begin, end);
  const schedule::SearchOptions options{
      .macro = macro, .visited_bytes = std::size_t{1} << 30, .exact_states = true};
  schedule::Trace trace;
  const schedule::SearchResult result = run(time_limit_s, [&](lowtide::Control& control) {
    return schedule::decide(problem, segment, budget, forward, options, state_limit, control,
                            &trace);
  });
  return {is_feasible(result.verdict), result.states, std::move(trace.codes),
          std::move(trace.ends)};
}

std::tuple<bool, std::vector<std::pair<Node, Node>>> deduce_between(
    const schedule::Problem& problem, std::size_t begin, std::size_t end, Bytes budget) {
  const schedule::Segment segment = segment_at(problem, begin, end);
  schedule::Deduction result = run(-1.0, [&](lowtide::Control& control) {
    return schedule::deduce(problem, segment, budget, ~std::uint64_t{0}, control);
  });
  return {result.infeasible, std::move(result.edges)};
}

// Steps are (kind, u, v), see probe.hpp.
std::tuple<std::optional<bool>, std::vector<std::tuple<int, Node, Node>>> probe(
    const schedule::Problem& problem, std::size_t begin, std::size_t end, Bytes budget,
    std::uint64_t slice, std::uint64_t case_limit, double time_limit_s) {
  const schedule::Segment segment = segment_at(problem, begin, end);
  schedule::ProbeOptions options;
  options.slice = slice;
  options.search.macro = false;
  options.search.exact_states = true;
  const schedule::ProbeResult result = run(time_limit_s, [&](lowtide::Control& control) {
    return schedule::probe(problem, segment, budget, options, case_limit, control);
  });
  std::vector<std::tuple<int, Node, Node>> steps;
  for (const schedule::ProbeStep& s : result.steps) {
    steps.emplace_back(static_cast<int>(s.kind), s.u, s.v);
  }
  return {is_feasible(result.verdict), std::move(steps)};
}

schedule::Problem with_precedence(const schedule::Problem& problem,
                                  const std::vector<std::pair<Node, Node>>& edges) {
  for (const auto& [before, after] : edges) {
    if (before < 0 || after < 0 || before >= problem.num_nodes() || after >= problem.num_nodes()) {
      throw nb::index_error("not a node");
    }
  }
  return problem.with_precedence(edges);
}

}  // namespace

void add_certificate(nb::module_& m) {
  m.def("transients", &transients, "problem"_a, "order"_a,
        "The transients of a valid order's steps; ValueError if it is not valid.");
  m.def("min_cut_evidence", &min_cut_evidence, "problem"_a, "node"_a,
        "The min-cut bound, the smallest ideal where it is reached, and the flows behind it.");
  m.def("with_precedence", &with_precedence, "problem"_a, "edges"_a,
        "The problem with further (before, after) pairs; ValueError if they make a cycle.");
  m.def("trace_search", &trace_search, "problem"_a, "begin"_a, "end"_a, "budget"_a, "forward"_a,
        "macro"_a, "state_limit"_a, "time_limit_s"_a,
        "Whether the nodes at positions [begin, end) between cut nodes have an order within the "
        "budget (None: not known), the states, and their trace.");
  m.def("deduce_between", &deduce_between, "problem"_a, "begin"_a, "end"_a, "budget"_a,
        "Whether a budget is refuted there, and the (before, after) pairs that hold within it.");
  m.def("probe", &probe, "problem"_a, "begin"_a, "end"_a, "budget"_a, "slice"_a, "case_limit"_a,
        "time_limit_s"_a,
        "Whether there is an order within the budget, by cases, and the steps: (kind, u, v), the "
        "kinds deduced, forward, backward, split.");
}

}  // namespace lowtide::bindings
