#include "remat/problem.hpp"

#include <cmath>
#include <stdexcept>

namespace lowtide::remat {

Problem::Problem(Description description)
    : d_(std::move(description)),
      place_(d_.num_nodes, -1),
      reads_(d_.num_nodes),
      makes_(d_.num_nodes),
      in_place_(d_.num_nodes) {
  const auto n = static_cast<std::size_t>(d_.num_nodes);
  const std::size_t buffers = d_.sizes.size();
  if (d_.producers.size() != buffers || d_.consumers.size() != buffers ||
      d_.outputs.size() != buffers || d_.workspace.size() != n || d_.costs.size() != n ||
      d_.pinned.size() != n || d_.order.size() != n) {
    throw std::invalid_argument("lists of unequal lengths");
  }
  if (2 * (n + 1) * (buffers / 64 + 1) > kMostWords) {
    throw std::length_error("the live sets of the search would need more than 1 GiB");
  }
  const auto node = [&](Node v, Node least) {
    if (v < least || v >= d_.num_nodes) throw std::invalid_argument("not a node");
  };
  Bytes total = 0;
  const auto add = [&](Bytes size) {
    if (size < 0 || size > (Bytes{1} << 60) || (total += size) > (Bytes{1} << 60)) {
      throw std::invalid_argument("sizes are negative, or sum above 2^60");
    }
  };
  for (std::size_t b = 0; b < buffers; ++b) {
    add(d_.sizes[b]);
    node(d_.producers[b], -1);
    if (d_.producers[b] >= 0) makes_[d_.producers[b]].push_back(static_cast<Index>(b));
    for (const Node c : d_.consumers[b]) {
      node(c, 0);
      reads_[c].push_back(static_cast<Index>(b));
    }
  }
  for (std::size_t v = 0; v < n; ++v) {
    add(d_.workspace[v]);
    if (!std::isfinite(d_.costs[v]) || d_.costs[v] < 0) throw std::invalid_argument("not a cost");
    base_cost_ += d_.costs[v];
    node(d_.order[v], 0);
    place_[d_.order[v]] = static_cast<Index>(v);
  }
  for (const Index place : place_) {
    if (place < 0) throw std::invalid_argument("the input order is not a permutation");
  }
  for (const auto& [v, pair] : d_.in_place) {
    node(v, 0);
    Index at = -1;
    for (std::size_t k = 0; k < reads_[v].size(); ++k) {
      if (reads_[v][k] == pair.second) at = static_cast<Index>(k);
    }
    if (at < 0 || pair.first < 0 || static_cast<std::size_t>(pair.first) >= buffers ||
        d_.producers[pair.first] != v || d_.sizes[pair.first] != d_.sizes[pair.second]) {
      throw std::invalid_argument("an in-place pair that is none");
    }
    if (in_place_[v].size() < kMostCandidates) in_place_[v].emplace_back(pair.first, at);
  }
}

}  // namespace lowtide::remat
