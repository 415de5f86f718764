// A set of 128-bit hashes with a cap on its memory.
//
// Two states collide with probability 2^-128 per pair, that is below 2^-70 for 2^29 states.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

#include "schedule/walk.hpp"

namespace lowtide::schedule {

class Visited {
 public:
  explicit Visited(std::size_t limit_bytes) : limit_(limit_bytes / sizeof(Hash)) {}

  // True if `hash` was there already.  A full set forgets what is new: slower, never wrong.
  bool insert(const Hash& hash) {
    if (4 * (count_ + 1) > 3 * table_.size()) grow();
    if (table_.empty()) return false;
    for (std::size_t k = hash.a & (table_.size() - 1);; k = (k + 1) & (table_.size() - 1)) {
      if (table_[k] == hash) return true;
      if (table_[k] == Hash{}) {
        if (4 * (count_ + 1) <= 3 * table_.size()) {
          table_[k] = hash;
          ++count_;
        }
        return false;
      }
    }
  }

 private:
  void grow() {
    const std::size_t size = table_.empty() ? 1024 : 2 * table_.size();
    if (size > limit_) return;
    std::vector<Hash> old(size);
    old.swap(table_);
    for (const Hash& hash : old) {
      if (hash == Hash{}) continue;
      std::size_t k = hash.a & (size - 1);
      while (!(table_[k] == Hash{})) k = (k + 1) & (size - 1);
      table_[k] = hash;
    }
  }

  std::size_t limit_;
  std::vector<Hash> table_;  // a power of two; the zero hash (the start state) means empty
  std::size_t count_ = 0;
};

// A set of states themselves, one bit per node of the segment: equal hashes alone prove nothing.
class ExactVisited {
 public:
  using Word = std::uint64_t;

  ExactVisited(std::size_t words, std::size_t limit_bytes) : words_(words), limit_(limit_bytes) {}

  // As Visited::insert; `hash` is the state's.
  bool insert(const Hash& hash, const std::vector<Word>& state) {
    if (2 * (count() + 1) > table_.size()) grow();
    if (table_.empty()) return false;
    std::size_t k = hash.a & (table_.size() - 1);
    for (; table_[k] != 0; k = (k + 1) & (table_.size() - 1)) {
      const std::size_t entry = table_[k] - 1;
      if (hashes_[entry] == hash.a &&
          std::equal(state.begin(), state.end(),
                     states_.begin() + static_cast<std::ptrdiff_t>(entry * words_))) {
        return true;
      }
    }
    if (4 * (count() + 1) <= 3 * table_.size() && bytes(table_.size()) <= limit_) {
      hashes_.push_back(hash.a);
      states_.insert(states_.end(), state.begin(), state.end());
      table_[k] = count();
    }
    return false;
  }

 private:
  std::size_t count() const { return hashes_.size(); }
  std::size_t bytes(std::size_t table) const {
    return sizeof(Word) * (table + (1 + words_) * (count() + 1));
  }
  void grow() {
    const std::size_t size = table_.empty() ? 1024 : 2 * table_.size();
    if (bytes(size) > limit_) return;
    table_.assign(size, 0);
    for (std::size_t entry = 0; entry < count(); ++entry) {
      std::size_t k = hashes_[entry] & (size - 1);
      while (table_[k] != 0) k = (k + 1) & (size - 1);
      table_[k] = entry + 1;
    }
  }

  std::size_t words_, limit_;
  std::vector<std::size_t> table_;  // a power of two; 0 is empty, else 1 + the number of a state
  std::vector<Word> hashes_, states_;
};

}  // namespace lowtide::schedule
