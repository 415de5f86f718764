#include "allocation/packer.hpp"

#include <algorithm>
#include <numeric>
#include <random>
#include <stdexcept>

namespace lowtide::allocation {

namespace {

constexpr std::size_t kMostPairs = std::size_t{1} << 26;  // some 1 GB of neighbours

}  // namespace

Packer::Packer(std::vector<Block> blocks, Offset alignment)
    : blocks_(std::move(blocks)), alignment_(alignment), neighbours_(blocks_.size()) {
  constexpr Offset kMost = Offset{1} << 60;
  if (alignment < 1 || alignment > kMost) throw std::invalid_argument("alignment out of range");
  Offset total = 0;
  for (const Block& b : blocks_) {
    if (b.lower >= b.upper || b.size < 0 || b.size > kMost || b.fixed > kMost || b.fixed < -1) {
      throw std::invalid_argument("a block is out of range");
    }
    total += b.size + std::max<Offset>(b.fixed, 0);
    if (total > kMost) throw std::invalid_argument("the sizes sum above 2^60");
    total += std::min(alignment, kMost - total);
  }
  // A sweep over time: each block meets those still alive where it begins.
  std::vector<Id> order(blocks_.size());
  std::iota(order.begin(), order.end(), 0);
  std::sort(order.begin(), order.end(), [&](Id x, Id y) {
    return blocks_[x].lower != blocks_[y].lower ? blocks_[x].lower < blocks_[y].lower : x < y;
  });
  std::vector<Id> alive;
  std::size_t pairs = 0;
  for (Id b : order) {
    if (blocks_[b].size == 0) continue;
    std::erase_if(alive, [&](Id a) { return blocks_[a].upper <= blocks_[b].lower; });
    pairs += alive.size();
    if (pairs > kMostPairs) throw std::length_error("over 2^26 pairs of buffers live together");
    for (Id a : alive) {
      neighbours_[a].push_back(b);
      neighbours_[b].push_back(a);
    }
    alive.push_back(b);
  }
}

Layout Packer::place(std::span<const Id> order, bool best_fit, Control& control) const {
  Layout layout;
  layout.offsets.assign(blocks_.size(), -1);
  if (order.size() != blocks_.size()) throw std::invalid_argument("the order is not a permutation");
  for (std::size_t b = 0; b < blocks_.size(); ++b) {
    if (blocks_[b].fixed >= 0) {
      layout.offsets[b] = blocks_[b].fixed;
      layout.height = std::max(layout.height, blocks_[b].fixed + blocks_[b].size);
    }
  }
  const auto align = [&](Offset x) { return (x + alignment_ - 1) / alignment_ * alignment_; };
  std::vector<std::uint8_t> seen(blocks_.size(), 0);
  std::vector<std::pair<Offset, Offset>> taken;
  for (Id b : order) {
    if (b < 0 || static_cast<std::size_t>(b) >= blocks_.size() || seen[b]++ != 0) {
      throw std::invalid_argument("the order is not a permutation");
    }
    const Block& block = blocks_[b];
    if (block.fixed >= 0) continue;
    if (block.size == 0) {
      layout.offsets[b] = 0;
      continue;
    }
    taken.clear();
    for (Id a : neighbours_[b]) {
      if (layout.offsets[a] >= 0) {
        taken.emplace_back(layout.offsets[a], layout.offsets[a] + blocks_[a].size);
      }
    }
    control.spend(neighbours_[b].size() + 1);
    std::sort(taken.begin(), taken.end());
    Offset at = 0, best = -1, least = 0;
    for (const auto& [begin, end] : taken) {
      const Offset gap = begin - at;
      if (gap >= block.size && (best < 0 || gap < least)) {
        best = at;
        least = gap;
        if (!best_fit) break;
      }
      at = std::max(at, align(end));
    }
    layout.offsets[b] = best >= 0 ? best : at;
    layout.height = std::max(layout.height, layout.offsets[b] + block.size);
  }
  return layout;
}

Layout Packer::search(std::vector<Id>& order, bool best_fit, Offset target, std::uint64_t seed,
                      Control& control) const {
  Layout best = place(order, best_fit, control);
  std::mt19937_64 random(seed);
  const auto below = [&](std::size_t count) { return static_cast<std::size_t>(random() % count); };
  std::vector<Id> best_order = order;
  Layout now = best;
  std::vector<std::size_t> position(order.size());
  std::vector<Id> top;
  std::uint64_t stale = 0;
  while (best.height > target && !control.spend(1)) {
    top.clear();
    for (std::size_t b = 0; b < blocks_.size(); ++b) {
      if (blocks_[b].fixed < 0 && now.offsets[b] + blocks_[b].size == now.height) {
        top.push_back(static_cast<Id>(b));
      }
    }
    if (top.empty()) break;  // a fixed block alone reaches the height
    for (std::size_t k = 0; k < order.size(); ++k) position[order[k]] = k;
    const std::vector<Id> before = order;
    // One to three moves: a block at the top, or one that holds it up, before a neighbour that
    // was placed earlier.
    Id mover = top[below(top.size())];
    const std::size_t moves = 1 + below(3);
    for (std::size_t k = 0; k < moves; ++k) {
      const std::vector<Id>& near = neighbours_[mover];
      if (near.empty()) break;
      const Id other = near[below(near.size())];
      if (position[other] < position[mover]) {
        const auto from = order.begin() + static_cast<std::ptrdiff_t>(position[mover]);
        const auto to = order.begin() + static_cast<std::ptrdiff_t>(position[other]);
        std::rotate(to, from, from + 1);
        for (std::size_t p = position[other]; p < order.size(); ++p) position[order[p]] = p;
      }
      if (below(2) == 0) mover = other;
    }
    Layout next = place(order, best_fit, control);
    ++stale;
    if (next.height <= now.height || below(64) == 0) {
      now = std::move(next);
      if (now.height < best.height) {
        best = now;
        best_order = order;
        stale = 0;
      }
    } else {
      order = before;
    }
    if (stale > 400) {  // back to the best
      order = best_order;
      now = best;
      stale = 0;
    }
  }
  order = best_order;
  return best;
}

}  // namespace lowtide::allocation
