// Orders of preference among the items that a search could stack next.
#pragma once

#include <cstdint>
#include <vector>

#include "allocation/problem.hpp"

namespace lowtide::allocation {

// Item -> place, per order, the most useful order first.  The keys, all falling: the greatest load
// of the item's sections, its length in time, its area, its size, the number of its sections.  No
// order is good for all instances, and a search with a bad one can last for ever, so a driver
// takes turns.
std::vector<std::vector<Id>> ranks(const Problem& problem);

// `rank` with every place moved by up to an eighth of the items, by `seed`.
std::vector<Id> perturbed(const std::vector<Id>& rank, std::uint64_t seed);

}  // namespace lowtide::allocation
