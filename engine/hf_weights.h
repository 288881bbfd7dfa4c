// The weights of a Hugging Face directory: config.json and safetensors, one file or many.
#ifndef TERN_ENGINE_HF_WEIGHTS_H_
#define TERN_ENGINE_HF_WEIGHTS_H_

#include <string>

#include "engine/hf_config.h"
#include "engine/safetensors.h"
#include "engine/weight_source.h"

namespace tern {

class HfWeights : public WeightSource {
 public:
  // Reads the configuration and the headers of the tensor files; throws Error.
  explicit HfWeights(const std::string& dir);

  const std::string& path() const override { return dir_; }
  const ModelConfig& config() const override { return config_.model; }
  const HfConfig& hf_config() const { return config_; }

  EmbeddingTable LoadTable(Table table) override;
  AlignedBuffer<float> LoadGain(Gain gain, int32_t layer, size_t size) override;
  TernaryMatrix LoadLinear(Linear linear, int32_t layer, size_t rows, size_t cols) override;

 private:
  float Scale(const std::string& name) const;
  TernaryMatrix Packed(const std::string& name, size_t rows, size_t cols) const;
  TernaryMatrix Master(const std::string& name, size_t rows, size_t cols) const;
  TernaryMatrix Unpacked(const std::string& name, size_t rows, size_t cols) const;

  std::string dir_;
  HfConfig config_;
  Checkpoint checkpoint_;
  bool old_names_ = false;  // sub-norms are named as 1bitLLM names them
};

}  // namespace tern

#endif  // TERN_ENGINE_HF_WEIGHTS_H_
