#include "schedule/guards.hpp"

#include <algorithm>

namespace lowtide::schedule {

namespace {

constexpr std::size_t kMemory = std::size_t{1} << 26;
constexpr std::size_t kMostOnTrial = 32;
constexpr std::size_t kMostKept = 3;
constexpr std::uint64_t kTrialStates = 256;
constexpr std::uint64_t kReviewStates = 4096;  // fewer than 1 / 16 pruned of them: not worth it

}  // namespace

Guards::Guards(const Problem& problem, const Segment& segment, Bytes budget, bool forward,
               Control& control)
    : network_(problem, segment),
      budget_(budget),
      side_(forward ? CutNetwork::kSource : CutNetwork::kSink),
      control_(control) {
  const std::size_t stack = std::max<std::size_t>(network_.flow_bytes() * network_.count(), 1);
  const std::size_t most = std::min(kMostOnTrial, kMemory / stack);
  if (most == 0) return;
  std::vector<Guard> guards;
  std::uint64_t unlimited = ~std::uint64_t{0};
  for (std::size_t v = 0; v < network_.count(); ++v) {
    guards.push_back({network_.open(static_cast<Index>(v))});
    network_.augment(guards.back().flow, budget_, unlimited, control_);
  }
  std::stable_sort(guards.begin(), guards.end(), [&](const Guard& x, const Guard& y) {
    return network_.bound(x.flow) > network_.bound(y.flow);
  });
  if (guards.size() > most)
    guards.erase(guards.begin() + static_cast<std::ptrdiff_t>(most), guards.end());
  for (std::size_t g = 0; g < guards.size(); ++g) active_.push_back(g);
  pruned_.assign(guards.size(), 0);
  levels_.push_back(std::move(guards));
}

Bytes Guards::enter(std::size_t depth, std::span<const Node> nodes) {
  if (active_.empty()) return 0;
  if (levels_.size() <= depth) levels_.resize(depth + 1, std::vector<Guard>(pruned_.size()));
  const bool trial = states_ < kTrialStates;
  Bytes highest = 0;
  for (std::size_t g : active_) {
    const Bytes bound = advance(levels_[depth - 1][g], levels_[depth][g], nodes);
    if (bound <= budget_) continue;
    ++pruned_[g];
    highest = std::max(highest, bound);
    if (!trial) break;
  }
  if (highest > 0) ++hits_;
  ++states_;
  ++since_;
  if (states_ == kTrialStates) choose();
  if (since_ == kReviewStates) {
    if (16 * hits_ < since_) active_.clear();
    since_ = hits_ = 0;
  }
  return highest;
}

Bytes Guards::advance(const Guard& from, Guard& to, std::span<const Node> nodes) {
  to.waits = from.waits;
  if (!from.waits) return 0;
  to.flow = from.flow;
  for (Node u : nodes) {
    const Index place = network_.place(u);
    if (place == to.flow.node) {
      to.waits = false;
      return 0;
    }
    to.flow.side[place] = side_;
  }
  std::uint64_t unlimited = ~std::uint64_t{0};
  network_.augment(to.flow, budget_, unlimited, control_);
  return network_.bound(to.flow);
}

void Guards::choose() {
  std::stable_sort(active_.begin(), active_.end(),
                   [&](std::size_t x, std::size_t y) { return pruned_[x] > pruned_[y]; });
  active_.resize(std::min(active_.size(), kMostKept));
  std::erase_if(active_, [&](std::size_t g) { return pruned_[g] == 0; });
}

}  // namespace lowtide::schedule
