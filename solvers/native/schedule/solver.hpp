// The driver: cut nodes, incumbents, the min-cut bound, reordering around the min cuts, then beams
// and decision searches, with and without deduced precedence, in slices that are counted in states,
// so that a run is repeatable unless the clock ends it.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "control.hpp"
#include "schedule/problem.hpp"
#include "schedule/search.hpp"

namespace lowtide::schedule {

// Every technique is a switch; any combination gives the same optimum, sooner or later.
struct Techniques {
  bool one_step = true;
  bool macro = true;
  bool backward = true;
  bool min_cut = true;
  bool reorder = true;
  bool windows = true;
  bool cut_nodes = true;
  bool beam = true;
  bool deduce = true;
  bool probe = true;
  bool guards = true;  // in searches with deduced precedence
  std::size_t visited_bytes = std::size_t{1} << 28;
  bool exact_states = false;
};

class Solver {
 public:
  Solver(const Problem& problem, const Techniques& techniques);

  // Takes the best parts of `order`; throws std::invalid_argument when it is not valid.
  void offer(std::span<const Node> order, const std::string& method);

  // Runs until the bound is reached or `control` stops.  `order` and the bounds hold in either
  // case.
  void run(Control& control);

  std::vector<Node> order() const;
  Bytes peak() const;   // of order()
  Bytes bound() const;  // no order has a lower peak
  const std::string& method() const { return method_; }
  const std::string& bound_method() const { return bound_method_; }
  std::uint64_t states() const { return states_; }
  std::uint64_t flows() const { return flows_; }

 private:
  // The nodes between two cut nodes.  upper: the peak of `order`; no order has less than lower.
  struct Part {
    std::size_t begin, end;
    std::vector<Node> order;
    Bytes upper, lower;
    std::size_t round = 0;
    // The problem with the precedence deduced at a budget, and up to where that holds.
    Bytes budget = -1, holds_below = 0;
    std::shared_ptr<const Problem> deduced = nullptr;
  };

  bool is_open(const Part& part) const { return part.upper > floor_; }
  void raise(Part& part, Bytes bound, const char* method);
  bool accept(Part& part, std::span<const Node> order, const char* method);
  Segment segment_of(const Part& part) const;
  std::vector<Bytes> transients_of(const Segment& segment, std::span<const Node> order) const;
  void bound_part(Part& part, const Segment& segment, Control& control);
  void reorder_part(Part& part, const Segment& segment, Control& control);
  void squeeze(Part& part, std::size_t begin, std::size_t end, std::uint64_t slice,
               Control& control);
  void polish_part(Part& part, const Segment& segment, std::uint64_t slice, Control& control);
  static std::vector<std::size_t> by_falling(const std::vector<Bytes>& transients);
  bool deduce_part(Part& part, const Segment& segment, Bytes budget, Control& control);
  void probe_part(Part& part, const Segment& segment, Control& control);
  void search_deduced(Part& part, const Segment& segment, Control& control);
  void beam_part(Part& part, const Segment& segment, Control& control);
  void search_part(Part& part, const Segment& segment, Control& control);

  const Problem& problem_;
  Techniques techniques_;
  std::vector<Part> parts_;
  std::vector<std::uint8_t> flowed_;  // per node: its min-cut bound is part of its part's
  Bytes floor_ = 0;                   // the greatest lower bound of the parts
  std::string method_, bound_method_ = "trivial";
  std::uint64_t states_ = 0, flows_ = 0;
};

}  // namespace lowtide::schedule
