// Several texts in one input, with a NUL between them.
#ifndef TERN_TESTS_FUZZ_TAKE_PART_H_
#define TERN_TESTS_FUZZ_TAKE_PART_H_

#include <algorithm>
#include <string_view>

namespace tern {

// `text` up to its first NUL; takes that much and the NUL off it.
inline std::string_view TakePart(std::string_view& text) {
  const std::string_view part = text.substr(0, text.find('\0'));
  text.remove_prefix(std::min(part.size() + 1, text.size()));
  return part;
}

}  // namespace tern

#endif  // TERN_TESTS_FUZZ_TAKE_PART_H_
