#include "tools/machine.h"

#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <set>
#include <utility>

#include "engine/system_fields.h"

namespace tern {
namespace {

namespace fs = std::filesystem;

// The first word of a file; empty where it cannot be read.
std::string Word(const std::string& path) {
  std::string word;
  std::ifstream(path) >> word;
  return word;
}

int Number(const std::string& path, int otherwise) {
  int number;
  return std::ifstream(path) >> number ? number : otherwise;
}

int CountOfList(const std::string& cpus) { return static_cast<int>(ParseCpuList(cpus).size()); }

// "32K", "1M".
size_t SizeOf(const std::string& text) {
  char* end = nullptr;
  const size_t number = std::strtoull(text.c_str(), &end, 10);
  return number << (*end == 'K' ? 10 : *end == 'M' ? 20 : 0);
}

void ReadCpuInfo(const std::string& root, Machine& machine) {
  const std::string path = root + "/proc/cpuinfo";
  machine.cpu = SystemField(path, "model name");
  machine.virtual_machine = SystemField(path, "flags").find(" hypervisor") != std::string::npos;
  if (machine.cpu.empty()) {  // arm64 numbers CPUs and names boards
    std::ifstream board(root + "/proc/device-tree/model");
    std::getline(board, machine.cpu, '\0');
  }
}

void ReadCores(const std::string& cpus, Machine& machine) {
  machine.logical_cpus = CountOfList(Word(cpus + "/online"));
  std::set<std::string> cores;  // CPUs of one core share their list of siblings
  for (int cpu = 0; fs::exists(cpus + "/cpu" + std::to_string(cpu)); ++cpu) {
    const std::string topology = cpus + "/cpu" + std::to_string(cpu) + "/topology/";
    if (!fs::exists(topology)) continue;  // offline
    const std::string siblings = Word(topology + "thread_siblings_list");
    cores.insert(siblings.empty() ? std::to_string(cpu) : siblings);
  }
  machine.physical_cores = static_cast<int>(cores.size());
  for (int i = 0; fs::exists(cpus + "/cpu0/cache/index" + std::to_string(i)); ++i) {
    const std::string cache = cpus + "/cpu0/cache/index" + std::to_string(i) + "/";
    machine.caches.push_back({Number(cache + "level", 0), Word(cache + "type"),
                              SizeOf(Word(cache + "size")),
                              std::max(1, CountOfList(Word(cache + "shared_cpu_list")))});
  }
  machine.governor = Word(cpus + "/cpu0/cpufreq/scaling_governor");
}

void ReadMemory(const std::string& root, Machine& machine) {
  const auto bytes = [path = root + "/proc/meminfo"](const char* name) {
    return SystemFieldBytes(path, name).value_or(0);
  };
  machine.memory_bytes = bytes("MemTotal");
  machine.swap_bytes = bytes("SwapTotal");
  machine.swap_used_bytes = machine.swap_bytes - std::min(bytes("SwapFree"), machine.swap_bytes);
  // "always [madvise] never": the one in brackets holds.
  std::ifstream pages(root + "/sys/kernel/mm/transparent_hugepage/enabled");
  for (std::string word; pages >> word;) {
    if (word.starts_with('[')) machine.huge_pages = word.substr(1, word.find(']') - 1);
  }
}

void ReadCgroup(const std::string& root, Machine& machine) {
  const std::string limit = Word(root + "/sys/fs/cgroup/memory.max");
  if (!limit.empty() && limit != "max") {
    machine.cgroup_memory_bytes = std::strtoull(limit.c_str(), nullptr, 10);
  }
  std::string quota;
  double period = 0;
  std::ifstream(root + "/sys/fs/cgroup/cpu.max") >> quota >> period;
  if (quota != "max" && period > 0) {
    machine.cgroup_cpus = std::strtod(quota.c_str(), nullptr) / period;
  }
}

std::string Gigabytes(size_t bytes) {
  return std::to_string((bytes + 500'000'000) / 1'000'000'000);
}

}  // namespace

Machine ReadMachine(const std::string& root) {
  Machine machine;
  const std::string system = root + "/sys/devices/system";
  ReadCpuInfo(root, machine);
  ReadCores(system + "/cpu", machine);
  ReadMemory(root, machine);
  ReadCgroup(root, machine);
  machine.numa_nodes = NumaNodes(system + "/node");
  std::ifstream(root + "/proc/loadavg") >> machine.load;
  cpu_set_t mask;
  CPU_ZERO(&mask);
  if (sched_getaffinity(0, sizeof(mask), &mask) == 0) machine.allowed_cpus = CPU_COUNT(&mask);
  return machine;
}

std::vector<Advice> AdviceFor(const Machine& m, const std::vector<std::string>& targets,
                              const std::string& chosen, int threads) {
  std::vector<Advice> advice;
  const auto advise = [&](bool holds, std::string what, std::string todo) {
    if (holds) advice.push_back({std::move(what), std::move(todo)});
  };
#ifndef NDEBUG
  advise(true, "this is a debug build, many times slower than a release",
         "build with `cmake --preset release`");
#endif
  const std::string best = targets.empty() ? "" : targets.back();
  advise(chosen != best, "kernels are held to " + chosen + " where this CPU can run " + best,
         "leave --max-isa out");
  advise(!best.empty() && best == "sse4",
         "this CPU has no AVX2: products run at a quarter of the "
         "speed of newer ones",
         "use a CPU of 2013 or later, or let the virtual machine show AVX2");
  advise(best == "avx2", "this CPU, or the virtual machine it is seen through, has no AVX-512",
         "nothing: AVX2 is used, at a little more than half the speed");
  advise(best == "avx512", "this CPU has AVX-512 but not its VNNI and VBMI steps",
         "nothing: plain AVX-512 is used, at about three quarters of the speed");
  advise(m.allowed_cpus > 0 && m.allowed_cpus < m.logical_cpus,
         "this process may use " + std::to_string(m.allowed_cpus) + " of " +
             std::to_string(m.logical_cpus) + " CPUs (affinity)",
         "start it without taskset, or give the container more CPUs");
  advise(m.cgroup_cpus > 0 && m.cgroup_cpus < m.physical_cores,
         "the container's quota is " + std::to_string(m.cgroup_cpus).substr(0, 4) + " CPUs of " +
             std::to_string(m.physical_cores) + " cores",
         "raise it (docker run --cpus), or keep --threads at or below it");
  advise(m.physical_cores > 0 && threads > m.physical_cores,
         std::to_string(threads) + " threads on " + std::to_string(m.physical_cores) +
             " physical cores",
         "use --threads " + std::to_string(m.physical_cores));
  advise(m.load > 0.5 * m.logical_cpus && m.logical_cpus > 0,
         "other programs use the CPUs (load " + std::to_string(m.load).substr(0, 4) + " on " +
             std::to_string(m.logical_cpus) + ")",
         "expect less speed, and do not measure now");
  advise(
      m.swap_used_bytes > 100'000'000,
      "swap is in use (" + Gigabytes(m.swap_used_bytes) + " of " + Gigabytes(m.swap_bytes) + " GB)",
      "free memory: weights that are swapped out stop every token");
  advise(!m.governor.empty() && m.governor != "performance" && m.governor != "schedutil",
         "the frequency governor is " + m.governor,
         "for steady speed: cpupower frequency-set -g performance");
  advise(m.numa_nodes.size() > 1 && !BoundNumaNode(),
         "memory is in " + std::to_string(m.numa_nodes.size()) +
             " NUMA nodes, and weights are read by all threads",
         "use --numa auto, which keeps threads and memory on one node");
  return advice;
}

}  // namespace tern
