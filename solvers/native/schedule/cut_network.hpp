// The min-cut networks of all nodes of a segment, as one network whose flows can be continued.
//
// The vertices are the segment's nodes by their place in it, a source, a sink, and buffers; see
// min_cut.hpp for the arcs.  The network of v is this one with every node before v on the source's
// side and v and every node after it on the sink's.  More nodes may be forced to a side, and more
// precedence be added, while a flow is there: it stays a flow, and only has to be augmented.
//
// With overwriting, every candidate operand of v is spared, which gives a lower bound.
#pragma once

#include <cstdint>
#include <vector>

#include "control.hpp"
#include "schedule/problem.hpp"

namespace lowtide::schedule {

class CutNetwork {
 public:
  enum Side : std::uint8_t { kFree, kSource, kSink };

  // A flow for one node v.
  struct Flow {
    Index node = 0;  // v, by place
    Bytes value = 0;
    std::vector<Bytes> capacity;  // what is left
    std::vector<Side> side;
  };

  CutNetwork(const Problem& problem, const Segment& segment);

  std::size_t count() const { return before_.size(); }
  Node node(Index place) const { return nodes_[place]; }
  Index place(Node v) const { return place_[v]; }  // -1 outside the segment
  bool before(Index u, Index v) const { return before_[v][u] != 0; }
  std::size_t flow_bytes() const { return start_.size() * sizeof(Bytes) + count() + sizeof(Flow); }

  // The flow of v, zero so far.
  Flow open(Index v) const;
  // The bound on v's transient that the flow stands for, whether it is a maximum or not.
  Bytes bound(const Flow& flow) const { return fixed_ + work_[flow.node] + flow.value; }
  // Augments by shortest paths until the bound is above `limit`, the flow a maximum, or work_left
  // (vertices looked at) 0 or `control` stopped.
  void augment(Flow& flow, Bytes limit, std::uint64_t& work_left, Control& control);
  // After a maximum: the nodes in the smallest, and those outside the largest minimum cut.
  void least(std::vector<std::uint8_t>& inside) const;
  void most(const Flow& flow, std::vector<std::uint8_t>& outside);

  // Adds the precedence and all that follows from it; false if it contradicts what is there.
  bool order(Index first, Index second);
  // Gives a flow the arcs that were added since it was opened.
  void extend(Flow& flow) const;

 private:
  struct Arc {
    Index to, next;
  };
  static constexpr Index kUnseen = -1, kRoot = -2;

  void add_arc(Index from, Index to, Bytes capacity);
  void add_buffer(const Problem& problem, const Segment& segment, Index b);
  bool is_sink(const Flow& flow, Index x) const {
    return x == sink_ || (x < source_ && flow.side[x] == kSink);
  }

  std::vector<Node> nodes_;
  std::vector<Index> place_;
  std::vector<Bytes> work_;
  Index source_, sink_;
  std::vector<Arc> arcs_;                          // arc a and its reverse a ^ 1
  std::vector<Index> head_;                        // per vertex
  std::vector<Bytes> start_;                       // capacities
  std::vector<std::vector<std::uint8_t>> before_;  // [v][u]: u runs before v
  std::vector<std::vector<Index>> spared_;         // arcs to v from what v may write over
  Bytes fixed_ = 0;                                // alive throughout
  std::vector<Index> parent_, queue_;
  std::vector<std::uint8_t> reaches_;
};

}  // namespace lowtide::schedule
