// The vocabulary projection: fp32 hidden rows x bf16 embedding rows -> fp32 logits.
#ifndef TERN_KERNELS_VOCAB_PROJECTION_H_
#define TERN_KERNELS_VOCAB_PROJECTION_H_

#include <cstdint>
#include <span>

#include "kernels/bfloat16.h"
#include "kernels/mat_view.h"

namespace tern {

// logits[i][v] = sum_j hidden[i][j] * embedding[v][j], hidden [n, d], embedding [V, d], logits [n,
// V]. One fixed summation order per (i, v), whatever n, tiles and threads are. Reads the embedding
// once per call.
void VocabProjection(MatView<const float> hidden, MatView<const BFloat16> embedding,
                     MatView<float> logits);

// The same bits for one hidden row [d] and the embedding rows `picked`: logits [picked.size()]. On
// the calling thread.
void VocabProjectionOf(std::span<const float> hidden, MatView<const BFloat16> embedding,
                       std::span<const int32_t> picked, std::span<float> logits);

}  // namespace tern

#endif  // TERN_KERNELS_VOCAB_PROJECTION_H_
