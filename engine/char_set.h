// Sets of characters (Unicode code points), as ranges.
#ifndef TERN_ENGINE_CHAR_SET_H_
#define TERN_ENGINE_CHAR_SET_H_

#include <compare>
#include <cstdint>
#include <vector>

namespace tern {

class CharSet {
 public:
  static constexpr uint32_t kLast = 0x10FFFF;
  struct Range {
    uint32_t low, high;  // inclusive
    auto operator<=>(const Range&) const = default;
  };

  CharSet() = default;  // empty
  CharSet(std::initializer_list<Range> ranges) {
    for (const Range& range : ranges) Add(range.low, range.high);
  }
  static CharSet All() { return {{0, kLast}}; }

  // REQUIRES low <= high <= kLast.
  void Add(uint32_t low, uint32_t high);
  void Add(const CharSet& other) {
    for (const Range& range : other.ranges_) Add(range.low, range.high);
  }
  // All characters that are not in it.
  CharSet Others() const;
  bool Has(uint32_t character) const;
  bool empty() const { return ranges_.empty(); }
  // Ascending, apart from each other.
  const std::vector<Range>& ranges() const { return ranges_; }
  auto operator<=>(const CharSet&) const = default;

 private:
  std::vector<Range> ranges_;
};

}  // namespace tern

#endif  // TERN_ENGINE_CHAR_SET_H_
