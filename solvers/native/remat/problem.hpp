// The rematerialization problem as the search needs it: flat lists, costs as doubles.
//
// A precedence (before, after) is a buffer of no bytes, made by `before` and read by `after`: it is
// there for every run of `after` exactly if some run of `before` came earlier.  Pinned nodes are
// chained by such buffers and never repeated.  Costs steer the search only; what it returns is
// priced and checked again in exact arithmetic, and no feasibility rests on a double.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

namespace lowtide::remat {

using Node = std::int32_t;
using Index = std::int32_t;  // of a buffer, or of a position in a sequence
using Bytes = std::int64_t;

struct Description {
  Node num_nodes = 0;
  std::vector<Bytes> sizes;  // zero for buffers that do not count
  std::vector<Node> producers;
  std::vector<std::vector<Node>> consumers;
  std::vector<bool> outputs;
  std::vector<Bytes> workspace;
  std::vector<double> costs;
  std::vector<bool> pinned;
  std::vector<Node> order;  // the input order
  // (node, output, input): only pairs of one size whose input counts, in the order of preference.
  std::vector<std::pair<Node, std::pair<Index, Index>>> in_place;
  Bytes budget = 0;  // less the constant memory
};

class Problem {
 public:
  // Throws std::invalid_argument on lists of unequal lengths, indices that are out of range or
  // negative numbers, std::length_error where the live sets would not fit into a gigabyte.
  explicit Problem(Description description);

  Node num_nodes() const { return d_.num_nodes; }
  Index num_buffers() const { return static_cast<Index>(d_.sizes.size()); }
  Bytes size(Index b) const { return d_.sizes[b]; }
  Node producer(Index b) const { return d_.producers[b]; }
  const std::vector<Node>& consumers(Index b) const { return d_.consumers[b]; }
  bool output(Index b) const { return d_.outputs[b]; }
  Bytes workspace(Node v) const { return d_.workspace[v]; }
  double cost(Node v) const { return d_.costs[v]; }
  double base_cost() const { return base_cost_; }
  bool repeatable(Node v) const { return !d_.pinned[v]; }
  Index place(Node v) const { return place_[v]; }
  Bytes budget() const { return d_.budget; }
  const std::vector<Node>& order() const { return d_.order; }
  const std::vector<Index>& reads(Node v) const { return reads_[v]; }
  const std::vector<Index>& makes(Node v) const { return makes_[v]; }
  // Candidates (output, input) of a node; inputs are numbered by their place in reads(v).
  const std::vector<std::pair<Index, Index>>& in_place(Node v) const { return in_place_[v]; }

 private:
  Description d_;
  double base_cost_ = 0;
  std::vector<Index> place_;
  std::vector<std::vector<Index>> reads_, makes_;
  std::vector<std::vector<std::pair<Index, Index>>> in_place_;
};

// Candidates of a node beyond these are not used: that never makes a peak look lower than it is.
constexpr std::size_t kMostCandidates = 64;
constexpr std::size_t kMostWords = std::size_t{1} << 27;  // a gigabyte of live sets

}  // namespace lowtide::remat
