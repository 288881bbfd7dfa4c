#include "kernels/dispatch.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/dispatch.cc"
#include "kernels/foreach_int_target-inl.h"
// After foreach_target.
#include <hwy/highway.h>

#include <cstdint>

#if HWY_ARCH_ARM_A64
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

int64_t TargetBit() { return TERN_NEON_DOT ? kNeonDotTarget : HWY_TARGET; }

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace tern {
HWY_EXPORT(TargetBit);

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
#elif HWY_ARCH_ARM_A64
    {"neon", HWY_STATIC_TARGET},
    {"neondot", kNeonDotTarget},
#else
    {"scalar", HWY_STATIC_TARGET},
#endif
};

// What the CPU offers among the compiled targets. Asked once, before any cap: DisableTargets
// changes the answer, and in this version of Highway a question also sets the chosen target anew,
// without the cap.
int64_t CpuTargets() {
#if HWY_ARCH_X86
  static const int64_t targets = hwy::SupportedTargets() & HWY_TARGETS;
  return targets;
#elif HWY_ARCH_ARM_A64 && HWY_COMPILER_GCC_ACTUAL
  // Not Highway's answer, which asks NEON for AES: a Raspberry Pi 4 has none, and no kernel uses
  // it.
  return HWY_STATIC_TARGET | ((getauxval(AT_HWCAP) & HWCAP_ASIMDDP) != 0 ? kNeonDotTarget : 0);
#else
  return HWY_STATIC_TARGET;
#endif
}

#if !HWY_ARCH_X86
bool g_neon_dot = (CpuTargets() & kNeonDotTarget) != 0;
#endif

bool Runs(const NamedTarget& target) { return (CpuTargets() & target.bit) != 0; }

}  // namespace

std::vector<std::string> SupportedTargets() {
  std::vector<std::string> names;
  for (const NamedTarget& target : kTargets) {
    if (Runs(target)) names.emplace_back(target.name);
  }
  return names;
}

// Asks the dispatch itself, as every kernel does.
std::string CurrentTarget() {
  const int64_t bit = TERN_INT_DISPATCH(TargetBit)();
  for (const NamedTarget& target : kTargets) {
    if ((bit & target.bit) != 0) return target.name;
  }
  return "unknown";
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
#if HWY_ARCH_X86
  hwy::DisableTargets(above);
  hwy::GetChosenTarget().Update(CpuTargets() & ~above);
#else
  g_neon_dot = (CpuTargets() & ~above & kNeonDotTarget) != 0;
#endif
  return true;
}

bool NeonDotInForce() {
#if HWY_ARCH_X86
  return false;
#else
  return g_neon_dot;
#endif
}

}  // namespace tern
#endif  // HWY_ONCE
