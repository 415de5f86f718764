// Min-cut pruning of the states of a search.
//
// A guard is a node v that has still to run.  From a state S of a forward search, v will run at an
// ideal that contains S; of a backward one, at an ideal within S.  So LB(v) of min_cut.hpp with the
// nodes of S forced to the source's side, or those un-run to the sink's, bounds what is to come,
// and where it exceeds the budget the state has no completion.  A step only forces more nodes, so
// the flow of the state before is continued, which takes an augmenting path or two.
//
// Few nodes guard well, and which is not known before: some with the highest bounds at the start
// are on trial in the first states, then those are kept that pruned the most.
#pragma once

#include <span>
#include <vector>

#include "control.hpp"
#include "schedule/cut_network.hpp"
#include "schedule/problem.hpp"

namespace lowtide::schedule {

class Guards {
 public:
  Guards(const Problem& problem, const Segment& segment, Bytes budget, bool forward,
         Control& control);

  // The state at `depth`, 1 or more, reached from the last one at depth - 1 by stepping `nodes`.
  // A bound above the budget if it has no completion within the budget, else 0.
  Bytes enter(std::size_t depth, std::span<const Node> nodes);

 private:
  struct Guard {
    CutNetwork::Flow flow;
    bool waits = true;  // v has not run
  };

  Bytes advance(const Guard& from, Guard& to, std::span<const Node> nodes);
  void choose();

  CutNetwork network_;
  const Bytes budget_;
  const CutNetwork::Side side_;
  Control& control_;
  std::vector<std::vector<Guard>> levels_;  // by depth, then as in pruned_
  std::vector<std::size_t> active_;         // the guards in use
  std::vector<std::uint64_t> pruned_;       // states, by guard
  std::uint64_t states_ = 0, since_ = 0, hits_ = 0;
};

}  // namespace lowtide::schedule
