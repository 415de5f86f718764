// Greedy packing of blocks in a given order, and a local search over orders.
//
//     offset
//       |  ┌────┐┌───────┐      first fit: the lowest aligned gap among the placed blocks that are
//       |  │ b  ││   d   │      alive together with the new one; best fit: the smallest such gap
//       |  ├────┴┴──┬────┤      (the lowest of equal ones), above them all if there is none
//       |  │   a    │ c  │
//       +--┴--------┴----┴--- time
//
// Blocks may have gaps in time, in which they meet no other.  A sharing pair may lie at one offset
// while both are alive: first fit takes a partner's offset where that is the lowest place, best fit
// before any gap, since the room is taken already.  The lowest place of a block among placed ones
// is always 0, the aligned end of one that it meets, or the offset of a partner: at any other
// place it could be lowered by its alignment.
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

constexpr std::size_t kMostPairs = std::size_t{1} << 26;  // half a gigabyte of neighbours

struct Block {
  Time lower, upper;  // half-open
  Offset size;
  Offset fixed;                             // a given offset, or -1
  Offset alignment = 1;                     // offsets are multiples of it
  std::vector<std::pair<Time, Time>> gaps;  // ascending, strictly inside, half-open
};

struct Layout {
  std::vector<Offset> offsets;
  Offset height = 0;
};

class Packer {
 public:
  // Throws std::invalid_argument on an empty lifetime or gap, gaps out of order, a negative size,
  // an alignment below 1, a fixed offset that is not aligned, or a pair that names no two blocks;
  // std::length_error when more than `kMostPairs` pairs of blocks meet.
  Packer(std::vector<Block> blocks, const std::vector<std::pair<Id, Id>>& shares);

  // `order` is a permutation of the blocks (else std::invalid_argument).  Fixed blocks are placed
  // before all others; empty ones get offset 0.  O(sum of degrees * log degree).
  Layout place(std::span<const Id> order, bool best_fit, Control& control) const;

  // Improves `order` in place until its height is `target` or below or `control` stops: a block
  // that reaches the height is moved before one that it lies above.
  Layout search(std::vector<Id>& order, bool best_fit, Offset target, std::uint64_t seed,
                Control& control) const;

  // Whether two fixed blocks meet in time and overlap in address without sharing: no layout exists.
  bool fixed_clash() const;

  // For each block, the number of blocks it meets and the sum of their sizes.
  std::vector<std::pair<std::int64_t, Offset>> loads() const;

  // The blocks that each block meets in time, empty ones aside.
  const std::vector<std::vector<Id>>& neighbours() const { return neighbours_; }
  std::size_t size() const { return blocks_.size(); }

 private:
  void find_neighbours();

  std::vector<Block> blocks_;
  std::vector<std::vector<Id>> neighbours_;
  std::vector<std::vector<Id>> partners_;
};

}  // namespace lowtide::allocation
