#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "bindings/hook.hpp"
#include "bindings/parts.hpp"
#include "control.hpp"
#include "schedule/deduce.hpp"
#include "schedule/min_cut.hpp"
#include "schedule/problem.hpp"
#include "schedule/serenity.hpp"
#include "schedule/solver.hpp"

namespace lowtide::bindings {

using namespace nb::literals;

namespace {

// What a solve returns to Python.
struct ScheduleOutcome {
  std::vector<schedule::Node> order;
  schedule::Bytes peak, bound;
  std::string method, bound_method;
  bool stopped, interrupted;
  std::uint64_t states, flows, work;
};

// Runs without the GIL, with a Hook.
ScheduleOutcome solve(
    const schedule::Problem& problem,
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

// SERENITY's, likewise; flows counts its runs.
ScheduleOutcome solve_serenity(
    const schedule::Problem& problem,
    const std::vector<std::pair<std::string, std::vector<schedule::Node>>>& starts, bool divide,
    bool soft_budget, std::uint64_t step_states, std::size_t memory_bytes, double time_limit_s,
    std::uint64_t work_limit, const nb::object& progress) {
  schedule::Serenity solver(problem, {divide, soft_budget, step_states, memory_bytes});
  for (const auto& [name, order] : starts) solver.offer(order, name);
  Hook hook(
      [&] { return progress.is_none() ? nb::none() : progress(solver.peak(), solver.bound()); });
  lowtide::Control control(time_limit_s, work_limit, [&] { return hook(); });
  {
    const nb::gil_scoped_release release;
    solver.run(control);
  }
  hook.rethrow();
  return {solver.order(),
          solver.peak(),
          solver.bound(),
          solver.method(),
          solver.proves() ? "dynamic programming" : "trivial",
          control.stopped(),
          hook.interrupted(),
          solver.states(),
          solver.runs(),
          control.work()};
}

schedule::Bytes min_cut(const schedule::Problem& problem, schedule::Node v) {
  if (v < 0 || v >= problem.num_nodes()) throw nb::index_error("not a node");
  lowtide::Control control(-1.0, 0, {});
  return schedule::min_cut(problem, problem.whole(), v, control).bound;
}

// Whether the budget is refuted, below which budgets that holds, (before, after) pairs.
std::tuple<bool, schedule::Bytes, std::vector<std::pair<schedule::Node, schedule::Node>>> deduce(
    const schedule::Problem& problem, schedule::Bytes budget) {
  lowtide::Control control(-1.0, 0, {});
  schedule::Deduction result =
      schedule::deduce(problem, problem.whole(), budget, ~std::uint64_t{0}, control);
  return {result.infeasible, result.next_bound, std::move(result.edges)};
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
      .def("min_cut", &min_cut, "node"_a, "The least transient of a node over all ideals.")
      .def("deduce", &deduce, "budget"_a,
           "What all orders within a budget have in common: whether there is none, the least "
           "budget for which that is not said, and (before, after) pairs.");
  nb::class_<schedule::Techniques>(m, "ScheduleTechniques", "Switches of the exact method.")
      .def(
          "__init__",
          [](schedule::Techniques* self, bool one_step, bool macro, bool backward, bool min_cut,
             bool reorder, bool windows, bool cut_nodes, bool beam, bool deduce, bool probe,
             bool guards, std::size_t visited_bytes, bool exact_states) {
            new (self) schedule::Techniques{.one_step = one_step,
                                            .macro = macro,
                                            .backward = backward,
                                            .min_cut = min_cut,
                                            .reorder = reorder,
                                            .windows = windows,
                                            .cut_nodes = cut_nodes,
                                            .beam = beam,
                                            .deduce = deduce,
                                            .probe = probe,
                                            .guards = guards,
                                            .visited_bytes = visited_bytes,
                                            .exact_states = exact_states};
          },
          nb::kw_only(), "one_step"_a, "macro"_a, "backward"_a, "min_cut"_a, "reorder"_a,
          "windows"_a, "cut_nodes"_a, "beam"_a, "deduce"_a, "probe"_a, "guards"_a,
          "visited_bytes"_a, "exact_states"_a);
  nb::class_<ScheduleOutcome>(m, "ScheduleOutcome", "What a solve found.")
      .def_ro("order", &ScheduleOutcome::order)
      .def_ro("peak", &ScheduleOutcome::peak)
      .def_ro("bound", &ScheduleOutcome::bound)
      .def_ro("method", &ScheduleOutcome::method)
      .def_ro("bound_method", &ScheduleOutcome::bound_method)
      .def_ro("stopped", &ScheduleOutcome::stopped)
      .def_ro("interrupted", &ScheduleOutcome::interrupted)
      .def_ro("states", &ScheduleOutcome::states)
      .def_ro("flows", &ScheduleOutcome::flows)
      .def_ro("work", &ScheduleOutcome::work);
  m.def("solve_schedule", &solve, "problem"_a, "starts"_a, "techniques"_a, "time_limit_s"_a,
        "work_limit"_a, "progress"_a.none(),
        "Solve until proven, or stopped by a limit, Ctrl-C, or True from `progress`.");
  m.def("solve_serenity", &solve_serenity, "problem"_a, "starts"_a, nb::kw_only(), "divide"_a,
        "soft_budget"_a, "step_states"_a, "memory_bytes"_a, "time_limit_s"_a, "work_limit"_a,
        "progress"_a.none(),
        "SERENITY's dynamic programming, divide and conquer, and adaptive soft budgeting.");
}

}  // namespace lowtide::bindings
