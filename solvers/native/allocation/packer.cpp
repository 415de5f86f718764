#include "allocation/packer.hpp"

#include <algorithm>
#include <numeric>
#include <random>
#include <stdexcept>

namespace lowtide::allocation {

Packer::Packer(std::vector<Block> blocks, const std::vector<std::pair<Id, Id>>& shares)
    : blocks_(std::move(blocks)), neighbours_(blocks_.size()), partners_(blocks_.size()) {
  constexpr Offset kMost = Offset{1} << 60;
  if (blocks_.size() > std::size_t{1} << 30) throw std::length_error("too many blocks");
  Offset total = 0;
  for (const Block& b : blocks_) {
    if (b.lower >= b.upper || b.size < 0 || b.size > kMost || b.fixed > kMost || b.fixed < -1) {
      throw std::invalid_argument("a block is out of range");
    }
    if (b.alignment < 1 || b.alignment > kMost) {
      throw std::invalid_argument("alignment out of range");
    }
    if (b.fixed > 0 && b.fixed % b.alignment != 0) {
      throw std::invalid_argument("a fixed offset is not aligned");
    }
    Time before = b.lower;
    for (const auto& [lower, upper] : b.gaps) {
      if (lower < before || lower == b.lower || lower >= upper || upper >= b.upper) {
        throw std::invalid_argument("a gap is empty, out of order or not inside the lifetime");
      }
      before = upper;
    }
    // Each term is at most 2^60, and so is the total before each sum.
    for (const Offset term : {b.size, std::max<Offset>(b.fixed, 0), b.alignment}) {
      total += term;
      if (total > kMost) throw std::invalid_argument("the sizes sum above 2^60");
    }
  }
  const auto count = static_cast<Id>(blocks_.size());
  for (const auto& [one, two] : shares) {
    if (one < 0 || two < 0 || one >= count || two >= count || one == two) {
      throw std::invalid_argument("a sharing pair does not name two blocks");
    }
    partners_[one].push_back(two);
    partners_[two].push_back(one);
  }
  find_neighbours();
}

// A sweep over time: each active interval meets those that have not ended where it begins.
void Packer::find_neighbours() {
  struct Interval {
    Time lower, upper;
    Id block;
  };
  std::vector<Interval> intervals;
  for (std::size_t b = 0; b < blocks_.size(); ++b) {
    const Block& block = blocks_[b];
    if (block.size == 0) continue;
    Time begin = block.lower;
    for (const auto& [lower, upper] : block.gaps) {
      if (begin < lower) intervals.push_back({begin, lower, static_cast<Id>(b)});
      begin = upper;
    }
    intervals.push_back({begin, block.upper, static_cast<Id>(b)});
  }
  std::sort(intervals.begin(), intervals.end(), [](const Interval& x, const Interval& y) {
    return x.lower != y.lower ? x.lower < y.lower : x.block < y.block;
  });
  std::vector<Interval> active;
  std::size_t pairs = 0;
  for (const Interval& next : intervals) {
    std::erase_if(active, [&](const Interval& a) { return a.upper <= next.lower; });
    pairs += active.size();
    if (pairs > kMostPairs) throw std::length_error("too many pairs of blocks meet in time");
    for (const Interval& a : active) {
      neighbours_[a.block].push_back(next.block);
      neighbours_[next.block].push_back(a.block);
    }
    active.push_back(next);
  }
  for (std::size_t b = 0; b < blocks_.size(); ++b) {  // a pair may meet more than once
    std::vector<Id>& near = neighbours_[b];
    std::sort(near.begin(), near.end());
    near.erase(std::unique(near.begin(), near.end()), near.end());
  }
}

bool Packer::fixed_clash() const {
  for (std::size_t b = 0; b < blocks_.size(); ++b) {
    const Block& one = blocks_[b];
    if (one.fixed < 0) continue;
    for (const Id a : neighbours_[b]) {
      const Block& two = blocks_[a];
      if (two.fixed < 0 || static_cast<std::size_t>(a) > b) continue;
      if (one.fixed >= two.fixed + two.size || two.fixed >= one.fixed + one.size) continue;
      const std::vector<Id>& friends = partners_[b];
      if (one.fixed != two.fixed || std::find(friends.begin(), friends.end(), a) == friends.end()) {
        return true;
      }
    }
  }
  return false;
}

std::vector<std::pair<std::int64_t, Offset>> Packer::loads() const {
  std::vector<std::pair<std::int64_t, Offset>> result;
  result.reserve(blocks_.size());
  for (const std::vector<Id>& near : neighbours_) {
    Offset load = 0;
    for (const Id a : near) load += blocks_[a].size;
    result.emplace_back(static_cast<std::int64_t>(near.size()), load);
  }
  return result;
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
  std::vector<std::uint8_t> seen(blocks_.size(), 0);
  std::vector<std::uint8_t> partner(blocks_.size(), 0);
  std::vector<std::pair<Offset, Offset>> taken;
  for (const Id b : order) {
    if (b < 0 || static_cast<std::size_t>(b) >= blocks_.size() || seen[b]++ != 0) {
      throw std::invalid_argument("the order is not a permutation");
    }
    const Block& block = blocks_[b];
    if (block.fixed >= 0) continue;
    if (block.size == 0) {
      layout.offsets[b] = 0;
      continue;
    }
    control.spend(neighbours_[b].size() + 1);
    // The lowest offset of a partner at which the block meets partners only.
    Offset shared = -1;
    if (!partners_[b].empty()) {
      for (const Id a : partners_[b]) partner[a] = 1;
      for (const Id a : neighbours_[b]) {
        const Offset at = layout.offsets[a];
        if (partner[a] == 0 || at < 0 || at % block.alignment != 0) continue;
        if (shared >= 0 && shared <= at) continue;
        control.spend(neighbours_[b].size());
        const bool fits = std::all_of(neighbours_[b].begin(), neighbours_[b].end(), [&](Id c) {
          const Offset other = layout.offsets[c];
          return other < 0 || (partner[c] != 0 && other == at) || other >= at + block.size ||
                 at >= other + blocks_[c].size;
        });
        if (fits) shared = at;
      }
      for (const Id a : partners_[b]) partner[a] = 0;
    }
    if (best_fit && shared >= 0) {
      layout.offsets[b] = shared;
      layout.height = std::max(layout.height, shared + block.size);
      continue;
    }
    taken.clear();
    for (const Id a : neighbours_[b]) {
      if (layout.offsets[a] >= 0) {
        taken.emplace_back(layout.offsets[a], layout.offsets[a] + blocks_[a].size);
      }
    }
    std::sort(taken.begin(), taken.end());
    Offset at = 0, best = -1, least = 0;
    for (const auto& [begin, end] : taken) {
      const Offset gap = begin - at;
      if (gap >= block.size && (best < 0 || gap < least)) {
        best = at;
        least = gap;
        if (!best_fit) break;
      }
      at = std::max(at, (end + block.alignment - 1) / block.alignment * block.alignment);
    }
    if (best < 0) best = at;
    if (shared >= 0) best = std::min(best, shared);
    layout.offsets[b] = best;
    layout.height = std::max(layout.height, best + block.size);
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
