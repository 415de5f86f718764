#include "remat/sequence.hpp"

#include <algorithm>
#include <limits>
#include <stdexcept>

namespace lowtide::remat {

Sequence::Sequence(const Problem& problem, const std::vector<Node>& nodes)
    : problem_(&problem),
      budget_(problem.budget()),
      words_(std::size_t(problem.num_buffers()) / 64 + 1),
      nodes_(nodes),
      transients_(nodes.size()),
      bytes_(nodes.size() + 1),
      slots_(nodes.size() + 1),
      first_(problem.num_nodes(), -1),
      count_(problem.num_nodes(), 0),
      spot_(problem.num_buffers(), -1),
      mark_(problem.num_nodes(), 0) {
  // So that sums over 2^24 runs stay within 64 bits.
  Bytes total = 0;
  for (Index b = 0; b < problem.num_buffers(); ++b) total += problem.size(b);
  for (Node v = 0; v < problem.num_nodes(); ++v) total += problem.workspace(v);
  while ((total >> shift_) >= (Bytes{1} << 38)) ++shift_;
  if (nodes.size() >= (std::size_t{1} << 24)) throw std::invalid_argument("too many runs");

  for (Index i = length() - 1; i >= 0; --i) {
    if (nodes_[i] < 0 || nodes_[i] >= problem.num_nodes()) {
      throw std::invalid_argument("the sequence names a node that is not there");
    }
    first_[nodes_[i]] = i;
    if (++count_[nodes_[i]] > 1 && !problem.repeatable(nodes_[i])) {
      throw std::invalid_argument("the sequence repeats a pinned node");
    }
  }
  if (std::find(count_.begin(), count_.end(), 0) != count_.end()) {
    throw std::invalid_argument("the sequence leaves out a node");
  }
  std::vector<bool> live(problem.num_buffers());
  Bytes bytes = 0;
  const auto keep = [&](Index boundary) {
    slots_[boundary] = new_slot();
    std::uint64_t* words = bits(slots_[boundary]);
    for (Index b = 0; b < problem.num_buffers(); ++b) {
      if (live[b]) words[b >> 6] |= std::uint64_t{1} << (b & 63);
    }
    bytes_[boundary] = bytes;
  };
  for (Index b = 0; b < problem.num_buffers(); ++b) {
    live[b] = problem.output(b);
    if (live[b]) bytes += problem.size(b);
  }
  keep(length());
  for (Index i = length() - 1; i >= 0; --i) {
    const Node v = nodes_[i];
    transients_[i] = transient_of(v, bytes, [&](Index b) -> bool { return live[b]; });
    for (const Index b : problem.makes(v)) {
      if (live[b]) bytes -= problem.size(b);
      live[b] = false;
    }
    for (const Index b : problem.reads(v)) {
      if (!live[b]) bytes += problem.size(b);
      live[b] = true;
    }
    keep(i);
    score_.cost += problem.cost(v);
    score_.over_sum += over(i);
    score_.over_max = std::max(score_.over_max, over(i));
  }
  for (Index b = 0; b < problem.num_buffers(); ++b) {
    if (live[b] && problem.producer(b) >= 0) {
      throw std::invalid_argument("the sequence reads a buffer before it is made");
    }
  }
}

template <class Live>
Bytes Sequence::transient_of(Node v, Bytes after, const Live& live) const {
  const Problem& problem = *problem_;
  Bytes total = after + problem.workspace(v);
  for (const Index b : problem.makes(v)) {
    if (!live(b)) total += problem.size(b);
  }
  const std::vector<Index>& reads = problem.reads(v);
  for (const Index b : reads) {
    if (!live(b)) total += problem.size(b);
  }
  const auto& candidates = problem.in_place(v);  // at most 64
  std::uint64_t taken = 0;
  for (std::size_t k = 0; k < candidates.size(); ++k) {
    const auto [output, input] = candidates[k];
    if (live(reads[input])) continue;
    bool free = true;
    for (std::size_t i = 0; i < k && free; ++i) {
      free =
          (taken >> i & 1) == 0 || (candidates[i].first != output && candidates[i].second != input);
    }
    if (!free) continue;
    taken |= std::uint64_t{1} << k;
    total -= problem.size(output);
  }
  return total;
}

Index Sequence::new_slot() {
  if (!free_.empty()) {
    const Index slot = free_.back();
    free_.pop_back();
    std::fill_n(bits(slot), words_, 0);
    return slot;
  }
  store_.resize(store_.size() + words_, 0);
  return static_cast<Index>(store_.size() / words_ - 1);
}

// Buffer b enters or leaves the difference; `now_live` is what the new set says of it afterwards,
// which has the bytes of the difference change by its size.
void Sequence::toggle(Index b, bool now_live) {
  const Problem& problem = *problem_;
  const Bytes size = problem.size(b);
  std::int32_t step = 1;
  if (spot_[b] < 0) {
    spot_[b] = static_cast<Index>(difference_.size());
    difference_.push_back(b);
  } else {
    const Index last = difference_.back();
    difference_[spot_[b]] = last;
    spot_[last] = spot_[b];
    difference_.pop_back();
    spot_[b] = -1;
    step = -1;
  }
  shifted_ += now_live ? size : -size;
  if (problem.producer(b) >= 0) mark_[problem.producer(b)] += step;
  for (const Node c : problem.consumers(b)) mark_[c] += step;
}

void Sequence::clear_difference() {
  while (!difference_.empty()) toggle(difference_.back(), false);
  shifted_ = 0;
}

template <bool kMake>
Score Sequence::walk(std::span<const Edit> edits, std::int64_t most) {
  const Problem& problem = *problem_;
  Score score = score_;
  std::size_t next = 0;
  // At boundary p: the old set is live(p), the new one live(p) with the difference toggled.
  Index p = edits[0].node < 0 ? edits[0].at + 1 : edits[0].at;
  const Index top = p;
  std::int64_t old_max = 0, new_max = 0;
  std::int64_t sure = 0;  // what the new runs that have been looked at are over the budget
  std::uint64_t* words = bits(slots_[p]);
  // While a move is made, `words` hold the new set; else the old one.
  const auto old_live = [&](Index b) -> bool {
    const bool bit = words[b >> 6] >> (b & 63) & 1;
    return kMake ? bit != (spot_[b] >= 0) : bit;
  };
  const auto new_live = [&](Index b) -> bool {
    const bool bit = words[b >> 6] >> (b & 63) & 1;
    return kMake ? bit : bit != (spot_[b] >= 0);
  };
  const auto enter = [&](Index slot) {  // the new set at a boundary that the new sequence has
    words = bits(slot);
    for (const Index b : difference_) words[b >> 6] ^= std::uint64_t{1} << (b & 63);
    new_slots_.push_back(slot);
    new_bytes_.push_back(bytes_[p] + shifted_);
  };
  if constexpr (kMake) {
    new_nodes_.clear(), new_transients_.clear(), new_bytes_.clear(), new_slots_.clear();
    enter(slots_[p]);
  }
  while (true) {
    while (next < edits.size() && edits[next].node >= 0 && edits[next].at == p) {
      // Of insertions at one boundary the last in time comes first when walking backwards.
      std::size_t end = next;
      while (end < edits.size() && edits[end].node >= 0 && edits[end].at == p) ++end;
      for (std::size_t k = end; k-- > next;) {
        const Node v = edits[k].node;
        const Bytes transient = transient_of(v, bytes_[p] + shifted_, new_live);
        for (const Index b : problem.makes(v)) {
          if (new_live(b)) toggle(b, false);
        }
        if constexpr (kMake) {  // `words` are still those before the toggles
          for (const Index b : problem.reads(v)) {
            if (!new_live(b)) toggle(b, true);
          }
          const Index slot = new_slot();
          const std::uint64_t* old = bits(new_slots_.back());
          std::copy_n(old, words_, bits(slot));
          words = bits(slot);
          for (const Index b : problem.makes(v)) words[b >> 6] &= ~(std::uint64_t{1} << (b & 63));
          for (const Index b : problem.reads(v)) words[b >> 6] |= std::uint64_t{1} << (b & 63);
          new_slots_.push_back(slot);
          new_bytes_.push_back(bytes_[p] + shifted_);
          new_nodes_.push_back(v);
          new_transients_.push_back(transient);
        } else {
          for (const Index b : problem.reads(v)) {
            if (!new_live(b)) toggle(b, true);
          }
        }
        score.cost += problem.cost(v);
        const std::int64_t over = over_of(transient);
        score.over_sum += over;
        sure += over;
        new_max = std::max(new_max, over);
      }
      next = end;
    }
    if (next == edits.size() && difference_.empty()) break;
    if (p == 0) break;
    const Index i = p - 1;
    const Node v = nodes_[i];
    const std::int64_t old_over = over(i);
    old_max = std::max(old_max, old_over);
    if (next < edits.size() && edits[next].node < 0 && edits[next].at == i) {
      ++next;
      score.cost -= problem.cost(v);
      score.over_sum -= old_over;
      for (const Index b : problem.makes(v)) {
        if (old_live(b)) toggle(b, true);  // the new set keeps what the old one no longer has
      }
      // The old set takes in what v reads; `shifted_` is what the new set has more than the old.
      for (const Index b : problem.reads(v)) {
        if (!old_live(b)) toggle(b, false);
      }
      p = i;
      if constexpr (kMake) {
        free_.push_back(slots_[p]);
      } else {
        words = bits(slots_[p]);
      }
      continue;
    }
    Bytes transient = 0;
    if (mark_[v] == 0) {
      transient = transients_[i] + shifted_;
    } else {
      transient = transient_of(v, bytes_[p] + shifted_, new_live);
      for (const Index b : problem.makes(v)) {
        if (spot_[b] >= 0) toggle(b, !new_live(b));
      }
      for (const Index b : problem.reads(v)) {
        if (spot_[b] >= 0) toggle(b, !new_live(b));
      }
    }
    const std::int64_t over = over_of(transient);
    score.over_sum += over - old_over;
    sure += over;
    new_max = std::max(new_max, over);
    if (!kMake && over > 0 && sure + new_max > most) {
      clear_difference();
      score.valid = false;
      score.walked = top - i;
      return score;
    }
    p = i;
    if constexpr (kMake) {
      new_nodes_.push_back(v);
      new_transients_.push_back(transient);
      enter(slots_[p]);
    } else {
      words = bits(slots_[p]);
    }
  }
  score.valid = difference_.empty() && next == edits.size();
  score.walked = top - p + 1;
  if (old_max < score_.over_max || new_max >= score_.over_max) {
    score.over_max = std::max(old_max < score_.over_max ? score_.over_max : 0, new_max);
  } else {
    Bytes most = 0;
    for (Index i = 0; i < p; ++i) most = std::max(most, transients_[i]);
    for (Index i = top; i < length(); ++i) most = std::max(most, transients_[i]);
    score.over_max = std::max(new_max, over_of(most));
  }
  if constexpr (kMake) {
    // Boundaries p .. top and the runs between them are replaced.
    const auto splice = [](auto& list, Index begin, Index end, auto& backwards) {
      const auto count = static_cast<Index>(backwards.size());
      if (count > end - begin) {
        list.insert(list.begin() + end, count - (end - begin), {});
      } else {
        list.erase(list.begin() + begin + count, list.begin() + end);
      }
      std::reverse_copy(backwards.begin(), backwards.end(), list.begin() + begin);
    };
    // First runs from p on are looked up again: in the new range, and behind it where runs moved
    // or a node of the old range is no longer in it.
    std::vector<Node>& lost = lost_;
    lost.clear();
    for (Index i = p; i < top; ++i) {
      --count_[nodes_[i]];
      if (first_[nodes_[i]] >= p) {
        first_[nodes_[i]] = std::numeric_limits<Index>::max();
        lost.push_back(nodes_[i]);
      }
    }
    const bool same = static_cast<Index>(new_nodes_.size()) == top - p;
    splice(nodes_, p, top, new_nodes_);
    splice(transients_, p, top, new_transients_);
    splice(bytes_, p, top + 1, new_bytes_);
    splice(slots_, p, top + 1, new_slots_);
    for (const Node v : new_nodes_) ++count_[v];
    const auto refresh = [&](Index end) {
      for (Index i = end - 1; i >= p; --i) {
        if (first_[nodes_[i]] >= p) first_[nodes_[i]] = i;
      }
    };
    if (same) refresh(p + static_cast<Index>(new_nodes_.size()));
    if (!same || std::any_of(lost.begin(), lost.end(), [&](Node v) {
          return first_[v] == std::numeric_limits<Index>::max();
        })) {
      refresh(length());
    }
  }
  clear_difference();
  return score;
}

void Sequence::make(std::span<const Edit> edits, const Score& score) {
  walk<true>(edits, std::numeric_limits<std::int64_t>::max());
  score_ = score;
}

template Score Sequence::walk<false>(std::span<const Edit> edits, std::int64_t most);
template Score Sequence::walk<true>(std::span<const Edit> edits, std::int64_t most);

}  // namespace lowtide::remat
