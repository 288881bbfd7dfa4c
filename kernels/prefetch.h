// A request for memory that is needed soon, but not next.
#ifndef TERN_KERNELS_PREFETCH_H_
#define TERN_KERNELS_PREFETCH_H_

namespace tern {

// Asks for the line at p into the second cache. The nearest one, where hwy::Prefetch would bring
// it, is no place for a block ahead: that drives out the block in use. Always inline, since GCC
// drops calls of a function that seems to do nothing.
[[gnu::always_inline]] inline void PrefetchToL2(const void* p) { __builtin_prefetch(p, 0, 2); }

}  // namespace tern

#endif  // TERN_KERNELS_PREFETCH_H_
