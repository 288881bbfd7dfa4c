// The k largest values of a row, in order; ties go to the lowest index.
#ifndef TERN_KERNELS_TOP_K_H_
#define TERN_KERNELS_TOP_K_H_

#include <cstddef>
#include <cstdint>
#include <span>

namespace tern {

struct ScoredIndex {
  int32_t index;
  float value;
};

// Fills `out` with the out.size() largest of `values` (k <= values.size()), largest first. NaN
// ranks below everything. Allocates nothing.
void TopK(std::span<const float> values, std::span<ScoredIndex> out);

// Index of the largest value; the lowest index on ties. values is not empty.
int32_t ArgMax(std::span<const float> values);

}  // namespace tern

#endif  // TERN_KERNELS_TOP_K_H_
