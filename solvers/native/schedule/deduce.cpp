#include "schedule/deduce.hpp"

#include <algorithm>
#include <numeric>
#include <tuple>

#include "schedule/cut_network.hpp"

namespace lowtide::schedule {

namespace {

class Deducer {
 public:
  Deducer(const Problem& problem, const Segment& segment, Bytes budget, std::uint64_t work_limit,
          Control& control)
      : network_(problem, segment),
        budget_(budget),
        work_left_(work_limit),
        control_(control),
        bounds_(network_.count(), 0),
        first_(network_.count(), std::vector<Bytes>(network_.count(), 0)) {}

  Deduction run() {
    bool again = true;
    while (again && !stopped()) {
      again = false;
      for (std::vector<Bytes>& row : first_) std::fill(row.begin(), row.end(), 0);
      std::vector<Index> order(network_.count());  // the most promising first
      std::iota(order.begin(), order.end(), 0);
      std::stable_sort(order.begin(), order.end(),
                       [&](Index x, Index y) { return bounds_[x] > bounds_[y]; });
      for (Index v : order) {
        if (stopped()) break;
        if (!visit(v, again)) {
          result_.infeasible = true;
          return result_;
        }
      }
    }
    rank_open();
    return result_;
  }

 private:
  bool stopped() const { return control_.stopped() || work_left_ == 0; }

  // Deduces what v and its pairs give; false when no order is within the budget.
  bool visit(Index v, bool& changed) {
    CutNetwork::Flow base = network_.open(v);
    network_.augment(base, budget_, work_left_, control_);
    bounds_[v] = network_.bound(base);
    if (exceeds(bounds_[v])) return false;
    if (stopped()) return true;
    std::vector<std::uint8_t> inside, outside;
    network_.least(inside);
    network_.most(base, outside);
    CutNetwork::Flow flow;
    const auto least_within = [&](Index u, CutNetwork::Side side) {
      flow = base;
      network_.extend(flow);
      flow.side[u] = side;
      network_.augment(flow, budget_, work_left_, control_);
      const Bytes bound = network_.bound(flow);
      // u is first where it is on the source's side of v's cut.
      Bytes& known = side == CutNetwork::kSource ? first_[u][v] : first_[v][u];
      known = std::max(known, bound);
      return bound;
    };
    for (std::size_t k = 0; k < network_.count(); ++k) {
      if (base.side[k] != CutNetwork::kFree) continue;
      const auto u = static_cast<Index>(k);
      // Forcing a node to the side on which it is in some minimum cut changes nothing.
      const bool not_before = inside[k] == 0 && exceeds(least_within(u, CutNetwork::kSource));
      const bool not_after = outside[k] == 0 && exceeds(least_within(u, CutNetwork::kSink));
      if (not_before && not_after) return false;
      if (not_before && !add(v, u)) return false;
      if (not_after && !add(u, v)) return false;
      changed = changed || not_before || not_after;
      if (stopped()) return true;
    }
    return true;
  }

  // A flow that was interrupted gives a bound, too.
  bool exceeds(Bytes bound) {
    if (bound <= budget_) return false;
    result_.next_bound = std::min(result_.next_bound, bound);
    return true;
  }

  bool add(Index first, Index second) {
    if (network_.before(first, second)) return true;
    if (!network_.order(first, second)) return false;
    result_.edges.emplace_back(network_.node(first), network_.node(second));
    return true;
  }

  void rank_open() {
    constexpr std::size_t kMostOpen = 16;
    std::vector<std::tuple<Bytes, Bytes, Index, Index>> pairs;
    const auto count = static_cast<Index>(network_.count());
    for (Index u = 0; u < count; ++u) {
      for (Index v = u + 1; v < count; ++v) {
        if (network_.before(u, v) || network_.before(v, u)) continue;
        const Bytes least = std::max(bounds_[u], bounds_[v]);
        const Bytes one = std::max(first_[u][v], least), two = std::max(first_[v][u], least);
        pairs.emplace_back(-std::min(one, two), -std::max(one, two), u, v);
      }
    }
    const auto most = std::min(kMostOpen, pairs.size());
    std::partial_sort(pairs.begin(), pairs.begin() + static_cast<std::ptrdiff_t>(most),
                      pairs.end());
    for (std::size_t k = 0; k < most; ++k) {
      const auto& [least, greatest, u, v] = pairs[k];
      result_.open.emplace_back(network_.node(u), network_.node(v));
    }
  }

  CutNetwork network_;
  const Bytes budget_;
  std::uint64_t work_left_;
  Control& control_;
  std::vector<Bytes> bounds_;
  std::vector<std::vector<Bytes>> first_;  // [u][v]: a bound where u runs before v
  Deduction result_;
};

}  // namespace

Deduction deduce(const Problem& problem, const Segment& segment, Bytes budget,
                 std::uint64_t work_limit, Control& control) {
  return Deducer(problem, segment, budget, work_limit, control).run();
}

}  // namespace lowtide::schedule
