// NUMA: a machine of several nodes, each with CPUs and memory of its own that are near to one
// another. Keeping threads, weights and KV cache on one node spares them the way between nodes.
#ifndef TERN_ENGINE_NUMA_H_
#define TERN_ENGINE_NUMA_H_

#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace tern {

struct NumaNode {
  int id = 0;
  std::vector<int> cpus;       // that are online, SMT siblings included, ascending; may be none
  size_t memory_bytes = 0;     // of the node; may be 0
  size_t available_bytes = 0;  // free, or in caches of files, which can be dropped
};

inline constexpr char kNumaRoot[] = "/sys/devices/system/node";

// The nodes in ascending order of id; none where the system does not tell. `root` is where the
// kernel describes them.
std::vector<NumaNode> NumaNodes(const std::string& root = kNumaRoot);

// CPUs of "0-3,8": ascending. Text that is not such a list ends it.
std::vector<int> ParseCpuList(const std::string& text);

// The id of the node with the most available memory among those that have memory and one of
// `allowed_cpus`; none where there is no such node.
std::optional<int> BestNumaNode(const std::vector<NumaNode>& nodes,
                                const std::vector<int>& allowed_cpus);

// From now on this thread, and those that it starts, run on the node's CPUs (those that the process
// may use), and take new memory from the node alone; a page of a file that is in memory already
// stays where it is. Call before threads are started and a model is loaded. AvailableCores() counts
// the node's cores after that, and RequireMemory() its memory.
//
// Throws Error: no such node, a node without memory or CPUs for this process, a system that does
// not let a process choose. BindToBestNumaNode does nothing on a machine of one node.
void BindToNumaNode(int id, const std::vector<NumaNode>& nodes = NumaNodes());
void BindToBestNumaNode(const std::vector<NumaNode>& nodes = NumaNodes());

// The node that one of them has chosen.
std::optional<int> BoundNumaNode();

}  // namespace tern

#endif  // TERN_ENGINE_NUMA_H_
