#include <nanobind/nanobind.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/tuple.h>
#include <nanobind/stl/vector.h>

#include <limits>

#include "bindings/hook.hpp"
#include "bindings/parts.hpp"
#include "control.hpp"
#include "remat/problem.hpp"
#include "remat/search.hpp"
#include "remat/sequence.hpp"

namespace lowtide::bindings {

using namespace nb::literals;

namespace {

using Figures = std::tuple<double, std::int64_t, std::int64_t, std::vector<remat::Bytes>>;

Figures figures(const remat::Sequence& sequence) {
  std::vector<remat::Bytes> transients;
  for (remat::Index i = 0; i < sequence.length(); ++i) transients.push_back(sequence.transient(i));
  const remat::Score& score = sequence.score();
  return {score.cost, score.over_sum, score.over_max, std::move(transients)};
}

// A sequence whose every move is seen: for tests and for measuring the evaluator.
struct Trial {
  const remat::Problem* problem;
  remat::Sequence sequence;
};

std::vector<remat::Edit> edits_of(const Trial& trial,
                                  const std::vector<std::pair<remat::Index, remat::Node>>& pairs) {
  if (pairs.empty()) throw std::invalid_argument("a move of no edits");
  std::vector<remat::Edit> edits;
  std::vector<remat::Index> left(trial.problem->num_nodes());
  for (remat::Node v = 0; v < trial.problem->num_nodes(); ++v) left[v] = trial.sequence.count(v);
  remat::Index before = 2 * trial.sequence.length() + 1;
  for (const auto& [at, node] : pairs) {
    const remat::Index last = trial.sequence.length() - (node < 0 ? 1 : 0);
    if (at < 0 || at > last || node >= trial.problem->num_nodes()) {
      throw std::invalid_argument("an edit outside the sequence");
    }
    const remat::Index key = node < 0 ? 2 * at + 1 : 2 * at;
    if (key > before || (key == before && node < 0)) {
      throw std::invalid_argument("edits must descend");
    }
    before = key;
    left[node < 0 ? trial.sequence[at] : node] += node < 0 ? -1 : 1;
    edits.push_back({at, node < 0 ? -1 : node});
  }
  for (const remat::Index count : left) {
    if (count < 1) throw std::invalid_argument("a move must leave every node a run");
  }
  return edits;
}

}  // namespace

void add_remat(nb::module_& m) {
  nb::class_<remat::Problem>(m, "Remat", "A rematerialization problem, ready to be searched.")
      .def(
          "__init__",
          [](remat::Problem* self, remat::Node num_nodes, std::vector<remat::Bytes> sizes,
             std::vector<remat::Node> producers, std::vector<std::vector<remat::Node>> consumers,
             std::vector<bool> outputs, std::vector<remat::Bytes> workspace,
             std::vector<double> costs, std::vector<bool> pinned, std::vector<remat::Node> order,
             const std::vector<std::tuple<remat::Node, remat::Index, remat::Index>>& in_place,
             remat::Bytes budget) {
            std::vector<std::pair<remat::Node, std::pair<remat::Index, remat::Index>>> pairs;
            for (const auto& [node, output, input] : in_place) {
              pairs.push_back({node, {output, input}});
            }
            if (num_nodes < 0) throw std::invalid_argument("a negative number of nodes");
            new (self) remat::Problem(remat::Description{
                num_nodes, std::move(sizes), std::move(producers), std::move(consumers),
                std::move(outputs), std::move(workspace), std::move(costs), std::move(pinned),
                std::move(order), std::move(pairs), budget});
          },
          nb::kw_only(), "num_nodes"_a, "sizes"_a, "producers"_a, "consumers"_a, "outputs"_a,
          "workspace"_a, "costs"_a, "pinned"_a, "order"_a, "in_place"_a, "budget"_a);
  nb::class_<Trial>(m, "RematSequence", "A sequence of runs under moves.")
      .def(
          "__init__",
          [](Trial* self, const remat::Problem& problem, const std::vector<remat::Node>& nodes) {
            new (self) Trial{&problem, remat::Sequence(problem, nodes)};
          },
          "problem"_a, "nodes"_a, nb::keep_alive<1, 2>(), "ValueError if it is not valid.")
      .def_prop_ro("nodes", [](const Trial& self) { return self.sequence.nodes(); })
      .def_prop_ro("first_runs",
                   [](const Trial& self) {
                     std::vector<remat::Index> first;
                     for (remat::Node v = 0; v < self.problem->num_nodes(); ++v) {
                       first.push_back(self.sequence.first(v));
                     }
                     return first;
                   })
      .def(
          "figures", [](const Trial& self) { return figures(self.sequence); },
          "Cost, sum of overflow, greatest overflow, and the bytes of every run.")
      .def(
          "evaluate",
          [](Trial& self, const std::vector<std::pair<remat::Index, remat::Node>>& pairs,
             std::int64_t most) {
            const remat::Score score = self.sequence.evaluate(edits_of(self, pairs), most);
            return std::tuple(score.valid, score.cost, score.over_sum, score.over_max);
          },
          "edits"_a, "most"_a = std::numeric_limits<std::int64_t>::max(),
          "Whether a move is valid; its cost, sum of overflow and greatest overflow. Edits "
          "descend: "
          "(position, -1) deletes, (boundary, node) inserts.")
      .def(
          "make",
          [](Trial& self, const std::vector<std::pair<remat::Index, remat::Node>>& pairs) {
            const std::vector<remat::Edit> edits = edits_of(self, pairs);
            const remat::Score score = self.sequence.evaluate(edits);
            if (!score.valid) throw std::invalid_argument("the move is not valid");
            self.sequence.make(edits, score);
          },
          "edits"_a, "Make a move; ValueError if it is not valid.");
  nb::class_<remat::SearchResult>(m, "RematOutcome", "What a search found.")
      .def_ro("sequence", &remat::SearchResult::sequence)
      .def_ro("cost", &remat::SearchResult::cost)
      .def_ro("moves", &remat::SearchResult::moves)
      .def_ro("work", &remat::SearchResult::work)
      .def_ro("clock", &remat::SearchResult::clock);
  m.def(
      "search_remat",
      [](const remat::Problem& problem, const std::vector<std::vector<remat::Node>>& starts,
         bool fixed_order, bool warm, std::uint64_t seed, double target, int threads,
         double time_limit_s, std::uint64_t work_limit, const nb::object& progress) {
        if (starts.empty()) throw std::invalid_argument("a search needs a start");
        double best = -1;
        Hook hook([&]() -> nb::object { return progress.is_none() ? nb::none() : progress(best); });
        remat::SearchResult result;
        {
          const nb::gil_scoped_release release;
          result = remat::search(problem, starts,
                                 {fixed_order, warm, seed, time_limit_s, work_limit, target},
                                 threads, [&](double cost) {
                                   best = cost;
                                   return hook();
                                 });
        }
        hook.rethrow();
        return result;
      },
      "problem"_a, "starts"_a, nb::kw_only(), "fixed_order"_a, "warm"_a = false, "seed"_a,
      "target"_a, "threads"_a, "time_limit_s"_a, "work_limit"_a, "progress"_a.none(),
      "Anneal from the starts until `target` is reached or a limit strikes; `progress` is called "
      "with the best cost so far, -1 for none; True from it stops.");
}

}  // namespace lowtide::bindings
