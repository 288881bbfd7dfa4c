// A loaded model as a GGUF file that other programs load.
#ifndef TERN_ENGINE_GGUF_EXPORT_H_
#define TERN_ENGINE_GGUF_EXPORT_H_

#include <vector>

#include "engine/gguf_writer.h"
#include "engine/model.h"

namespace tern {

struct GgufExport {
  GgufMetadataToWrite metadata;            // of the model; the caller adds its tokenizer
  std::vector<GgufTensorToWrite> tensors;  // see the model: it must live until they are written
};

// `linears`: I2_S (one scale a matrix) or TQ2_0 (scales are rounded to half; widths a multiple of
// 256); `tables`: F16 (values are rounded where bf16's exponent is out of range), BF16 or F32.
// Gains are F32. Architectures: bitnet-b1.58 (relu^2 and sub-norms), bitnet (SiLU and sub-norms),
// qwen3 (normalised heads of q and k), llama (rows of q and k interleaved for ggml's RoPE). Throws
// kUnsupported for what GGUF or these types cannot hold, naming it: I2_S no weight-only models.
GgufExport MakeGgufExport(const Model& model, GgmlType linears, GgmlType tables);

}  // namespace tern

#endif  // TERN_ENGINE_GGUF_EXPORT_H_
