#include "schedule/deduce.hpp"

#include <algorithm>
#include <numeric>
#include <tuple>

namespace lowtide::schedule {

namespace {

enum Side : std::uint8_t { kFree, kSource, kSink };

// Vertices: the segment's nodes by their place in it, the source, the sink, then buffers.
class Deducer {
 public:
  Deducer(const Problem& problem, const Segment& segment, Bytes budget, std::uint64_t work_limit,
          Control& control)
      : problem_(problem),
        segment_(segment),
        count_(segment.nodes.size()),
        source_(static_cast<Index>(count_)),
        sink_(source_ + 1),
        budget_(budget),
        work_left_(work_limit),
        control_(control),
        head_(count_ + 2, -1),
        before_(count_, std::vector<std::uint8_t>(count_, 0)),
        first_(count_, std::vector<Bytes>(count_, 0)),
        bounds_(count_, 0) {
    local_.assign(problem.num_nodes(), -1);
    for (std::size_t k = 0; k < count_; ++k) local_[segment.nodes[k]] = static_cast<Index>(k);
    spared_.resize(count_);
    for (std::size_t b = 0; b < problem.buffers().size(); ++b) add_buffer(static_cast<Index>(b));
    for (std::size_t k = 0; k < count_; ++k) {  // topologically sorted
      for (Node p : problem.predecessors(segment.nodes[k])) {
        const Index q = local_[p];
        if (q < 0) continue;
        add_arc(static_cast<Index>(k), q, kInfinity);
        before_[k][q] = 1;
        for (std::size_t w = 0; w < count_; ++w) before_[k][w] |= before_[q][w];
      }
    }
    start_ = capacity_;
  }

  Deduction run() {
    bool again = true;
    while (again && !stopped()) {
      again = false;
      for (std::vector<Bytes>& row : first_) std::fill(row.begin(), row.end(), 0);
      std::vector<Index> order(count_);  // the most promising first
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

  void add_arc(Index from, Index to, Bytes capacity) {
    for (const auto& [a, b, c] : {std::tuple{from, to, capacity}, std::tuple{to, from, Bytes{0}}}) {
      arcs_.push_back({b, head_[a]});
      head_[a] = static_cast<Index>(arcs_.size()) - 1;
      capacity_.push_back(c);
    }
  }

  // producer -> y of the buffer's size, y -> each consumer without limit, to the sink if it stays.
  void add_buffer(Index b) {
    const Buffer& buffer = problem_.buffers()[b];
    const bool is_before = buffer.producer < 0 || segment_.place[buffer.producer] == kBefore;
    const Index from = is_before ? source_ : local_[buffer.producer];
    if (from < 0) return;  // made after the segment
    bool stays = buffer.persists, is_read = false;
    for (Node c : buffer.consumers) {
      stays = stays || segment_.place[c] == kAfter;
      is_read = is_read || segment_.place[c] == kInside;
    }
    if (!stays && !is_read) return;
    if (stays && is_before) {
      constant_ += buffer.size;
      return;
    }
    const auto y = static_cast<Index>(head_.size());
    head_.push_back(-1);
    add_arc(from, y, buffer.size);
    if (stays) {
      add_arc(y, sink_, kInfinity);
      return;  // no consumer can free it
    }
    for (Node c : buffer.consumers) {
      if (local_[c] < 0) continue;
      for (const Overwrite& o : problem_.overwrites(c)) {
        if (o.input == b) {
          spared_[local_[c]].push_back(static_cast<Index>(arcs_.size()));
          break;
        }
      }
      add_arc(y, local_[c], kInfinity);
    }
  }

  // Deduces what v and its pairs give; false when no order is within the budget.
  bool visit(Index v, bool& changed) {
    capacity_ = start_;
    for (Index a : spared_[v]) capacity_[a] = 0;
    side_.assign(count_, kFree);
    for (std::size_t u = 0; u < count_; ++u) {
      if (before_[v][u] != 0) side_[u] = kSource;
      if (before_[u][v] != 0) side_[u] = kSink;
    }
    side_[v] = kSink;
    const Bytes fixed = constant_ + problem_.work(segment_.nodes[v]);
    const Bytes flow = augment(0, budget_ - fixed);
    bounds_[v] = fixed + flow;
    if (exceeds(fixed + flow)) return false;
    if (stopped()) return true;
    const std::vector<Bytes> base = capacity_;
    std::vector<std::uint8_t> in_least(count_), in_most(count_);
    for (std::size_t u = 0; u < count_; ++u) in_least[u] = parent_[u] != kUnseen ? 1 : 0;
    mark_most(in_most);
    const auto least_within = [&](Index u, Side side) {
      capacity_ = base;
      capacity_.insert(capacity_.end(), start_.begin() + static_cast<std::ptrdiff_t>(base.size()),
                       start_.end());
      side_[u] = side;
      const Bytes bound = fixed + augment(flow, budget_ - fixed);
      side_[u] = kFree;
      // u is first where it is on the source's side of v's cut.
      Bytes& known = side == kSource ? first_[u][v] : first_[v][u];
      known = std::max(known, bound);
      return bound;
    };
    for (std::size_t k = 0; k < count_; ++k) {
      if (side_[k] != kFree) continue;
      const auto u = static_cast<Index>(k);
      // Deductions about v made in this loop: their nodes are no longer free.
      const bool not_before = in_least[k] == 0 && exceeds(least_within(u, kSource));
      if (stopped()) return true;
      const bool not_after = in_most[k] != 0 && exceeds(least_within(u, kSink));
      if (not_before && not_after) return false;
      if (not_before && !order(v, u)) return false;
      if (not_after && !order(u, v)) return false;
      changed = changed || not_before || not_after;
      if (stopped()) return true;
    }
    return true;
  }

  // A bound of an interrupted flow is a bound, too.
  bool exceeds(Bytes bound) {
    if (bound <= budget_) return false;
    result_.next_bound = std::min(result_.next_bound, bound);
    return true;
  }

  // Adds the precedence and all that follows from it; false if it contradicts what was deduced.
  bool order(Index first, Index second) {
    if (before_[first][second] != 0) return false;
    if (before_[second][first] != 0) return true;
    result_.edges.emplace_back(segment_.nodes[first], segment_.nodes[second]);
    add_arc(second, first, kInfinity);
    start_.insert(start_.end(), {kInfinity, 0});
    for (std::size_t x = 0; x < count_; ++x) {
      if (static_cast<Index>(x) != second && before_[x][second] == 0) continue;
      before_[x][first] = 1;
      for (std::size_t w = 0; w < count_; ++w) before_[x][w] |= before_[first][w];
    }
    return true;
  }

  void rank_open() {
    constexpr std::size_t kMostOpen = 16;
    std::vector<std::tuple<Bytes, Bytes, Index, Index>> pairs;
    for (std::size_t u = 0; u < count_; ++u) {
      for (std::size_t v = u + 1; v < count_; ++v) {
        if (before_[u][v] != 0 || before_[v][u] != 0) continue;
        const Bytes least = std::max(bounds_[u], bounds_[v]);
        const Bytes one = std::max(first_[u][v], least), two = std::max(first_[v][u], least);
        pairs.emplace_back(-std::min(one, two), -std::max(one, two), static_cast<Index>(u),
                           static_cast<Index>(v));
      }
    }
    const auto most = std::min(kMostOpen, pairs.size());
    std::partial_sort(pairs.begin(), pairs.begin() + static_cast<std::ptrdiff_t>(most),
                      pairs.end());
    for (std::size_t k = 0; k < most; ++k) {
      const auto& [least, greatest, u, v] = pairs[k];
      result_.open.emplace_back(segment_.nodes[u], segment_.nodes[v]);
    }
  }

  bool is_sink(Index x) const { return x == sink_ || (x < source_ && side_[x] == kSink); }

  // Adds to `flow`, by shortest paths, up to the maximum or until it is above `limit`.
  Bytes augment(Bytes flow, Bytes limit) {
    while (flow <= limit) {
      parent_.assign(head_.size(), kUnseen);
      queue_.assign(1, source_);
      parent_[source_] = kRoot;
      for (Index x = 0; x < source_; ++x) {
        if (side_[x] != kSource) continue;
        parent_[x] = kRoot;
        queue_.push_back(x);
      }
      Index end = -1;
      for (std::size_t k = 0; k < queue_.size() && end < 0; ++k) {
        for (Index a = head_[queue_[k]]; a >= 0; a = arcs_[a].next) {
          const Index y = arcs_[a].to;
          if (capacity_[a] <= 0 || parent_[y] != kUnseen) continue;
          parent_[y] = a;
          if (is_sink(y)) {
            end = y;
            break;
          }
          queue_.push_back(y);
        }
      }
      const std::uint64_t work = 4 + queue_.size();
      work_left_ -= std::min(work_left_, work);
      if (control_.spend(work) || end < 0 || work_left_ == 0) return flow;
      Bytes pushed = kInfinity;
      for (Index y = end; parent_[y] != kRoot; y = arcs_[parent_[y] ^ 1].to) {
        pushed = std::min(pushed, capacity_[parent_[y]]);
      }
      for (Index y = end; parent_[y] != kRoot; y = arcs_[parent_[y] ^ 1].to) {
        capacity_[parent_[y]] -= pushed;
        capacity_[parent_[y] ^ 1] += pushed;
      }
      flow += pushed;
    }
    return flow;
  }

  // The nodes of the largest minimum cut: those from which no path is left to the sink.
  void mark_most(std::vector<std::uint8_t>& in_most) {
    std::vector<std::uint8_t> reaches(head_.size(), 0);
    queue_.assign(1, sink_);
    reaches[sink_] = 1;
    for (Index x = 0; x < source_; ++x) {
      if (side_[x] != kSink) continue;
      reaches[x] = 1;
      queue_.push_back(x);
    }
    for (std::size_t k = 0; k < queue_.size(); ++k) {
      for (Index a = head_[queue_[k]]; a >= 0; a = arcs_[a].next) {
        const Index y = arcs_[a].to;
        if (capacity_[a ^ 1] <= 0 || reaches[y] != 0) continue;
        reaches[y] = 1;
        queue_.push_back(y);
      }
    }
    for (std::size_t u = 0; u < count_; ++u) in_most[u] = reaches[u] == 0 ? 1 : 0;
  }

  struct Arc {
    Index to, next;
  };
  static constexpr Index kUnseen = -1, kRoot = -2;

  const Problem& problem_;
  const Segment& segment_;
  const std::size_t count_;
  const Index source_, sink_;
  const Bytes budget_;
  std::uint64_t work_left_;
  Control& control_;
  std::vector<Arc> arcs_;  // arc a and its reverse a ^ 1
  std::vector<Index> head_, local_;
  std::vector<Bytes> start_, capacity_;            // without flow; what is left
  std::vector<std::vector<std::uint8_t>> before_;  // [v][u]: u runs before v
  std::vector<std::vector<Bytes>> first_;          // [u][v]: a bound where u runs before v
  std::vector<std::vector<Index>> spared_;         // arcs to v from what v may write over
  std::vector<Bytes> bounds_;
  std::vector<std::uint8_t> side_;
  std::vector<Index> parent_, queue_;
  Bytes constant_ = 0;
  Deduction result_;
};

}  // namespace

Deduction deduce(const Problem& problem, const Segment& segment, Bytes budget,
                 std::uint64_t work_limit, Control& control) {
  return Deducer(problem, segment, budget, work_limit, control).run();
}

}  // namespace lowtide::schedule
