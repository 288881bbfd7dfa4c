// Parses JSON of strangers: files and requests.
#ifndef TERN_ENGINE_JSON_TEXT_H_
#define TERN_ENGINE_JSON_TEXT_H_

#include <cstddef>
#include <string_view>

namespace tern {

// No file that we read nests values deeper.
constexpr int kMostJsonNesting = 256;

// Calls fn(at) for the places in `text` that are outside of strings, quotes that open one included,
// until it returns false. Returns whether it never did.
template <class Fn>
bool EachOutsideJsonStrings(std::string_view text, const Fn& fn) {
  bool in_string = false;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (in_string) {
      if (c == '\\') ++at;
      in_string = c != '"';
      continue;
    }
    in_string = c == '"';
    if (!fn(at)) return false;
  }
  return true;
}

// True where brackets nest deeper than that. To print, copy or compare parsed JSON takes stack for
// every level, so a text of brackets alone would end the process.
inline bool JsonNestsTooDeep(std::string_view text) {
  int depth = 0;
  return !EachOutsideJsonStrings(text, [&](size_t at) {
    const char c = text[at];
    if (c == '[' || c == '{') ++depth;
    if (c == ']' || c == '}') --depth;
    return depth <= kMostJsonNesting;
  });
}

// The value of `text`, of nlohmann's type `Json`; discarded where it is not JSON or nests too deep.
template <class Json>
Json ParseJson(std::string_view text) {
  if (JsonNestsTooDeep(text)) return Json(Json::value_t::discarded);
  return Json::parse(text, nullptr, /*allow_exceptions=*/false);
}

}  // namespace tern

#endif  // TERN_ENGINE_JSON_TEXT_H_
