#include "engine/memory.h"

#include <algorithm>
#include <cstdint>
#include <fstream>
#include <optional>

#include "engine/error.h"
#include "engine/numa.h"
#include "engine/system_fields.h"

namespace tern {
namespace {

// Free pages, and caches that can be dropped.
size_t SystemAvailable() {
  return SystemFieldBytes("/proc/meminfo", "MemAvailable").value_or(SIZE_MAX);
}

std::optional<size_t> ReadNumber(const char* path) {
  size_t value;
  if (std::ifstream file(path); file >> value) return value;
  return std::nullopt;  // "max", or no such file
}

// The inactive file cache counts as used in memory.current, but can be dropped.
size_t DroppableCache() {
  std::ifstream file("/sys/fs/cgroup/memory.stat");
  size_t value;
  for (std::string name; file >> name >> value;) {
    if (name == "inactive_file") return value;
  }
  return 0;
}

size_t CgroupAvailable() {
  const std::optional<size_t> limit = ReadNumber("/sys/fs/cgroup/memory.max");
  const std::optional<size_t> used = ReadNumber("/sys/fs/cgroup/memory.current");
  if (!limit || !used) return SIZE_MAX;
  const size_t held = *used - std::min(*used, DroppableCache());
  return *limit - std::min(*limit, held);
}

// Of the node that --numa keeps memory on.
size_t NodeAvailable() {
  const std::optional<int> bound = BoundNumaNode();
  if (!bound) return SIZE_MAX;
  for (const NumaNode& node : NumaNodes()) {
    if (node.id == *bound) return node.available_bytes;
  }
  return SIZE_MAX;
}

std::string Megabytes(size_t bytes) {
  return std::to_string((bytes + 999'999) / 1'000'000) + " MB";
}

}  // namespace

size_t AvailableMemoryBytes() {
  return std::min({SystemAvailable(), CgroupAvailable(), NodeAvailable()});
}

void RequireMemory(const std::string& what, size_t bytes) {
  const size_t available = AvailableMemoryBytes();
  if (bytes <= available) return;
  const std::optional<int> node = BoundNumaNode();
  throw Error(Error::Kind::kInternal,
              what + " needs " + Megabytes(bytes) + " of memory, " + Megabytes(available) +
                  " are available" +
                  (node ? " on NUMA node " + std::to_string(*node) +
                              "; use another node, no --numa or a smaller model"
                        : "; free some or use a smaller model"));
}

}  // namespace tern
