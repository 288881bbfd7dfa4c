// Parts of a JSON text as it was sent: parsed, objects lose the order of their members, and a
// schema's properties are asked for in that order.
#ifndef TERN_SERVER_JSON_SLICES_H_
#define TERN_SERVER_JSON_SLICES_H_

#include <string>
#include <string_view>
#include <vector>

namespace tern {

// The value of the member `key` of the object `text`, the last one where there are several; empty
// where `text` is no object or has none. REQUIRES valid JSON.
std::string_view JsonMember(std::string_view text, std::string_view key);
// The values of the list `text`; none where it is no list. REQUIRES valid JSON.
std::vector<std::string_view> JsonItems(std::string_view text);

// The same value as Python's json.dumps writes it with ensure_ascii=False: a space behind commas
// and colons, no other white space, strings without needless escapes. Numbers stay as they are.
// REQUIRES valid JSON.
std::string PythonJson(std::string_view text);

}  // namespace tern

#endif  // TERN_SERVER_JSON_SLICES_H_
