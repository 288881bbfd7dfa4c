// Draft heads from the tensors of a file. The formats, by the names of their tensors; k numbers
// heads and l blocks, both from 0, and file head k is tern's head k + 1: it predicts token t + 2 +
// k.
//
//   {k}.{l}.linear.weight [d, d], {k}.{l}.linear.bias [d]        Medusa (FasterDecoding, TGI)
//   {k}.{L}.weight [V, d], behind the L blocks                   its version 1: own vocabularies
//   heads.w_in, heads.w_out [L, K, d, d], each [in, out]         MedusaBitNet, .pt
//   medusa.head.{k}.layer.{l}.w_in.weight, ...w_out.weight       MedusaBitNet, GGUF; [out, in]
//
// MedusaBitNet's converter wrote [in, out] into GGUF before 2026-04-12, which no file tells: such
// heads load and draft badly.
#ifndef TERN_ENGINE_HEADS_TENSORS_H_
#define TERN_ENGINE_HEADS_TENSORS_H_

#include <cstdint>
#include <string>

#include "engine/medusa_heads.h"

namespace tern {

// What configuration says, 0 where it does not. A file may hold more than that (Vicuna's heads of
// Medusa v1.3 are 5, and say 2): then all are taken. Less is an error.
struct HeadsShape {
  int32_t heads = 0, blocks = 0;
};

// Reads the heads in the safetensors, .pt or GGUF file at `path`, told apart by their first bytes.
// Throws as LoadMedusaHeads does.
MedusaHeads ReadHeadsFile(const std::string& path, const HeadsShape& shape,
                          const ModelConfig& config);

// Whether the file at `path` is GGUF and holds draft heads. Throws as GgufFile does.
bool IsGgufWithHeads(const std::string& path);

}  // namespace tern

#endif  // TERN_ENGINE_HEADS_TENSORS_H_
