#include "schedule/solver.hpp"

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "schedule/beam.hpp"
#include "schedule/deduce.hpp"
#include "schedule/min_cut.hpp"
#include "schedule/probe.hpp"
#include "schedule/walk.hpp"

namespace lowtide::schedule {

namespace {

constexpr std::uint64_t kFirstSlice = 400;  // states of a search in the first round
constexpr std::uint64_t kDeducedSlice = 12800;
constexpr std::uint64_t kSqueezeSlice = 400;
constexpr std::size_t kMostCuts = 60;
// Flows of a pass over a part's steps times the nodes of the problem, in the first round.
constexpr std::size_t kFlowNodes = std::size_t{1} << 23;
// Of one deduction: vertices looked at, and the most nodes of a part (for memory, of its square).
constexpr std::uint64_t kDeduceWork = std::uint64_t{1} << 32;
constexpr std::size_t kMostDeduced = 2048;
// Width of a beam times the nodes of a problem, of which every state keeps some 12 bytes.
constexpr std::size_t kBeamNodes = std::size_t{1} << 24;

}  // namespace

Solver::Solver(const Problem& problem, const Techniques& techniques)
    : problem_(problem), techniques_(techniques) {
  std::vector<std::pair<std::size_t, std::size_t>> ranges = problem.parts();
  if (!techniques.cut_nodes && problem.num_nodes() > 0) {
    ranges.assign(1, {0, static_cast<std::size_t>(problem.num_nodes())});
  }
  const std::vector<Node>& order = problem.topological_order();
  flowed_.assign(problem.num_nodes(), 0);
  const Segment whole = problem.whole();
  Walk<true> walk(problem, whole);
  floor_ = problem.start_bytes();
  for (const auto& [begin, end] : ranges) {
    // Every order passes through the part's ends.  A transient is at least mem before the step, for
    // no more is saved than made, and after it, for no more is saved than dies.
    Part part{begin, end, {order.begin() + begin, order.begin() + end}, 0, walk.mem()};
    for (Node v : part.order) {
      part.upper = std::max(part.upper, walk.look(v).transient);
      walk.step(v);
      part.lower = std::max(part.lower, problem.least_work(v));
    }
    part.lower = std::max(part.lower, walk.mem());
    if (end - begin == 1) part.lower = part.upper;  // a cut node runs at one ideal in every order
    if (part.lower > floor_) {
      floor_ = part.lower;
      bound_method_ = end - begin == 1 ? "cut node" : "trivial";
    }
    parts_.push_back(std::move(part));
  }
  method_ = "kahn";
}

void Solver::offer(std::span<const Node> order, const std::string& method) {
  const std::vector<Bytes> transients = problem_.transients(order);
  const Bytes before = peak();
  for (Part& part : parts_) {
    const auto first = static_cast<std::ptrdiff_t>(part.begin);
    const auto last = static_cast<std::ptrdiff_t>(part.end);
    const Bytes upper = *std::max_element(transients.begin() + first, transients.begin() + last);
    if (upper < part.upper) {
      part.order.assign(order.begin() + first, order.begin() + last);
      part.upper = upper;
    }
  }
  if (peak() < before) method_ = method;
}

std::vector<Node> Solver::order() const {
  std::vector<Node> result;
  for (const Part& part : parts_) result.insert(result.end(), part.order.begin(), part.order.end());
  return result;
}

Bytes Solver::peak() const {
  Bytes highest = problem_.start_bytes();
  for (const Part& part : parts_) highest = std::max(highest, part.upper);
  return highest;
}

Bytes Solver::bound() const { return std::min(floor_, peak()); }

void Solver::raise(Part& part, Bytes bound, const char* method) {
  part.lower = std::max(part.lower, bound);
  if (part.lower > floor_) {
    floor_ = part.lower;
    bound_method_ = method;
  }
}

bool Solver::accept(Part& part, std::span<const Node> order, const char* method) {
  if (order.size() != part.order.size()) return false;
  const Segment segment = segment_of(part);
  const std::vector<Bytes> transients = transients_of(segment, order);
  const Bytes upper = *std::max_element(transients.begin(), transients.end());
  if (upper > part.upper) return false;
  const Bytes before = peak();
  part.order.assign(order.begin(), order.end());
  part.upper = upper;
  if (peak() < before) method_ = method;
  return true;
}

Segment Solver::segment_of(const Part& part) const {
  const std::span<const Node> all(problem_.topological_order());
  return problem_.make_segment(all.first(part.begin),
                               all.subspan(part.begin, part.end - part.begin));
}

std::vector<Bytes> Solver::transients_of(const Segment& segment,
                                         std::span<const Node> order) const {
  Walk<true> walk(problem_, segment);
  std::vector<Bytes> result;
  for (Node v : order) {
    if (!walk.is_ready(v)) throw std::logic_error("a part's order is not topological");
    result.push_back(walk.look(v).transient);
    walk.step(v);
  }
  return result;
}

// The steps of an order, the highest transient first.
std::vector<std::size_t> Solver::by_falling(const std::vector<Bytes>& transients) {
  std::vector<std::size_t> steps(transients.size());
  std::iota(steps.begin(), steps.end(), std::size_t{0});
  std::sort(steps.begin(), steps.end(), [&](std::size_t x, std::size_t y) {
    return transients[x] != transients[y] ? transients[x] > transients[y] : x < y;
  });
  return steps;
}

void Solver::bound_part(Part& part, const Segment& segment, Control& control) {
  std::size_t left = std::max<std::size_t>(kFlowNodes / segment.place.size(), 64)
                     << (2 * std::min<std::size_t>(part.round, 8));
  const std::vector<Bytes> transients = transients_of(segment, part.order);
  std::vector<std::size_t> steps = by_falling(transients);
  // LB(v) is at most v's transient here, so what is at or below the floor cannot raise it.
  for (std::size_t k : steps) {
    const Node v = part.order[k];
    if (transients[k] <= floor_ || left == 0) break;
    if (flowed_[v] != 0) continue;
    if (control.spend(segment.place.size() / 8)) break;
    --left;
    ++flows_;
    flowed_[v] = 1;
    raise(part, min_cut(problem_, segment, v, control).bound, "min-cut");
  }
}

void Solver::reorder_part(Part& part, const Segment& segment, Control& control) {
  // The smallest minimisers of the nodes whose bound is within 0.5 % of the floor, as a nested
  // chain.
  const std::vector<Bytes> transients = transients_of(segment, part.order);
  std::vector<std::size_t> steps = by_falling(transients);
  steps.resize(std::min(steps.size(), kMostCuts));
  std::vector<std::vector<Node>> sets;
  for (std::size_t k : steps) {
    if (transients[k] < floor_ - floor_ / 200) break;
    if (control.spend(segment.place.size() / 8)) return;
    ++flows_;
    Cut cut = min_cut(problem_, segment, part.order[k], control);
    if (cut.bound < floor_ - floor_ / 200) continue;
    sets.push_back(cut.inside);
    cut.inside.push_back(part.order[k]);
    sets.push_back(std::move(cut.inside));
  }
  std::stable_sort(sets.begin(), sets.end(),
                   [](const auto& x, const auto& y) { return x.size() < y.size(); });
  std::vector<std::int32_t> rank(problem_.num_nodes(),
                                 -1);  // the first set of the chain with the node
  std::vector<std::size_t> ends;
  std::size_t last = 0;
  std::int32_t links = 0;
  for (const std::vector<Node>& set : sets) {
    const auto old = std::count_if(set.begin(), set.end(), [&](Node v) { return rank[v] >= 0; });
    if (static_cast<std::size_t>(old) != last || set.size() == last)
      continue;  // not nested, or the same
    for (Node v : set) {
      if (rank[v] < 0) rank[v] = links;
    }
    ++links;
    last = set.size();
    ends.push_back(last);
  }
  if (links == 0) return;
  if (last < part.order.size()) ends.push_back(part.order.size());
  std::vector<Node> order = part.order;
  std::stable_sort(order.begin(), order.end(), [&](Node x, Node y) {
    const auto of = [&](Node v) { return rank[v] < 0 ? links : rank[v]; };
    return of(x) < of(y);
  });
  Part trial = part;
  trial.order = std::move(order);
  std::size_t begin = 0;
  for (std::size_t end : ends) {
    if (control.stopped()) return;
    squeeze(trial, begin, end, kSqueezeSlice, control);
    begin = end;
  }
  accept(part, trial.order, "min-cut reordering");
}

// Reorders positions [begin, end) of the part's order alone, towards the floor.
void Solver::squeeze(Part& part, std::size_t begin, std::size_t end, std::uint64_t slice,
                     Control& control) {
  // What follows is linear in the problem, whatever the search costs.
  if (end - begin < 2 || control.spend(1 + problem_.topological_order().size() / 8)) return;
  const std::span<const Node> all(problem_.topological_order());
  std::vector<Node> before(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(part.begin));
  const auto first = part.order.begin() + static_cast<std::ptrdiff_t>(begin);
  const auto last = part.order.begin() + static_cast<std::ptrdiff_t>(end);
  before.insert(before.end(), part.order.begin(), first);
  const std::vector<Node> inside(first, last);
  const Segment piece = problem_.make_segment(before, inside);
  const std::vector<Bytes> transients = transients_of(piece, inside);
  Bytes upper = *std::max_element(transients.begin(), transients.end());
  Bytes lower = floor_ - 1;  // budgets at or below it are of no interest
  const SearchOptions options{techniques_.one_step, techniques_.macro, false,
                              techniques_.visited_bytes, techniques_.exact_states};
  for (Bytes budget = floor_; lower < budget && budget < upper;) {
    bool found = false;
    for (bool forward : {true, false}) {
      if (!forward && !techniques_.backward) continue;
      const SearchResult result = decide(problem_, piece, budget, forward, options, slice, control);
      states_ += result.states;
      if (result.verdict == Verdict::kFeasible) {
        std::copy(result.order.begin(), result.order.end(), first);
        const std::vector<Bytes> now = transients_of(piece, result.order);
        upper = *std::max_element(now.begin(), now.end());
        found = true;
        break;
      }
      if (result.verdict == Verdict::kInfeasible) {
        budget = std::max(budget, std::min(result.next_bound - 1, upper));
        break;
      }
    }
    if (control.stopped()) return;
    if (!found) lower = budget;
    budget = lower + (upper - lower) / 2;
    if (upper - lower <= upper / 2000) break;
  }
}

// Reorders windows of growing width around the steps of the highest transient, each exactly if it
// can.
void Solver::polish_part(Part& part, const Segment& segment, std::uint64_t slice,
                         Control& control) {
  for (std::size_t reach = 8; reach < 2 * part.order.size() && is_open(part); reach *= 3) {
    while (is_open(part) && !control.stopped()) {
      const std::vector<Bytes> transients = transients_of(segment, part.order);
      Part trial = part;
      std::size_t done = 0;
      for (std::size_t k = 0; k < transients.size() && !control.stopped(); ++k) {
        if (transients[k] < part.upper || k < done) continue;
        const std::size_t begin = k > reach ? k - reach : 0;
        done = std::min(k + reach + 1, transients.size());
        squeeze(trial, begin, done, slice, control);
      }
      const Bytes before = part.upper;
      accept(part, trial.order, "windows");
      if (part.upper == before) break;
    }
  }
}

void Solver::search_part(Part& part, const Segment& segment, Control& control) {
  const std::uint64_t slice = kFirstSlice << (2 * std::min<std::size_t>(part.round, 24));
  const bool has_macro = techniques_.macro && !problem_.has_overwrites();
  for (bool macro : {false, true}) {
    if (macro && !has_macro) continue;
    const SearchOptions options{techniques_.one_step, macro, false, techniques_.visited_bytes,
                                techniques_.exact_states};
    for (bool forward : {false, true}) {
      if (!forward && !techniques_.backward) continue;
      for (int which = 0; which < 3; ++which) {
        if (!is_open(part) || control.stopped()) return;
        const Bytes lower = std::max(floor_, part.lower);
        if (which == 0 && part.budget == lower) continue;  // search_deduced does it better
        const Bytes budget = which == 0   ? lower
                             : which == 1 ? lower + (part.upper - lower) / 2
                                          : part.upper - 1;
        const SearchResult result =
            decide(problem_, segment, budget, forward, options, slice, control);
        states_ += result.states;
        if (result.verdict == Verdict::kInfeasible) {
          raise(part, std::min(result.next_bound, part.upper), "search");
        } else if (result.verdict == Verdict::kFeasible) {
          accept(part, result.order, "search");
        }
      }
    }
  }
}

// Beams by the peak so far, then by mem alone within a budget one below the incumbent.
void Solver::beam_part(Part& part, const Segment& segment, Control& control) {
  if (part.round > 3) return;
  const std::size_t most = std::max<std::size_t>(kBeamNodes / segment.place.size(), 1);
  const std::size_t width = std::min(most, std::size_t{8} << (3 * part.round));
  for (bool forward : {true, false}) {
    if (!forward && !techniques_.backward) continue;
    for (bool by_peak : {true, false}) {
      if (!is_open(part) || control.stopped()) return;
      if (by_peak && (!forward || part.round > 2)) continue;
      const Bytes floor = by_peak ? floor_ : part.upper - 1;
      accept(part, beam(problem_, segment, width, floor, part.upper, forward, control), "beam");
    }
  }
}

// Deduces precedence at `budget`; false when no order is within it, and the bound was raised.
bool Solver::deduce_part(Part& part, const Segment& segment, Bytes budget, Control& control) {
  if (part.budget == budget) return true;
  const Deduction result = deduce(problem_, segment, budget, kDeduceWork, control);
  ++flows_;
  if (result.infeasible) {
    raise(part, std::min(result.next_bound, part.upper), "deduction");
    return false;
  }
  part.budget = budget;
  part.holds_below = result.next_bound;
  part.deduced = std::make_shared<const Problem>(problem_.with_precedence(result.edges));
  return true;
}

// Searches at the bound, in the problem with the precedence that holds there, until it stands.
void Solver::search_deduced(Part& part, const Segment& segment, Control& control) {
  const std::uint64_t size = segment.nodes.size();
  const std::uint64_t round = std::min<std::size_t>(part.round, 24);
  // The flows for all pairs are worth what the searches of this round cost, not more.
  if (size > kMostDeduced || size * size * size > (kFirstSlice * kFirstSlice) << (2 * round))
    return;
  const std::uint64_t slice = kDeducedSlice << (2 * round);
  const SearchOptions options{techniques_.one_step, false, techniques_.guards,
                              techniques_.visited_bytes, techniques_.exact_states};
  bool open = true;
  while (open && is_open(part) && !control.stopped()) {
    const Bytes budget = std::max(floor_, part.lower);
    if (!deduce_part(part, segment, budget, control)) continue;
    open = false;
    for (bool forward : {false, true}) {
      if ((!forward && !techniques_.backward) || open || control.stopped()) continue;
      const SearchResult result =
          decide(*part.deduced, segment, budget, forward, options, slice, control);
      states_ += result.states;
      if (result.verdict == Verdict::kFeasible) {
        accept(part, result.order, "search");
        return;
      }
      if (result.verdict == Verdict::kInfeasible) {
        const Bytes next = std::min(result.next_bound, part.holds_below);
        raise(part, std::min(next, part.upper), "search");
        open = true;
      }
    }
  }
}

// Refutes the bound by cases, until it stands: an order may have it, or the cases become many.
void Solver::probe_part(Part& part, const Segment& segment, Control& control) {
  const std::uint64_t size = segment.nodes.size();
  const std::uint64_t round = std::min<std::size_t>(part.round, 24);
  if (size > kMostDeduced || size * size * size > (kFirstSlice * kFirstSlice) << (2 * round))
    return;
  ProbeOptions options;
  options.search = {techniques_.one_step, false, false, techniques_.visited_bytes,
                    techniques_.exact_states};
  options.slice = kFirstSlice << round;
  if (techniques_.beam) options.beam = std::min<std::size_t>(kBeamNodes / size, 8);
  bool open = true;
  while (open && is_open(part) && !control.stopped()) {
    const Bytes budget = std::max(floor_, part.lower);
    const ProbeResult result =
        probe(problem_, segment, budget, options, std::uint64_t{4} << round, control);
    states_ += result.states;
    open = result.verdict == Verdict::kInfeasible;
    if (open) {
      raise(part, std::min(result.next_bound, part.upper), "probing");
    } else if (result.verdict == Verdict::kFeasible) {
      accept(part, result.order, "probing");
    }
  }
}

void Solver::run(Control& control) {
  const auto worst = [&]() -> Part* {
    const auto it =
        std::max_element(parts_.begin(), parts_.end(),
                         [](const Part& x, const Part& y) { return x.upper < y.upper; });
    return it == parts_.end() || !is_open(*it) ? nullptr : &*it;
  };
  // Bounds and cheap improvements, for the worst part first: the others often need nothing after
  // it.
  std::vector<std::uint8_t> treated(parts_.size(), 0);
  while (!control.stopped()) {
    Part* next = nullptr;
    for (std::size_t k = 0; k < parts_.size(); ++k) {
      if (treated[k] == 0 && is_open(parts_[k]) &&
          (next == nullptr || parts_[k].upper > next->upper)) {
        next = &parts_[k];
      }
    }
    if (next == nullptr) break;
    treated[static_cast<std::size_t>(next - parts_.data())] = 1;
    const Segment segment = segment_of(*next);
    if (techniques_.min_cut) bound_part(*next, segment, control);
    if (techniques_.beam && is_open(*next)) {
      accept(*next, beam(problem_, segment, 1, floor_, next->upper, true, control), "beam");
    }
    if (techniques_.reorder && is_open(*next)) reorder_part(*next, segment, control);
    if (techniques_.windows && is_open(*next)) {
      polish_part(*next, segment, kSqueezeSlice, control);
    }
  }
  // Searches in growing slices, wide beams and reordering in between.
  while (Part* part = worst()) {
    if (control.stopped()) return;
    const Segment segment = segment_of(*part);
    if (techniques_.min_cut) bound_part(*part, segment, control);
    if (techniques_.deduce) search_deduced(*part, segment, control);
    search_part(*part, segment, control);
    const Bytes before = part->upper;
    if (techniques_.beam) beam_part(*part, segment, control);
    if (techniques_.probe && is_open(*part)) probe_part(*part, segment, control);
    if (techniques_.reorder && is_open(*part) && (part->round == 0 || part->upper < before)) {
      reorder_part(*part, segment, control);
    }
    if (techniques_.windows && is_open(*part)) {
      polish_part(*part, segment, kSqueezeSlice << (2 * std::min<std::size_t>(part->round, 8)),
                  control);
    }
    ++part->round;
  }
}

}  // namespace lowtide::schedule
