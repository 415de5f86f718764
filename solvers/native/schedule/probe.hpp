// Probing: refutes a budget, or finds an order within it, by cases.
//
// A case is the problem with further precedence.  deduce.hpp adds what holds in every order of the
// case within the budget, or refutes it; a short search may refute it, or find an order; what is
// left is split at a pair of nodes (u, v) that are not comparable, into u before v and v before u.
// Every order within the budget belongs to one of the two, so when all cases are refuted there is
// none.  Costs do not depend on precedence, so an order of a case is one of the problem.
//
// The pair is chosen among those that deduce.hpp ranks highest, by trying both sides (strong
// branching): a side that is refuted at once leaves the other as the only case.  The side with less
// deduced precedence, which has more orders left, is the first.
//
// As in deduce.hpp and search.hpp, all comparisons come out the same for every budget below the
// least number above it that was seen, which is the bound when it is refuted.
#pragma once

#include <cstdint>
#include <vector>

#include "control.hpp"
#include "schedule/problem.hpp"
#include "schedule/search.hpp"

namespace lowtide::schedule {

struct ProbeOptions {
  SearchOptions search;
  std::uint64_t slice = 2000;  // states of a search in a case, each way
  std::size_t tries = 4;       // pairs tried for a split
  std::size_t beam = 0;        // width of the beams for an order in a case, each way; 0 for none
};

// How a case was refuted, for a certificate, in the order of a depth-first walk.
struct ProbeStep {
  enum class Kind : std::uint8_t {
    kDeduced,  // by deduction
    kForward,  // by a search
    kBackward,
    kSplit,  // into the next case, u before v, and then the one with v before u
  };
  Kind kind;
  Node u = -1, v = -1;
};

struct ProbeResult {
  Verdict verdict = Verdict::kUnknown;
  Bytes next_bound = kInfinity;  // infeasible: every order of the segment reaches this
  std::vector<Node> order;       // feasible: of the segment's nodes
  std::vector<ProbeStep> steps;  // infeasible: the tree
  std::uint64_t cases = 0, states = 0;
};

// At most `case_limit` cases; unknown when it or `control` ends it.
ProbeResult probe(const Problem& problem, const Segment& segment, Bytes budget,
                  const ProbeOptions& options, std::uint64_t case_limit, Control& control);

}  // namespace lowtide::schedule
