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
    {"scalar", HWY_EMU128},
    {"neon", HWY_NEON},
#endif
};

bool Runs(const NamedTarget& target) {
  return (hwy::SupportedTargets() & HWY_TARGETS & target.bit) != 0;
}

}  // namespace

std::vector<std::string> SupportedTargets() {
  std::vector<std::string> names;
  for (const NamedTarget& target : kTargets) {
    if (Runs(target)) names.emplace_back(target.name);
  }
  return names;
}

std::string CurrentTarget() {
  std::string best = "none";
  for (const NamedTarget& target : kTargets) {
    if (Runs(target)) best = target.name;
  }
  return best;
}

bool SetMaxTarget(std::string_view name) {
  int64_t allowed = 0;
  for (const NamedTarget& target : kTargets) {
    allowed |= target.bit;
    if (name != target.name) continue;
    if (!Runs(target)) return false;
    int64_t above = 0;
    for (const NamedTarget& other : kTargets) above |= other.bit;
    hwy::DisableTargets(above & ~allowed);
    // The chosen target is cached; forget it so that the next call sees the cap.
    hwy::GetChosenTarget().DeInit();
    return true;
  }
  return false;
}

}  // namespace tern
