// Annealing over sequences with repeats.
//
// Energy = 100 (cost / base cost - 1) + lambda (sum of overflow + greatest overflow) / budget,
// where overflow is what a run needs above the budget.  Lambda follows the share of moves that end
// within the budget: up where fewer than a quarter do (six in ten late), down where more do.
//
//     shift      a run, or a block of runs, earlier or later, as far as no run that it depends on,
//                or that reads what it makes, is passed                      (free order)
//     gather     a run and all that it depends on in a window before it, to the window's front; or
//                with all that depends on it behind it, to the back          (free order)
//     evict      at a run that is over the budget: a live buffer that the run does not touch (or
//                might write over) is made again right before its next use, and so are operands
//                that are not live there
//     drop       a repeat, or several neighbouring ones
//     move       a repeat, as a shift; in the fixed order to another stage
//     exchange   drop a repeat, and evict something else where that needs memory
//
// The random number that decides on a move is drawn before the move is evaluated; so its cost alone
// may reject it, or overflow that is certain before its end (sequence.hpp).  Gathering is what
// reorders large graphs: whole sub-graphs have to change places before anything improves.
//
// In the fixed order there are no shifts of first runs, and a repeat has one place in each stage:
// the stage's repeats ascend in the input order, each node at most once (problem.py).  Repeats move
// from one stage to another.
//
// A walk is two rounds.  The first begins at the start and cools from a temperature at which
// repeats of ordinary ops come and go to one at which nothing dearer stays; the second begins at
// the best sequence, with less heat and a higher lambda.  Repeats that nothing needs are dropped at
// the end, those that cost nothing too.  Everything is drawn from one generator, and with a work
// limit alone the cooling follows the work, so such a walk is repeatable; with a time limit it
// follows the clock.  Walks share nothing; the best of them wins, the first of equal ones.
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
  // The walk begins at the start whose number is the walk's, modulo their number.
  Walk(const Problem& problem, const std::vector<std::vector<Node>>& starts,
       const SearchOptions& options, std::size_t number);

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
  std::int64_t room(double limit) const;
  void round(const std::vector<Node>& start, double share, bool polish, Control& control);
  double progress(const Control& control) const;
  void note();
  void tidy(Control& control);

  // Each fills `edits_` and says whether it has made a move.
  bool propose();
  bool shift(Index at, Index count);
  bool gather(Index at);
  bool evict();
  bool exchange();
  Index pick_live(Index at, double most);
  bool remake(Index chosen, Index at, Index dropped);
  bool drop();
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
  std::vector<Node> start_;
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
                    const SearchOptions& options, int threads,
                    const std::function<bool(double)>& hook);

}  // namespace lowtide::remat
