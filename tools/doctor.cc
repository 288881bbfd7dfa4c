// `tern doctor`: what this machine offers, what stands in the way, and a self-test.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <iostream>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/memory.h"
#include "kernels/dense_matmul.h"
#include "kernels/dispatch.h"
#include "kernels/parallel.h"
#include "tools/commands.h"
#include "tools/machine.h"
#include "tools/model_path.h"
#include "tools/self_test.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;

// All that the command finds out.
struct Report {
  Machine machine;
  size_t memory_available = 0;
  int threads = 0;
  std::vector<std::string> targets;
  std::string target, onednn;
  std::vector<Advice> advice;
  std::string model;
  std::vector<SelfCheck> checks;
  double seconds = 0;

  size_t Failures() const {
    return static_cast<size_t>(
        std::count_if(checks.begin(), checks.end(),
                      [](const SelfCheck& check) { return !check.problem.empty(); }));
  }
};

std::string OneDnn() { return std::string("oneDNN ") + DenseMatmulLibraryVersion(); }

Json MachineJson(const Report& r) {
  const Machine& m = r.machine;
  Json caches = Json::array();
  for (const CpuCache& cache : m.caches) {
    caches.push_back({{"level", cache.level},
                      {"type", cache.type},
                      {"bytes", cache.bytes},
                      {"cpus", cache.cpus}});
  }
  Json nodes = Json::array();
  for (const NumaNode& node : m.numa_nodes) {
    nodes.push_back({{"id", node.id},
                     {"cpus", node.cpus},
                     {"memory_bytes", node.memory_bytes},
                     {"available_bytes", node.available_bytes}});
  }
  return {{"cpu", m.cpu},
          {"logical_cpus", m.logical_cpus},
          {"physical_cores", m.physical_cores},
          {"smt", m.logical_cpus > m.physical_cores},
          {"allowed_cpus", m.allowed_cpus},
          {"cgroup_cpus", m.cgroup_cpus > 0 ? Json(m.cgroup_cpus) : Json()},
          {"virtual_machine", m.virtual_machine},
          {"caches", caches},
          {"numa_nodes", nodes},
          {"governor", m.governor},
          {"load", m.load},
          {"memory_bytes", m.memory_bytes},
          {"memory_available_bytes", r.memory_available},
          {"cgroup_memory_bytes", m.cgroup_memory_bytes > 0 ? Json(m.cgroup_memory_bytes) : Json()},
          {"swap_bytes", m.swap_bytes},
          {"swap_used_bytes", m.swap_used_bytes},
          {"huge_pages", m.huge_pages},
          {"threads", r.threads}};
}

Json ReportJson(const Report& r) {
  Json advice = Json::array(), checks = Json::array();
  for (const SelfCheck& check : r.checks) {
    checks.push_back({{"name", check.name},
                      {"target", check.target},
                      {"ok", check.problem.empty()},
                      {"problem", check.problem}});
  }
  for (const Advice& item : r.advice) advice.push_back({{"what", item.what}, {"todo", item.todo}});
  return {{"machine", MachineJson(r)},
          {"targets", r.targets},
          {"target", r.target},
          {"onednn", {{"version", DenseMatmulLibraryVersion()}, {"isa", r.onednn}}},
          {"advice", advice},
          {"model", r.model},
          {"checks", checks},
          {"ok", r.Failures() == 0},
          {"seconds", r.seconds}};
}

std::string Size(size_t bytes) {
  char text[32];
  const bool gigabytes = bytes >= 1'000'000'000;
  std::snprintf(text, sizeof(text), gigabytes ? "%.1f GB" : "%.0f KB",
                static_cast<double>(bytes) / (gigabytes ? 1e9 : 1024));
  return text;
}

void Line(const char* name, const std::string& value) {
  std::printf("  %-14s %s\n", name, value.c_str());
}

void PrintMachine(const Report& r) {
  const Machine& m = r.machine;
  std::string caches, targets;
  for (const CpuCache& cache : m.caches) {
    if (cache.type == "Instruction") continue;
    caches += (caches.empty() ? "L" : ", L") + std::to_string(cache.level) + " " +
              Size(cache.bytes) +
              (cache.cpus > 1 ? " for " + std::to_string(cache.cpus) + " CPUs" : "");
  }
  for (const std::string& target : r.targets) targets += (targets.empty() ? "" : ", ") + target;
  const auto or_unknown = [](const std::string& text) { return text.empty() ? "unknown" : text; };
  std::puts("Machine");
  Line("CPU", or_unknown(m.cpu) + (m.virtual_machine ? ", in a virtual machine" : ""));
  Line("cores", std::to_string(m.physical_cores) + " physical, " + std::to_string(m.logical_cpus) +
                    " logical (" + (m.logical_cpus > m.physical_cores ? "SMT" : "no SMT") + "), " +
                    std::to_string(m.allowed_cpus) +
                    " allowed; threads in use: " + std::to_string(r.threads));
  Line("caches", or_unknown(caches));
  Line("kernels",
       r.target + " for all, of " + targets + "; training: " + OneDnn() + " " + r.onednn);
  Line("memory", Size(m.memory_bytes) + ", " + Size(r.memory_available) + " available, " +
                     (m.swap_bytes > 0
                          ? Size(m.swap_used_bytes) + " of " + Size(m.swap_bytes) + " swap in use"
                          : "no swap") +
                     "; NUMA nodes: " + std::to_string(m.numa_nodes.size()));
  for (const NumaNode& node : m.numa_nodes) {
    if (m.numa_nodes.size() == 1) break;  // said already
    Line(("NUMA node " + std::to_string(node.id)).c_str(),
         std::to_string(node.cpus.size()) + " CPUs, " + Size(node.memory_bytes) + ", " +
             Size(node.available_bytes) + " available");
  }
  Line("huge pages", or_unknown(m.huge_pages));
  Line("limits",
       (m.cgroup_cpus > 0 ? std::to_string(m.cgroup_cpus).substr(0, 4) + " CPUs"
                          : std::string("CPUs: none")) +
           ", memory: " + (m.cgroup_memory_bytes > 0 ? Size(m.cgroup_memory_bytes) : "none"));
  Line("governor", or_unknown(m.governor));
}

// A line for each target, and one for each thing that is not well.
void PrintChecks(const Report& r) {
  std::printf("Self-test of kernels and %s\n", r.model.c_str());
  for (const std::string& target : r.targets) {
    size_t all = 0, well = 0;
    for (const SelfCheck& check : r.checks) {
      if (check.target != target) continue;
      ++all;
      well += check.problem.empty() ? 1 : 0;
      if (check.problem.empty()) continue;
      std::printf("  WRONG on %s: %s: %s\n", target.c_str(), check.name.c_str(),
                  check.problem.c_str());
    }
    if (all > 0)
      Line(target.c_str(), std::to_string(well) + " of " + std::to_string(all) + " well");
  }
}

void PrintReport(const Report& r) {
  PrintMachine(r);
  std::puts(r.advice.empty() ? "Nothing stands in the way." : "In the way");
  for (const Advice& item : r.advice)
    std::printf("  %s: %s\n", item.what.c_str(), item.todo.c_str());
  PrintChecks(r);
  std::printf("%s (%.1f s)\n",
              r.Failures() == 0 ? "All is well." : "THIS MACHINE OR THIS MODEL IS NOT RIGHT.",
              r.seconds);
}

void RunDoctor(const CommonOptions& common) {
  const auto start = std::chrono::steady_clock::now();
  Report r;
  r.machine = ReadMachine();
  r.memory_available = AvailableMemoryBytes();
  r.threads = ThreadCount();
  r.targets = SupportedTargets();
  r.target = CurrentTarget();
  r.onednn = DenseMatmulIsa();
  r.advice = AdviceFor(r.machine, r.targets, r.target, r.threads);
  r.model = ResolveModel(common.model);
  r.checks = TestKernels();
  for (SelfCheck& check : TestModel(r.model, common)) r.checks.push_back(std::move(check));
  r.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
  if (common.json) {
    std::cout << ReportJson(r).dump(2, ' ', false, Json::error_handler_t::replace) << std::endl;
  } else {
    PrintReport(r);
  }
  if (r.Failures() == 0) return;
  const auto first = std::find_if(r.checks.begin(), r.checks.end(),
                                  [](const SelfCheck& check) { return !check.problem.empty(); });
  throw Error(
      Error::Kind::kInternal,
      "self-test: " + std::to_string(r.Failures()) + " of " + std::to_string(r.checks.size()) +
          " checks failed, the first is " + first->name + " on " + first->target + ": " +
          first->problem +
          "; fetch the model again, and where kernels fail do not trust this machine or build");
}

}  // namespace

void AddDoctor(CLI::App& app, const CommonOptions& common) {
  auto record = std::make_shared<std::string>();
  CLI::App* command = app.add_subcommand(
      "doctor", "Tells what this machine offers, and tests kernels and model on it");
  command->add_option("--record", *record,
                      "Test nothing: write what --model says here into this file, which, named "
                      "tern_golden.json beside the model, is what later tests compare with");
  command->callback([record, &common] {
    if (!record->empty()) return RecordModel(ResolveModel(common.model), common.I2s(), *record);
    RunDoctor(common);
  });
}

}  // namespace tern
