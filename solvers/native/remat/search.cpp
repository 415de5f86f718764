#include "remat/search.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <exception>
#include <limits>
#include <thread>

namespace lowtide::remat {

namespace {

// In units of the energy that an average op costs.
constexpr double kHigh = 1.0, kLow = 0.01;
constexpr double kLambda = 1.0;               // at first; in percent of the budget
constexpr double kStep = 1.05;                // of lambda, every kPeriod moves
constexpr std::uint64_t kPeriod = 2000;       // an eighth of it, and
constexpr double kHaste = 1.2;                // this instead, until something is within the budget
constexpr double kEarly = 0.25, kLate = 0.6;  // moves that should end within the budget
constexpr double kLateFrom = 0.6;
constexpr double kPolish = 0.3;   // the part of the work that goes to the last round,
constexpr double kSharpen = 4.0;  // which begins with lambda times this
// What eviction does with operands that are not live: keeps them, a mixture, or makes them again.
constexpr double kKeep = 0.75, kMixed = 0.13;
constexpr std::size_t kChain = 32;
constexpr Index kWindow = 128;
constexpr Index kLongest = 4;  // times the number of nodes: hot walks do not grow without end

}  // namespace

Walk::Walk(const Problem& problem, const std::vector<std::vector<Node>>& starts,
           const SearchOptions& options, std::size_t number)
    : problem_(problem),
      options_(options),
      start_(starts.at(number % starts.size())),
      now_(problem, start_),
      random_(options.seed),
      begin_(Control::Clock::now()),
      stamps_(problem.num_nodes(), 0) {
  const double typical = 100.0 / std::max<Node>(problem.num_nodes(), 1);
  high_ = typical * kHigh;
  low_ = typical * kLow;
  lambda_ = kLambda;
}

double Walk::energy(const Score& score) const {
  const double base = std::max(problem_.base_cost(), std::numeric_limits<double>::min());
  const double budget = static_cast<double>(std::max<Bytes>(problem_.budget(), 1));
  return 100.0 * score.cost / base +
         lambda_ * (static_cast<double>(score.over_sum) + static_cast<double>(score.over_max)) /
             budget;
}

// The overflow, its greatest added, that `edits_` may leave for an energy of at most `limit`;
// negative where their cost alone exceeds it.
std::int64_t Walk::room(double limit) const {
  Score score;
  score.cost = now_.score().cost;
  for (const Edit& edit : edits_) {
    score.cost += edit.node < 0 ? -problem_.cost(now_[edit.at]) : problem_.cost(edit.node);
  }
  const double left = (limit - energy(score)) / lambda_ *
                      static_cast<double>(std::max<Bytes>(problem_.budget(), 1));
  if (left < -1.0) return -1;
  return left < 0x1p62 ? static_cast<std::int64_t>(left) + 1
                       : std::numeric_limits<std::int64_t>::max();
}

double Walk::progress(const Control& control) const {
  double part = 0;
  if (options_.time_limit_s > 0) {
    const std::chrono::duration<double> spent = Control::Clock::now() - begin_;
    part = spent.count() / options_.time_limit_s;
  }
  if (options_.work_limit != 0) {
    part = std::max(part,
                    static_cast<double>(control.work()) / static_cast<double>(options_.work_limit));
  }
  return std::min(part, 1.0);
}

// 1 to `most`, small ones more often: the logarithm is uniform.
Index Walk::stretch(Index most) {
  const double value = std::exp(unit() * std::log(static_cast<double>(most) + 1.0));
  return std::clamp<Index>(static_cast<Index>(value), 1, most);
}

void Walk::insert(Index boundary, Node v) { edits_.push_back({boundary, v}); }

bool Walk::settle() {
  if (edits_.empty()) return false;
  const auto key = [](const Edit& e) { return e.node >= 0 ? 2 * e.at : 2 * e.at + 1; };
  std::stable_sort(edits_.begin(), edits_.end(),
                   [&](const Edit& a, const Edit& b) { return key(a) > key(b); });
  return true;
}

// Runs [at, at + count) earlier or later, as far as the draw and what they depend on allow.
bool Walk::shift(Index at, Index count) {
  const Index length = now_.length();
  count = std::min(count, length - at);
  const bool earlier = draw() & 1;
  const Index most = earlier ? at : length - at - count;
  if (most == 0) return false;
  const Index wanted = unit() < 0.15 ? most : stretch(most);
  stamp();
  for (Index k = at; k < at + count; ++k) {
    const Node v = now_[k];
    stamps_[v] = stamp_;
    if (earlier) {
      for (const Index b : problem_.reads(v)) {
        if (problem_.producer(b) >= 0) stamps_[problem_.producer(b)] = stamp_;
      }
    } else {
      for (const Index b : problem_.makes(v)) {
        for (const Node c : problem_.consumers(b)) stamps_[c] = stamp_;
      }
    }
  }
  Index moved = 0;
  if (earlier) {
    while (moved < wanted && stamps_[now_[at - moved - 1]] != stamp_) ++moved;
  } else {
    while (moved < wanted && stamps_[now_[at + count + moved]] != stamp_) ++moved;
  }
  if (moved == 0) return false;
  for (Index k = at; k < at + count; ++k) {
    insert(earlier ? at - moved : at + count + moved, now_[k]);
    erase(k);
  }
  return settle();
}

// A run with all that it depends on among the runs before it, or with all that depends on it among
// the runs behind it, to the far end of a window.
bool Walk::gather(Index at) {
  const bool earlier = draw() & 1;
  const Index most = earlier ? at : now_.length() - at - 1;
  if (most < 2) return false;
  const Index span = 2 + stretch(std::min(most, kWindow));
  Index begin = earlier ? std::max<Index>(0, at - span) : at;
  Index end = earlier ? at + 1 : std::min(now_.length(), at + span + 1);
  stamp();
  stamps_[now_[at]] = stamp_;
  again_.clear();  // the positions of those that belong together
  for (Index k = 0; k < end - begin; ++k) {
    const Index i = earlier ? end - 1 - k : begin + k;
    const Node v = now_[i];
    if (stamps_[v] != stamp_) continue;
    again_.push_back(i);
    if (earlier) {
      for (const Index b : problem_.reads(v)) {
        if (problem_.producer(b) >= 0) stamps_[problem_.producer(b)] = stamp_;
      }
    } else {
      for (const Index b : problem_.makes(v)) {
        for (const Node c : problem_.consumers(b)) stamps_[c] = stamp_;
      }
    }
  }
  if (earlier) {
    std::reverse(again_.begin(), again_.end());
    std::size_t k = 0;
    while (k < again_.size() && again_[k] == begin) ++k, ++begin;
    again_.erase(again_.begin(), again_.begin() + std::ptrdiff_t(k));
  } else {
    while (!again_.empty() && again_.back() == end - 1) again_.pop_back(), --end;
  }
  const auto count = static_cast<Index>(again_.size());
  if (count == 0) return false;
  // Either they move to one end of the window, or the others to the other one.
  if (2 * count <= end - begin) {
    for (const Index i : again_) {
      insert(earlier ? begin : end, now_[i]);
      erase(i);
    }
  } else {
    std::size_t k = 0;
    for (Index i = begin; i < end; ++i) {
      if (k < again_.size() && again_[k] == i) {
        ++k;
        continue;
      }
      insert(earlier ? end : begin, now_[i]);
      erase(i);
    }
  }
  return settle();
}

// A run over the budget, by its overflow; any run where there is none.
Index Walk::pick_run() {
  const std::int64_t total = now_.score().over_sum;
  if (total <= 0) return below(now_.length());
  auto left = static_cast<std::int64_t>(unit() * static_cast<double>(total));
  for (Index i = 0; i < now_.length(); ++i) {
    left -= now_.over(i);
    if (left < 0 && now_.over(i) > 0) return i;
  }
  return below(now_.length());
}

bool Walk::evict() {
  if (now_.length() / kLongest > problem_.num_nodes()) return false;
  const Index at = pick_run();
  const Index chosen = pick_live(at, std::numeric_limits<double>::infinity());
  return chosen >= 0 && remake(chosen, at, -1) && settle();
}

// A buffer that is live before and after a run (so not made by it), and not read by it, unless the
// run could write over what it reads; of those whose producer costs at most `most`; or -1.
Index Walk::pick_live(Index at, double most) {
  const auto before = now_.live_words(at), after = now_.live_words(at + 1);
  const std::vector<Index>& reads = problem_.reads(now_[at]);
  const auto& over = problem_.in_place(now_[at]);
  Index chosen = -1;
  double best = -1;
  const bool uniform = draw() & 1;
  for (std::size_t w = 0; w < before.size(); ++w) {
    for (std::uint64_t rest = before[w] & after[w]; rest != 0; rest &= rest - 1) {
      const Index b = static_cast<Index>(w * 64) + std::countr_zero(rest);
      const Node p = problem_.producer(b);
      if (problem_.size(b) == 0 || p < 0 || !problem_.repeatable(p) || problem_.cost(p) > most) {
        continue;
      }
      const auto read = std::find(reads.begin(), reads.end(), b);
      if (read != reads.end() && std::none_of(over.begin(), over.end(), [&](const auto& pair) {
            return pair.second == read - reads.begin();
          })) {
        continue;
      }
      const double worth =
          uniform ? unit()
                  : unit() * static_cast<double>(problem_.size(b)) / (problem_.cost(p) + 1e-9);
      if (worth > best) best = worth, chosen = b;
    }
  }
  return chosen;
}

// Makes a buffer that is live behind run `at` again, right before its next use; use by the run at
// `dropped` does not count.
bool Walk::remake(Index chosen, Index at, Index dropped) {
  stamp();
  for (const Node c : problem_.consumers(chosen)) stamps_[c] = stamp_;
  Index use = at + 1;
  while (use < now_.length() && (use == dropped || stamps_[now_[use]] != stamp_)) ++use;
  again_.clear();
  stamp();
  // How willing to make operands again rather than to keep them longer.
  const double kind = unit();
  chain(problem_.producer(chosen), use, kind < kKeep ? 0.0 : kind < kKeep + kMixed ? unit() : 1.0);
  if (!options_.fixed_order) {
    for (const Node v : again_) insert(use, v);
    return true;
  }
  // The stage of the next use, and the one place of each repeat in it.
  std::sort(again_.begin(), again_.end(),
            [&](Node a, Node b) { return problem_.place(a) < problem_.place(b); });
  // What the caller needs at the end is made again in the last stage, before its last run.
  if (use == now_.length() && --use == at) return false;
  Index begin = use;
  while (begin > 0 && now_.repeats(begin - 1)) --begin;
  for (const Node v : again_) {
    while (now_.repeats(begin) && problem_.place(now_[begin]) < problem_.place(v)) ++begin;
    if (now_[begin] != v) insert(begin, v);
  }
  return true;
}

// Drops a repeat, and makes something else again instead.
bool Walk::exchange() {
  const Index dropped = pick_repeat();
  if (dropped < 0) return false;
  const Node v = now_[dropped];
  stamp();
  for (const Index b : problem_.makes(v)) {
    for (const Node c : problem_.consumers(b)) stamps_[c] = stamp_;
  }
  stamps_[v] = stamp_;
  Index from = dropped;  // the runs behind this one are where the memory will be missing
  Index top = -1;
  while (from > 0 && stamps_[now_[from - 1]] != stamp_) {
    --from;
    if (top < 0 || now_.transient(from) > now_.transient(top)) top = from;
  }
  if (top < 0) return false;
  if (draw() & 1) {
    top = from + below(dropped - from);
    for (int k = 0; k < 2; ++k) {
      const Index other = from + below(dropped - from);
      if (now_.transient(other) > now_.transient(top)) top = other;
    }
  }
  // What costs much more would be rejected.
  const double spare = 3 * temperature_ * problem_.base_cost() / 100;
  erase(dropped);
  const Index chosen = pick_live(top, problem_.cost(v) + spare);
  if (chosen < 0 || problem_.producer(chosen) == v || !remake(chosen, top, dropped)) return false;
  return settle();
}

// v, after what it needs and what is not live at the boundary: made again, or kept longer.
void Walk::chain(Node v, Index boundary, double again) {
  stamps_[v] = stamp_;
  for (const Index b : problem_.reads(v)) {
    const Node p = problem_.producer(b);
    if (p < 0 || problem_.size(b) == 0 || !problem_.repeatable(p) || stamps_[p] == stamp_) continue;
    if (now_.live(boundary, b) || again_.size() >= kChain || unit() > again) continue;
    chain(p, boundary, again);
  }
  again_.push_back(v);
}

// A repeat at random, or -1.
Index Walk::pick_repeat() {
  if (now_.length() == problem_.num_nodes()) return -1;
  const Index start = below(now_.length());
  for (Index k = 0; k < now_.length(); ++k) {
    const Index i = start + k < now_.length() ? start + k : start + k - now_.length();
    if (now_.repeats(i)) return i;
  }
  return -1;
}

bool Walk::drop() {
  const Index at = pick_repeat();
  if (at < 0) return false;
  Index count = unit() < 0.5 ? 1 : stretch(8);
  for (Index i = at; i < now_.length() && count > 0 && now_.repeats(i); ++i, --count) erase(i);
  return settle();
}

bool Walk::move_repeat() {
  const Index at = pick_repeat();
  if (at < 0) return false;
  if (!options_.fixed_order) return shift(at, 1);
  const Node v = now_[at];
  const Index first = now_.first(v);
  const bool earlier = draw() & 1;
  const Index most = earlier ? at - first - 1 : now_.length() - at - 1;
  if (most <= 0) return false;
  Index to = earlier ? at - stretch(most) : at + stretch(most);
  // The stage that holds `to`, and the place in it.
  while (to > 0 && now_.repeats(to - 1)) --to;
  if (to <= first) return false;
  while (now_.repeats(to) && problem_.place(now_[to]) < problem_.place(v)) ++to;
  if (now_[to] == v || to == at || to == at + 1) return false;
  insert(to, v);
  erase(at);
  return settle();
}

bool Walk::propose() {
  edits_.clear();
  const double r = unit();
  if (options_.fixed_order) {
    if (r < 0.45) return evict();
    if (r < 0.7) return drop();
    if (r < 0.9) return move_repeat();
    return exchange();
  }
  if (r < 0.15) return gather(below(now_.length()));
  if (r < 0.66) return shift(below(now_.length()), 1);
  if (r < 0.79) return shift(below(now_.length()), 1 + stretch(16));
  if (r < 0.89) return evict();
  if (r < 0.96) return drop();
  if (r < 0.99) return move_repeat();
  return exchange();
}

// Keeps what is within the budget and cheaper than the best so far.
void Walk::note() {
  const Score& score = now_.score();
  if (score.over_max > 0 || (found() && score.cost >= best_cost_)) return;
  best_ = now_.nodes();
  best_cost_ = score.cost;
}

// Drops, one by one, repeats that nothing needs within the budget.
void Walk::tidy(Control& control) {
  if (!found()) return;
  now_ = Sequence(problem_, best_);
  for (Index i = now_.length(); i-- > 0;) {
    if (now_.count(now_[i]) == 1) continue;
    if (options_.fixed_order && !now_.repeats(i)) continue;
    edits_.assign(1, {i, -1});
    const Score score = now_.evaluate(edits_);
    if (control.spend(1 + score.walked)) break;
    if (score.valid && score.over_max == 0 && score.cost <= now_.score().cost) {
      now_.make(edits_, score);
    }
  }
  best_ = now_.nodes();
  best_cost_ = now_.score().cost;
}

// One annealing, for a share of the whole.
void Walk::round(const std::vector<Node>& start, double share, bool polish, Control& control) {
  now_ = Sequence(problem_, start);
  note();
  const double from = progress(control), to = std::min(1.0, from + share);
  const double high = polish ? std::sqrt(high_ * low_) : high_;
  if (polish) lambda_ *= kSharpen;
  temperature_ = high;
  std::uint64_t within = 0, tried = 0;
  double part = 0, current = energy(now_.score());
  for (std::uint64_t step = 0; !control.stopped(); ++step) {
    if (step % 256 == 0) {
      part = (progress(control) - from) / std::max(to - from, 1e-9);
      if (part >= 1.0) break;
      temperature_ = high * std::pow(low_ / high, part);
      if (found() && best_cost_ <= options_.target) break;
    }
    ++moves_;
    if (tried++ >= (found() ? kPeriod : kPeriod / 8)) {
      const double wanted = part > kLateFrom ? kLate : kEarly;
      const double step = found() ? kStep : kHaste;
      lambda_ *=
          static_cast<double>(within) < wanted * static_cast<double>(tried) ? step : 1 / step;
      tried = within = 0;
      current = energy(now_.score());
    }
    if (now_.score().over_max == 0) ++within;
    if (!propose()) {
      control.spend(4);
      continue;
    }
    // The draw comes first, so that what it rejects anyway is not looked at to the end.
    const double limit = current - temperature_ * std::log(1.0 - unit());
    const std::int64_t most = room(limit);
    if (most < 0) {
      control.spend(8);
      continue;
    }
    const Score score = now_.evaluate(edits_, most);
    control.spend(16 + score.walked);
    if (!score.valid) continue;

    const double next = energy(score);
    if (next > limit) continue;
    now_.make(edits_, score);
    current = next;
    note();
  }
}

void Walk::run(Control& control) {
  round(start_, 1.0 - kPolish, false, control);
  if (!control.stopped() && !(found() && best_cost_ <= options_.target)) {
    const std::vector<Node> start = found() ? best_ : now_.nodes();
    round(start, 1.0, true, control);
  }
  Control finish(-1, 0, {});
  tidy(finish);
}

SearchResult search(const Problem& problem, const std::vector<std::vector<Node>>& starts,
                    const SearchOptions& options, int threads,
                    const std::function<bool(double)>& hook) {
  const auto count = static_cast<std::size_t>(std::max(threads, 1));
  std::vector<SearchResult> results(count);
  std::vector<std::exception_ptr> errors(count);
  std::atomic<bool> halt{false};
  // The lowest walk that has reached the target: with a work limit, those above it end at once, so
  // that which one wins does not hang on their speed; without one, all do.
  std::atomic<std::size_t> done{count};
  const auto work = [&](std::size_t k) {
    try {
      SearchOptions own = options;
      own.seed = options.seed * 0x9e3779b97f4a7c15ULL + k;
      Walk walk(problem, starts, own, k);
      Control control(options.time_limit_s, options.work_limit, [&, k] {
        if (k == 0 && hook && hook(walk.found() ? walk.cost() : -1)) halt = true;
        return halt.load() || done.load() < k || (options.work_limit == 0 && done.load() < count);
      });
      walk.run(control);
      results[k] = {
          walk.best(), walk.cost(), walk.moves(), control.work(),
          control.stopped() && (options.work_limit == 0 || control.work() < options.work_limit)};
      if (walk.found() && walk.cost() <= options.target) {
        std::size_t lowest = done.load();
        while (k < lowest && !done.compare_exchange_weak(lowest, k)) {
        }
      }
    } catch (...) {
      errors[k] = std::current_exception();
      halt = true;
    }
  };
  std::vector<std::thread> others;
  for (std::size_t k = 1; k < count; ++k) others.emplace_back(work, k);
  work(0);
  for (std::thread& thread : others) thread.join();
  for (const std::exception_ptr& error : errors) {
    if (error) std::rethrow_exception(error);
  }
  SearchResult best;
  for (const SearchResult& result : results) {
    if (!result.sequence.empty() && (best.sequence.empty() || result.cost < best.cost)) {
      best.sequence = result.sequence;
      best.cost = result.cost;
    }
    best.moves += result.moves;
    best.work += result.work;
  }
  best.clock = results[0].clock;
  return best;
}

}  // namespace lowtide::remat
