#include "server/json_slices.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "engine/json_text.h"

namespace tern {
namespace {

std::string_view WithoutSpace(std::string_view text) {
  constexpr const char* kSpace = " \t\r\n";
  const size_t begin = text.find_first_not_of(kSpace);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kSpace) - begin + 1);
}

// The pieces between the commas of the outermost brackets, and where the colon of each is: npos in
// a list.
std::vector<std::pair<std::string_view, size_t>> Pieces(std::string_view text) {
  std::vector<std::pair<std::string_view, size_t>> pieces;
  size_t begin = 1, colon = std::string_view::npos;
  int depth = 0;
  EachOutsideJsonStrings(text, [&](size_t at) {
    const char c = text[at];
    if (c == '{' || c == '[') ++depth;
    if (c == '}' || c == ']') --depth;
    if (c == ':' && depth == 1) colon = at - begin;
    if ((c == ',' && depth == 1) || depth == 0) {
      const std::string_view piece = text.substr(begin, at - begin);
      if (!WithoutSpace(piece).empty()) pieces.emplace_back(piece, colon);
      begin = at + 1;
      colon = std::string_view::npos;
    }
    return true;
  });
  return pieces;
}

}  // namespace

std::string_view JsonMember(std::string_view text, std::string_view key) {
  text = WithoutSpace(text);
  std::string_view value;
  if (!text.starts_with('{')) return value;
  for (const auto& [piece, colon] : Pieces(text)) {
    const auto name = nlohmann::json::parse(piece.substr(0, colon), nullptr, false);
    if (name == key) value = WithoutSpace(piece.substr(colon + 1));
  }
  return value;
}

std::vector<std::string_view> JsonItems(std::string_view text) {
  text = WithoutSpace(text);
  std::vector<std::string_view> items;
  if (!text.starts_with('[')) return items;
  for (const auto& [piece, colon] : Pieces(text)) items.push_back(WithoutSpace(piece));
  return items;
}

std::string PythonJson(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    if (c == '"') {
      size_t end = at + 1;
      while (text[end] != '"') end += text[end] == '\\' ? 2 : 1;
      out += nlohmann::json::parse(text.substr(at, end + 1 - at)).dump();
      at = end;
    } else if (c != ' ' && c != '\t' && c != '\r' && c != '\n') {
      out += c;
      if (c == ',' || c == ':') out += ' ';
    }
  }
  return out;
}

}  // namespace tern
