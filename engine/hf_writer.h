// Writes models as Hugging Face directories that transformers loads: config.json, and the tensors
// of model.safetensors.
#ifndef TERN_ENGINE_HF_WRITER_H_
#define TERN_ENGINE_HF_WRITER_H_

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/hf_config.h"
#include "engine/model.h"
#include "engine/safetensors_writer.h"
#include "kernels/mat_view.h"

namespace tern {

// config.json of a model with int8 activations whose linears are kPacked or kMasters. model_type:
// bitnet (sub-norms), llama (none), qwen3 (none, and normalised heads of q and k); weight_scale
// multiplies. Throws kUnsupported, naming what transformers' classes of these names do not have:
// weight-only models, other mixtures of norms and activation, a rope that no rope_type describes.
std::string HfConfigJson(const ModelConfig& config, HfLinears linears);

// Tensors. What their arguments see must live until they are written.

// BF16, rounded to nearest even.
TensorToWrite HfRounded(std::string name, std::vector<size_t> shape, std::span<const float> values);
// BF16 where that is exact, else F32, which transformers rounds on load.
TensorToWrite HfExact(std::string name, std::vector<size_t> shape, std::vector<float> values);
// U8 codes of a matrix; `unpack` gives them as -1, 0 and 1. Throws kUnsupported where `rows` is no
// multiple of 4.
TensorToWrite HfPackedLinear(std::string name, size_t rows, size_t cols,
                             std::function<void(MatView<int8_t>)> unpack);
// NAME_scale of the linear NAME, [1], as HfExact.
TensorToWrite HfScale(const std::string& name, float scale);

// All tensors of `model`, packed. Throws kUnsupported where a matrix has several scales.
std::vector<TensorToWrite> HfPackedTensors(const Model& model);

}  // namespace tern

#endif  // TERN_ENGINE_HF_WRITER_H_
