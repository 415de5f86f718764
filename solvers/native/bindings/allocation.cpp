#include <nanobind/nanobind.h>
#include <nanobind/stl/optional.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "allocation/packer.hpp"
#include "allocation/problem.hpp"
#include "allocation/solver.hpp"
#include "bindings/hook.hpp"
#include "bindings/parts.hpp"
#include "control.hpp"

namespace lowtide::bindings {

using namespace nb::literals;

namespace {

using LayoutTuple = std::tuple<allocation::Offset, std::vector<allocation::Offset>>;

LayoutTuple place(const allocation::Packer& packer, const std::vector<allocation::Id>& order,
                  bool best_fit) {
  lowtide::Control control(-1.0, 0, {});
  allocation::Layout layout = packer.place(order, best_fit, control);
  return {layout.height, std::move(layout.offsets)};
}

// height, offsets, whether a limit struck, work done.
std::tuple<allocation::Offset, std::vector<allocation::Offset>, bool, std::uint64_t> search(
    const allocation::Packer& packer, std::vector<allocation::Id> order, bool best_fit,
    allocation::Offset target, std::uint64_t seed, double time_limit_s, std::uint64_t work_limit) {
  Hook hook([] { return nb::none(); });
  lowtide::Control control(time_limit_s, work_limit, [&] { return hook(); });
  allocation::Layout layout;
  {
    const nb::gil_scoped_release release;
    layout = packer.search(order, best_fit, target, seed, control);
  }
  hook.rethrow();
  const bool clock = control.stopped() && (work_limit == 0 || control.work() < work_limit);
  return {layout.height, std::move(layout.offsets), clock, control.work()};
}

// What an exact solve returns to Python.
struct AllocationOutcome {
  std::optional<std::vector<allocation::Offset>> offsets;
  allocation::Offset height, bound;
  std::string method, bound_method;
  bool stopped, interrupted;
  std::uint64_t branches, work;
};

AllocationOutcome solve(
    const allocation::Problem& problem,
    const std::vector<std::pair<std::string, std::vector<allocation::Offset>>>& starts,
    const allocation::SearchOptions& options, std::uint64_t seed, allocation::Offset enough,
    double time_limit_s, std::uint64_t work_limit, const nb::object& progress) {
  allocation::Solver solver(problem, options, seed);
  for (const auto& [name, offsets] : starts) solver.offer(offsets, name);
  Hook hook([&]() -> nb::object {
    if (progress.is_none() || !solver.has_layout()) return nb::none();
    return progress(solver.height(), solver.bound());
  });
  lowtide::Control control(time_limit_s, work_limit, [&] { return hook(); });
  {
    const nb::gil_scoped_release release;
    solver.run(enough, control);
  }
  hook.rethrow();
  AllocationOutcome outcome{std::nullopt,          0,
                            solver.bound(),        solver.method(),
                            solver.bound_method(), control.stopped(),
                            hook.interrupted(),    solver.branches(),
                            control.work()};
  if (solver.has_layout()) {
    outcome.offsets = solver.offsets();
    outcome.height = solver.height();
  }
  return outcome;
}

}  // namespace

void add_allocation(nb::module_& m) {
  nb::class_<allocation::Packer>(m, "Packer", "Blocks to pack, with their overlaps in time.")
      .def(
          "__init__",
          [](allocation::Packer* self,
             const std::vector<std::tuple<allocation::Time, allocation::Time, allocation::Offset,
                                          allocation::Offset>>& blocks,
             allocation::Offset alignment) {
            std::vector<allocation::Block> list;
            for (const auto& [lower, upper, size, fixed] : blocks) {
              list.push_back({lower, upper, size, fixed});
            }
            new (self) allocation::Packer(std::move(list), alignment);
          },
          "blocks"_a, "alignment"_a, "Blocks are (lower, upper, size, fixed offset or -1).")
      .def("neighbours", &allocation::Packer::neighbours,
           "The blocks alive together with each block.")
      .def("place", &place, "order"_a, "best_fit"_a, "The height and the offsets of an order.")
      .def(
          "search", &search, "order"_a, "best_fit"_a, "target"_a, "seed"_a, "time_limit_s"_a,
          "work_limit"_a,
          "Local search over orders: height, offsets, whether the clock or Ctrl-C ended it, work.");
  nb::class_<allocation::Problem>(m, "Allocation", "An allocation problem, ready to be solved.")
      .def(
          "__init__",
          [](allocation::Problem* self,
             const std::vector<std::tuple<
                 std::vector<std::tuple<allocation::Time, allocation::Time, allocation::Offset>>,
                 allocation::Offset, allocation::Offset>>& items) {
            std::vector<allocation::Item> list;
            for (const auto& [pieces, alignment, fixed] : items) {
              allocation::Item item{{}, alignment, fixed};
              for (const auto& [lower, upper, size] : pieces) {
                item.pieces.push_back({lower, upper, size});
              }
              list.push_back(std::move(item));
            }
            new (self) allocation::Problem(std::move(list));
          },
          "items"_a, "Items are (pieces of (lower, upper, size), alignment, fixed offset or -1).")
      .def_prop_ro("lower_bound", &allocation::Problem::lower_bound,
                   "The greatest load, alignment considered; no layout is lower.")
      .def_prop_ro("contradictory", &allocation::Problem::contradictory,
                   "Whether fixed items overlap, so that there is no layout.");
  nb::class_<allocation::SearchOptions>(m, "AllocationTechniques",
                                        "Switches of the exact allocator.")
      .def(
          "__init__",
          [](allocation::SearchOptions* self, bool wait_bound, bool release, bool twins,
             bool backjump) {
            new (self) allocation::SearchOptions{wait_bound, release, twins, backjump};
          },
          nb::kw_only(), "wait_bound"_a, "release"_a, "twins"_a, "backjump"_a);
  nb::class_<AllocationOutcome>(m, "AllocationOutcome", "What an exact solve found.")
      .def_ro("offsets", &AllocationOutcome::offsets)
      .def_ro("height", &AllocationOutcome::height)
      .def_ro("bound", &AllocationOutcome::bound)
      .def_ro("method", &AllocationOutcome::method)
      .def_ro("bound_method", &AllocationOutcome::bound_method)
      .def_ro("stopped", &AllocationOutcome::stopped)
      .def_ro("interrupted", &AllocationOutcome::interrupted)
      .def_ro("branches", &AllocationOutcome::branches)
      .def_ro("work", &AllocationOutcome::work);
  m.def("solve_allocation", &solve, "problem"_a, "starts"_a, "options"_a, "seed"_a, "enough"_a,
        "time_limit_s"_a, "work_limit"_a, "progress"_a.none(),
        "Solve until the height is the bound or `enough` (-1: none), or until stopped.");
}

}  // namespace lowtide::bindings
