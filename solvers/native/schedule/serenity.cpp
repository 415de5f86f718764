#include "schedule/serenity.hpp"

#include <algorithm>
#include <bit>
#include <stdexcept>

#include "schedule/walk.hpp"

namespace lowtide::schedule {

namespace {

enum class Flag { kSolution, kNoSolution, kTimeout, kMemory, kStopped };

struct Run {
  Flag flag = Flag::kStopped;
  std::vector<Node> order;
  Bytes peak = 0;
  Bytes least_dropped = kInfinity;
  std::uint64_t states = 0;
};

using Word = std::uint64_t;

// The dynamic programme of one part, whose nodes are numbered by their place in it.
class Levels {
 public:
  Levels(const Problem& problem, std::span<const Index> position, std::size_t begin,
         std::size_t end, Bytes base)
      : problem_(problem),
        nodes_(std::span(problem.topological_order()).subspan(begin, end - begin)),
        words_((end - begin + 63) / 64),
        base_(base),
        after_(nodes_.size()),
        before_(nodes_.size()),
        reads_(nodes_.size()) {
    const auto first = static_cast<Index>(begin), last = static_cast<Index>(end);
    for (std::size_t k = 0; k < nodes_.size(); ++k) {
      const Node v = nodes_[k];
      for (Node s : problem.successors(v)) {
        if (position[s] < last) after_[k].push_back(position[s] - first);
      }
      for (Node p : problem.predecessors(v)) {
        if (position[p] >= first) before_[k].push_back(position[p] - first);
      }
      for (Index b : problem.reads(v)) {
        const Buffer& buffer = problem.buffers()[b];
        Read read{b, buffer.size, !buffer.persists, {}};
        for (Node c : buffer.consumers) {
          if (c == v || position[c] < first) continue;
          if (position[c] >= last) read.dies = false;
          read.others.push_back(position[c] - first);
        }
        if (read.dies) reads_[k].push_back(std::move(read));
      }
    }
  }

  Run run(Bytes budget, std::uint64_t step_states, std::size_t memory_bytes, Control& control) {
    Run result;
    traces_.clear();
    Level level;
    level.bits.assign(2 * words_, 0);
    for (std::size_t k = 0; k < nodes_.size(); ++k) {
      if (before_[k].empty()) set(level.bits.data(), k);
    }
    level.entries.push_back({base_, 0, -1});
    for (std::size_t step = 0; step < nodes_.size(); ++step) {
      Level wider;
      wider.table.assign(1024, -1);
      for (std::size_t k = 0; k < level.entries.size(); ++k) {
        if (control.spend(1 + words_)) return result;
        if (!expand(level, k, budget, wider, result, control)) return result;
        if (wider.entries.size() > step_states) {
          result.flag = Flag::kTimeout;
          return result;
        }
        if (bytes(level) + bytes(wider) + traces_.capacity() * sizeof(Trace) > memory_bytes) {
          result.flag = Flag::kMemory;
          return result;
        }
      }
      if (wider.entries.empty()) {
        result.flag = Flag::kNoSolution;
        return result;
      }
      result.states += wider.entries.size();
      level = std::move(wider);
    }
    result.flag = Flag::kSolution;
    result.peak = level.entries.front().peak;
    for (std::int32_t t = level.entries.front().trace; t >= 0; t = traces_[t].before) {
      result.order.push_back(nodes_[traces_[t].place]);
    }
    std::reverse(result.order.begin(), result.order.end());
    return result;
  }

 private:
  struct Read {
    Index buffer;
    Bytes size;
    bool dies;                  // inside the part, once all others have run
    std::vector<Index> others;  // its other readers inside the part
  };
  struct Entry {
    Bytes mem, peak;
    std::int32_t trace;  // -1 at the start
  };
  struct Trace {
    std::int32_t before;
    Index place;
  };
  // Per entry, words_ words of the ready set, then words_ of the ideal.
  struct Level {
    std::vector<Word> bits;
    std::vector<Entry> entries;
    std::vector<std::int32_t> table;  // a power of two, at most half full
  };

  static void set(Word* bits, std::size_t k) { bits[k / 64] |= Word{1} << (k % 64); }
  static void clear(Word* bits, std::size_t k) { bits[k / 64] &= ~(Word{1} << (k % 64)); }
  static bool has(const Word* bits, std::size_t k) { return (bits[k / 64] >> (k % 64) & 1) != 0; }
  static std::size_t bytes(const Level& level) {
    return level.bits.capacity() * sizeof(Word) + level.entries.capacity() * sizeof(Entry) +
           level.table.capacity() * sizeof(std::int32_t);
  }

  // Runs every ready node of an entry; false when `control` stops.
  bool expand(const Level& level, std::size_t at, Bytes budget, Level& wider, Run& result,
              Control& control) {
    const Word* ready = level.bits.data() + 2 * words_ * at;
    const Word* ideal = ready + words_;
    const Entry& entry = level.entries[at];
    for (std::size_t w = 0; w < words_; ++w) {
      for (Word left = ready[w]; left != 0; left &= left - 1) {
        const std::size_t k = 64 * w + static_cast<std::size_t>(std::countr_zero(left));
        if (control.spend(1 + reads_[k].size())) return false;
        dying_.clear();
        Bytes after = entry.mem + problem_.kept(nodes_[k]);
        for (const Read& read : reads_[k]) {
          const bool last = std::all_of(read.others.begin(), read.others.end(),
                                        [&](Index c) { return has(ideal, c); });
          if (!last) continue;
          after -= read.size;
          dying_.push_back(read.buffer);
        }
        const Bytes transient = entry.mem + problem_.work(nodes_[k]) - saving(nodes_[k]);
        if (transient > budget) {
          result.least_dropped = std::min(result.least_dropped, transient);
          continue;
        }
        key_.assign(ready, ready + 2 * words_);
        clear(key_.data(), k);
        set(key_.data() + words_, k);
        for (Index s : after_[k]) {
          const std::vector<Index>& needs = before_[s];
          if (std::all_of(needs.begin(), needs.end(),
                          [&](Index p) { return has(key_.data() + words_, p); })) {
            set(key_.data(), s);
          }
        }
        keep(wider, {after, std::max(entry.peak, transient), entry.trace}, static_cast<Index>(k));
      }
    }
    return true;
  }

  // What v writes over the operands in dying_, as in problem.hpp.
  Bytes saving(Node v) {
    Bytes saved = 0;
    taken_.clear();
    const auto in = [](const std::vector<Index>& list, Index b) {
      return std::find(list.begin(), list.end(), b) != list.end();
    };
    for (const Overwrite& c : problem_.overwrites(v)) {
      if (in(dying_, c.input) && !in(taken_, c.input) && !in(taken_, c.output)) {
        taken_.push_back(c.input);
        taken_.push_back(c.output);
        saved += c.size;
      }
    }
    return saved;
  }

  // The entry of key_'s ready set with the lower peak, the earlier one on a tie.
  void keep(Level& level, Entry entry, Index place) {
    if (2 * (level.entries.size() + 1) > level.table.size()) {
      level.table.assign(2 * level.table.size(), -1);
      for (std::size_t k = 0; k < level.entries.size(); ++k) {
        level.table[slot(level, level.bits.data() + 2 * words_ * k)] = static_cast<std::int32_t>(k);
      }
    }
    const std::size_t at = slot(level, key_.data());
    if (level.table[at] >= 0) {
      Entry& known = level.entries[level.table[at]];
      if (entry.peak < known.peak) {
        known.peak = entry.peak;
        traces_[known.trace] = {entry.trace, place};
      }
      return;
    }
    if (traces_.size() >= static_cast<std::size_t>(kMostTraces)) {
      throw std::length_error("too many states for 32-bit indices");
    }
    level.table[at] = static_cast<std::int32_t>(level.entries.size());
    traces_.push_back({entry.trace, place});
    entry.trace = static_cast<std::int32_t>(traces_.size()) - 1;
    level.entries.push_back(entry);
    level.bits.insert(level.bits.end(), key_.begin(), key_.end());
  }

  // Where the ready set at `key` is, or would be.
  std::size_t slot(const Level& level, const Word* key) const {
    Word hash = 0x9e3779b97f4a7c15ULL;
    for (std::size_t w = 0; w < words_; ++w) {
      hash = (hash ^ key[w]) * 0xbf58476d1ce4e5b9ULL;
      hash ^= hash >> 29;
    }
    const std::size_t mask = level.table.size() - 1;
    for (std::size_t at = hash & mask;; at = (at + 1) & mask) {
      const std::int32_t k = level.table[at];
      if (k < 0) return at;
      if (std::equal(key, key + words_, level.bits.data() + 2 * words_ * k)) return at;
    }
  }

  static constexpr std::int32_t kMostTraces = (1 << 30);

  const Problem& problem_;
  const std::span<const Node> nodes_;
  const std::size_t words_;
  const Bytes base_;
  std::vector<std::vector<Index>> after_, before_;  // places inside the part
  std::vector<std::vector<Read>> reads_;
  std::vector<Trace> traces_;
  std::vector<Word> key_;
  std::vector<Index> dying_, taken_;
};

}  // namespace

Serenity::Serenity(const Problem& problem, const SerenityOptions& options)
    : problem_(problem), options_(options), position_(problem.num_nodes()) {
  const std::vector<Node>& order = problem.topological_order();  // Kahn's
  for (std::size_t k = 0; k < order.size(); ++k) position_[order[k]] = static_cast<Index>(k);
  std::vector<std::pair<std::size_t, std::size_t>> ranges = problem.parts();
  if (!options.divide && !order.empty()) ranges.assign(1, {0, order.size()});
  const Segment segment = problem.whole();
  Walk<true> walk(problem, segment);
  for (const auto& [begin, end] : ranges) {
    const auto first = order.begin() + static_cast<std::ptrdiff_t>(begin);
    const auto last = order.begin() + static_cast<std::ptrdiff_t>(end);
    Part part{begin, end, {first, last}, "kahn", 0, 0, 0, walk.mem()};
    for (Node v : part.order) {
      part.upper = std::max(part.upper, walk.look(v).transient);
      walk.step(v);
    }
    part.budget = part.upper;
    parts_.push_back(std::move(part));
  }
}

void Serenity::offer(std::span<const Node> order, const std::string& method) {
  const std::vector<Bytes> transients = problem_.transients(order);
  for (Part& part : parts_) {
    const auto first = static_cast<std::ptrdiff_t>(part.begin);
    const auto last = static_cast<std::ptrdiff_t>(part.end);
    const Bytes upper = *std::max_element(transients.begin() + first, transients.begin() + last);
    if (upper < part.upper) {
      part.order.assign(order.begin() + first, order.begin() + last);
      part.upper = upper;
      part.method = method;
    }
  }
}

void Serenity::run(Control& control) {
  for (Part& part : parts_) {
    if (control.stopped()) return;
    solve(part, control);
  }
}

void Serenity::solve(Part& part, Control& control) {
  Levels levels(problem_, position_, part.begin, part.end, part.base);
  std::uint64_t step_states = std::max<std::uint64_t>(options_.step_states, 1);
  Bytes budget = part.budget;
  Bytes timed_out = kInfinity;  // the least budget that did, with these step_states
  if (!options_.soft_budget) {
    budget = kInfinity;
    step_states = ~std::uint64_t{0};
  }
  while (true) {
    const Run run = levels.run(budget, step_states, options_.memory_bytes, control);
    states_ += run.states;
    ++runs_;
    if (run.flag == Flag::kStopped) return;
    if (run.flag == Flag::kSolution) {
      if (run.peak < part.upper) {
        part.order = run.order;
        part.method = "serenity";
      }
      part.upper = part.lower = std::min(part.upper, run.peak);
      proves_ = true;
      return;
    }
    if (run.flag == Flag::kNoSolution) {
      part.lower = run.least_dropped;
      proves_ = true;
      if (part.lower >= part.upper) {  // an order that was offered is optimal
        part.lower = part.upper;
        return;
      }
      // Half way back, at most to a budget that timed out.
      const Bytes back = std::min(timed_out, part.budget);
      budget = part.lower < back ? part.lower + (back - part.lower) / 2 : back;
    } else {
      timed_out = std::min(timed_out, budget);
      // More states would not help where the memory ends the least budget of all.
      const bool least = budget <= part.lower || !options_.soft_budget;
      if (least && run.flag == Flag::kMemory) return;
      budget = std::max(part.lower, budget / 2);
    }
    if (budget >= timed_out) {  // no budget is left to try with these limits
      step_states *= 2;
      timed_out = kInfinity;
      budget = part.lower;
    }
  }
}

std::vector<Node> Serenity::order() const {
  std::vector<Node> result;
  for (const Part& part : parts_) result.insert(result.end(), part.order.begin(), part.order.end());
  return result;
}

Bytes Serenity::peak() const {
  Bytes highest = problem_.start_bytes();
  for (const Part& part : parts_) highest = std::max(highest, part.upper);
  return highest;
}

Bytes Serenity::bound() const {
  Bytes highest = problem_.start_bytes();
  for (const Part& part : parts_) highest = std::max(highest, part.lower);
  return highest;
}

std::string Serenity::method() const {
  const Part* worst = nullptr;
  for (const Part& part : parts_) {
    if (worst == nullptr || part.upper > worst->upper) worst = &part;
  }
  return worst == nullptr ? "kahn" : worst->method;
}

}  // namespace lowtide::schedule
