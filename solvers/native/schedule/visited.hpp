// A set of 128-bit hashes with a cap on its memory.
//
// Two states collide with probability 2^-128 per pair, that is below 2^-70 for 2^29 states.
#pragma once

#include <cstddef>
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

}  // namespace lowtide::schedule
