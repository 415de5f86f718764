#include "schedule/beam.hpp"

#include <algorithm>
#include <cstdint>
#include <memory>
#include <unordered_set>

#include "schedule/walk.hpp"

namespace lowtide::schedule {

namespace {

template <bool kForward>
struct State {
  std::unique_ptr<Walk<kForward>> walk;
  Bytes peak;
  std::int32_t trace;  // in the list of steps, -1 at the start
};
struct Step {
  Node node;
  std::int32_t before;
};
struct Child {
  Bytes peak, after, transient;
  std::size_t parent;
  Node node;
};

bool better(const Child& x, const Child& y) {
  if (x.peak != y.peak) return x.peak < y.peak;
  if (x.after != y.after) return x.after < y.after;
  if (x.transient != y.transient) return x.transient < y.transient;
  if (x.parent != y.parent) return x.parent < y.parent;
  return x.node < y.node;
}

template <bool kForward>
std::vector<Node> beam_of(const Problem& problem, const Segment& segment, std::size_t width,
                          Bytes floor, Bytes limit, Control& control) {
  using State = State<kForward>;
  std::vector<State> states;
  states.push_back({std::make_unique<Walk<kForward>>(problem, segment), floor, -1});
  std::vector<Step> steps;
  for (std::size_t length = 0; length < segment.nodes.size(); ++length) {
    std::vector<Child> children;
    for (std::size_t k = 0; k < states.size(); ++k) {
      const Walk<kForward>& walk = *states[k].walk;
      if (control.spend(1 + walk.ready().size())) return {};
      const std::size_t begin = children.size();
      for (Node v : walk.ready()) {
        const Look look = walk.look(v);
        const Child child{std::max(states[k].peak, look.transient), look.after, look.transient, k,
                          v};
        if (look.after <= walk.mem() && look.transient <= states[k].peak) {
          children.resize(begin);
          children.push_back(child);
          break;
        }
        if (child.peak < limit) children.push_back(child);
      }
    }
    std::sort(children.begin(), children.end(), better);
    std::unordered_set<std::uint64_t> seen;
    std::vector<Child> kept;
    std::vector<std::size_t> uses(states.size(), 0);
    for (const Child& child : children) {
      const Hash now = states[child.parent].walk->hash();
      if (!seen.insert(now.a ^ node_hash(child.node).a).second) continue;
      kept.push_back(child);
      ++uses[child.parent];
      if (kept.size() == width) break;
    }
    if (kept.empty()) return {};
    std::vector<State> wider;
    wider.reserve(kept.size());
    for (const Child& child : kept) {
      State& parent = states[child.parent];
      if (control.spend(1 + segment.place.size() / 64)) return {};
      steps.push_back({child.node, parent.trace});
      const auto trace = static_cast<std::int32_t>(steps.size()) - 1;
      // The last child takes its parent's walk over.
      std::unique_ptr<Walk<kForward>> walk = --uses[child.parent] == 0
                                                 ? std::move(parent.walk)
                                                 : std::make_unique<Walk<kForward>>(*parent.walk);
      walk->step(child.node);
      wider.push_back({std::move(walk), child.peak, trace});
    }
    states = std::move(wider);
  }
  std::vector<Node> order;
  for (std::int32_t t = states.front().trace; t >= 0; t = steps[t].before)
    order.push_back(steps[t].node);
  if (kForward) std::reverse(order.begin(), order.end());
  return order;
}

}  // namespace

std::vector<Node> beam(const Problem& problem, const Segment& segment, std::size_t width,
                       Bytes floor, Bytes limit, bool forward, Control& control) {
  if (forward) return beam_of<true>(problem, segment, width, floor, limit, control);
  return beam_of<false>(problem, segment, width, floor, limit, control);
}

}  // namespace lowtide::schedule
