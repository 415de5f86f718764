// The decision search: is there a layout within a capacity?
//
// A state knows a lower bound low(u) of every item's offset.  One branching, on an item u that is
// not yet stacked:
//
//     stack u      every item that meets u and is not stacked lies above u:
//                  low(x) >= low(u) + over(u, x)
//     let u wait   one of them lies below u:
//                  low(u) >= min over x of low(x) + over(x, u)
//
// One of the two holds in every layout, whatever u is, so the branching loses nothing; and the
// lows hold in every layout that agrees with the branches taken, so what they refute is refuted.
// When all items are stacked, the lows themselves are a layout: two items that meet are apart,
// because the later of them was put above the earlier.  (Scheduling calls this
// schedule-or-postpone: Le Pape, Couronne, Vergamini, Gosselin 1994; MiniMalloc, ASPLOS 2023,
// explores the same layouts without the second branch's bound.)
//
// `u` is the item of the lowest low that does not wait, so layouts grow from the floor.  When all
// wait, each has one of the others below it, which is absurd.
//
// A section is refuted when its items, released at their lows, cannot be stacked within the
// capacity: max over k of low(k) + sum of the sizes of those with a low not below low(k), as on one
// machine with release dates; sizes count in granules, but for the topmost.  Stacked items take
// part.
//
// Twins (the same lifetime, size, alignment) may be exchanged, so the first lies below the second.
// A fixed item is never branched on: an item that cannot be below it, by its low, is put above it.
//
// Backjumping.  Every rise of a low records its cause, and a refutation is traced back to the
// branches that it rests on.  A refutation that does not rest on the last branches is one without
// them too, and their alternatives are not tried (Prosser 1993, conflict-directed backjumping).
//
// When the search fails, the least value that exceeded the capacity is a lower bound on every
// height: with any capacity below it, all comparisons come out the same.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "allocation/problem.hpp"
#include "control.hpp"

namespace lowtide::allocation {

enum class Verdict { kFeasible, kInfeasible, kUnknown };

struct SearchOptions {
  bool wait_bound = true;  // raise the low of what waits
  bool release = true;     // sections with release dates; else the least low plus all sizes
  bool twins = true;       // order twins
  bool backjump = true;    // trace refutations
};

struct SearchResult {
  Verdict verdict = Verdict::kUnknown;
  Offset next_bound = 0;        // infeasible: every layout is at least this high
  std::vector<Offset> offsets;  // feasible
  std::uint64_t branches = 0;
};

// `rank` orders the items of equal low, the least to be stacked first; at most `branch_limit`
// branches.  Unknown when that, or `control`, ends the search.
SearchResult decide(const Problem& problem, Offset capacity, std::span<const Id> rank,
                    const SearchOptions& options, std::uint64_t branch_limit, Control& control);

}  // namespace lowtide::allocation
