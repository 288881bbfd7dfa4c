#include "kernels/dispatch.h"

#include <hwy/highway.h>

#include <cstdint>

namespace tern {
namespace {

struct NamedTarget {
  const char* name;
  int64_t bit;
};

// Rising order of capability; the cap keeps a target and everything before it.
constexpr NamedTarget kTargets[] = {
#if HWY_ARCH_X86
    {"sse4", HWY_SSE4},
    {"avx2", HWY_AVX2},
    {"avx512", HWY_AVX3},
    {"avx512vnni", HWY_AVX3_DL},
#else
    {"scalar", HWY_SCALAR | HWY_EMU128},
    {"neon", HWY_NEON},
#endif
};

// What the CPU offers among the compiled targets, asked before any cap: DisableTargets also changes
// the answer of hwy::SupportedTargets.
int64_t CpuTargets() {
  static const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets;
}

bool Runs(const NamedTarget& target) { return (CpuTargets() & target.bit) != 0; }

}  // namespace

std::vector<std::string> SupportedTargets() {
  std::vector<std::string> names;
  for (const NamedTarget& target : kTargets) {
    if (Runs(target)) names.emplace_back(target.name);
  }
  return names;
}

std::string CurrentTarget() {
  const int64_t cpu = CpuTargets();  // first: the call below must not be the one that is remembered
  const int64_t enabled = cpu & hwy::SupportedTargets();
  std::string best = "none";
  for (const NamedTarget& target : kTargets) {
    if ((enabled & target.bit) != 0) best = target.name;
  }
  return best;
}

bool SetMaxTarget(std::string_view name) {
  int64_t above = 0;
  bool found = false;
  for (const NamedTarget& target : kTargets) {
    if (found) above |= target.bit;
    if (name != target.name) continue;
    if (!Runs(target)) return false;
    found = true;
  }
  if (!found) return false;
  hwy::DisableTargets(above);
  // The chosen target is cached; forget it so that the next call sees the cap.
  hwy::GetChosenTarget().DeInit();
  return true;
}

}  // namespace tern
