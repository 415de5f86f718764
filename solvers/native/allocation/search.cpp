#include "allocation/search.hpp"

#include <algorithm>
#include <bit>
#include <functional>
#include <limits>
#include <queue>
#include <tuple>

namespace lowtide::allocation {

namespace {

constexpr Offset kInfinity = std::numeric_limits<Offset>::max();
// How often one propagation looks at a waiting item: two that wait for each other could climb by
// single bytes.  Less propagation is sound.
constexpr std::uint8_t kMostLooks = 16;
// The release bound sorts; in larger sections it seldom says more than the least low.
constexpr std::size_t kMostReleased = 48;
constexpr Id kNone = -1;
constexpr Id kSettled = -2;  // stacked before all branches: fixed, or empty

class Search {
 public:
  Search(const Problem& problem, Offset capacity, std::span<const Id> rank,
         const SearchOptions& options, Control& control)
      : problem_(problem),
        capacity_(capacity),
        rank_(rank),
        options_(options),
        control_(control),
        low_(problem.size(), 0),
        stacked_at_(problem.size(), kNone),
        waits_at_(problem.size(), kNone),
        last_rise_(problem.size(), kNone),
        follower_(problem.size(), kNone),
        near_fixed_(problem.size(), 0),
        moved_(problem.size(), 0),
        looks_(problem.size(), 0),
        watch_(problem.size(), kNone),
        place_(problem.size(), 0),
        load_(problem.sections().size(), 0),
        keeper_(problem.sections().size(), 0),
        delta_(problem.sections().size() + 1, 0),
        is_listed_(problem.sections().size(), 0) {
    for (const auto& section : problem.sections()) {
      Offset spare = 0;
      for (const Member& m : section) spare = std::max(spare, rounded(m.size) - m.size);
      spare_.push_back(spare);
    }
  }

  SearchResult run(std::uint64_t branch_limit) {
    SearchResult result;
    bool holds = begin();
    while (true) {
      const bool limited = result.branches >= branch_limit || control_.spend(1);
      if (limited) return finish(result, Verdict::kUnknown);
      if (holds) {
        if (open_ == 0) return finish(result, Verdict::kFeasible);
        const Id u = choose();
        if (u == kNone) {
          refute_waiting();
          holds = false;
          continue;
        }
        ++result.branches;
        frames_.push_back({u, trail_.size(), false, {}});
        holds = stack(u);
        continue;
      }
      // The refutation rests on the branches in conflict_: back to the deepest of them.
      const std::ptrdiff_t level = deepest();
      while (static_cast<std::ptrdiff_t>(frames_.size()) - 1 > level) {
        undo(frames_.back().mark);
        frames_.pop_back();
      }
      if (level < 0) return finish(result, Verdict::kInfeasible);
      Frame& frame = frames_.back();
      undo(frame.mark);
      conflict_[level / 64] &= ~(std::uint64_t{1} << (level % 64));
      if (frame.waits) {  // both branches are refuted
        for (std::size_t w = 0; w < std::min(frame.conflict.size(), conflict_.size()); ++w) {
          conflict_[w] |= frame.conflict[w];
        }
        frames_.pop_back();
        continue;
      }
      ++result.branches;
      frame.waits = true;
      frame.conflict = conflict_;
      holds = wait(frame.item);
    }
  }

 private:
  struct Frame {
    Id item;
    std::size_t mark;                     // of the trail, before the branch
    bool waits;                           // the second branch
    std::vector<std::uint64_t> conflict;  // what the refutation of the first one rests on
  };
  enum class Kind : std::uint8_t { kRise, kStack, kWait, kUnwait, kWatch };
  // An undoable change.  Rises: `cause` is the item below, or kNone for one that waits; `wanted`
  // is the value before it was aligned and moved off fixed items; `level` the branch behind it.
  struct Change {
    Offset before, value, wanted;
    Id item, cause, level;
    Id earlier;  // the item's rise before this one; else what to restore
    Kind kind;
  };
  struct Released {
    Offset low, size;
    Id item;
  };
  using Key = std::tuple<Offset, Id, Id>;  // low, rank, item

  SearchResult& finish(SearchResult& result, Verdict verdict) {
    result.verdict = verdict;
    result.next_bound = least_;
    if (verdict == Verdict::kFeasible) result.offsets = low_;
    return result;
  }

  bool is_open(Id u) const { return stacked_at_[u] == kNone; }
  bool waits(Id u) const { return waits_at_[u] != kNone; }
  Id twin(Id u) const { return options_.twins ? problem_.twin(u) : kNone; }
  Id level() const { return static_cast<Id>(frames_.size()) - 1; }
  Id now() const { return static_cast<Id>(trail_.size()); }

  bool begin() {
    clear_conflict();
    bool holds = true;
    for (Id u = 0; u < static_cast<Id>(problem_.size()); ++u) {
      const Offset fixed = problem_.item(u).fixed;
      if (fixed >= 0 || problem_.height(u) == 0) {
        low_[u] = std::max<Offset>(fixed, 0);
        stacked_at_[u] = kSettled;
        if (fixed >= 0) {
          for (const Contact& c : problem_.contacts(u)) near_fixed_[c.other] = 1;
        }
      } else {
        ++open_;
        if (twin(u) != kNone) follower_[twin(u)] = u;
      }
      holds = fits(low_[u] + problem_.height(u)) && holds;
    }
    for (Id u = 0; holds && u < static_cast<Id>(problem_.size()); ++u) {
      if (!is_open(u)) continue;
      holds = raise(u, 0, kNone, kNone) && (twin(u) == kNone || follow(u));
      push(u);
    }
    for (std::size_t s = 0; s < load_.size(); ++s) {
      for (const Member& m : problem_.sections()[s]) {
        if (takes_part(m.item)) load_[s] += rounded(m.size);
      }
    }
    raised_.clear();
    for (Id u = 0; u < static_cast<Id>(problem_.size()); ++u) touched_.push_back(u);
    return propagate(holds);
  }

  bool fits(Offset top) {
    if (top <= capacity_) return true;
    least_ = std::min(least_, top);
    return false;
  }
  Offset rounded(Offset size) const {
    const Offset granule = problem_.granule();
    return (size + granule - 1) / granule * granule;
  }
  // In the loads of sections: what is open or fixed.
  bool takes_part(Id u) const { return is_open(u) || problem_.item(u).fixed >= 0; }
  Offset size_in(Id u, Id s) const {
    if (problem_.item(u).pieces.size() == 1) return problem_.height(u);
    const auto& section = problem_.sections()[s];
    return std::lower_bound(section.begin(), section.end(), u,
                            [](const Member& m, Id x) { return m.item < x; })
        ->size;
  }
  void change_load(Id u, Offset sign) {
    for (const auto& [begin, end] : problem_.spans(u)) {
      for (Id s = begin; s < end; ++s) load_[s] += sign * rounded(size_in(u, s));
    }
  }

  // Raises low(u) to `wanted` or more: aligned, and clear of fixed items.  False when too high.
  bool raise(Id u, Offset wanted, Id cause, Id level) {
    Offset value = problem_.align(u, wanted);
    for (bool moved = near_fixed_[u] != 0; moved;) {
      moved = false;
      for (const Contact& c : problem_.contacts(u)) {
        const Offset fixed = problem_.item(c.other).fixed;
        if (fixed >= 0 && value + c.over > fixed && value < fixed + c.under) {
          value = problem_.align(u, fixed + c.under);
          moved = true;
        }
      }
    }
    if (value <= low_[u]) return true;
    trail_.push_back({low_[u], value, wanted, u, cause, level, last_rise_[u], Kind::kRise});
    last_rise_[u] = now() - 1;
    low_[u] = value;
    push(u);
    if (!fits(value + problem_.height(u))) {
      need(u, value, now());
      trace();
      return false;
    }
    raised_.push_back(u);
    touched_.push_back(u);
    return true;
  }

  // A twin lies above the one before it.
  bool follow(Id u) {
    const Id first = twin(u);
    return raise(u, low_[first] + problem_.height(first), first, stacked_at_[first]);
  }

  // What waits has an open item below it.  The lowest such is watched: until it rises or is stacked
  // there is nothing to be learned.
  bool support(Id u) {
    Offset least = kInfinity;
    Id lowest = kNone;
    for (const Contact& c : problem_.contacts(u)) {
      if (is_open(c.other) && low_[c.other] + c.under < least) {
        least = low_[c.other] + c.under;
        lowest = c.other;
      }
    }
    control_.spend(1 + problem_.contacts(u).size() / 4);
    if (lowest == kNone) {
      clear_conflict();
      mark(waits_at_[u]);
      return false;
    }
    if (watch_[u] != lowest) {
      trail_.push_back({0, 0, 0, u, kNone, kNone, watch_[u], Kind::kWatch});
      watch_[u] = lowest;
    }
    return raise(u, least, kNone, waits_at_[u]);
  }

  bool stack(Id u) {
    stacked_at_[u] = level();
    trail_.push_back({0, 0, 0, u, kNone, kNone, kNone, Kind::kStack});
    --open_;
    change_load(u, -1);
    control_.spend(1 + problem_.contacts(u).size() / 4);
    bool holds = true;
    for (const Contact& c : problem_.contacts(u)) {
      const Id x = c.other;
      if (!is_open(x)) continue;
      if (waits(x)) {
        trail_.push_back({0, 0, 0, x, kNone, kNone, waits_at_[x], Kind::kUnwait});
        set_waiting(x, kNone);
        push(x);
      } else if (x == follower_[u]) {
        push(x);
      }
      holds = holds && raise(x, low_[u] + c.over, u, level());
    }
    raised_.push_back(u);  // it supports no more what waits
    return propagate(holds);
  }

  bool wait(Id u) {
    set_waiting(u, level());
    trail_.push_back({0, 0, 0, u, kNone, kNone, kNone, Kind::kWait});
    return propagate(!options_.wait_bound || support(u));
  }

  // What follows from raised_, then the sections of touched_; both end empty.
  bool propagate(bool holds) {
    while (holds && !raised_.empty()) {
      round_.swap(raised_);
      for (Id u : round_) moved_[u] = 1;
      for (Id u : round_) {
        const Id x = follower_[u];
        if (holds && x != kNone && is_open(x) && may_look(x)) holds = follow(x);
      }
      for (std::size_t k = 0; holds && options_.wait_bound && k < waiting_.size(); ++k) {
        const Id x = waiting_[k];
        if (moved_[watch_[x]] != 0 && may_look(x)) holds = support(x);
      }
      for (Id u : round_) moved_[u] = 0;
      control_.spend(1 + waiting_.size() / 16);
      round_.clear();
    }
    raised_.clear();
    for (Id x : looked_) looks_[x] = 0;
    looked_.clear();
    if (capacity_ == kInfinity) {  // nothing can be refuted
      touched_.clear();
      return holds;
    }
    return check_touched(holds);
  }
  // Few touched sections are listed, many are found by a sweep over all.
  bool check_touched(bool holds) {
    std::size_t reach = 0;
    for (Id u : touched_) {
      for (const auto& [begin, end] : problem_.spans(u)) {
        reach += static_cast<std::size_t>(end - begin);
      }
      if (reach > load_.size()) break;
    }
    if (reach <= load_.size()) {
      for (Id u : touched_) {
        for (const auto& [begin, end] : problem_.spans(u)) {
          for (Id s = begin; s < end; ++s) {
            if (std::exchange(is_listed_[s], std::uint8_t{1}) == 0) listed_.push_back(s);
          }
        }
      }
      for (Id s : listed_) {
        is_listed_[s] = 0;
        holds = holds && section_holds(static_cast<std::size_t>(s));
      }
      control_.spend(1 + listed_.size() / 16);
      listed_.clear();
      touched_.clear();
      return holds;
    }
    for (Id u : touched_) {
      for (const auto& [begin, end] : problem_.spans(u)) {
        ++delta_[begin];
        --delta_[end];
      }
    }
    touched_.clear();
    std::int32_t touching = 0;
    for (std::size_t s = 0; s < load_.size(); ++s) {
      touching += std::exchange(delta_[s], 0);
      holds = holds && (touching == 0 || section_holds(s));
    }
    delta_.back() = 0;
    control_.spend(1 + load_.size() / 16);
    return holds;
  }
  void set_waiting(Id u, Id level) {
    if (level == kNone) {
      waiting_[place_[u]] = waiting_.back();
      place_[waiting_.back()] = place_[u];
      waiting_.pop_back();
    } else if (!waits(u)) {
      place_[u] = static_cast<Id>(waiting_.size());
      waiting_.push_back(u);
    }
    waits_at_[u] = level;
  }
  bool may_look(Id x) {
    if (looks_[x] >= kMostLooks) return false;
    if (looks_[x]++ == 0) looked_.push_back(x);
    return true;
  }

  bool section_holds(std::size_t s) {
    const auto& section = problem_.sections()[s];
    const Offset load = load_[s] - spare_[s];
    // One item that is low enough keeps the section from being refuted by the least low.
    const Id keeper = section[keeper_[s]].item;
    bool kept = takes_part(keeper) && low_[keeper] + load <= capacity_;
    if (kept && (!options_.release || section.size() > kMostReleased)) return true;
    control_.spend(1 + section.size() / 4);
    released_.clear();
    Offset least = kInfinity, highest = 0;
    for (std::size_t k = 0; k < section.size(); ++k) {
      const Id u = section[k].item;
      if (!takes_part(u)) continue;
      released_.push_back({low_[u], rounded(section[k].size), u});
      if (low_[u] < least) {
        least = low_[u];
        keeper_[s] = static_cast<std::uint32_t>(k);
      }
      highest = std::max(highest, low_[u]);
    }
    if (released_.empty() || highest + load <= capacity_) return true;
    if (least + load > capacity_) return refute_section(least, least + load);
    if (!options_.release || section.size() > kMostReleased) return true;
    std::sort(released_.begin(), released_.end(), [](const Released& x, const Released& y) {
      return x.low != y.low ? x.low < y.low : x.item < y.item;
    });
    Offset top = 0, from = 0;
    for (const Released& r : released_) {
      if (r.low > top) from = top = r.low;
      top += r.size;
    }
    return top - spare_[s] <= capacity_ || refute_section(from, top - spare_[s]);
  }

  // The items of released_ with a low of `from` or more would reach `top`.
  bool refute_section(Offset from, Offset top) {
    least_ = std::min(least_, top);
    for (const Released& r : released_) {
      if (r.low >= from) need(r.item, from, now());
    }
    trace();
    return false;
  }

  // All open items wait: each of a cluster has another one of it below.
  void refute_waiting() {
    clear_conflict();
    std::vector<std::uint8_t> seen(problem_.size(), 0);
    std::vector<Id> cluster;
    for (Id u = 0; cluster.empty(); ++u) {
      if (is_open(u)) cluster.push_back(u);
    }
    seen[cluster[0]] = 1;
    for (std::size_t k = 0; k < cluster.size(); ++k) {
      const Id u = cluster[k];
      mark(waits_at_[u]);
      for (const Contact& c : problem_.contacts(u)) {
        if (!is_open(c.other) || seen[c.other] != 0) continue;
        seen[c.other] = 1;
        cluster.push_back(c.other);
      }
    }
  }

  // Tracing.  A refutation needs low(u) >= value as of the trail's position `at`: its earliest rise
  // to that is pending, as the one that rests on the fewest branches.
  void need(Id u, Offset value, Id at) {
    if (!options_.backjump) return;
    Id found = kNone;
    for (Id k = last_rise_[u]; k != kNone && trail_[k].value >= value; k = trail_[k].earlier) {
      if (k < at) found = k;
    }
    if (found == kNone) return;
    if (traced_.size() < trail_.size()) traced_.resize(2 * trail_.size(), 0);
    if (traced_[found] == stamp_) return;
    traced_[found] = stamp_;
    pending_.push_back(found);
  }

  // The branches that the pending rises rest on, to conflict_.
  void trace() {
    clear_conflict();
    while (!pending_.empty()) {
      const Id at = pending_.back();
      pending_.pop_back();
      const Change& change = trail_[at];
      mark(change.level);
      control_.spend(1);
      if (change.cause != kNone) {
        need(change.cause, change.wanted - rise_over(change.cause, change.item), at);
      } else if (change.level != kNone) {
        for (const Contact& c : problem_.contacts(change.item)) {
          if (was_open(c.other, at)) need(c.other, change.wanted - c.under, at);
        }
      }
    }
    ++stamp_;
  }
  Offset rise_over(Id lower, Id upper) const {
    const auto contacts = problem_.contacts(lower);
    const auto at = std::lower_bound(contacts.begin(), contacts.end(), upper,
                                     [](const Contact& c, Id u) { return c.other < u; });
    return at->over;
  }
  bool was_open(Id u, Id at) const {
    const Id level = stacked_at_[u];
    if (level == kSettled) return false;
    return level == kNone || frames_[level].mark > static_cast<std::size_t>(at);
  }

  void clear_conflict() {
    // Without backjumping every refutation rests on all branches.
    conflict_.assign(frames_.size() / 64 + 1, options_.backjump ? 0 : ~std::uint64_t{0});
  }
  void mark(Id level) {
    if (level >= 0) conflict_[level / 64] |= std::uint64_t{1} << (level % 64);
  }
  std::ptrdiff_t deepest() const {
    for (std::size_t w = conflict_.size(); w-- > 0;) {
      if (conflict_[w] == 0) continue;
      const auto bit = static_cast<std::ptrdiff_t>(64 * w + 63) - std::countl_zero(conflict_[w]);
      return std::min(bit, static_cast<std::ptrdiff_t>(frames_.size()) - 1);
    }
    return -1;
  }

  bool can_be_stacked(Id u) const {
    return is_open(u) && !waits(u) && (twin(u) == kNone || !is_open(twin(u)));
  }
  void push(Id u) {
    if (can_be_stacked(u)) queue_.emplace(low_[u], rank_[u], u);
  }
  // The item of the lowest low; entries of the queue may be out of date.
  Id choose() {
    if (queue_.size() > 64 + 16 * problem_.size()) {
      queue_ = {};
      for (Id u = 0; u < static_cast<Id>(problem_.size()); ++u) push(u);
      control_.spend(problem_.size());
    }
    while (!queue_.empty()) {
      const auto [low, rank, u] = queue_.top();
      queue_.pop();
      if (can_be_stacked(u) && low == low_[u]) return u;
    }
    return kNone;
  }

  void undo(std::size_t mark) {
    while (trail_.size() > mark) {
      const Change change = trail_.back();
      trail_.pop_back();
      const Id u = change.item;
      switch (change.kind) {
        case Kind::kRise:
          low_[u] = change.before;
          last_rise_[u] = change.earlier;
          break;
        case Kind::kStack:
          stacked_at_[u] = kNone;
          ++open_;
          change_load(u, 1);
          break;
        case Kind::kWait:
          set_waiting(u, kNone);
          break;
        case Kind::kUnwait:
          set_waiting(u, change.earlier);
          break;
        case Kind::kWatch:
          watch_[u] = change.earlier;
          break;
      }
      push(u);
    }
  }

  const Problem& problem_;
  const Offset capacity_;
  const std::span<const Id> rank_;
  const SearchOptions options_;
  Control& control_;

  std::vector<Offset> low_;
  std::vector<Id> stacked_at_;  // the level of the branch, kNone, or kSettled
  std::vector<Id> waits_at_;
  std::vector<Id> last_rise_;  // position in the trail
  std::vector<Id> follower_;   // the twin after it
  std::vector<std::uint8_t> near_fixed_, moved_, looks_;
  std::vector<Id> watch_;            // of what waits: the lowest open item that it could lie on
  std::vector<Id> waiting_, place_;  // what waits, and where it is in that list
  std::vector<Offset> load_,
      spare_;  // of sections: what is open, rounded; the most that rounding adds
  std::vector<std::uint32_t> keeper_;    // of sections: a member of a low low
  std::vector<std::int32_t> delta_;      // of sections: begins less ends of touched items
  std::vector<std::uint8_t> is_listed_;  // of sections
  std::size_t open_ = 0;
  std::vector<Change> trail_;
  std::vector<Frame> frames_;
  std::vector<std::uint64_t> conflict_;  // bits: the levels that the last refutation rests on
  Offset least_ = kInfinity;             // that exceeded the capacity

  std::vector<Id> raised_, round_, touched_, listed_, looked_, pending_;
  std::vector<Released> released_;
  std::vector<std::uint64_t> traced_;
  std::uint64_t stamp_ = 1;
  std::priority_queue<Key, std::vector<Key>, std::greater<>> queue_;
};

}  // namespace

SearchResult decide(const Problem& problem, Offset capacity, std::span<const Id> rank,
                    const SearchOptions& options, std::uint64_t branch_limit, Control& control) {
  return Search(problem, capacity, rank, options, control).run(branch_limit);
}

}  // namespace lowtide::allocation
