#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bindings/hook.hpp"
#include "bindings/parts.hpp"
#include "control.hpp"
#include "schedule/min_cut.hpp"
#include "schedule/problem.hpp"
#include "schedule/solver.hpp"

namespace lowtide::bindings {

using namespace nb::literals;

namespace {

// What a solve returns to Python.
struct Outcome {
  std::vector<schedule::Node> order;
  schedule::Bytes peak, bound;
  std::string method, bound_method;
  bool stopped, interrupted;
  std::uint64_t states, flows, work;
};

// Runs without the GIL, with a Hook.
Outcome solve(const schedule::Problem& problem,
              const std::vector<std::pair<std::string, std::vector<schedule::Node>>>& starts,
              const schedule::Techniques& techniques, double time_limit_s, std::uint64_t work_limit,
              const nb::object& progress) {
  schedule::Solver solver(problem, techniques);
  for (const auto& [name, order] : starts) solver.offer(order, name);
  Hook hook(
      [&] { return progress.is_none() ? nb::none() : progress(solver.peak(), solver.bound()); });
  lowtide::Control control(time_limit_s, work_limit, [&] { return hook(); });
  {
    const nb::gil_scoped_release release;
    solver.run(control);
  }
  hook.rethrow();
  return {solver.order(),        solver.peak(),     solver.bound(),     solver.method(),
          solver.bound_method(), control.stopped(), hook.interrupted(), solver.states(),
          solver.flows(),        control.work()};
}

schedule::Bytes min_cut(const schedule::Problem& problem, schedule::Node v) {
  if (v < 0 || v >= problem.num_nodes()) throw nb::index_error("not a node");
  lowtide::Control control(-1.0, 0, {});
  return schedule::min_cut(problem, problem.whole(), v, control).bound;
}

std::vector<schedule::Node> min_cut_inside(const schedule::Problem& problem, schedule::Node v) {
  if (v < 0 || v >= problem.num_nodes()) throw nb::index_error("not a node");
  lowtide::Control control(-1.0, 0, {});
  return schedule::min_cut(problem, problem.whole(), v, control).inside;
}

using FlowTuple =
    std::tuple<std::vector<schedule::Index>, schedule::Bytes,
               std::vector<std::tuple<schedule::Index, schedule::Node, schedule::Bytes>>,
               std::vector<std::tuple<schedule::Node, schedule::Node, schedule::Bytes>>>;

std::vector<FlowTuple> min_cut_flows(const schedule::Problem& problem, schedule::Node v) {
  if (v < 0 || v >= problem.num_nodes()) throw nb::index_error("not a node");
  lowtide::Control control(-1.0, 0, {});
  std::vector<FlowTuple> result;
  for (schedule::Flow& f : schedule::min_cut_flows(problem, problem.whole(), v, control)) {
    result.emplace_back(std::move(f.spared), f.bound, std::move(f.through), std::move(f.against));
  }
  return result;
}

// Whether part `part` has an order within `budget` (None: not known), the states, and their trace:
// codes and where each state's end (search.hpp).
std::tuple<std::optional<bool>, std::uint64_t, std::vector<std::int32_t>, std::vector<std::size_t>>
trace_search(const schedule::Problem& problem, std::size_t part, schedule::Bytes budget,
             bool forward, bool macro, std::uint64_t state_limit, double time_limit_s) {
  const auto parts = problem.parts();
  if (part >= parts.size()) throw nb::index_error("not a part");
  const auto [begin, end] = parts[part];
  const std::span<const schedule::Node> all(problem.topological_order());
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

void add_schedule(nb::module_& m) {
  nb::class_<schedule::Problem>(m, "Schedule", "A scheduling problem, ready to be solved.")
      .def(
          "__init__",
          [](schedule::Problem* self, schedule::Node num_nodes, std::vector<schedule::Bytes> sizes,
             std::vector<schedule::Node> producers,
             std::vector<std::vector<schedule::Node>> consumers, std::vector<bool> outputs,
             std::vector<schedule::Bytes> workspace,
             std::vector<std::pair<schedule::Node, schedule::Node>> precedence,
             std::vector<std::tuple<schedule::Node, schedule::Index, schedule::Index>> in_place,
             bool inputs_in_arena, bool outputs_live_to_end) {
            new (self) schedule::Problem(schedule::Description{
                num_nodes, std::move(sizes), std::move(producers), std::move(consumers),
                std::move(outputs), std::move(workspace), std::move(precedence),
                std::move(in_place), inputs_in_arena, outputs_live_to_end});
          },
          nb::kw_only(), "num_nodes"_a, "sizes"_a, "producers"_a, "consumers"_a, "outputs"_a,
          "workspace"_a, "precedence"_a, "in_place"_a, "inputs_in_arena"_a, "outputs_live_to_end"_a)
      .def(
          "peak",
          [](const schedule::Problem& self, const std::vector<schedule::Node>& order) {
            return self.peak(order);
          },
          "order"_a, "The peak of a valid order, in bytes; ValueError if it is not valid.")
      .def("parts", &schedule::Problem::parts,
           "Positions [begin, end) between cut nodes, the same in every order.")
      .def(
          "transients",
          [](const schedule::Problem& self, const std::vector<schedule::Node>& order) {
            return self.transients(order);
          },
          "order"_a, "The transients of a valid order's steps; ValueError if it is not valid.")
      .def("min_cut", &min_cut, "node"_a, "The least transient of a node over all ideals.")
      .def("min_cut_inside", &min_cut_inside, "node"_a, "The smallest ideal where it is reached.")
      .def("min_cut_flows", &min_cut_flows, "node"_a,
           "The flows behind min_cut: (spared, bound, through, against) each.")
      .def("trace_search", &trace_search, "part"_a, "budget"_a, "forward"_a, "macro"_a,
           "state_limit"_a, "time_limit_s"_a,
           "Whether a part has an order within the budget, the states, and the trace.");
  nb::class_<schedule::Techniques>(m, "ScheduleTechniques", "Switches of the exact method.")
      .def(
          "__init__",
          [](schedule::Techniques* self, bool one_step, bool macro, bool backward, bool min_cut,
             bool reorder, bool windows, bool cut_nodes, bool beam, std::size_t visited_bytes,
             bool exact_states) {
            new (self)
                schedule::Techniques{one_step, macro,     backward, min_cut,       reorder,
                                     windows,  cut_nodes, beam,     visited_bytes, exact_states};
          },
          nb::kw_only(), "one_step"_a, "macro"_a, "backward"_a, "min_cut"_a, "reorder"_a,
          "windows"_a, "cut_nodes"_a, "beam"_a, "visited_bytes"_a, "exact_states"_a);
  nb::class_<Outcome>(m, "ScheduleOutcome", "What a solve found.")
      .def_ro("order", &Outcome::order)
      .def_ro("peak", &Outcome::peak)
      .def_ro("bound", &Outcome::bound)
      .def_ro("method", &Outcome::method)
      .def_ro("bound_method", &Outcome::bound_method)
      .def_ro("stopped", &Outcome::stopped)
      .def_ro("interrupted", &Outcome::interrupted)
      .def_ro("states", &Outcome::states)
      .def_ro("flows", &Outcome::flows)
      .def_ro("work", &Outcome::work);
  m.def("solve_schedule", &solve, "problem"_a, "starts"_a, "techniques"_a, "time_limit_s"_a,
        "work_limit"_a, "progress"_a.none(),
        "Solve until proven, or stopped by a limit, Ctrl-C, or True from `progress`.");
}

}  // namespace lowtide::bindings
