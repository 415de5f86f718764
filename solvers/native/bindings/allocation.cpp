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
                                          allocation::Offset, allocation::Offset>>& blocks,
             const std::vector<std::tuple<allocation::Id, allocation::Time, allocation::Time>>&
                 gaps,
             const std::vector<std::pair<allocation::Id, allocation::Id>>& shares) {
            std::vector<allocation::Block> list;
            list.reserve(blocks.size());
            for (const auto& [lower, upper, size, fixed, alignment] : blocks) {
              list.push_back({lower, upper, size, fixed, alignment, {}});
            }
            for (const auto& [block, lower, upper] : gaps) {
              if (block < 0 || static_cast<std::size_t>(block) >= list.size()) {
                throw std::invalid_argument("a gap names no block");
              }
              list[block].gaps.emplace_back(lower, upper);
            }
            const nb::gil_scoped_release release;
            new (self) allocation::Packer(std::move(list), shares);
          },
          "blocks"_a, "gaps"_a, "shares"_a,
          "Blocks are (lower, upper, size, fixed offset or -1, alignment); gaps are (block, lower, "
          "upper), ascending for each block; shares are pairs of blocks.")
      .def("neighbours", &allocation::Packer::neighbours,
           "The blocks that each block meets in time.")
      .def("loads", &allocation::Packer::loads,
           "For each block, the number of blocks it meets and the sum of their sizes.")
      .def("fixed_clash", &allocation::Packer::fixed_clash, "Whether two fixed blocks overlap.")
      .def("place", &place, "order"_a, "best_fit"_a, "The height and the offsets of an order.")
      .def(
          "search", &search, "order"_a, "best_fit"_a, "target"_a, "seed"_a, "time_limit_s"_a,
          "work_limit"_a,
          "Local search over orders: height, offsets, whether the clock or Ctrl-C ended it, work.");
}

}  // namespace lowtide::bindings
