// The min-cut lower bound.
//
// Whenever v runs, it runs at some ideal T with anc(v) in T and v not in T, so every order's peak
// is at least  LB(v) = min over T of mem(T) + work(v) - saving(v, T),  a minimum cut without
// overwriting:
//
//     source = anc(v) and the segment's base, sink = v, desc(v) and what follows the segment
//     per buffer: producer -> y of capacity size, y -> each consumer without limit (persisting: ->
//     sink) per dependency p before u: u -> p without limit
//
// With overwriting, let M be a set of operands that v may write over.  An operand i in M is live
// before v in any case, and is saved if all its other consumers are in T: size_i - saved = size_i *
// [some other consumer is not in T], which is the same network with v taken out of the consumers of
// i.  The saving of v is at most the sum over M for some M with at most one operand per result, so
// the minimum over those M is a lower bound (exact where a maximal matching is reached); so is the
// network with every candidate in M, which stands in where there are too many sets.
#pragma once

#include <vector>

#include "control.hpp"
#include "schedule/problem.hpp"

namespace lowtide::schedule {

struct Cut {
  Bytes bound;  // LB(v)
  std::vector<Node>
      inside;  // the smallest minimiser, the segment's nodes only, topologically sorted
};

// O(flow) on the nodes of `segment` that are not comparable with v.
Cut min_cut(const Problem& problem, const Segment& segment, Node v, Control& control);

// A maximum flow of the network for one set M, as evidence: what bounds its value from above bounds
// every mem(T) from below, whoever found it.
struct Flow {
  std::vector<Index> spared;  // M
  Bytes bound = 0;            // its value + work(v)
  // buffer, reader (-1: to the end), bytes; what goes straight from source to sink included
  std::vector<std::tuple<Index, Node, Bytes>> through;
  std::vector<std::tuple<Node, Node, Bytes>> against;  // from a node to its predecessor
};

// The flows behind min_cut's bound, one per M; the bound is the least of theirs.
std::vector<Flow> min_cut_flows(const Problem& problem, const Segment& segment, Node v,
                                Control& control);

}  // namespace lowtide::schedule
