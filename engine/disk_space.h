// How much may still be written.
#ifndef TERN_ENGINE_DISK_SPACE_H_
#define TERN_ENGINE_DISK_SPACE_H_

#include <cstdint>
#include <optional>
#include <string>

namespace tern {

// Bytes free where `path`, a file or folder that need not be there yet, would be written; nothing
// where the system does not tell.
std::optional<uint64_t> FreeDiskBytes(const std::string& path);

}  // namespace tern

#endif  // TERN_ENGINE_DISK_SPACE_H_
