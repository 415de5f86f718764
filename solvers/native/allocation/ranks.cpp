#include "allocation/ranks.hpp"

#include <algorithm>
#include <array>
#include <numeric>
#include <random>

namespace lowtide::allocation {

namespace {

enum Key : std::size_t { kLoad, kLength, kArea, kSize, kSections, kKeys };

constexpr std::array<std::array<Key, 3>, 6> kOrders{{
    {kLoad, kLength, kArea},
    {kSections, kSize, kLoad},
    {kLength, kArea, kLoad},
    {kSize, kLength, kLoad},
    {kLoad, kArea, kLength},
    {kArea, kLength, kLoad},
}};

std::vector<Id> places(const std::vector<Id>& order) {
  std::vector<Id> rank(order.size());
  for (std::size_t k = 0; k < order.size(); ++k) rank[order[k]] = static_cast<Id>(k);
  return rank;
}

}  // namespace

std::vector<std::vector<Id>> ranks(const Problem& problem) {
  std::vector<Offset> loads;
  for (const auto& section : problem.sections()) {
    Offset load = 0;
    for (const Member& m : section) load += m.size;
    loads.push_back(load);
  }
  // The area may be beyond 64 bits: a float decides nothing but the order of the search.
  std::vector<std::array<double, kKeys>> keys(problem.size());
  for (std::size_t u = 0; u < problem.size(); ++u) {
    auto& key = keys[u];
    key.fill(0);
    for (const auto& [begin, end] : problem.spans(static_cast<Id>(u))) {
      for (Id s = begin; s < end; ++s) {
        key[kLoad] = std::max(key[kLoad], static_cast<double>(loads[s]));
      }
      key[kSections] += static_cast<double>(end - begin);
    }
    for (const Piece& p : problem.item(static_cast<Id>(u)).pieces) {
      const double length = static_cast<double>(p.upper) - static_cast<double>(p.lower);
      key[kLength] += length;
      key[kArea] += length * static_cast<double>(p.size);
    }
    key[kSize] = static_cast<double>(problem.height(static_cast<Id>(u)));
  }
  std::vector<std::vector<Id>> result;
  for (const auto& order : kOrders) {
    std::vector<Id> items(problem.size());
    std::iota(items.begin(), items.end(), 0);
    std::sort(items.begin(), items.end(), [&](Id x, Id y) {
      for (Key k : order) {
        if (keys[x][k] != keys[y][k]) return keys[x][k] > keys[y][k];
      }
      return x < y;
    });
    result.push_back(places(items));
  }
  return result;
}

std::vector<Id> perturbed(const std::vector<Id>& rank, std::uint64_t seed) {
  std::mt19937_64 random(seed);
  const std::uint64_t reach = rank.size() / 8 + 1;
  std::vector<std::uint64_t> moved(rank.size());
  for (std::size_t u = 0; u < rank.size(); ++u) {
    moved[u] = static_cast<std::uint64_t>(rank[u]) + random() % reach;
  }
  std::vector<Id> items(rank.size());
  std::iota(items.begin(), items.end(), 0);
  std::sort(items.begin(), items.end(),
            [&](Id x, Id y) { return moved[x] != moved[y] ? moved[x] < moved[y] : x < y; });
  return places(items);
}

}  // namespace lowtide::allocation
