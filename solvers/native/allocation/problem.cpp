#include "allocation/problem.hpp"

#include <algorithm>
#include <map>
#include <numeric>
#include <stdexcept>
#include <string>
#include <tuple>

namespace lowtide::allocation {

namespace {

constexpr Offset kMost = Offset{1} << 60;

void validate(const std::vector<Item>& items) {
  Offset total = 0;
  const auto add = [&](Offset x) {
    if (x > kMost - total) throw std::invalid_argument("the sizes sum above 2^60");
    total += x;
  };
  for (const Item& item : items) {
    if (item.alignment < 1 || item.alignment > kMost) {
      throw std::invalid_argument("alignment out of range");
    }
    if (item.fixed < -1 || (item.fixed > 0 && item.fixed % item.alignment != 0)) {
      throw std::invalid_argument("a fixed offset is negative or not aligned");
    }
    add(item.alignment);
    add(std::max<Offset>(item.fixed, 0));
    if (item.pieces.empty()) throw std::invalid_argument("an item has no piece");
    for (std::size_t k = 0; k < item.pieces.size(); ++k) {
      const Piece& piece = item.pieces[k];
      if (piece.size < 0 || piece.lower >= piece.upper ||
          (k > 0 && piece.lower < item.pieces[k - 1].upper)) {
        throw std::invalid_argument("a piece is empty, negative or out of order");
      }
      add(piece.size);
    }
  }
}

bool covers(const std::vector<Member>& larger, const std::vector<Member>& smaller) {
  auto at = larger.begin();
  for (const Member& m : smaller) {
    while (at != larger.end() && at->item < m.item) ++at;
    if (at == larger.end() || at->item != m.item || at->size < m.size) return false;
  }
  return true;
}

}  // namespace

Problem::Problem(std::vector<Item> items, std::size_t most_contacts)
    : items_(std::move(items)),
      heights_(items_.size()),
      contacts_(items_.size()),
      spans_(items_.size()),
      twins_(items_.size(), -1) {
  validate(items_);
  for (std::size_t u = 0; u < items_.size(); ++u) {
    std::erase_if(items_[u].pieces, [](const Piece& p) { return p.size == 0; });
    for (const Piece& p : items_[u].pieces) heights_[u] = std::max(heights_[u], p.size);
    granule_ = std::gcd(granule_, items_[u].alignment);
  }
  granule_ = std::max<Offset>(granule_, 1);
  meet(most_contacts);
  cut();
  bound();
}

// Sweeps over the pieces by their begin: the contacts and the fixed items' overlaps.
void Problem::meet(std::size_t most_contacts) {
  struct Alive {
    Time upper;
    Id item;
    Offset size;
  };
  std::vector<std::tuple<Time, Id, std::size_t>> starts;
  for (std::size_t u = 0; u < items_.size(); ++u) {
    for (std::size_t k = 0; k < items_[u].pieces.size(); ++k) {
      starts.emplace_back(items_[u].pieces[k].lower, static_cast<Id>(u), k);
    }
  }
  std::sort(starts.begin(), starts.end());
  std::vector<Alive> alive;
  std::size_t count = 0;
  for (const auto& [lower, u, k] : starts) {
    const Time now = lower;
    const Piece& piece = items_[u].pieces[k];
    std::erase_if(alive, [&](const Alive& a) { return a.upper <= now; });
    count += alive.size();
    if (count > most_contacts) {
      throw std::length_error("more than " + std::to_string(most_contacts) +
                              " pairs of buffers are alive together");
    }
    for (const Alive& a : alive) {
      contacts_[u].push_back({a.item, piece.size, a.size});
      contacts_[a.item].push_back({u, a.size, piece.size});
    }
    alive.push_back({piece.upper, u, piece.size});
  }
  for (auto& list : contacts_) {  // pieces of one pair: the highest count
    std::sort(list.begin(), list.end(),
              [](const Contact& x, const Contact& y) { return x.other < y.other; });
    std::size_t kept = 0;
    for (const Contact& c : list) {
      if (kept > 0 && list[kept - 1].other == c.other) {
        list[kept - 1].over = std::max(list[kept - 1].over, c.over);
        list[kept - 1].under = std::max(list[kept - 1].under, c.under);
      } else {
        list[kept++] = c;
      }
    }
    list.resize(kept);
    list.shrink_to_fit();
  }
  for (std::size_t u = 0; u < items_.size(); ++u) {
    if (items_[u].fixed < 0) continue;
    for (const Contact& c : contacts_[u]) {
      const Offset other = items_[c.other].fixed;
      if (other < 0) continue;
      if (items_[u].fixed < other + c.under && other < items_[u].fixed + c.over) {
        contradictory_ = true;
      }
    }
  }
}

// The sections: the live sets between two ends of pieces, less those that a neighbour covers.
void Problem::cut() {
  std::map<Time, std::vector<std::pair<Id, Offset>>> events;  // item, its new size (0: it ends)
  for (std::size_t u = 0; u < items_.size(); ++u) {
    for (const Piece& p : items_[u].pieces) {
      events[p.upper].emplace_back(static_cast<Id>(u), 0);
    }
  }
  for (std::size_t u = 0; u < items_.size(); ++u) {
    for (const Piece& p : items_[u].pieces) {
      events[p.lower].emplace_back(static_cast<Id>(u), p.size);
    }
  }
  std::map<Id, Offset> live;
  const auto close = [&](std::vector<Member> section) {
    while (!sections_.empty() && covers(section, sections_.back())) sections_.pop_back();
    if (!section.empty() && (sections_.empty() || !covers(sections_.back(), section))) {
      sections_.push_back(std::move(section));
    }
  };
  bool grew = false;
  for (auto& [time, changes] : events) {
    bool shrinks = false;
    for (const auto& [item, size] : changes) shrinks = shrinks || size == 0;
    // A set that only grows next is covered by the next one.
    if (grew && shrinks) {
      std::vector<Member> section;
      section.reserve(live.size());
      for (const auto& [item, size] : live) section.push_back({item, size});
      close(std::move(section));
      grew = false;
    }
    for (const auto& [item, size] : changes) {
      if (size == 0) {
        live.erase(item);
      } else {
        live[item] = size;
        grew = true;
      }
    }
  }
  for (std::size_t s = 0; s < sections_.size(); ++s) {
    for (const Member& m : sections_[s]) {
      auto& spans = spans_[m.item];
      const Id at = static_cast<Id>(s);
      if (spans.empty() || spans.back().second != at) spans.emplace_back(at, at);
      ++spans.back().second;
    }
  }
  // Twins: the same pieces and alignment, neither fixed.
  std::map<std::vector<std::tuple<Time, Time, Offset>>, std::map<Offset, Id>> last;
  for (std::size_t u = 0; u < items_.size(); ++u) {
    if (items_[u].fixed >= 0 || items_[u].pieces.empty()) continue;
    std::vector<std::tuple<Time, Time, Offset>> shape;
    for (const Piece& p : items_[u].pieces) shape.emplace_back(p.lower, p.upper, p.size);
    auto [place, is_new] =
        last[std::move(shape)].try_emplace(items_[u].alignment, static_cast<Id>(u));
    if (!is_new) twins_[u] = std::exchange(place->second, static_cast<Id>(u));
  }
}

std::vector<std::vector<Id>> Problem::parts() const {
  std::vector<std::vector<Id>> parts;
  std::vector<std::uint8_t> seen(items_.size(), 0);
  for (std::size_t u = 0; u < items_.size(); ++u) {
    if (seen[u] != 0) continue;
    seen[u] = 1;
    std::vector<Id> part(1, static_cast<Id>(u));
    for (std::size_t k = 0; k < part.size(); ++k) {
      for (const Contact& c : contacts_[part[k]]) {
        if (seen[c.other] != 0) continue;
        seen[c.other] = 1;
        part.push_back(c.other);
      }
    }
    std::sort(part.begin(), part.end());
    parts.push_back(std::move(part));
  }
  return parts;
}

// In a section every item but the topmost takes a multiple of the granule, as the next one above it
// starts at one.
void Problem::bound() {
  for (const auto& section : sections_) {
    Offset load = 0, most = 0;
    for (const Member& m : section) {
      const Offset rounded = (m.size + granule_ - 1) / granule_ * granule_;
      load += rounded;
      most = std::max(most, rounded - m.size);
    }
    lower_bound_ = std::max(lower_bound_, load - most);
  }
  for (std::size_t u = 0; u < items_.size(); ++u) {
    lower_bound_ = std::max(lower_bound_, std::max<Offset>(items_[u].fixed, 0) + heights_[u]);
  }
}

bool Problem::accepts(std::span<const Offset> offsets) const {
  if (offsets.size() != items_.size()) return false;
  for (std::size_t u = 0; u < items_.size(); ++u) {
    if (offsets[u] < 0 || offsets[u] % items_[u].alignment != 0) return false;
    if (items_[u].fixed >= 0 && offsets[u] != items_[u].fixed) return false;
    for (const Contact& c : contacts_[u]) {
      if (offsets[u] < offsets[c.other] + c.under && offsets[c.other] < offsets[u] + c.over) {
        return false;
      }
    }
  }
  return true;
}

}  // namespace lowtide::allocation
