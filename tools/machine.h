// What this machine offers to a program that computes, and what stands in its way, in plain words.
#ifndef TERN_TOOLS_MACHINE_H_
#define TERN_TOOLS_MACHINE_H_

#include <cstddef>
#include <string>
#include <vector>

#include "engine/numa.h"

namespace tern {

struct CpuCache {
  int level = 0;
  std::string type;  // Data, Instruction or Unified
  size_t bytes = 0;
  int cpus = 1;  // logical CPUs that share it
};

// Whatever the system does not tell is empty or 0.
struct Machine {
  std::string cpu;               // its name
  int logical_cpus = 0;          // online
  int physical_cores = 0;        // SMT siblings counted once
  int allowed_cpus = 0;          // logical CPUs of this process's affinity mask
  double cgroup_cpus = 0;        // CPUs that the cgroup's quota grants; 0: no limit
  std::vector<CpuCache> caches;  // of the first CPU
  std::vector<NumaNode> numa_nodes;
  bool virtual_machine = false;
  std::string governor;  // of the first CPU's frequency
  double load = 0;       // programs that want a CPU, mean of the last minute
  size_t memory_bytes = 0, swap_bytes = 0, swap_used_bytes = 0;
  size_t cgroup_memory_bytes = 0;  // limit; 0: none
  std::string huge_pages;          // transparent ones: always, madvise or never
};

// Reads /proc and /sys; `root` stands before their paths, for tests. The affinity mask is this
// process's.
Machine ReadMachine(const std::string& root = "");

struct Advice {
  std::string what, todo;
};
// What makes tern slower or less reliable here than it need be. `targets` are the instruction sets
// that kernels can use here, rising; `chosen` is the one in force; `threads` those in use.
std::vector<Advice> AdviceFor(const Machine& machine, const std::vector<std::string>& targets,
                              const std::string& chosen, int threads);

}  // namespace tern

#endif  // TERN_TOOLS_MACHINE_H_
