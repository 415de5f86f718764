#include "schedule/problem.hpp"

#include <algorithm>
#include <functional>
#include <queue>
#include <stdexcept>
#include <string>

#include "schedule/walk.hpp"

namespace lowtide::schedule {

namespace {

void require(bool condition, const char* what) {
  if (!condition) throw std::invalid_argument(what);
}

void sort_distinct(std::vector<Node>& nodes) {
  std::sort(nodes.begin(), nodes.end());
  nodes.erase(std::unique(nodes.begin(), nodes.end()), nodes.end());
}

}  // namespace

Problem::Problem(const Description& d) : num_nodes_(d.num_nodes) {
  require(d.num_nodes >= 0, "the number of nodes is negative");
  const auto n = static_cast<std::size_t>(d.num_nodes);
  const std::size_t count = d.sizes.size();
  require(d.producers.size() == count && d.consumers.size() == count && d.outputs.size() == count,
          "the lists of buffers differ in length");
  require(d.workspace.empty() || d.workspace.size() == n, "workspace needs one entry per node");
  const auto is_node = [&](Node v) { return v >= 0 && v < d.num_nodes; };
  predecessors_.resize(n);
  reads_.resize(n);
  makes_.resize(n);
  overwrites_.resize(n);
  work_ = d.workspace.empty() ? std::vector<Bytes>(n, 0) : d.workspace;
  kept_.assign(n, 0);
  shared_.assign(n, 0);
  Bytes total = 0;
  for (Bytes w : work_) {
    require(w >= 0 && w <= kInfinity / 4 && (total += w) <= kInfinity / 4,
            "workspace out of range");
  }
  std::vector<Index> kept_index(count, -1);
  for (std::size_t b = 0; b < count; ++b) {
    const Bytes size = d.sizes[b];
    const Node producer = d.producers[b];
    require(size >= 0 && size <= kInfinity / 4 && (total += size) <= kInfinity / 4,
            "sizes out of range");
    require(producer == -1 || is_node(producer), "a producer is not a node");
    std::vector<Node> consumers = d.consumers[b];
    for (Node c : consumers) require(is_node(c), "a consumer is not a node");
    sort_distinct(consumers);
    if (producer >= 0) {
      for (Node c : consumers) predecessors_[c].push_back(producer);
    }
    if (size == 0 || (producer < 0 && !d.inputs_in_arena)) continue;
    const bool persists = d.outputs[b] && d.outputs_live_to_end;
    if (producer < 0) {
      if (!consumers.empty() || persists) start_bytes_ += size;
    } else {
      work_[producer] += size;
      if (!consumers.empty() || persists) kept_[producer] += size;
    }
    // What is dead at once keeps its index, since it may be written over an operand.
    const auto index = static_cast<Index>(buffers_.size());
    kept_index[b] = index;
    for (Node c : consumers) reads_[c].push_back(index);
    if (producer >= 0) makes_[producer].push_back(index);
    buffers_.push_back({size, producer, std::move(consumers), persists});
  }
  for (const auto& [before, after] : d.precedence) {
    require(is_node(before) && is_node(after), "a precedence names a node that is not there");
    predecessors_[after].push_back(before);
  }
  sort_nodes();
  for (const auto& [node, output, input] : d.in_place) {
    require(is_node(node) && output >= 0 && static_cast<std::size_t>(output) < count &&
                input >= 0 && static_cast<std::size_t>(input) < count,
            "an in-place candidate is out of range");
    require(d.producers[output] == node, "an in-place candidate's node does not make its output");
    const Index o = kept_index[output];
    const Index i = kept_index[input];
    if (o < 0 || i < 0 || buffers_[o].size != buffers_[i].size || buffers_[i].persists) continue;
    const std::vector<Node>& readers = buffers_[i].consumers;
    require(std::binary_search(readers.begin(), readers.end(), node),
            "an in-place candidate's node does not read its input");
    overwrites_[node].push_back({o, i, buffers_[o].size});
    has_overwrites_ = true;
    for (Node c : readers) {
      if (c != node) shared_[c] = 1;
    }
  }
}

void Problem::sort_nodes() {
  const auto n = static_cast<std::size_t>(num_nodes_);
  successors_.assign(n, {});
  topological_order_.clear();
  for (std::size_t v = 0; v < n; ++v) {
    sort_distinct(predecessors_[v]);
    for (Node p : predecessors_[v]) successors_[p].push_back(static_cast<Node>(v));
  }
  std::vector<Index> missing(n);
  std::priority_queue<Node, std::vector<Node>, std::greater<>> ready;
  for (std::size_t v = 0; v < n; ++v) {
    missing[v] = static_cast<Index>(predecessors_[v].size());
    if (missing[v] == 0) ready.push(static_cast<Node>(v));
  }
  while (!ready.empty()) {
    const Node v = ready.top();
    ready.pop();
    topological_order_.push_back(v);
    for (Node s : successors_[v]) {
      if (--missing[s] == 0) ready.push(s);
    }
  }
  require(topological_order_.size() == n, "the nodes depend on each other in a cycle");
}

Problem Problem::with_precedence(std::span<const std::pair<Node, Node>> edges) const {
  Problem problem = *this;
  for (const auto& [before, after] : edges) problem.predecessors_[after].push_back(before);
  problem.sort_nodes();
  return problem;
}

Segment Problem::whole() const {
  return {topological_order_, std::vector<std::uint8_t>(num_nodes_, kInside)};
}

Segment Problem::make_segment(std::span<const Node> before, std::span<const Node> inside) const {
  Segment segment;
  segment.place.assign(num_nodes_, kAfter);
  for (Node v : before) segment.place[v] = kBefore;
  for (Node v : inside) segment.place[v] = kInside;
  segment.nodes.assign(inside.begin(), inside.end());
  return segment;
}

std::vector<std::pair<std::size_t, std::size_t>> Problem::parts() const {
  // In a topological order, the node at position p is comparable with all others iff every earlier
  // node has a successor at p or before (so that, by induction, it reaches p) and every later node
  // has a predecessor at p or after.
  const std::vector<Node>& order = topological_order_;
  const auto n = static_cast<std::ptrdiff_t>(num_nodes_);
  std::vector<std::ptrdiff_t> position(n), reach(n + 1, 0), origin(n + 1, n);
  for (std::ptrdiff_t p = 0; p < n; ++p) position[order[p]] = p;
  for (std::ptrdiff_t p = 0; p < n;
       ++p) {  // reach[p]: the farthest first successor of what is before p
    std::ptrdiff_t first = n;
    for (Node s : successors_[order[p]]) first = std::min(first, position[s]);
    reach[p + 1] = std::max(reach[p], first);
  }
  for (std::ptrdiff_t p = n;
       p-- > 0;) {  // origin[p]: the earliest last predecessor of p and what follows
    std::ptrdiff_t last = -1;
    for (Node q : predecessors_[order[p]]) last = std::max(last, position[q]);
    origin[p] = std::min(origin[p + 1], last);
  }
  std::vector<std::pair<std::size_t, std::size_t>> result;
  std::ptrdiff_t begin = 0;
  const auto close = [&](std::ptrdiff_t end) {
    if (end > begin) result.emplace_back(begin, end);
    begin = end;
  };
  for (std::ptrdiff_t p = 0; p < n; ++p) {
    if (reach[p] <= p && origin[p + 1] >= p) {
      close(p);
      close(p + 1);
    }
  }
  close(n);
  return result;
}

std::vector<Bytes> Problem::transients(std::span<const Node> order) const {
  const Segment segment = whole();
  if (order.size() != static_cast<std::size_t>(num_nodes_)) {
    throw std::invalid_argument("an order does not have one entry per node");
  }
  Walk<true> walk(*this, segment);
  std::vector<Bytes> result;
  result.reserve(order.size());
  for (Node v : order) {
    if (v < 0 || v >= num_nodes_ || !walk.is_ready(v)) {
      throw std::invalid_argument("an order is not topological: node " + std::to_string(v));
    }
    result.push_back(walk.look(v).transient);
    walk.step(v);
  }
  return result;
}

Bytes Problem::peak(std::span<const Node> order) const {
  Bytes highest = start_bytes_;
  for (Bytes t : transients(order)) highest = std::max(highest, t);
  return highest;
}

}  // namespace lowtide::schedule
