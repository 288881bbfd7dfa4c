// Draft heads as MedusaBitNet's GGUF tensors.
#ifndef TERN_ENGINE_HEADS_GGUF_H_
#define TERN_ENGINE_HEADS_GGUF_H_

#include <string>

#include "engine/medusa_heads.h"

namespace tern {

// Writes medusa.head.{k}.layer.{l}.w_in.weight and ...w_out.weight [out, in], with medusa.n_heads,
// medusa.n_layers_per_head and medusa.hidden_size, to be merged with a model's GGUF or used beside
// it. A Medusa block x + SiLU(W x) has w_out = identity. Tensors are F16, as MedusaBitNet's, where
// that holds every weight, else F32: ReadHeadsFile gives the same values back. Throws
// kInvalidArgument where the format has no place for them: biases, or vocabularies of their own.
void WriteHeadsGguf(const std::string& path, const MedusaHeads& heads);

}  // namespace tern

#endif  // TERN_ENGINE_HEADS_GGUF_H_
