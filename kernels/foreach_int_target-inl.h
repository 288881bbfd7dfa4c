// Highway's foreach_target.h for sources with integer products: on arm64 it compiles them for one
// more target, "neondot", NEON with the dot product of Armv8.2, which Highway 1.0.3 does not know
// and which newer ones offer only together with bf16 (a Raspberry Pi 5 has the one without the
// other). Included as foreach_target.h is, once HWY_TARGET_INCLUDE is defined; the source asks
// TERN_INT_DISPATCH where others ask HWY_DYNAMIC_DISPATCH.
//
// In the added pass TERN_NEON_DOT is 1 and the names of NEON's namespaces are macros for another
// one, so that this pass has functions of its own, Highway's included, and none that the linker
// could take for plain NEON's.
#ifndef TERN_KERNELS_FOREACH_INT_TARGET_INL_H_
#define TERN_KERNELS_FOREACH_INT_TARGET_INL_H_

#include <cstdint>

#include "kernels/dispatch.h"

namespace tern {
// Stands for "neondot" beside Highway's targets, none of which has this bit on arm64.
inline constexpr int64_t kNeonDotTarget = 1;
}  // namespace tern

#define TERN_NEON_DOT 0
#include <hwy/foreach_target.h>

// GCC only: clang before 16 declares the intrinsics only where all of the source may use them.
#if HWY_ARCH_ARM_A64 && HWY_COMPILER_GCC_ACTUAL
#undef TERN_NEON_DOT
#define TERN_NEON_DOT 1
#define N_NEON N_NEON_DOT
#define N_NEON_WITHOUT_AES N_NEON_DOT
#undef HWY_ONCE
#define HWY_ONCE 0
#include HWY_TARGET_INCLUDE
#undef HWY_ONCE
#define HWY_ONCE 1
#undef N_NEON
#undef N_NEON_WITHOUT_AES
#undef TERN_NEON_DOT
#define TERN_NEON_DOT 0
#define HWY_TARGET_TOGGLE  // includes what is included once per target again
#define TERN_INT_DISPATCH(function) \
  (NeonDotInForce() ? &N_NEON_DOT::function : &HWY_STATIC_DISPATCH(function))
#else
#define TERN_INT_DISPATCH(function) HWY_DYNAMIC_DISPATCH(function)
#endif

#endif  // TERN_KERNELS_FOREACH_INT_TARGET_INL_H_
