// Linears that lie in a file as floats, as packed ternary matrices.
#ifndef TERN_ENGINE_TERNARY_FLOATS_H_
#define TERN_ENGINE_TERNARY_FLOATS_H_

#include <cstddef>
#include <optional>

#include "kernels/mat_view.h"
#include "kernels/ternary_pack.h"

namespace tern {

inline constexpr size_t kUnpackedGroup = 128;  // weights that share a scale, where rows do not

// Master weights, ternarised by their mean magnitude (BitNet b1.58): one scale.
TernaryMatrix PackMasters(MatView<const float> weights);

// Weights that are -scale, 0 or scale already, with one scale per row or per kUnpackedGroup
// columns; nothing where a row (*bad_row) holds other values. One scale where all agree.
std::optional<TernaryMatrix> PackUnpacked(MatView<const float> weights, size_t* bad_row);

}  // namespace tern

#endif  // TERN_ENGINE_TERNARY_FLOATS_H_
