// Choosing a token without all logits: an int8 copy of the embedding bounds every one of them, and
// only embedding rows that can still matter are multiplied in bf16. Exact: what is chosen so is
// what VocabProjection's logits would choose, at half the memory traffic.
#ifndef TERN_KERNELS_VOCAB_SCREEN_H_
#define TERN_KERNELS_VOCAB_SCREEN_H_

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/aligned_buffer.h"
#include "kernels/bfloat16.h"
#include "kernels/int8_pack.h"
#include "kernels/mat_view.h"
#include "kernels/quantize.h"
#include "kernels/top_k.h"

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

// Logits of up to a number of hidden rows as the screen sees them. Allocates on construction only;
// not thread-safe, but runs on all threads itself. A row's results depend on nothing but the row.
class ScreenedLogits {
 public:
  ScreenedLogits(size_t max_rows, size_t vocab, size_t width);
  static size_t Bytes(size_t max_rows, size_t vocab, size_t width);

  // Everything below is about the rows of the last call, hidden [n, d], finite, and is wrong as
  // soon as its arguments are gone. Reads the int8 copy once for any n.
  void Screen(MatView<const float> hidden, MatView<const BFloat16> embedding,
              const VocabScreen& screen);
  size_t rows() const { return hidden_.rows; }
  size_t vocab() const { return vocab_; }
  MatView<const float> hidden() const { return hidden_; }

  // lows [V] and highs [V] such that VocabProjection's logit of each token is between them. A bound
  // that overflows is infinite or no number: compare such that the token stays in.
  void Bounds(size_t row, std::span<float> lows, std::span<float> highs) const;
  // VocabProjection's logits of some tokens: logits [tokens.size()].
  void Exact(size_t row, std::span<const int32_t> tokens, std::span<float> logits) const;
  // The token of the largest of VocabProjection's logits, the lowest of equal ones.
  int32_t ArgMax(size_t row);
  // Embedding rows that the last ArgMax multiplied in bf16.
  size_t last_multiplied = 0;

 private:
  ScoredIndex BestOfPanel(size_t row, size_t panel, float least, int32_t* multiplied) const;

  size_t most_, vocab_;
  MatView<const float> hidden_;
  MatView<const BFloat16> embedding_;
  const VocabScreen* screen_ = nullptr;
  AlignedBuffer<float> approximate_;  // [n, V to a multiple of 64], behind V always -infinity
  AlignedBuffer<int8_t> codes_;       // [n, PadK(d)]
  AlignedBuffer<float> scales_;       // [n]
  AlignedBuffer<int32_t> sums_;       // [n]
  AlignedBuffer<float> norm_weights_, error_weights_;  // [n] what norms and errors count
  AlignedBuffer<float> highs_;                         // [panels of tokens]
  AlignedBuffer<ScoredIndex> bests_;                   // [panels]
  AlignedBuffer<int32_t> counts_;                      // [panels]
};

}  // namespace tern

#endif  // TERN_KERNELS_VOCAB_SCREEN_H_
