#include "allocation/solver.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "allocation/ranks.hpp"

namespace lowtide::allocation {

namespace {

constexpr Offset kInfinity = std::numeric_limits<Offset>::max();

}  // namespace

Solver::Solver(const Problem& problem, const SearchOptions& options, std::uint64_t seed)
    : problem_(problem), options_(options), seed_(seed), bound_(problem.lower_bound()) {
  for (std::vector<Id>& items : problem.parts()) {
    Part part;
    part.items = std::move(items);
    part.problem = nullptr;
    part.upper = kInfinity;
    part.lower = 0;
    parts_.push_back(std::move(part));
  }
}

void Solver::offer(const std::vector<Offset>& offsets, const std::string& method) {
  if (!problem_.accepts(offsets)) throw std::invalid_argument("the start is not a layout");
  for (Part& part : parts_) {
    std::vector<Offset> own;
    for (Id u : part.items) own.push_back(offsets[u]);
    accept(part, own, method.c_str());
  }
}

bool Solver::has_layout() const {
  return std::all_of(parts_.begin(), parts_.end(),
                     [](const Part& part) { return part.upper < kInfinity; });
}

std::vector<Offset> Solver::offsets() const {
  std::vector<Offset> result(problem_.size(), 0);
  for (const Part& part : parts_) {
    for (std::size_t k = 0; k < part.items.size(); ++k) result[part.items[k]] = part.offsets[k];
  }
  return result;
}

Offset Solver::height() const {
  Offset highest = 0;
  for (const Part& part : parts_) highest = std::max(highest, part.upper);
  return highest;
}

void Solver::accept(Part& part, const std::vector<Offset>& offsets, const char* method) {
  Offset upper = 0;
  for (std::size_t k = 0; k < part.items.size(); ++k) {
    upper = std::max(upper, offsets[k] + problem_.height(part.items[k]));
  }
  if (upper >= part.upper) return;
  const Offset before = height();
  part.upper = upper;
  part.offsets = offsets;
  if (height() < before) method_ = method;
}

void Solver::raise(Part& part, Offset bound, const char* method) {
  part.lower = std::max(part.lower, bound);
  if (part.lower > bound_) {
    bound_ = part.lower;
    bound_method_ = method;
  }
}

// Without a capacity the first descent of a search ends in a layout.  The very first ignores the
// limits, so that there is one.
void Solver::descend(Control& control) {
  Control none(-1.0, 0, {});
  for (const std::vector<Id>& rank : ranks(problem_)) {
    if (has_layout() && (control.stopped() || height() <= bound_)) return;
    const SearchResult result = decide(problem_, kInfinity, rank, options_, 2 * problem_.size() + 2,
                                       has_layout() ? control : none);
    branches_ += result.branches;
    if (result.verdict != Verdict::kFeasible) continue;
    for (Part& part : parts_) {
      std::vector<Offset> own;
      for (Id u : part.items) own.push_back(result.offsets[u]);
      accept(part, own, "descent");
    }
  }
}

// One round: every order of preference at the bound, then between, then just below the layout.
void Solver::search(Part& part, Offset enough, Control& control) {
  if (part.problem == nullptr) {
    if (parts_.size() > 1) {
      std::vector<Item> items;
      for (Id u : part.items) items.push_back(problem_.item(u));
      part.own = std::make_unique<Problem>(std::move(items));
    }
    part.problem = part.own ? part.own.get() : &problem_;
    part.ranks = ranks(*part.problem);
    // Of its own granule, so it may be above the whole problem's bound.
    raise(part, part.problem->lower_bound(), "load");
  }
  const std::uint64_t slice = (2 * part.items.size() + 64)
                              << (2 * std::min<std::uint64_t>(part.round, 20));
  const std::uint64_t extra = std::min<std::uint64_t>(part.round, 6);
  for (int which = 0; which < 3; ++which) {
    if (which > 0 && enough >= 0) break;
    for (std::uint64_t k = 0; k < part.ranks.size() + extra; ++k) {
      if (part.upper <= std::max(bound_, enough) || control.stopped()) return;
      const Offset lower = std::max(bound_, part.lower);
      if (enough >= 0 && lower > enough) return;
      const Offset capacity = enough >= 0  ? enough
                              : which == 0 ? lower
                              : which == 1 ? lower + (part.upper - lower) / 2
                                           : part.upper - 1;
      std::vector<Id> mixed;
      if (k >= part.ranks.size()) {
        mixed = perturbed(part.ranks[k % part.ranks.size()], seed_ * 1024 + part.round * 32 + k);
      }
      const std::vector<Id>& rank = mixed.empty() ? part.ranks[k] : mixed;
      const SearchResult result = decide(*part.problem, capacity, rank, options_, slice, control);
      branches_ += result.branches;
      if (result.verdict == Verdict::kFeasible) accept(part, result.offsets, "search");
      if (result.verdict == Verdict::kInfeasible) raise(part, result.next_bound, "search");
    }
  }
  ++part.round;
}

void Solver::run(Offset enough, Control& control) {
  if (problem_.contradictory()) {
    bound_ = kInfinity;
    bound_method_ = "fixed offsets";
    return;
  }
  descend(control);
  while (!control.stopped() && (enough < 0 || bound_ <= enough)) {
    const auto worst =
        std::max_element(parts_.begin(), parts_.end(),
                         [](const Part& x, const Part& y) { return x.upper < y.upper; });
    if (worst == parts_.end() || worst->upper <= std::max(bound_, enough)) return;
    search(*worst, enough, control);
  }
}

}  // namespace lowtide::allocation
