#include "schedule/min_cut.hpp"

#include <algorithm>
#include <map>

namespace lowtide::schedule {

namespace {

// Maximum flow by Dinic's algorithm on a network that is built once.
class Network {
 public:
  explicit Network(std::size_t vertices) : head_(vertices, -1) {}

  std::int32_t add_vertex() {
    head_.push_back(-1);
    return static_cast<std::int32_t>(head_.size()) - 1;
  }
  // The arc's number, for flow().
  std::int32_t add(std::int32_t from, std::int32_t to, Bytes capacity) {
    const auto arc = static_cast<std::int32_t>(arcs_.size());
    arcs_.push_back({to, head_[from], capacity});
    head_[from] = static_cast<std::int32_t>(arcs_.size()) - 1;
    arcs_.push_back({from, head_[to], 0});
    head_[to] = static_cast<std::int32_t>(arcs_.size()) - 1;
    return arc;
  }
  Bytes flow(std::int32_t arc) const { return arcs_[arc ^ 1].capacity; }

  // Ends early, with less than the maximum, only when `control` stops.
  Bytes maximum(std::int32_t source, std::int32_t sink, Control& control) {
    Bytes flow = 0;
    while (levels(source, sink) && !control.spend(arcs_.size())) {
      current_ = head_;
      while (const Bytes pushed = augment(source, sink, control)) flow += pushed;
    }
    return flow;
  }
  // After maximum(): the vertices on the source's side of the smallest cut.
  bool reached(std::int32_t vertex) const { return level_[vertex] >= 0; }

 private:
  struct Arc {
    std::int32_t to, next;
    Bytes capacity;
  };

  bool levels(std::int32_t source, std::int32_t sink) {
    level_.assign(head_.size(), -1);
    queue_.assign(1, source);
    level_[source] = 0;
    for (std::size_t k = 0; k < queue_.size(); ++k) {
      const std::int32_t x = queue_[k];
      for (std::int32_t a = head_[x]; a >= 0; a = arcs_[a].next) {
        if (arcs_[a].capacity > 0 && level_[arcs_[a].to] < 0) {
          level_[arcs_[a].to] = level_[x] + 1;
          queue_.push_back(arcs_[a].to);
        }
      }
    }
    return level_[sink] >= 0;
  }

  // One augmenting path in the level graph, iteratively, so that depth is no limit.
  Bytes augment(std::int32_t source, std::int32_t sink, Control& control) {
    path_.clear();
    std::int32_t x = source;
    std::uint64_t work = 0;
    while (x != sink) {
      ++work;
      std::int32_t& a = current_[x];
      while (a >= 0 && !(arcs_[a].capacity > 0 && level_[arcs_[a].to] == level_[x] + 1)) {
        a = arcs_[a].next;
      }
      if (a >= 0) {
        path_.push_back(a);
        x = arcs_[a].to;
      } else if (path_.empty()) {
        control.spend(work);
        return 0;
      } else {
        level_[x] = -2;  // a dead end
        x = arcs_[path_.back() ^ 1].to;
        path_.pop_back();
      }
    }
    Bytes pushed = kInfinity;
    for (std::int32_t a : path_) pushed = std::min(pushed, arcs_[a].capacity);
    for (std::int32_t a : path_) {
      arcs_[a].capacity -= pushed;
      arcs_[a ^ 1].capacity += pushed;
    }
    control.spend(work);
    return pushed;
  }

  std::vector<Arc> arcs_;
  std::vector<std::int32_t> head_, level_, current_, queue_, path_;
};

// Where every node stands in the network of v.
enum Side : std::int32_t { kSource = -1, kSink = -2 };

struct Sides {
  std::vector<std::int32_t> of;  // kSource, kSink, or the vertex of a free node
  std::vector<Node> free;
};

Sides sides_of(const Problem& problem, const Segment& segment, Node v) {
  Sides sides;
  sides.of.assign(problem.num_nodes(), 0);
  for (Node u = 0; u < problem.num_nodes(); ++u) {
    if (segment.place[u] == kBefore) sides.of[u] = kSource;
    if (segment.place[u] == kAfter) sides.of[u] = kSink;
  }
  std::vector<Node> stack{v};
  sides.of[v] = kSink;
  while (!stack.empty()) {
    const Node u = stack.back();
    stack.pop_back();
    for (Node s : problem.successors(u)) {
      if (sides.of[s] == 0) {
        sides.of[s] = kSink;
        stack.push_back(s);
      }
    }
  }
  stack.assign(1, v);
  while (!stack.empty()) {
    const Node u = stack.back();
    stack.pop_back();
    for (Node p : problem.predecessors(u)) {
      if (sides.of[p] == 0) {
        sides.of[p] = kSource;
        stack.push_back(p);
      }
    }
  }
  for (Node u : segment.nodes) {
    if (sides.of[u] == 0) {
      sides.free.push_back(u);
      sides.of[u] = static_cast<std::int32_t>(sides.free.size()) + 1;  // 0: source, 1: sink
    }
  }
  return sides;
}

// The least mem over the ideals of v, with v not a consumer of the buffers in `spared`; its flow,
// if it is asked for.
Cut solve(const Problem& problem, const Segment& segment, const Sides& sides, Node v,
          const std::vector<Index>& spared, Control& control, Flow* evidence = nullptr) {
  constexpr Bytes kUnlimited = kInfinity;
  Network network(sides.free.size() + 2);
  const auto vertex = [&](Node u) {
    return sides.of[u] == kSource ? 0 : sides.of[u] == kSink ? 1 : sides.of[u];
  };
  struct Label {
    std::int32_t arc;
    Index buffer;  // -1: against a dependency
    Node from, to;
  };
  std::vector<Label> labels;
  const auto note = [&](std::int32_t arc, Index buffer, Node from, Node to) {
    if (evidence != nullptr) labels.push_back({arc, buffer, from, to});
  };
  Bytes constant = 0;
  const auto& buffers = problem.buffers();
  for (std::size_t b = 0; b < buffers.size(); ++b) {
    const Buffer& buffer = buffers[b];
    const std::int32_t from = buffer.producer < 0 ? 0 : vertex(buffer.producer);
    if (from == 1) continue;
    const auto index = static_cast<Index>(b);
    bool lasts = buffer.persists;
    Node last = -1, only = -1;
    std::size_t open = 0;
    for (Node c : buffer.consumers) {
      if (c == v && std::find(spared.begin(), spared.end(), index) != spared.end()) {
        continue;
      }
      const std::int32_t to = vertex(c);
      if (to == 1 && !lasts) {
        lasts = true;
        last = c;
      }
      if (to > 1) {
        ++open;
        only = c;
      }
    }
    if (lasts) {
      if (from == 0) {
        constant += buffer.size;
        if (evidence != nullptr) evidence->through.emplace_back(index, last, buffer.size);
      } else {
        note(network.add(from, 1, buffer.size), index, -1, last);
      }
    } else if (open == 1) {
      note(network.add(from, vertex(only), buffer.size), index, -1, only);
    } else if (open > 1) {
      const std::int32_t y = network.add_vertex();
      network.add(from, y, buffer.size);
      for (Node c : buffer.consumers) {
        if (vertex(c) > 1) note(network.add(y, vertex(c), kUnlimited), index, -1, c);
      }
    }
  }
  for (Node u : sides.free) {
    for (Node p : problem.predecessors(u)) {
      if (vertex(p) > 1) note(network.add(vertex(u), vertex(p), kUnlimited), -1, u, p);
    }
  }
  Cut cut;
  cut.bound = constant + network.maximum(0, 1, control) + problem.work(v);
  if (evidence != nullptr) {
    evidence->spared = spared;
    evidence->bound = cut.bound;
    for (const Label& label : labels) {
      const Bytes bytes = network.flow(label.arc);
      if (bytes == 0) continue;
      if (label.buffer >= 0) {
        evidence->through.emplace_back(label.buffer, label.to, bytes);
      } else {
        evidence->against.emplace_back(label.from, label.to, bytes);
      }
    }
  }
  for (Node u : segment.nodes) {
    const std::int32_t x = vertex(u);
    if (x == 0 || (x > 1 && network.reached(x))) cut.inside.push_back(u);
  }
  return cut;
}

// The sets M of the header: all choices of min(results, operands) operands per size, or none if
// many.
std::vector<std::vector<Index>> spared_sets(const Problem& problem, const Sides& sides, Node v) {
  struct Class {
    std::vector<Index> results, operands;
  };
  std::map<Bytes, Class> classes;
  const auto add = [](std::vector<Index>& list, Index b) {
    if (std::find(list.begin(), list.end(), b) == list.end()) list.push_back(b);
  };
  for (const Overwrite& o : problem.overwrites(v)) {
    bool possible = true;  // an operand that a descendant reads never dies at v
    for (Node c : problem.buffers()[o.input].consumers) {
      possible = possible && (c == v || sides.of[c] != kSink);
    }
    if (!possible) continue;
    add(classes[o.size].results, o.output);
    add(classes[o.size].operands, o.input);
  }
  std::vector<std::vector<Index>> sets(1);
  std::vector<Index> all;
  constexpr std::size_t kMost = 8;
  for (const auto& [size, group] : classes) {
    all.insert(all.end(), group.operands.begin(), group.operands.end());
    const std::size_t count = group.operands.size();
    const std::size_t take = std::min(count, group.results.size());
    if (count > 16 || sets.size() > kMost) {
      sets.resize(kMost + 1);
      continue;
    }
    std::vector<std::vector<Index>> wider;
    for (const std::vector<Index>& set : sets) {
      for (std::uint32_t mask = 0; mask < (1U << count) && wider.size() <= kMost; ++mask) {
        if (static_cast<std::size_t>(__builtin_popcount(mask)) != take) continue;
        wider.push_back(set);
        for (std::size_t k = 0; k < count; ++k) {
          if (mask >> k & 1U) wider.back().push_back(group.operands[k]);
        }
      }
    }
    sets = std::move(wider);
  }
  if (sets.size() > kMost) return {all};
  return sets;
}

}  // namespace

Cut min_cut(const Problem& problem, const Segment& segment, Node v, Control& control) {
  const Sides sides = sides_of(problem, segment, v);
  Cut best{kInfinity, {}};
  for (const std::vector<Index>& spared : spared_sets(problem, sides, v)) {
    Cut cut = solve(problem, segment, sides, v, spared, control);
    if (cut.bound < best.bound) best = std::move(cut);
  }
  return best;
}

std::vector<Flow> min_cut_flows(const Problem& problem, const Segment& segment, Node v,
                                Control& control) {
  const Sides sides = sides_of(problem, segment, v);
  std::vector<Flow> flows;
  for (const std::vector<Index>& spared : spared_sets(problem, sides, v)) {
    solve(problem, segment, sides, v, spared, control, &flows.emplace_back());
  }
  return flows;
}

}  // namespace lowtide::schedule
