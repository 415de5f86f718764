#include "schedule/cut_network.hpp"

#include <algorithm>
#include <tuple>

namespace lowtide::schedule {

CutNetwork::CutNetwork(const Problem& problem, const Segment& segment)
    : place_(problem.num_nodes(), -1) {
  // Topologically, precedence that was added to the problem included.
  for (Node v : problem.topological_order()) {
    if (segment.place[v] != kInside) continue;
    place_[v] = static_cast<Index>(nodes_.size());
    nodes_.push_back(v);
    work_.push_back(problem.work(v));
  }
  const std::size_t count = nodes_.size();
  source_ = static_cast<Index>(count);
  sink_ = source_ + 1;
  head_.assign(count + 2, -1);
  before_.assign(count, std::vector<std::uint8_t>(count, 0));
  spared_.resize(count);
  for (std::size_t b = 0; b < problem.buffers().size(); ++b) {
    add_buffer(problem, segment, static_cast<Index>(b));
  }
  for (std::size_t k = 0; k < count; ++k) {
    for (Node p : problem.predecessors(nodes_[k])) {
      const Index q = place_[p];
      if (q < 0) continue;
      add_arc(static_cast<Index>(k), q, kInfinity);
      before_[k][q] = 1;
      for (std::size_t w = 0; w < count; ++w) before_[k][w] |= before_[q][w];
    }
  }
}

void CutNetwork::add_arc(Index from, Index to, Bytes capacity) {
  for (const auto& [a, b, c] : {std::tuple{from, to, capacity}, std::tuple{to, from, Bytes{0}}}) {
    arcs_.push_back({b, head_[a]});
    head_[a] = static_cast<Index>(arcs_.size()) - 1;
    start_.push_back(c);
  }
}

// producer -> y of the buffer's size, y -> each consumer without limit; to the sink if it stays.
void CutNetwork::add_buffer(const Problem& problem, const Segment& segment, Index b) {
  const Buffer& buffer = problem.buffers()[b];
  const bool is_before = buffer.producer < 0 || segment.place[buffer.producer] == kBefore;
  const Index from = is_before ? source_ : place_[buffer.producer];
  if (from < 0) return;  // made after the segment
  bool stays = buffer.persists, is_read = false;
  for (Node c : buffer.consumers) {
    stays = stays || segment.place[c] == kAfter;
    is_read = is_read || segment.place[c] == kInside;
  }
  if (stays) {
    if (is_before) {
      fixed_ += buffer.size;
    } else {
      add_arc(from, sink_, buffer.size);
    }
    return;
  }
  if (!is_read) return;
  const auto y = static_cast<Index>(head_.size());
  head_.push_back(-1);
  add_arc(from, y, buffer.size);
  for (Node c : buffer.consumers) {
    if (place_[c] < 0) continue;
    for (const Overwrite& o : problem.overwrites(c)) {
      if (o.input != b) continue;
      spared_[place_[c]].push_back(static_cast<Index>(arcs_.size()));
      break;
    }
    add_arc(y, place_[c], kInfinity);
  }
}

CutNetwork::Flow CutNetwork::open(Index v) const {
  Flow flow{v, 0, start_, std::vector<Side>(count(), kFree)};
  for (Index a : spared_[v]) flow.capacity[a] = 0;
  for (std::size_t u = 0; u < count(); ++u) {
    if (before_[v][u] != 0) flow.side[u] = kSource;
    if (before_[u][v] != 0) flow.side[u] = kSink;
  }
  flow.side[v] = kSink;
  return flow;
}

void CutNetwork::augment(Flow& flow, Bytes limit, std::uint64_t& work_left, Control& control) {
  while (bound(flow) <= limit) {
    parent_.assign(head_.size(), kUnseen);
    queue_.assign(1, source_);
    parent_[source_] = kRoot;
    for (Index x = 0; x < source_; ++x) {
      if (flow.side[x] != kSource) continue;
      parent_[x] = kRoot;
      queue_.push_back(x);
    }
    Index end = -1;
    for (std::size_t k = 0; k < queue_.size() && end < 0; ++k) {
      for (Index a = head_[queue_[k]]; a >= 0; a = arcs_[a].next) {
        const Index y = arcs_[a].to;
        if (flow.capacity[a] <= 0 || parent_[y] != kUnseen) continue;
        parent_[y] = a;
        if (is_sink(flow, y)) {
          end = y;
          break;
        }
        queue_.push_back(y);
      }
    }
    const std::uint64_t work = 4 + queue_.size();
    work_left -= std::min(work_left, work);
    if (control.spend(work) || end < 0 || work_left == 0) return;
    Bytes pushed = kInfinity;  // as it is where both sides are forced against the precedence
    for (Index y = end; parent_[y] != kRoot; y = arcs_[parent_[y] ^ 1].to) {
      pushed = std::min(pushed, flow.capacity[parent_[y]]);
    }
    for (Index y = end; parent_[y] != kRoot; y = arcs_[parent_[y] ^ 1].to) {
      flow.capacity[parent_[y]] -= pushed;
      flow.capacity[parent_[y] ^ 1] += pushed;
    }
    flow.value += pushed;
  }
}

void CutNetwork::least(std::vector<std::uint8_t>& inside) const {
  inside.assign(count(), 0);
  for (std::size_t u = 0; u < count(); ++u) inside[u] = parent_[u] != kUnseen ? 1 : 0;
}

void CutNetwork::most(const Flow& flow, std::vector<std::uint8_t>& outside) {
  reaches_.assign(head_.size(), 0);
  queue_.assign(1, sink_);
  reaches_[sink_] = 1;
  for (Index x = 0; x < source_; ++x) {
    if (flow.side[x] != kSink) continue;
    reaches_[x] = 1;
    queue_.push_back(x);
  }
  for (std::size_t k = 0; k < queue_.size(); ++k) {
    for (Index a = head_[queue_[k]]; a >= 0; a = arcs_[a].next) {
      const Index y = arcs_[a].to;
      if (flow.capacity[a ^ 1] <= 0 || reaches_[y] != 0) continue;
      reaches_[y] = 1;
      queue_.push_back(y);
    }
  }
  outside.assign(reaches_.begin(), reaches_.begin() + static_cast<std::ptrdiff_t>(count()));
}

bool CutNetwork::order(Index first, Index second) {
  if (before(second, first)) return false;
  if (before(first, second)) return true;
  add_arc(second, first, kInfinity);
  for (std::size_t x = 0; x < count(); ++x) {
    if (static_cast<Index>(x) != second && before_[x][second] == 0) continue;
    before_[x][first] = 1;
    for (std::size_t w = 0; w < count(); ++w) before_[x][w] |= before_[first][w];
  }
  return true;
}

void CutNetwork::extend(Flow& flow) const {
  flow.capacity.insert(flow.capacity.end(),
                       start_.begin() + static_cast<std::ptrdiff_t>(flow.capacity.size()),
                       start_.end());
}

}  // namespace lowtide::schedule
