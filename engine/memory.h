// What memory this process may still take, so that a model that cannot fit is refused before it is
// loaded.
#ifndef TERN_ENGINE_MEMORY_H_
#define TERN_ENGINE_MEMORY_H_

#include <cstddef>
#include <string>

namespace tern {

// Bytes available without swapping: the smallest of the system's estimate, what the cgroup leaves
// and what the bound NUMA node has (engine/numa.h). SIZE_MAX where none says.
size_t AvailableMemoryBytes();

// Throws Error(kInternal) "WHAT needs X MB of memory, Y MB are available; ..." where it does not
// fit.
void RequireMemory(const std::string& what, size_t bytes);

}  // namespace tern

#endif  // TERN_ENGINE_MEMORY_H_
