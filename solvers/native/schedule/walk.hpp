// A walk over the ideals of a segment, one node a step, with undo.
//
// Forward starts at the segment's base and runs nodes; backward starts at its end and un-runs them.
// Both see the same costs: the transient of v at S is mem(S) + work(v) - saving(v, S), S without v.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "schedule/problem.hpp"

namespace lowtide::schedule {

struct Hash {
  std::uint64_t a = 0, b = 0;
  friend bool operator==(const Hash&, const Hash&) = default;
};

// 128 fixed random bits per node (splitmix64 of the index).
inline Hash node_hash(Node v) {
  const auto mix = [](std::uint64_t x) {
    x += 0x9e3779b97f4a7c15ULL;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ULL;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebULL;
    return x ^ (x >> 31);
  };
  const auto x = static_cast<std::uint64_t>(v);
  return {mix(2 * x + 1), mix(mix(2 * x + 2) ^ 0xd1b54a32d192ed03ULL)};
}

// What a step would do.
struct Look {
  Bytes transient;
  Bytes after;
};

template <bool kForward>
class Walk {
 public:
  Walk(const Problem& problem, const Segment& segment)
      : problem_(problem),
        segment_(segment),
        outside_(problem.buffers().size()),
        waiting_(problem.num_nodes(), 0),
        slot_(problem.num_nodes(), -1) {
    const auto is_in = [&](Node v) {
      return segment.place[v] == kBefore || (!kForward && segment.place[v] == kInside);
    };
    mem_ = 0;
    for (std::size_t b = 0; b < outside_.size(); ++b) {
      const Buffer& buffer = problem.buffers()[b];
      Index left = 0;
      for (Node c : buffer.consumers) left += is_in(c) ? 0 : 1;
      outside_[b] = left;
      if ((buffer.producer < 0 || is_in(buffer.producer)) && (left > 0 || buffer.persists)) {
        mem_ += buffer.size;
      }
    }
    for (Node v : segment.nodes) {
      Index count = 0;
      if constexpr (kForward) {
        for (Node p : problem.predecessors(v)) count += is_in(p) ? 0 : 1;
      } else {
        for (Node s : problem.successors(v)) count += is_in(s) ? 1 : 0;
      }
      waiting_[v] = count;
      if (count == 0) add_ready(v);
    }
  }

  Bytes mem() const { return mem_; }
  const Hash& hash() const { return hash_; }
  const std::vector<Node>& ready() const { return ready_; }
  bool is_ready(Node v) const { return slot_[v] >= 0; }

  Look look(Node v) const {
    Bytes after = mem_;
    if constexpr (kForward) {
      after += problem_.kept(v);
      for (Index i : problem_.reads(v)) {
        const Buffer& buffer = problem_.buffers()[i];
        if (outside_[i] == 1 && !buffer.persists) after -= buffer.size;
      }
      return {mem_ + problem_.work(v) - saving(v), after};
    } else {
      after -= problem_.kept(v);
      for (Index i : problem_.reads(v)) {
        const Buffer& buffer = problem_.buffers()[i];
        if (outside_[i] == 0 && !buffer.persists) after += buffer.size;
      }
      return {after + problem_.work(v) - saving(v), after};
    }
  }

  void step(Node v) {
    mem_ = look(v).after;
    remove_ready(v);
    flip(v);
    for (Index i : problem_.reads(v)) outside_[i] += kForward ? -1 : 1;
    for (Node u : next(v)) {
      if (--waiting_[u] == 0 && segment_.place[u] == kInside) add_ready(u);
    }
  }

  // Undoes step(v); `mem` is what it was before.
  void undo(Node v, Bytes mem) {
    for (Node u : next(v)) {
      if (waiting_[u]++ == 0 && segment_.place[u] == kInside) remove_ready(u);
    }
    for (Index i : problem_.reads(v)) outside_[i] += kForward ? 1 : -1;
    flip(v);
    add_ready(v);
    mem_ = mem;
  }

 private:
  std::span<const Node> next(Node v) const {
    return kForward ? problem_.successors(v) : problem_.predecessors(v);
  }

  Bytes saving(Node v) const {
    const std::span<const Overwrite> candidates = problem_.overwrites(v);
    constexpr Index kDying = kForward ? 1 : 0;
    Bytes saved = 0;
    if (candidates.size() <= 1) {
      for (const Overwrite& c : candidates) saved += outside_[c.input] == kDying ? c.size : 0;
      return saved;
    }
    std::vector<Index> used;
    const auto free = [&](Index b) { return std::find(used.begin(), used.end(), b) == used.end(); };
    for (const Overwrite& c : candidates) {
      if (outside_[c.input] == kDying && free(c.input) && free(c.output)) {
        used.push_back(c.input);
        used.push_back(c.output);
        saved += c.size;
      }
    }
    return saved;
  }

  void flip(Node v) {
    const Hash h = node_hash(v);
    hash_.a ^= h.a;
    hash_.b ^= h.b;
  }
  void add_ready(Node v) {
    slot_[v] = static_cast<Index>(ready_.size());
    ready_.push_back(v);
  }
  void remove_ready(Node v) {
    const Node last = ready_.back();
    ready_[slot_[v]] = last;
    slot_[last] = slot_[v];
    ready_.pop_back();
    slot_[v] = -1;
  }

  const Problem& problem_;
  const Segment& segment_;
  std::vector<Index> outside_;  // consumers not in S, per buffer
  std::vector<Index> waiting_;  // neighbours that must step first, per node
  std::vector<Index> slot_;     // place in ready_, -1 if not there
  std::vector<Node> ready_;
  Bytes mem_;
  Hash hash_;
};

}  // namespace lowtide::schedule
