// What every order within a budget has in common, as precedence.
//
// For a node v and a node u not comparable with it, LB(v | u before v) is the bound of min_cut.hpp
// with u on the source's side of the cut, LB(v | v before u) the one with u on the sink's side.  An
// order runs v at an ideal with u or without u, so at a budget
//
//     below both bounds      no order exists
//     below the first        v runs before u in every order: a new precedence v before u
//     below the second       u runs before v in every order
//
// New precedence makes more nodes comparable, hence more bounds higher: repeated until nothing
// changes.  (Where the budget is LB(v) itself, this finds what is in all minimum cuts, and so
// before v, and what is in none, and so after it.)  The orders within the budget are those of the
// problem with the new precedence added, which is a problem like any other, so that every argument
// of search.hpp holds in it.  All deductions hold for every budget below the least bound that was
// compared, so a search that fails with them proves the lesser of that and its own next bound.
//
// One flow for each v (cut_network.hpp); each of its pairs continues that flow.  O(nodes^2) short
// augmentations.
#pragma once

#include <utility>
#include <vector>

#include "control.hpp"
#include "schedule/problem.hpp"

namespace lowtide::schedule {

struct Deduction {
  bool infeasible = false;
  Bytes next_bound = kInfinity;  // the deductions, infeasibility too, hold for budgets below it
  std::vector<std::pair<Node, Node>> edges;  // before, after
  // Pairs that are still open, by how much is known to go wrong whichever node is first: the lesser
  // of the two sides' bounds, the greatest first, a few.  Complete where nothing stopped it.
  std::vector<std::pair<Node, Node>> open;
};

// What was deduced so far when `control` stops or after about `work_limit` vertices were looked at.
Deduction deduce(const Problem& problem, const Segment& segment, Bytes budget,
                 std::uint64_t work_limit, Control& control);

}  // namespace lowtide::schedule
