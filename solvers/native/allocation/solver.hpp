// The driver of the exact allocator: greedy layouts, the load bound, then decision searches in
// growing slices that are counted in branches, so that a run is repeatable unless the clock ends
// it.
//
// Each slice goes through the orders of preference (ranks.hpp), as a search that starts badly can
// last for ever while another order ends at once.  Items that no chain of meetings connects are
// packed apart.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "allocation/problem.hpp"
#include "allocation/search.hpp"
#include "control.hpp"

namespace lowtide::allocation {

class Solver {
 public:
  Solver(const Problem& problem, const SearchOptions& options, std::uint64_t seed);

  // Takes a layout as a start; throws std::invalid_argument when it is none.
  void offer(const std::vector<Offset>& offsets, const std::string& method);

  // Runs until the height reaches the bound, or `enough` (-1: none); until the bound exceeds
  // `enough`; or until `control` stops.  Height and bound hold in every case.
  void run(Offset enough, Control& control);

  bool has_layout() const;
  std::vector<Offset> offsets() const;
  Offset height() const;  // of offsets()
  Offset bound() const { return bound_; }
  const std::string& method() const { return method_; }
  const std::string& bound_method() const { return bound_method_; }
  std::uint64_t branches() const { return branches_; }

 private:
  struct Part {
    std::vector<Id> items;
    std::unique_ptr<Problem> own;  // null: the whole problem
    const Problem* problem;
    std::vector<std::vector<Id>> ranks;
    std::vector<Offset> offsets;  // of the part's items; empty: none yet
    Offset upper;                 // their height
    Offset lower;
    std::uint64_t round = 0;
  };

  void accept(Part& part, const std::vector<Offset>& offsets, const char* method);
  void raise(Part& part, Offset bound, const char* method);
  void descend(Control& control);
  void search(Part& part, Offset enough, Control& control);

  const Problem& problem_;
  SearchOptions options_;
  std::uint64_t seed_;
  std::vector<Part> parts_;
  Offset bound_;
  std::string method_, bound_method_ = "load";
  std::uint64_t branches_ = 0;
};

}  // namespace lowtide::allocation
