#include "engine/system_fields.h"

#include <algorithm>
#include <charconv>
#include <fstream>
#include <system_error>

namespace tern {
namespace {

constexpr std::string_view kBlanks = " \t";

std::string_view AfterBlanks(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(kBlanks), text.size()));
  return text;
}

}  // namespace

std::string SystemField(const std::string& path, std::string_view name) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (!line.starts_with(name)) continue;
    const std::string_view rest = AfterBlanks(std::string_view(line).substr(name.size()));
    if (rest.starts_with(':')) return std::string(AfterBlanks(rest.substr(1)));
  }
  return "";
}

std::optional<size_t> SystemFieldBytes(const std::string& path, std::string_view name) {
  const std::string value = SystemField(path, name);
  size_t kilobytes = 0;
  const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), kilobytes);
  if (error != std::errc() || std::string_view(end) != " kB") return std::nullopt;
  return kilobytes * 1024;
}

}  // namespace tern
