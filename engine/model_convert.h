// A loaded model written in another format, with its tokenizer.
#ifndef TERN_ENGINE_MODEL_CONVERT_H_
#define TERN_ENGINE_MODEL_CONVERT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/ggml_types.h"
#include "engine/model.h"

namespace tern {

enum class ModelFormat {
  kHuggingFace,  // a directory: packed linears, tokenizer files
  kGguf,         // a file
};

struct ConvertOptions {
  ModelFormat format = ModelFormat::kHuggingFace;
  GgmlType linears = GgmlType::kI2_S;  // of GGUF: I2_S or TQ2_0
  GgmlType tables = GgmlType::kBF16;   // of GGUF: BF16, F16 or F32
  bool tokenizer = true;               // write it, too
  bool replace = false;                // what is at the target already
  std::string name;                    // GGUF's general.name; empty: the source's
  // Called as tensors are written, with the bytes of all that are done and of all there are.
  std::function<void(uint64_t done, uint64_t total)> progress;
};

struct Converted {
  uint64_t bytes = 0;  // of tensors
  size_t tensors = 0;
  bool has_tokenizer = false;
};

// Writes `model`, which was loaded from `source` (a Hugging Face directory or a GGUF file), to
// `target`, which appears whole or not at all. A tokenizer that changes its format is compared with
// the one it was made of; between directories its files are copied. A model without a tokenizer
// is written without one.
//
// Throws kInvalidArgument where `target` exists (unless options.replace: then a file, or a folder
// with nothing but a model's files, is replaced) or is `source`; kUnsupported for what the format
// cannot hold, naming it; kInternal where the disk is too small.
Converted ConvertModel(const Model& model, const std::string& source, const std::string& target,
                       const ConvertOptions& options);

}  // namespace tern

#endif  // TERN_ENGINE_MODEL_CONVERT_H_
