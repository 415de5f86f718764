// Annealing over sequences with repeats.
//
// Energy = 100 (cost / base cost - 1) + lambda (sum of overflow + greatest overflow) / budget,
// where overflow is what a run needs above the budget.  Lambda follows the share of moves that end
// within the budget: up where fewer than a quarter do (six in ten late), down where more do.
//
//     shift      a run, or a block of runs, earlier or later, as far as no run that it depends on,
//                or that reads what it makes, is passed                      (free order)
//     evict      at a run that is over the budget: a live buffer that the run does not touch is
//                made again right before its next use, and so are operands that are not live there
//     drop       a repeat, or several neighbouring ones
//     swap       a repeat dropped and another buffer evicted, in one move
//
// In the fixed order there are no shifts of first runs, and a repeat has one place in each stage:
// the stage's repeats ascend in the input order, each node at most once (problem.py).  Repeats move
// from one stage to another.
//
// A walk is made of rounds; a round cools from a temperature at which a repeat of a cheap op comes
// and goes to one at which nothing dearer stays, and begins from the best sequence or from another
// start.  Everything is drawn from one generator, so a walk with a work limit is repeatable.  Walks
// share nothing; the best of them wins, the first of equal ones.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "control.hpp"
#include "remat/problem.hpp"
#include "remat/sequence.hpp"

namespace lowtide::remat {

struct SearchOptions {
  bool fixed_order = false;
  std::uint64_t seed = 0;
  double time_limit_s = -1;      // negative for none
  std::uint64_t work_limit = 0;  // runs looked at, about; 0 for none
  double target = 0;             // stop at this cost
};

class Walk {
 public:
  // The first start is where the walk begins; the others are tried in later rounds.
  Walk(const Problem& problem, const std::vector<std::vector<Node>>& starts,
       const SearchOptions& options);

  void run(Control& control);

  bool found() const { return !best_.empty(); }
  const std::vector<Node>& best() const { return best_; }
  double cost() const { return best_cost_; }
  std::uint64_t moves() const { return moves_; }

 private:
  // xoshiro-like generators are overkill here: splitmix64 passes what a walk can notice.
  std::uint64_t draw() {
    std::uint64_t z = (random_ += 0x9e3779b97f4a7c15ULL);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
    return z ^ (z >> 31);
  }
  double unit() { return static_cast<double>(draw() >> 11) * 0x1.0p-53; }
  Index below(Index n) {
    return static_cast<Index>(
        static_cast<unsigned __int128>(draw()) * static_cast<std::uint64_t>(n) >> 64);
  }
  Index stretch(Index most);

  double energy(const Score& score) const;
  void round(const std::vector<Node>& start, double share, bool polish, Control& control);
  double progress(const Control& control) const;
  void note();
  void tidy(Control& control);

  // Each fills `edits_` and says whether it has made a move.
  bool propose();
  bool shift(Index at, Index count);
  bool evict();
  bool drop();
  bool drop_chain();
  bool move_repeat();
  Index pick_repeat();
  Index pick_run();
  void insert(Index boundary, Node v);
  void erase(Index at) { edits_.push_back({at, -1}); }
  void chain(Node v, Index boundary, double again);
  bool settle();
  void stamp() { ++stamp_; }

  const Problem& problem_;
  SearchOptions options_;
  std::vector<std::vector<Node>> starts_;
  Sequence now_;
  std::vector<Node> best_;
  double best_cost_ = 0;
  double lambda_ = 1, temperature_ = 1, high_ = 1, low_ = 0.001;
  std::uint64_t random_, moves_ = 0;
  Control::Clock::time_point begin_;
  std::vector<Edit> edits_;
  std::vector<Node> again_;
  std::vector<std::uint32_t> stamps_;
  std::uint32_t stamp_ = 0;
};

struct SearchResult {
  std::vector<Node> sequence;  // empty if none within the budget was found
  double cost = 0;
  std::uint64_t moves = 0, work = 0;
  bool clock = false;  // the time limit, or Ctrl-C, ended it
};

// `threads` walks with seeds of their own; the hook is called from the calling thread only, with
// the best cost of its walk so far, -1 for none; it returns true to stop.
SearchResult search(const Problem& problem, const std::vector<std::vector<Node>>& starts,
                    const SearchOptions& options, int threads, const std::function<bool(double)>& hook);

}  // namespace lowtide::remat
