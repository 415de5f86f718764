// SERENITY's scheduler (Ahn et al., "Ordering Chaos: Memory-Aware Scheduling of Irregularly Wired
// Neural Networks for Edge Devices", MLSys 2020), on our model of the bytes.
//
//   level:    0            1            2                n
//            {a}  -run a-> {b, c} ----> {c, d} --- ... -> {}      ready sets, one entry each
//                               \-----> {b, e} ---/
//
// Dynamic programming (their Algorithm 1): level i holds one entry for each set of ready nodes that
// some order reaches after i steps, with the least peak so far and the step that it came by.  The
// ready set and the ideal S determine each other (S is what is not at or after a ready node), the
// transient of v and mem(S + v) are functions of (S, v) alone, overwriting included, so the least
// peak of an entry is all that its completions need to know: the last level's is the optimum.
//
// Divide and conquer: the parts between cut nodes, one after the other.
//
// Adaptive soft budgeting (their Algorithm 2): with a budget, steps above it are dropped.  A run
// ends with a solution, which is then optimal, for every order of a lower peak was kept; with "no
// solution", when the least transient that was dropped bounds every order's peak from below; or
// with a "time-out", when a level grows too large.  The budget starts at the peak of Kahn's order,
// is halved on a time-out, and goes half way back to the last one that timed out on "no solution".
//
// Deviations: a level times out by its number of states, not by the clock, so that runs repeat;
// the budget never falls below what "no solution" has proven, and when every budget left times out,
// the number of states allowed is doubled, up to a limit on memory; a cut node is any node
// comparable with every other one, so that tensors may reach past it (their bytes are then part of
// every state of the part); keys are the ready sets themselves, not hashes, so the proof is exact.
#pragma once

#include <string>
#include <vector>

#include "control.hpp"
#include "schedule/problem.hpp"

namespace lowtide::schedule {

struct SerenityOptions {
  bool divide = true;
  bool soft_budget = true;              // else one run with neither a budget nor a time-out
  std::uint64_t step_states = 1 << 14;  // of one level, before it times out
  std::size_t memory_bytes = 1u << 30;  // of the states of one run
};

class Serenity {
 public:
  Serenity(const Problem& problem, const SerenityOptions& options);

  // Takes the best parts of `order`; throws std::invalid_argument when it is not valid.  These are
  // only what is returned where no run ends: budgets start at Kahn's order in any case.
  void offer(std::span<const Node> order, const std::string& method);

  // Runs until every part is solved or is beyond the memory, or `control` stops.
  void run(Control& control);

  std::vector<Node> order() const;
  Bytes peak() const;   // of order()
  Bytes bound() const;  // no order has a lower peak
  std::string method() const;
  bool proves() const { return proves_; }  // a part's bound is the search's
  std::uint64_t states() const { return states_; }
  std::uint64_t runs() const { return runs_; }

 private:
  struct Part {
    std::size_t begin, end;
    std::vector<Node> order;
    std::string method;
    Bytes budget;  // the peak of Kahn's order
    Bytes upper;   // of `order`
    Bytes lower;   // of every order
    Bytes base;    // mem at the start
  };

  void solve(Part& part, Control& control);

  const Problem& problem_;
  SerenityOptions options_;
  std::vector<Part> parts_;
  std::vector<Index> position_;  // in the topological order
  bool proves_ = false;
  std::uint64_t states_ = 0, runs_ = 0;
};

}  // namespace lowtide::schedule
