// The logical tensors of a model, whatever file format they lie in. One class per format implements
// it; MakeModel (model.h) asks for every tensor once and assembles the Model.
#ifndef TERN_ENGINE_WEIGHT_SOURCE_H_
#define TERN_ENGINE_WEIGHT_SOURCE_H_

#include <cstddef>
#include <cstdint>
#include <string>

#include "engine/config.h"
#include "engine/embedding_table.h"
#include "kernels/aligned_buffer.h"
#include "kernels/bfloat16.h"
#include "kernels/ternary_pack.h"

namespace tern {

// The seven linears of a layer; shapes [outputs, inputs].
enum class Linear {
  kQ,     // [h*hd, d]
  kK,     // [kv*hd, d]
  kV,     // [kv*hd, d]
  kO,     // [d, h*hd]
  kGate,  // [f, d]
  kUp,    // [f, d]
  kDown,  // [d, f]
};

// The gains of RMSNorms.
enum class Gain {
  kInput,          // [d] of a layer, before attention
  kAttnSub,        // [h*hd], asked for only where config.attn_sub_norm
  kQuery,          // [hd], asked for only where config.qk_norm
  kKey,            // [hd], asked for only where config.qk_norm
  kPostAttention,  // [d], before the feed-forward block
  kFfnSub,         // [f], asked for only where config.ffn_sub_norm
  kFinal,          // [d], of the whole model; its layer is -1
};

// Embeddings that a projection on tokens multiplies too.
enum class Table {
  kInput,   // [V, d]
  kOutput,  // [V, d], the output head; asked for only where not config.tie_word_embeddings
};

// Implementations check a tensor's shape, type and bytes when they are asked for it, and throw
// Error naming file and tensor. Every result owns or keeps its memory: the source may go when the
// model is made. Not thread-safe.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  // The file or directory, for messages.
  virtual const std::string& path() const = 0;
  // Validated (ValidateModelConfig). Constant.
  virtual const ModelConfig& config() const = 0;

  // Finite values, bf16; wider ones are rounded to it. [V * d], row-major.
  virtual EmbeddingTable LoadTable(Table table) = 0;
  // Finite values, `size` of them.
  virtual AlignedBuffer<float> LoadGain(Gain gain, int32_t layer, size_t size) = 0;
  // Rows of q and k are in the order that half-split RoPE wants (pairs are elements i and i + hd/2
  // of a head): sources whose file holds another order turn it back. A matrix with
  // several scales makes the model weight-only.
  virtual TernaryMatrix LoadLinear(Linear linear, int32_t layer, size_t rows, size_t cols) = 0;
};

}  // namespace tern

#endif  // TERN_ENGINE_WEIGHT_SOURCE_H_
