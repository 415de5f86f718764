#include "remat/search.hpp"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstdlib>
#include <exception>
#include <limits>
#include <thread>

namespace lowtide::remat {

static double envd(const char* n, double d) { const char* s = std::getenv(n); return s ? atof(s) : d; }

Walk::Walk(const Problem& problem, const std::vector<std::vector<Node>>& starts,
           const SearchOptions& options)
    : problem_(problem),
      options_(options),
      starts_(starts),
      now_(problem, starts.at(0)),
      random_(options.seed),
      begin_(Control::Clock::now()),
      stamps_(problem.num_nodes(), 0) {
  const double typical = 100.0 / std::max<Node>(problem.num_nodes(), 1);
  high_ = typical * envd("R_HIGH", 0.5);
  low_ = typical * envd("R_LOW", 0.005);
  lambda_ = envd("R_LAMBDA", 10);
}

double Walk::energy(const Score& score) const {
  const double base = std::max(problem_.base_cost(), std::numeric_limits<double>::min());
  const double budget = static_cast<double>(std::max<Bytes>(problem_.budget(), 1));
  return 100.0 * score.cost / base +
         lambda_ * 100.0 * (static_cast<double>(score.over_sum) + static_cast<double>(score.over_max)) /
             budget;
}

double Walk::progress(const Control& control) const {
  double part = 0;
  if (options_.time_limit_s > 0) {
    const std::chrono::duration<double> spent = Control::Clock::now() - begin_;
    part = spent.count() / options_.time_limit_s;
  }
  if (options_.work_limit != 0) {
    part = std::max(part, static_cast<double>(control.work()) /
                              static_cast<double>(options_.work_limit));
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
  const Index at = pick_run();
  // Live before and after the run and not read by it (not made: that is not live before).
  const auto before = now_.live_words(at), after = now_.live_words(at + 1);
  const std::vector<Index>& reads = problem_.reads(now_[at]);
  Index chosen = -1;
  double best = -1;
  Index seen = 0;
  const bool uniform = draw() & 1;
  for (std::size_t w = 0; w < before.size(); ++w) {
    for (std::uint64_t rest = before[w] & after[w]; rest != 0; rest &= rest - 1) {
      const Index b = static_cast<Index>(w * 64) + std::countr_zero(rest);
      const Node p = problem_.producer(b);
      if (problem_.size(b) == 0 || p < 0 || !problem_.repeatable(p)) continue;
      if (std::find(reads.begin(), reads.end(), b) != reads.end()) continue;
      ++seen;
      const double worth =
          uniform ? unit()
                  : unit() * static_cast<double>(problem_.size(b)) / (problem_.cost(p) + 1e-9);
      if (worth > best) best = worth, chosen = b;
    }
  }
  if (chosen < 0) return false;
  stamp();
  for (const Node c : problem_.consumers(chosen)) stamps_[c] = stamp_;
  Index use = at + 1;
  while (use < now_.length() && stamps_[now_[use]] != stamp_) ++use;
  again_.clear();
  stamp();
  chain(problem_.producer(chosen), use, envd("R_AGAIN",0.75));
  if (!options_.fixed_order) {
    for (const Node v : again_) insert(use, v);
    return settle();
  }
  // The stage of the next use, and the one place of each repeat in it.
  std::sort(again_.begin(), again_.end(),
            [&](Node a, Node b) { return problem_.place(a) < problem_.place(b); });
  if (use == now_.length()) return false;
  Index begin = use;
  while (begin > 0 && now_.repeats(begin - 1)) --begin;
  for (const Node v : again_) {
    while (now_.repeats(begin) && problem_.place(now_[begin]) < problem_.place(v)) ++begin;
    if (now_[begin] != v) insert(begin, v);
  }
  return settle();
}

// v, after what it needs and what is not live at the boundary: made again, or kept longer.
void Walk::chain(Node v, Index boundary, double again) {
  stamps_[v] = stamp_;
  for (const Index b : problem_.reads(v)) {
    const Node p = problem_.producer(b);
    if (p < 0 || problem_.size(b) == 0 || !problem_.repeatable(p) || stamps_[p] == stamp_) continue;
    if (now_.live(boundary, b) || again_.size() > 64 || unit() > again) continue;
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
    if (r < 0.5) return evict();
    if (r < 0.8) return drop();
    return move_repeat();
  }
  if (r < 0.45) return shift(below(now_.length()), 1);
  if (r < 0.60) return shift(below(now_.length()), 1 + stretch(16));
  if (r < 0.80) return evict();
  if (r < 0.93) return drop();
  return move_repeat();
}

// Keeps what is within the budget and cheaper than the best so far.
void Walk::note() {
  const Score& score = now_.score();
  if (score.over_sum > 0 || (found() && score.cost >= best_cost_)) return;
  best_ = now_.nodes();
  best_cost_ = score.cost;
}

// Drops, one by one, repeats that nothing needs within the budget.
void Walk::tidy(Control& control) {
  if (!found()) return;
  now_ = Sequence(problem_, best_);
  for (Index i = now_.length(); i-- > 0;) {
    if (now_.count(now_[i]) == 1) continue;
    edits_.assign(1, {i, -1});
    const Score score = now_.evaluate(edits_);
    if (control.spend(1 + score.walked)) break;
    if (score.valid && score.over_sum == 0 && score.cost <= now_.score().cost) {
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
  if (polish) lambda_ *= 4;
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
    if (tried++ >= 2000) {
      const double wanted = part > 0.6 ? 0.6 : 0.25;
      lambda_ *= static_cast<double>(within) < wanted * static_cast<double>(tried) ? 1.05 : 1 / 1.05;
      tried = within = 0;
      current = energy(now_.score());
    }
    if (now_.score().over_sum == 0) ++within;
    if (!propose()) {
      control.spend(4);
      continue;
    }
    const Score score = now_.evaluate(edits_);
    control.spend(16 + score.walked);
    if (!score.valid) continue;
    const double next = energy(score);
    if (next > current && unit() >= std::exp((current - next) / temperature_)) continue;
    now_.make(edits_, score);
    current = next;
    note();
  }
}

void Walk::run(Control& control) {
  const int rounds = (int)envd("R_ROUNDS", 1);
  const double polish = envd("R_POLISH", 0.3);
  for (int k = 0; k < rounds && !control.stopped(); ++k) {
    const double share = (1.0 - polish) / rounds;
    const auto& start = starts_[k % starts_.size()];
    round(start, share, false, control);
  }
  if (polish > 0 && !control.stopped()) {
    const std::vector<Node> start = found() ? best_ : now_.nodes();
    round(start, 1.0, true, control);
  }
  if (std::getenv("R_VERBOSE")) std::fprintf(stderr, "moves %lu lambda %g T %g len %d over %ld\n", (unsigned long)moves_, lambda_, temperature_, now_.length(), (long)now_.score().over_sum);
  Control finish(-1, 0, {});
  tidy(finish);
}

SearchResult search(const Problem& problem, const std::vector<std::vector<Node>>& starts,
                    const SearchOptions& options, int threads, const std::function<bool(double)>& hook) {
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
      Walk walk(problem, starts, own);
      Control control(options.time_limit_s, options.work_limit, [&, k] {
        if (k == 0 && hook && hook(walk.found() ? walk.cost() : -1)) halt = true;
        return halt.load() || done.load() < k || (options.work_limit == 0 && done.load() < count);
      });
      walk.run(control);
      results[k] = {walk.best(), walk.cost(), walk.moves(), control.work(),
                    control.stopped() &&
                        (options.work_limit == 0 || control.work() < options.work_limit)};
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
