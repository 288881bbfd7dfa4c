// What lets draft heads see the root, the token that was sampled behind the hidden state they read
// (Ankner et al. 2024, "Hydra: Sequentially-Dependent Draft Heads for Medusa Decoding", section 3,
// for the token that every draft follows): the first block of head k becomes
//
//   x + SiLU(W x + R e + b)      e = RMSNorm(E[root]) * g
//
// with R trained, E the backbone's input embedding and g its final norm's gains, so that e is of
// the size of x. A file of its own beside Medusa heads, tern_root.safetensors:
//
//   weights [K*d, d] BF16  R, row = output, the heads stacked
//
// Since the root is one of V tokens, R e + b is a bias that depends on the token.
#ifndef TERN_ENGINE_ROOT_WEIGHTS_H_
#define TERN_ENGINE_ROOT_WEIGHTS_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/batch.h"
#include "engine/model.h"
#include "kernels/aligned_buffer.h"
#include "kernels/bfloat16.h"
#include "kernels/int8_pack.h"
#include "kernels/mat_view.h"

namespace tern {

struct MedusaHeads;

// e [d] of a token.
void RootInput(const Model& model, TokenId root, std::span<float> e);

// Throws kNotFound where there is no such file in `dir`, kBadFile where it does not hold R of
// `count` heads over `hidden_size`.
AlignedBuffer<BFloat16> ReadRootWeights(const std::string& dir, int32_t count, int32_t hidden_size);
// Atomically; removes the file where there are none.
void WriteRootWeights(const std::string& dir, std::span<const BFloat16> weights,
                      int32_t hidden_size);

// R e + b of a drafter, R in int8. Text repeats its tokens, so what was computed is kept, the
// latest root of each slot. Not thread-safe.
class RootBiases {
 public:
  // `model` outlives this; heads.root_weights is not empty. `heads` may go.
  RootBiases(const Model& model, const MedusaHeads& heads);
  // Rows of heads first .. first + count, [count, d], valid until the next call. Depends on nothing
  // but the root. Allocates nothing.
  MatView<const float> Of(TokenId root, int32_t first, int32_t count);

 private:
  struct Slot {
    TokenId token = -1;
    int32_t heads = 0;  // the first ones, that are computed
  };
  void Extend(Slot& slot, MatView<float> rows, int32_t heads);

  const Model& model_;
  size_t d_;
  std::vector<Int8Matrix> weights_;  // [K] of [d, d]
  AlignedBuffer<float> biases_;      // [K*d]
  std::vector<Slot> slots_;
  AlignedBuffer<float> rows_;    // [slots, K*d]
  AlignedBuffer<float> input_;   // [d] e
  AlignedBuffer<int8_t> codes_;  // [PadK(d)]
  float scale_ = 0.0f;
  int32_t sum_ = 0;
};

}  // namespace tern

#endif  // TERN_ENGINE_ROOT_WEIGHTS_H_
