#include "schedule/probe.hpp"

#include <algorithm>
#include <optional>
#include <utility>

#include "schedule/beam.hpp"
#include "schedule/deduce.hpp"

namespace lowtide::schedule {

namespace {

class Prober {
 public:
  Prober(const Segment& segment, Bytes budget, const ProbeOptions& options,
         std::uint64_t case_limit, Control& control)
      : place_(segment.place),
        budget_(budget),
        options_(options),
        case_limit_(case_limit),
        control_(control) {}

  ProbeResult run(const Problem& problem) {
    // Depth first: a stack of cases, the last one next.
    std::vector<Case> cases;
    cases.push_back(make(problem, {}));
    while (!cases.empty()) {
      if (control_.stopped() || result_.cases >= case_limit_) return finish(Verdict::kUnknown);
      Case now = std::move(cases.back());
      cases.pop_back();
      if (now.deduction.infeasible) {
        result_.steps.push_back({ProbeStep::Kind::kDeduced});
        continue;
      }
      const Problem inner = now.problem.with_precedence(now.deduction.edges);
      const Segment segment = segment_of(inner);
      if (search(inner, segment)) {
        if (result_.verdict == Verdict::kFeasible) return std::move(result_);
        continue;
      }
      if (find(inner, segment)) return std::move(result_);
      if (control_.stopped() || now.deduction.open.empty()) return finish(Verdict::kUnknown);
      auto [u, v, first, second] = split(inner, now.deduction);
      result_.steps.push_back({ProbeStep::Kind::kSplit, u, v});
      cases.push_back(std::move(second));
      cases.push_back(std::move(first));
    }
    return finish(Verdict::kInfeasible);
  }

 private:
  struct Case {
    Problem problem;
    Deduction deduction;
  };
  struct Split {
    Node u, v;
    Case first, second;
  };

  ProbeResult finish(Verdict verdict) {
    result_.verdict = verdict;
    return std::move(result_);
  }

  Segment segment_of(const Problem& problem) const {
    Segment segment{{}, place_};
    for (Node v : problem.topological_order()) {
      if (place_[v] == kInside) segment.nodes.push_back(v);
    }
    return segment;
  }

  Case make(const Problem& problem, const std::vector<std::pair<Node, Node>>& edges) {
    Case result{problem.with_precedence(edges), {}};
    ++result_.cases;
    result.deduction =
        deduce(result.problem, segment_of(result.problem), budget_, ~std::uint64_t{0}, control_);
    result_.next_bound = std::min(result_.next_bound, result.deduction.next_bound);
    return result;
  }

  // True when a search settles the case.
  bool search(const Problem& problem, const Segment& segment) {
    for (bool forward : {false, true}) {
      const SearchResult found =
          decide(problem, segment, budget_, forward, options_.search, options_.slice, control_);
      result_.states += found.states;
      if (found.verdict == Verdict::kUnknown) continue;
      result_.next_bound = std::min(result_.next_bound, found.next_bound);
      result_.steps.push_back({forward ? ProbeStep::Kind::kForward : ProbeStep::Kind::kBackward});
      if (found.verdict == Verdict::kFeasible) {
        result_.verdict = Verdict::kFeasible;
        result_.order = found.order;
      }
      return true;
    }
    return false;
  }

  // True when a beam finds an order.
  bool find(const Problem& problem, const Segment& segment) {
    if (options_.beam == 0) return false;
    for (bool forward : {true, false}) {
      result_.order =
          beam(problem, segment, options_.beam, budget_, budget_ + 1, forward, control_);
      if (result_.order.empty()) continue;
      result_.verdict = Verdict::kFeasible;
      return true;
    }
    return false;
  }

  // The pair whose worse side deduces most.
  Split split(const Problem& problem, const Deduction& deduction) {
    const auto weight = [](const Case& side) {
      return side.deduction.infeasible ? std::size_t{1} << 20 : side.deduction.edges.size();
    };
    std::optional<Split> best;
    std::pair<std::size_t, std::size_t> best_score;
    for (std::size_t k = 0; k < std::min(options_.tries, deduction.open.size()); ++k) {
      if (best && control_.stopped()) break;
      const auto [u, v] = deduction.open[k];
      Split trial{u, v, make(problem, {{u, v}}), make(problem, {{v, u}})};
      const std::size_t one = weight(trial.first), two = weight(trial.second);
      const std::pair score{std::min(one, two), std::max(one, two)};
      if (!best || score > best_score) {
        best.emplace(std::move(trial));
        best_score = score;
      }
      if (best->first.deduction.infeasible || best->second.deduction.infeasible) break;
    }
    if (weight(best->second) < weight(best->first)) {
      return {best->v, best->u, std::move(best->second), std::move(best->first)};
    }
    return std::move(*best);
  }

  const std::vector<std::uint8_t> place_;
  const Bytes budget_;
  const ProbeOptions options_;
  const std::uint64_t case_limit_;
  Control& control_;
  ProbeResult result_;
};

}  // namespace

ProbeResult probe(const Problem& problem, const Segment& segment, Bytes budget,
                  const ProbeOptions& options, std::uint64_t case_limit, Control& control) {
  return Prober(segment, budget, options, case_limit, control).run(problem);
}

}  // namespace lowtide::schedule
