#include "schedule/search.hpp"

#include <algorithm>
#include <optional>
#include <unordered_map>

#include "schedule/guards.hpp"
#include "schedule/visited.hpp"
#include "schedule/walk.hpp"

namespace lowtide::schedule {

namespace {

constexpr std::size_t kMacroPops = 40;
constexpr std::size_t kMostChildren = std::size_t{1} << 24;  // 400 MB

template <bool kForward>
class Search {
 public:
  Search(const Problem& problem, const Segment& segment, Bytes budget, const SearchOptions& options,
         Control& control, Trace* trace)
      : problem_(problem),
        target_(segment.nodes.size()),
        budget_(budget),
        one_step_(options.one_step),
        macro_(options.macro && !problem.has_overwrites()),
        control_(control),
        walk_(problem, segment),
        visited_(options.visited_bytes),
        exact_(options.exact_states),
        states_seen_((segment.nodes.size() + 63) / 64, options.visited_bytes),
        trace_(trace) {
    if (options.guards) guards_.emplace(problem, segment, budget, kForward, control);
    if (!exact_) return;
    state_.assign((segment.nodes.size() + 63) / 64, 0);
    bit_.assign(problem.num_nodes(), 0);
    for (std::size_t k = 0; k < segment.nodes.size(); ++k) bit_[segment.nodes[k]] = k;
  }

  SearchResult run(std::uint64_t state_limit) {
    SearchResult result;
    if (enter()) return finish(result, Verdict::kFeasible);
    while (!frames_.empty()) {
      Frame& frame = frames_.back();
      if (frame.next == frame.end) {
        children_.resize(frame.begin);
        const std::size_t length = frame.length;
        frames_.pop_back();
        rewind(length);
        continue;
      }
      if (states_ + macro_pops_ / 16 >= state_limit || children_.size() >= kMostChildren ||
          control_.spend(1 + walk_.ready().size())) {
        return finish(result, Verdict::kUnknown);
      }
      take(children_[frame.next++].node);
      if (enter()) return finish(result, Verdict::kFeasible);
    }
    return finish(result, Verdict::kInfeasible);
  }

 private:
  struct Child {
    Bytes after, transient;
    Node node;
  };
  struct Frame {
    std::size_t begin, end, next;  // in children_
    std::size_t length;            // of the path before this state was entered and closed
    std::int32_t trace;            // the state's number in the trace
  };
  struct Taken {
    Node node;
    Bytes mem;  // before
  };

  SearchResult& finish(SearchResult& result, Verdict verdict) {
    result.verdict = verdict;
    result.states = states_;
    result.next_bound = least_pruned_;
    if (verdict == Verdict::kFeasible) {
      for (const Taken& t : path_) result.order.push_back(t.node);
      if (!kForward) std::reverse(result.order.begin(), result.order.end());
    }
    return result;
  }

  void take(Node v) {
    path_.push_back({v, walk_.mem()});
    walk_.step(v);
    flip(v);
  }
  void flip(Node v) {
    if (exact_) state_[bit_[v] / 64] ^= std::uint64_t{1} << (bit_[v] % 64);
  }
  // Whether this state was here before; it is now.
  bool seen() {
    return exact_ ? states_seen_.insert(walk_.hash(), state_) : visited_.insert(walk_.hash());
  }
  void rewind(std::size_t length) {
    while (path_.size() > length) {
      walk_.undo(path_.back().node, path_.back().mem);
      flip(path_.back().node);
      path_.pop_back();
    }
  }
  bool fits(Bytes transient) {
    if (transient <= budget_) return true;
    least_pruned_ = std::min(least_pruned_, transient);
    return false;
  }

  // At a new state, the last node of the path just taken.  True when the segment is done; else the
  // state has a frame, or was seen before and is left again.
  bool enter() {
    const std::size_t length = path_.empty() ? 0 : path_.size() - 1;
    ++states_;
    if (!path_.empty() && seen()) {
      rewind(length);
      return false;
    }
    const bool closed = close();
    const std::int32_t number = trace_ == nullptr ? 0 : record(length);
    if (closed) {
      if (path_.size() == target_) return true;
      if (seen()) {
        rewind(length);
        return false;
      }
    }
    if (path_.size() == target_) return true;
    if (guards_ && is_hopeless(length)) {
      rewind(length);
      return false;
    }
    const std::size_t begin = children_.size();
    for (Node v : walk_.ready()) {
      const Look look = walk_.look(v);
      if (fits(look.transient)) children_.push_back({look.after, look.transient, v});
    }
    std::sort(children_.begin() + static_cast<std::ptrdiff_t>(begin), children_.end(),
              [](const Child& x, const Child& y) {
                if (x.after != y.after) return x.after < y.after;
                if (x.transient != y.transient) return x.transient < y.transient;
                return x.node < y.node;
              });
    frames_.push_back({begin, children_.size(), begin, length, number});
    return false;
  }

  // Adds this state, whose path began at `length`, to the trace.
  std::int32_t record(std::size_t length) {
    std::vector<std::int32_t>& codes = trace_->codes;
    codes.push_back(frames_.empty() ? -1 : frames_.back().trace);
    codes.push_back(frames_.empty() ? -1 : path_[length].node);
    std::size_t at = frames_.empty() ? 0 : length + 1;
    for (const auto& [begin, size] : macros_) {
      for (; at < begin; ++at) codes.push_back(path_[at].node);
      codes.push_back(-static_cast<std::int32_t>(size));
      for (; at < begin + size; ++at) codes.push_back(path_[at].node);
    }
    for (; at < path_.size(); ++at) codes.push_back(path_[at].node);
    trace_->ends.push_back(codes.size());
    return static_cast<std::int32_t>(trace_->ends.size()) - 1;
  }

  // Whether a guard says so of the state reached by the path from `length` on.
  bool is_hopeless(std::size_t length) {
    stepped_.clear();
    for (std::size_t k = length; k < path_.size(); ++k) stepped_.push_back(path_[k].node);
    const Bytes bound = guards_->enter(frames_.size() + 1, stepped_);
    if (bound == 0) return false;
    least_pruned_ = std::min(least_pruned_, bound);
    return true;
  }

  // Runs what can be run without loss; true if anything was.
  bool close() {
    bool any = false;
    macros_.clear();
    for (bool again = true; again;) {
      again = false;
      if (one_step_) {
        while (const Node* v = free_step()) {
          take(*v);
          any = true;
          // Closing less is no loss but of time, and the caller stops next.
          if (control_.spend(1 + walk_.ready().size() / 4)) return any;
        }
      }
      if (macro_ && free_macro()) any = again = true;
    }
    return any;
  }

  const Node* free_step() {
    for (const Node& v : walk_.ready()) {
      if (!kForward && problem_.shared(v)) continue;
      const Look look = walk_.look(v);
      if (look.after <= walk_.mem() && fits(look.transient)) {
        found_ = v;
        return &found_;
      }
    }
    return nullptr;
  }

  struct Part {
    std::vector<Node> nodes;
    bool fits;
  };

  // Whether `set` holds the nodes of `part` and v.
  static bool same(std::vector<Node> set, std::vector<Node> part, Node v) {
    part.push_back(v);
    std::sort(set.begin(), set.end());
    std::sort(part.begin(), part.end());
    return set == part;
  }

  bool free_macro() {
    const std::vector<Node> roots = walk_.ready();
    const std::size_t length = path_.size();
    is_root_.assign(problem_.num_nodes(), 0);
    for (Node root : roots) is_root_[root] = 1;
    for (Node root : roots) {
      // Sets of one size at a time, so that their flags are final before they are expanded.
      std::vector<Part> level{{{root}, fits(walk_.look(root).transient)}};
      std::size_t pops = 0;
      const Bytes base = walk_.mem();
      while (!level.empty() && pops < kMacroPops) {
        std::vector<Part> wider;
        std::unordered_map<std::uint64_t, std::size_t> known;
        for (const Part& part : level) {
          if (++pops > kMacroPops) break;
          ++macro_pops_;
          if (control_.spend(part.nodes.size() + walk_.ready().size() / 4)) return false;
          for (Node v : part.nodes) take(v);
          if (walk_.mem() <= base) {
            if (part.fits) {
              macros_.emplace_back(length, part.nodes.size());
              return true;
            }
            level.clear();  // the smallest set does not fit: nothing can be said for this root
            wider.clear();
            rewind(length);
            break;
          }
          for (Node v : walk_.ready()) {
            if (is_root_[v] != 0) continue;
            const bool fit = part.fits && fits(walk_.look(v).transient);
            const Hash now = walk_.hash();
            const Hash step = node_hash(v);
            const auto [place, is_new] = known.try_emplace(now.a ^ step.a, wider.size());
            // A set that is kept twice costs time only.
            if (is_new || (exact_ && !same(wider[place->second].nodes, part.nodes, v))) {
              wider.push_back(part);
              wider.back().nodes.push_back(v);
              wider.back().fits = fit;
            } else if (fit && !wider[place->second].fits) {
              wider[place->second].nodes = part.nodes;
              wider[place->second].nodes.push_back(v);
              wider[place->second].fits = true;
            }
          }
          rewind(length);
        }
        level = std::move(wider);
      }
    }
    return false;
  }

  const Problem& problem_;
  const std::size_t target_;
  const Bytes budget_;
  const bool one_step_, macro_;
  Control& control_;
  Walk<kForward> walk_;
  Visited visited_;
  const bool exact_;
  ExactVisited states_seen_;
  std::vector<ExactVisited::Word> state_;  // where exact: the steps taken, a bit per node
  std::vector<std::size_t> bit_;
  Trace* trace_;
  std::vector<std::pair<std::size_t, std::size_t>> macros_;  // of this closure: begin, size
  std::vector<Taken> path_;
  std::vector<Child> children_;
  std::vector<Frame> frames_;
  Bytes least_pruned_ = kInfinity;
  std::uint64_t states_ = 0, macro_pops_ = 0;
  std::vector<std::uint8_t> is_root_;
  std::optional<Guards> guards_;
  std::vector<Node> stepped_;
  Node found_ = 0;
};

}  // namespace

SearchResult decide(const Problem& problem, const Segment& segment, Bytes budget, bool forward,
                    const SearchOptions& options, std::uint64_t state_limit, Control& control,
                    Trace* trace) {
  if (forward) {
    return Search<true>(problem, segment, budget, options, control, trace).run(state_limit);
  }
  return Search<false>(problem, segment, budget, options, control, trace).run(state_limit);
}

}  // namespace lowtide::schedule
