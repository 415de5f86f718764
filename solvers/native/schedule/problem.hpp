// The scheduling problem on plain integers, and segments of it.
//
// A state is an ideal S (a set of nodes closed under predecessors).  mem(S) is the bytes of the
// buffers made in S that still have a consumer outside S or persist.  mem is submodular on ideals:
// each buffer contributes size * ([producer in S] - [all consumers in S]), and the second bracket
// is supermodular.
//
// Overwriting: v may write a result over an operand i that dies at v, that is when all other
// consumers of i are in S.  The bytes saved, saving(v, S), are the size of a greedy matching in a
// fixed order of preference between results and available operands of one size.  saving is monotone
// in S: one more available operand changes a greedy matching along an alternating path that starts
// with a new pair, so the number of pairs never falls.
#pragma once

#include <cstdint>
#include <span>
#include <tuple>
#include <vector>

namespace lowtide::schedule {

using Bytes = std::int64_t;
using Node = std::int32_t;
using Index = std::int32_t;  // of a buffer

inline constexpr Bytes kInfinity = Bytes{1} << 62;

struct Buffer {
  Bytes size;
  Node producer;  // -1: handed over at the start
  std::vector<Node> consumers;
  bool persists;  // stays to the end
};

// A result of a node that may take the bytes of one of its operands.
struct Overwrite {
  Index output;
  Index input;
  Bytes size;
};

// The nodes between two ideals: base is what has run before, `nodes` are to be run, topologically
// sorted.
struct Segment {
  std::vector<Node> nodes;
  std::vector<std::uint8_t> place;  // per node: kBefore, kInside, kAfter
};
inline constexpr std::uint8_t kBefore = 0;
inline constexpr std::uint8_t kInside = 1;
inline constexpr std::uint8_t kAfter = 2;

struct Description {
  Node num_nodes = 0;
  std::vector<Bytes> sizes;
  std::vector<Node> producers;
  std::vector<std::vector<Node>> consumers;
  std::vector<bool> outputs;
  std::vector<Bytes> workspace;  // empty or one per node
  std::vector<std::pair<Node, Node>> precedence;
  std::vector<std::tuple<Node, Index, Index>> in_place;  // node, output, input
  bool inputs_in_arena = false;
  bool outputs_live_to_end = true;
};

class Problem {
 public:
  // Throws std::invalid_argument on an index out of range, a negative size or a cycle.
  explicit Problem(const Description& description);

  Node num_nodes() const { return num_nodes_; }
  const std::vector<Buffer>& buffers() const { return buffers_; }
  std::span<const Node> predecessors(Node v) const { return predecessors_[v]; }
  std::span<const Node> successors(Node v) const { return successors_[v]; }
  std::span<const Index> reads(Node v) const { return reads_[v]; }
  std::span<const Overwrite> overwrites(Node v) const { return overwrites_[v]; }
  Bytes work(Node v) const { return work_[v]; }  // out(v) + workspace(v)
  Bytes kept(Node v) const { return kept_[v]; }  // the part of out(v) that outlives v
  std::span<const Index> makes(Node v) const { return makes_[v]; }
  bool shared(Node v) const { return shared_[v]; }  // reads what another node may overwrite
  bool has_overwrites() const { return has_overwrites_; }
  Bytes start_bytes() const {
    return start_bytes_;
  }  // mem of the empty ideal, a bound on every peak
  const std::vector<Node>& topological_order() const { return topological_order_; }

  // The same with further (before, after) pairs; throws std::invalid_argument if they make a cycle.
  Problem with_precedence(std::span<const std::pair<Node, Node>> edges) const;

  // The transients of the steps of `order`; throws std::invalid_argument when it is not valid.
  std::vector<Bytes> transients(std::span<const Node> order) const;
  // The highest transient of `order`, at least start_bytes().
  Bytes peak(std::span<const Node> order) const;

  // The whole problem as one segment.
  Segment whole() const;
  // Positions [begin, end) between cut nodes: nodes comparable with every other one.  Every order
  // passes through their ideals, and costs depend on (ideal, node) alone, so these positions hold
  // the same nodes in every order and the peak is the highest of the parts' peaks, overwriting
  // included.
  std::vector<std::pair<std::size_t, std::size_t>> parts() const;
  // `inside` (topologically sorted) after `before`, which is an ideal.
  Segment make_segment(std::span<const Node> before, std::span<const Node> inside) const;

 private:
  void sort_nodes();  // by predecessors_, sets the other two

  Node num_nodes_;
  std::vector<Buffer> buffers_;
  std::vector<std::vector<Node>> predecessors_, successors_;
  std::vector<std::vector<Index>> reads_, makes_;
  std::vector<std::vector<Overwrite>> overwrites_;
  std::vector<Bytes> work_, kept_;
  std::vector<std::uint8_t> shared_;
  std::vector<Node> topological_order_;
  bool has_overwrites_ = false;
  Bytes start_bytes_ = 0;
};

}  // namespace lowtide::schedule
