// Fields of the text files in which Linux describes itself (/proc/meminfo, /proc/cpuinfo and
// others): lines of a name, a colon and a value.
#ifndef TERN_ENGINE_SYSTEM_FIELDS_H_
#define TERN_ENGINE_SYSTEM_FIELDS_H_

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

namespace tern {

// The value of the first line with that name, without blanks before it; "" where there is none, or
// no such file.
std::string SystemField(const std::string& path, std::string_view name);

// Of a field like "MemTotal:  1234 kB". Nothing where there is none, or it is no such number.
std::optional<size_t> SystemFieldBytes(const std::string& path, std::string_view name);

}  // namespace tern

#endif  // TERN_ENGINE_SYSTEM_FIELDS_H_
