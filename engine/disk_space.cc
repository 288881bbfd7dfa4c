#include "engine/disk_space.h"

#include <filesystem>
#include <system_error>

namespace tern {

std::optional<uint64_t> FreeDiskBytes(const std::string& path) {
  namespace fs = std::filesystem;
  fs::path place = fs::absolute(path).lexically_normal();
  std::error_code code;
  while (!fs::exists(place, code) && place.has_relative_path()) place = place.parent_path();
  const uint64_t free = fs::space(place, code).available;
  if (code) return std::nullopt;
  return free;
}

}  // namespace tern
