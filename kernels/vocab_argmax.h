// The largest logit of a row without all logits: an int8 copy of the embedding bounds every one of
// them, and only embedding rows that can still hold the largest are multiplied in bf16. Exact: what
// it returns is what ArgMax of VocabProjection's logits returns, at half the memory traffic.
#ifndef TERN_KERNELS_VOCAB_ARGMAX_H_
#define TERN_KERNELS_VOCAB_ARGMAX_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/aligned_buffer.h"
#include "kernels/bfloat16.h"
#include "kernels/int8_pack.h"
#include "kernels/mat_view.h"
#include "kernels/quantize.h"

namespace tern {

// The int8 copy of an embedding [V, d], and how far it is from it.
struct VocabScreen {
  Int8Matrix codes;
  // [V to a multiple of 64] upper bounds: of the 2-norm of a row's codes times its scale, and of
  // the 2-norm of its difference to the embedding row plus what VocabProjection may round.
  AlignedBuffer<float> norms, errors;
};

// REQUIRES finite values. Runs on all threads.
VocabScreen MakeVocabScreen(MatView<const BFloat16> embedding);
size_t VocabScreenBytes(size_t vocab, size_t width);

// Buffers of VocabArgMax for up to `rows` rows, allocated once. Holds no state between calls.
class VocabArgMaxScratch {
 public:
  VocabArgMaxScratch(size_t rows, size_t vocab, size_t width);
  static size_t Bytes(size_t rows, size_t vocab, size_t width);
  // Embedding rows that the last call multiplied in bf16, of all hidden rows together.
  size_t last_multiplied = 0;

 private:
  friend void VocabArgMax(MatView<const float>, MatView<const BFloat16>, const VocabScreen&,
                          VocabArgMaxScratch&, std::span<int32_t>);
  size_t vocab_;
  AlignedBuffer<float> approximate_;  // [n, V to a multiple of 64], behind V always -infinity
  AlignedBuffer<int8_t> codes_;       // [n, PadK(d)]
  AlignedBuffer<float> scales_;       // [n]
  AlignedBuffer<int32_t> sums_;       // [n]
  AlignedBuffer<float> weights_;      // [2, n] what norms and errors count
  // Of every panel of embedding rows and hidden row, [panels, n].
  AlignedBuffer<float> lows_, highs_, bests_;
  AlignedBuffer<int32_t> tokens_, counts_;
};

// tokens[i] = the v with the largest logit of hidden row i, the lowest of equal ones. hidden [n, d]
// finite. A row's token depends on nothing but the row. Runs on all threads; allocates nothing.
void VocabArgMax(MatView<const float> hidden, MatView<const BFloat16> embedding,
                 const VocabScreen& screen, VocabArgMaxScratch& scratch, std::span<int32_t> tokens);

}  // namespace tern

#endif  // TERN_KERNELS_VOCAB_ARGMAX_H_
