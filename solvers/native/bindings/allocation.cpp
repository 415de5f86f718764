#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include "allocation/packer.hpp"
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
}

}  // namespace lowtide::bindings
