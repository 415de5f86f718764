// The allocation problem of the exact search: items, the sections of time, and who meets whom.
//
//     offset
//       |      ┌──┐              An item has a flat base and one height per piece of its lifetime:
//       |   ┌──┘  │              a plain buffer is one piece; a gap lies between two pieces;
//       buffers |   │ one └───┐          that were merged to share one offset are pieces side by
//       side. |   │ item    │   ┌──┐
//       +---┴---------┴---┴--┴-- time
//             |   |   |            a section is a moment at which a maximal set of items is alive
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "allocation/packer.hpp"

namespace lowtide::allocation {

struct Piece {
  Time lower, upper;  // half-open
  Offset size;
};

struct Item {
  std::vector<Piece> pieces;  // disjoint, ascending
  Offset alignment = 1;
  Offset fixed = -1;  // a given base, or -1
};

// Two items that are alive together.
struct Contact {
  Id other;
  Offset over;   // how far above this item's base the other's must be, when it is the upper one
  Offset under;  // how far below this item's base the other's must be, when it is the lower one
};

// One item of a section.
struct Member {
  Id item;
  Offset size;
};

class Problem {
 public:
  // Throws std::invalid_argument on what cannot be meant: an empty or unordered piece, a negative
  // size, an alignment below 1, sizes that sum above 2^60, more than `most_contacts` meetings.
  explicit Problem(std::vector<Item> items, std::size_t most_contacts = std::size_t{1} << 23);

  std::size_t size() const { return items_.size(); }
  const Item& item(Id u) const { return items_[static_cast<std::size_t>(u)]; }
  Offset height(Id u) const { return heights_[static_cast<std::size_t>(u)]; }
  Offset align(Id u, Offset x) const {
    const Offset a = items_[static_cast<std::size_t>(u)].alignment;
    return (x + a - 1) / a * a;
  }
  std::span<const Contact> contacts(Id u) const { return contacts_[static_cast<std::size_t>(u)]; }
  const std::vector<std::vector<Member>>& sections() const { return sections_; }
  // Half-open ranges of sections in which the item is alive.
  std::span<const std::pair<Id, Id>> spans(Id u) const {
    return spans_[static_cast<std::size_t>(u)];
  }
  // The item just like `u` that comes before it (see search.hpp), or -1.
  Id twin(Id u) const { return twins_[static_cast<std::size_t>(u)]; }
  // Every offset is a multiple of it.
  Offset granule() const { return granule_; }
  // Items that no chain of meetings connects can be packed apart.
  std::vector<std::vector<Id>> parts() const;
  // The greatest load of a section, alignment considered, and the top of every fixed item.
  Offset lower_bound() const { return lower_bound_; }
  // Whether two fixed items overlap, so that there is no layout.
  bool contradictory() const { return contradictory_; }
  // Whether `offsets` is a layout: aligned, as fixed, and disjoint wherever two items meet.
  bool accepts(std::span<const Offset> offsets) const;

 private:
  void meet(std::size_t most_contacts);
  void cut();
  void bound();

  std::vector<Item> items_;
  std::vector<Offset> heights_;
  std::vector<std::vector<Contact>> contacts_;
  std::vector<std::vector<Member>> sections_;
  std::vector<std::vector<std::pair<Id, Id>>> spans_;
  std::vector<Id> twins_;
  Offset granule_ = 0, lower_bound_ = 0;
  bool contradictory_ = false;
};

}  // namespace lowtide::allocation
