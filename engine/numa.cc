#include "engine/numa.h"

#include <numa.h>
#include <sched.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string_view>
#include <system_error>
#include <utility>

#include "engine/error.h"
#include "engine/system_fields.h"

namespace tern {
namespace {

std::optional<int> g_bound_node;

// Reads a number off the front of `text`.
std::optional<int> TakeNumber(std::string_view& text) {
  int value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || value < 0) return std::nullopt;
  text.remove_prefix(static_cast<size_t>(end - text.data()));
  return value;
}

std::string FirstLine(const std::filesystem::path& path) {
  std::string line;
  std::ifstream file(path);
  std::getline(file, line);
  return line;
}

// Lines "Node 0 MemFree:  1234 kB".
void ReadMemory(const std::filesystem::path& path, NumaNode& node) {
  const auto bytes = [&](const std::string& name) {
    return SystemFieldBytes(path, "Node " + std::to_string(node.id) + " " + name).value_or(0);
  };
  node.memory_bytes = bytes("MemTotal");
  node.available_bytes = bytes("MemFree") + bytes("Active(file)") + bytes("Inactive(file)");
}

std::vector<int> AllowedCpus() {
  cpu_set_t mask;
  CPU_ZERO(&mask);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof(mask), &mask) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &mask)) cpus.push_back(cpu);
  }
  return cpus;
}

std::vector<int> Common(const std::vector<int>& a, const std::vector<int>& b) {
  std::vector<int> both;
  std::set_intersection(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both;
}

Error NumaError(const std::string& what) { return InvalidArgument("--numa: " + what); }

std::string Ids(const std::vector<NumaNode>& nodes) {
  std::string ids;
  for (const NumaNode& node : nodes) ids += (ids.empty() ? "" : ", ") + std::to_string(node.id);
  return ids.empty() ? "none" : ids;
}

void BindMemory(int id, bool only_node) {
  if (numa_available() < 0) {
    if (only_node) return;  // its memory is all there is
    throw NumaError(
        "this system does not let a process choose its memory (containers often forbid it); leave "
        "the option out, or allow set_mempolicy");
  }
  bitmask* nodes = numa_allocate_nodemask();
  numa_bitmask_setbit(nodes, static_cast<unsigned>(id));
  numa_set_membind(nodes);
  numa_free_nodemask(nodes);
}

}  // namespace

void BindToNumaNode(int id, const std::vector<NumaNode>& nodes) {
  const auto node = std::find_if(nodes.begin(), nodes.end(),
                                 [id](const NumaNode& candidate) { return candidate.id == id; });
  const std::string name = "node " + std::to_string(id);
  if (node == nodes.end()) throw NumaError("no " + name + " on this machine; it has " + Ids(nodes));
  if (node->memory_bytes == 0) throw NumaError(name + " has no memory; it has CPUs only");
  const std::vector<int> cpus = Common(node->cpus, AllowedCpus());
  if (cpus.empty()) throw NumaError(name + " has no CPU that this process may use");
  cpu_set_t mask;
  CPU_ZERO(&mask);
  for (int cpu : cpus) CPU_SET(cpu, &mask);
  if (sched_setaffinity(0, sizeof(mask), &mask) != 0) {
    throw SystemError("--numa: cannot keep threads on " + name, errno);
  }
  BindMemory(id, nodes.size() == 1);
  g_bound_node = id;
}

void BindToBestNumaNode(const std::vector<NumaNode>& nodes) {
  if (nodes.size() <= 1) return;
  const std::optional<int> best = BestNumaNode(nodes, AllowedCpus());
  if (!best) throw NumaError("no node has both memory and a CPU that this process may use");
  BindToNumaNode(*best, nodes);
}

std::optional<int> BoundNumaNode() { return g_bound_node; }

std::vector<int> ParseCpuList(const std::string& text) {
  constexpr int kMostCpus = 1 << 16;  // so that no text can make a list without end
  std::vector<int> cpus;
  std::string_view rest = text;
  while (const std::optional<int> first = TakeNumber(rest)) {
    std::optional<int> last = first;
    if (rest.starts_with('-')) {
      rest.remove_prefix(1);
      last = TakeNumber(rest);
    }
    if (!last || *last >= kMostCpus) break;
    for (int cpu = *first; cpu <= *last; ++cpu) cpus.push_back(cpu);
    if (!rest.starts_with(',')) break;
    rest.remove_prefix(1);
  }
  std::sort(cpus.begin(), cpus.end());
  cpus.erase(std::unique(cpus.begin(), cpus.end()), cpus.end());
  return cpus;
}

std::vector<NumaNode> NumaNodes(const std::string& root) {
  std::vector<NumaNode> nodes;
  for (int id : ParseCpuList(FirstLine(std::filesystem::path(root) / "online"))) {
    const std::filesystem::path folder =
        std::filesystem::path(root) / ("node" + std::to_string(id));
    NumaNode node{.id = id, .cpus = ParseCpuList(FirstLine(folder / "cpulist"))};
    ReadMemory(folder / "meminfo", node);
    nodes.push_back(std::move(node));
  }
  return nodes;
}

std::optional<int> BestNumaNode(const std::vector<NumaNode>& nodes,
                                const std::vector<int>& allowed_cpus) {
  const NumaNode* best = nullptr;
  for (const NumaNode& node : nodes) {
    if (node.memory_bytes == 0 || Common(node.cpus, allowed_cpus).empty()) continue;
    if (best == nullptr || node.available_bytes > best->available_bytes) best = &node;
  }
  return best == nullptr ? std::nullopt : std::optional(best->id);
}

}  // namespace tern
