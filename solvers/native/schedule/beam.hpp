// Beam search for orders of a segment: node by node, the `width` best distinct ideals are kept.
#pragma once

#include <vector>

#include "control.hpp"
#include "schedule/problem.hpp"

namespace lowtide::schedule {

// Forward from the segment's start or backward from its end.  States are ranked by the peak so far
// (not below `floor`, which is reached in any case), then by mem. A node that frees as much as it
// makes, within that peak, is the only child of its state (a one-step commit, see search.hpp; a
// backward one may lose a saving, which costs a beam no proof).  Empty if `control` stops, or if
// all states reach `limit`. O(nodes * width * (ready + nodes)).
std::vector<Node> beam(const Problem& problem, const Segment& segment, std::size_t width,
                       Bytes floor, Bytes limit, bool forward, Control& control);

}  // namespace lowtide::schedule
