#include "engine/char_set.h"

#include <algorithm>

namespace tern {

void CharSet::Add(uint32_t low, uint32_t high) {
  // The ranges that overlap the new one or touch it become one with it.
  const auto first = std::ranges::lower_bound(ranges_, low, {}, [](const Range& range) {
    return range.high == kLast ? kLast : range.high + 1;
  });
  auto last = first;
  while (last != ranges_.end() && last->low <= (high == kLast ? kLast : high + 1)) {
    low = std::min(low, last->low);
    high = std::max(high, last->high);
    ++last;
  }
  ranges_.insert(ranges_.erase(first, last), {low, high});
}

CharSet CharSet::Others() const {
  CharSet others;
  uint32_t next = 0;
  for (const Range& range : ranges_) {
    if (range.low > next) others.ranges_.push_back({next, range.low - 1});
    if (range.high == kLast) return others;
    next = range.high + 1;
  }
  others.ranges_.push_back({next, kLast});
  return others;
}

bool CharSet::Has(uint32_t character) const {
  const auto found = std::ranges::lower_bound(ranges_, character, {}, &Range::high);
  return found != ranges_.end() && found->low <= character;
}

}  // namespace tern
