// The weights of a GGUF file.
//
// Linears: I2_S, TQ1_0, TQ2_0, IQ1_BN, IQ2_BN exactly; F32, F16 and BF16 where their values are
// ternary, and in the bitnet architectures also as master weights, ternarised by their mean
// magnitude. A tensor `NAME.scale` of one value multiplies. Rows of q and k of architecture llama,
// which converters interleave for ggml's RoPE, are brought back to the half-split order.
//
// Activations: as kActivationsKey (gguf_config.h) says. Files of other programs do not tell: int8
// where the linears are I2_S and for the bitnet and llama architectures (Falcon-E, Llama3-8B-1.58),
// float for qwen3 (Bonsai) and where general.name says TriLM; a llama with several scales in a
// matrix becomes float in MakeModel.
//
// Tables of F32, F16, BF16, Q8_0, Q6_K, Q4_K, Q4_0 and the ternary types are rounded to bf16, to
// nearest even: exact for BF16, by at most 2^-9 of a value for the others. ggml itself multiplies
// with the wider values, so logits differ from its own by that much.
#ifndef TERN_ENGINE_GGUF_WEIGHTS_H_
#define TERN_ENGINE_GGUF_WEIGHTS_H_

#include <string>

#include "engine/ggml_ternary.h"
#include "engine/gguf.h"
#include "engine/weight_source.h"

namespace tern {

class GgufWeights : public WeightSource {
 public:
  // Throws Error where the file or its configuration cannot be used. `order` is that of I2_S
  // tensors.
  explicit GgufWeights(const std::string& path, I2sOrder order = I2sOrder::k128x32);

  const std::string& path() const override { return file_.path(); }
  const ModelConfig& config() const override { return config_; }
  const GgufFile& file() const { return file_; }

  EmbeddingTable LoadTable(Table table) override;
  AlignedBuffer<float> LoadGain(Gain gain, int32_t layer, size_t size) override;
  TernaryMatrix LoadLinear(Linear linear, int32_t layer, size_t rows, size_t cols) override;

 private:
  TernaryMatrix FromTernary(const GgufTensor& tensor, size_t head_dim) const;
  TernaryMatrix FromFloats(const GgufTensor& tensor, size_t head_dim) const;

  GgufFile file_;
  I2sOrder order_;
  bool bitnet_, llama_;  // architectures
  ModelConfig config_;
};

}  // namespace tern

#endif  // TERN_ENGINE_GGUF_WEIGHTS_H_
