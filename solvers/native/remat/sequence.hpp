// A sequence of runs, with its memory, under small changes.
//
// Kept for every boundary between runs: the live set as bits and its bytes; for every run its bytes
// (its transient).  Both follow from the end to the front:
//
//     live(i)      = (live(i + 1) - made(i)) + read(i)
//     transient(i) = |live(i + 1)| + |made(i) - live(i + 1)| + |read(i) - live(i + 1)|
//                    + workspace - overwritten
//
// A move is a list of edits: delete the run at an old position, insert a run before one.  It is
// evaluated on the difference of the new and the old live set at corresponding boundaries, walking
// from the last edit to the front:
//
//     kept run that touches (makes or reads) no buffer of the difference:
//         its new transient is the old one plus the bytes of the difference
//     kept run that touches some: computed anew; what it touches leaves the difference, since both
//         sets agree on it before the run (made: not live; read: live)
//     inserted or deleted run: the difference takes in what it changes on one side only
//
// When the edits are behind and the difference is empty, everything before is as it was.  A buffer
// that is still in the difference at the very front would have to be live before any run: the move
// is not valid.  (Old and new sets agree on graph inputs there: every run of the problem remains.)
//
// `mark_[v]` counts the buffers of the difference that v touches, so a run is passed over at the
// cost of one look; a boundary's bits are written only when a move is made.
#pragma once

#include <cstdint>
#include <limits>
#include <span>
#include <vector>

#include "remat/problem.hpp"

namespace lowtide::remat {

struct Edit {
  Index at;   // delete: the run there; insert: the boundary before it
  Node node;  // to insert, or -1 to delete
};

// How far a sequence is from the budget: in bytes, coarser for very large ones, 0 exactly within.
struct Score {
  double cost = 0;
  std::int64_t over_sum = 0, over_max = 0;
  bool valid = true;
  std::int64_t walked = 0;  // runs looked at
};

class Sequence {
 public:
  // Throws std::invalid_argument unless `nodes` is a valid sequence, each node at least once.
  Sequence(const Problem& problem, const std::vector<Node>& nodes);

  Index length() const { return static_cast<Index>(nodes_.size()); }
  const std::vector<Node>& nodes() const { return nodes_; }
  Node operator[](Index i) const { return nodes_[i]; }
  Bytes transient(Index i) const { return transients_[i]; }
  std::int64_t over(Index i) const { return over_of(transients_[i]); }
  bool live(Index boundary, Index buffer) const {
    return bits(slots_[boundary])[buffer >> 6] >> (buffer & 63) & 1;
  }
  std::span<const std::uint64_t> live_words(Index boundary) const {
    return {bits(slots_[boundary]), words_};
  }
  Index first(Node v) const { return first_[v]; }  // its first run
  Index count(Node v) const { return count_[v]; }  // how often it runs
  bool repeats(Index i) const { return first_[nodes_[i]] != i; }
  const Score& score() const { return score_; }

  // The score after a move; edits descend by position, insertions before one boundary ascend in
  // time and come before the deletion of the run in front of it.
  // It gives up, and says "not valid", once the sum of overflow and the greatest overflow together
  // are sure to exceed `most`.
  Score evaluate(std::span<const Edit> edits,
                 std::int64_t most = std::numeric_limits<std::int64_t>::max()) {
    return walk<false>(edits, most);
  }
  // Makes a move that `evaluate` has found valid, with what it returned.
  void make(std::span<const Edit> edits, const Score& score);

 private:
  template <bool kMake>
  Score walk(std::span<const Edit> edits, std::int64_t most);
  void toggle(Index b, bool now_live);
  void clear_difference();
  Index new_slot();
  std::uint64_t* bits(Index slot) { return store_.data() + std::size_t(slot) * words_; }
  const std::uint64_t* bits(Index slot) const { return store_.data() + std::size_t(slot) * words_; }
  std::int64_t over_of(Bytes transient) const {
    return transient > budget_ ? ((transient - budget_) >> shift_) + 1 : 0;
  }
  template <class Live>
  Bytes transient_of(Node v, Bytes after, const Live& live) const;

  const Problem* problem_;
  Bytes budget_;
  int shift_ = 0;
  std::size_t words_;
  std::vector<Node> nodes_;
  std::vector<Bytes> transients_;
  std::vector<Bytes> bytes_;  // of the live set at each boundary
  std::vector<Index> slots_;  // of the live set's bits
  std::vector<std::uint64_t> store_;
  std::vector<Index> free_;
  std::vector<Index> first_, count_;
  Score score_;
  // The difference, empty between calls.
  std::vector<Index> difference_, spot_;
  std::vector<std::int32_t> mark_;
  Bytes shifted_ = 0;
  // What `make` puts in place of the range that was walked, backwards.
  std::vector<Node> new_nodes_, lost_;
  std::vector<Bytes> new_transients_, new_bytes_;
  std::vector<Index> new_slots_;
};

}  // namespace lowtide::remat
