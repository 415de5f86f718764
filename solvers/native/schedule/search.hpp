// The decision search: is there an order of a segment whose transients all stay within a budget?
//
// Depth first over ideals, with a set of the states that were visited.  Every state is closed under
// moves that lose nothing:
//
// One-step commit (forward).  A ready v at S with transient <= budget and mem(S+v) <= mem(S) is run
// without branching.  Take a feasible completion of S and move v to its front.  For an ideal T of
// it without v, submodularity gives mem(T+v) - mem(T) <= mem(S+v) - mem(S) <= 0, and saving is
// monotone, so every node u that now runs at T+v instead of T has no higher transient.  Overwriting
// survives.
//
// One-step commit (backward, un-running v from S).  By the same argument mem(T-v) <= mem(T) for the
// ideals T of the completion, but u now runs without v before it, and could lose a saving.  It
// cannot unless v reads a buffer that u may overwrite, so such v are not committed.
//
// Macro commit.  From one ready root, the sets X of nodes that root newly enables are visited by
// size. The first, hence smallest, X with mem(S+X) <= mem(S) is run, if some order of it stays
// within the budget.  Every proper part Y of X has mem(S+Y) > mem(S), because all were visited
// before (sets whose transients exceed the budget included).  So mem(T+X) <= mem(T) + mem(S+X) -
// mem(S+Y) <= mem(T) for T meeting X in Y.  With overwriting, u could run at a state that lacks
// part of X's order: used only on problems without candidates.
//
// When the search fails, the least transient, or bound of a guard, that exceeded the budget is a
// lower bound on every order: with a budget below it, all comparisons would come out the same and
// the search would fail again.
#pragma once

#include <cstdint>
#include <vector>

#include "control.hpp"
#include "schedule/problem.hpp"

namespace lowtide::schedule {

enum class Verdict { kFeasible, kInfeasible, kUnknown };

struct SearchOptions {
  bool one_step = true;
  bool macro = true;    // ignored on problems with overwriting
  bool guards = false;  // min-cut pruning of states, see guards.hpp
  std::size_t visited_bytes = std::size_t{1} << 28;
  bool exact_states = false;  // compare states, not hashes: no collision can hide an order
};

// The states of a search, for a certificate (docs/formats.md): per state its parent, the node taken
// from it (-1 and -1 at the start), and what was then run without loss, in groups: a node, or -k
// and k nodes of a macro commit.
struct Trace {
  std::vector<std::int32_t> codes;
  std::vector<std::size_t> ends;  // of each state, in codes
};

struct SearchResult {
  Verdict verdict = Verdict::kUnknown;
  Bytes next_bound = 0;     // infeasible: every order of the segment reaches this
  std::vector<Node> order;  // feasible: of the segment's nodes
  std::uint64_t states = 0;
};

// At most `state_limit` states; unknown when it, the memory for what is left to try (400 MB), or
// `control` ends the search.  The states go into `trace` if there is one.
SearchResult decide(const Problem& problem, const Segment& segment, Bytes budget, bool forward,
                    const SearchOptions& options, std::uint64_t state_limit, Control& control,
                    Trace* trace = nullptr);

}  // namespace lowtide::schedule
