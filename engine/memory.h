// What memory this process may still take, so that a model that cannot fit is refused before it is
// loaded.
#ifndef TERN_ENGINE_MEMORY_H_
#define TERN_ENGINE_MEMORY_H_

#include <cstddef>
#include <string>

namespace tern {

// Bytes available without swapping: the smaller of the system's estimate and what the cgroup
// leaves. SIZE_MAX where neither says.
size_t AvailableMemoryBytes();

// Throws Error(kInternal) "WHAT needs X MB of memory, Y MB are available; ..." where it does not
// fit.
void RequireMemory(const std::string& what, size_t bytes);

}  // namespace tern

#endif  // TERN_ENGINE_MEMORY_H_
