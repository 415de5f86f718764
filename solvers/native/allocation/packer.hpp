// Greedy packing of blocks in a given order, and a local search over orders.
//
//     offset
//       |  ┌────┐┌───────┐      first fit: the lowest aligned gap among the placed blocks that are
//       |  │ b  ││   d   │      alive together with the new one; best fit: the smallest such gap
//       |  ├────┴┴──┬────┤      (the lowest of equal ones), above them all if there is none
//       |  │   a    │ c  │
//       +--┴--------┴----┴--- time
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "control.hpp"

namespace lowtide::allocation {

using Offset = std::int64_t;  // an address, or a size, in bytes
using Time = std::int64_t;
using Id = std::int32_t;

struct Block {
  Time lower, upper;  // half-open
  Offset size;
  Offset fixed;  // a given offset, or -1
};

struct Layout {
  std::vector<Offset> offsets;
  Offset height = 0;
};

class Packer {
 public:
  // Throws std::invalid_argument on an empty lifetime, a negative size, or an alignment below 1,
  // and std::length_error where the neighbours would take more than about 1 GB.
  Packer(std::vector<Block> blocks, Offset alignment);

  // `order` is a permutation of the blocks (else std::invalid_argument).  Fixed blocks are placed
  // before all others; empty ones get offset 0.  O(sum of degrees * log degree).
  Layout place(std::span<const Id> order, bool best_fit, Control& control) const;

  // Improves `order` in place until its height is `target` or below or `control` stops: a block
  // that reaches the height is moved before one that it lies above.
  Layout search(std::vector<Id>& order, bool best_fit, Offset target, std::uint64_t seed,
                Control& control) const;

  // The blocks alive together with each block, empty ones aside.
  const std::vector<std::vector<Id>>& neighbours() const { return neighbours_; }
  std::size_t size() const { return blocks_.size(); }

 private:
  std::vector<Block> blocks_;
  Offset alignment_;
  std::vector<std::vector<Id>> neighbours_;
};

}  // namespace lowtide::allocation
