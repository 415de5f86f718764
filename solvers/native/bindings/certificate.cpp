// What certificates of scheduling bounds are made of.
#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bindings/hook.hpp"
#include "bindings/parts.hpp"
#include "control.hpp"
#include "schedule/min_cut.hpp"
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

// Whether part `part` has an order within `budget` (None: not known), the states, and their trace:
// codes and where each state's end (search.hpp).
std::tuple<std::optional<bool>, std::uint64_t, std::vector<std::int32_t>, std::vector<std::size_t>>
trace_search(const schedule::Problem& problem, std::size_t part, Bytes budget, bool forward,
             bool macro, std::uint64_t state_limit, double time_limit_s) {
  const auto parts = problem.parts();
  if (part >= parts.size()) throw nb::index_error("not a part");
  const auto [begin, end] = parts[part];
  const std::span<const Node> all(problem.topological_order());
  const schedule::Segment segment =
      problem.make_segment(all.first(begin), all.subspan(begin, end - begin));
  const schedule::SearchOptions options{true, macro, std::size_t{1} << 30, true};
  schedule::Trace trace;
  schedule::SearchResult result;
  Hook hook([] { return nb::none(); });
  lowtide::Control control(time_limit_s, 0, [&] { return hook(); });
  {
    const nb::gil_scoped_release release;
    result =
        schedule::decide(problem, segment, budget, forward, options, state_limit, control, &trace);
  }
  hook.rethrow();
  if (hook.interrupted()) {
    PyErr_SetNone(PyExc_KeyboardInterrupt);
    throw nb::python_error();
  }
  std::optional<bool> feasible;
  if (result.verdict != schedule::Verdict::kUnknown) {
    feasible = result.verdict == schedule::Verdict::kFeasible;
  }
  return {feasible, result.states, std::move(trace.codes), std::move(trace.ends)};
}

}  // namespace

void add_certificate(nb::module_& m) {
  m.def("transients", &transients, "problem"_a, "order"_a,
        "The transients of a valid order's steps; ValueError if it is not valid.");
  m.def("min_cut_evidence", &min_cut_evidence, "problem"_a, "node"_a,
        "The min-cut bound, the smallest ideal where it is reached, and the flows behind it.");
  m.def("trace_search", &trace_search, "problem"_a, "part"_a, "budget"_a, "forward"_a, "macro"_a,
        "state_limit"_a, "time_limit_s"_a,
        "Whether a part has an order within the budget (None: not known), the states, and their "
        "trace.");
}

}  // namespace lowtide::bindings
