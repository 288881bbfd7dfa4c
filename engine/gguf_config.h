// What a GGUF file says about its model.
#ifndef TERN_ENGINE_GGUF_CONFIG_H_
#define TERN_ENGINE_GGUF_CONFIG_H_

#include "engine/config.h"
#include "engine/gguf.h"

namespace tern {

// "int8" or "float": what the linears multiply, in files that tern writes. Other programs ignore
// it.
inline constexpr const char* kActivationsKey = "tern.activations";

// Reads and validates metadata and the names of tensors. Architectures:
//   bitnet-b1.58, bitnet-25   2B-4T: relu^2, sub-norms
//   bitnet                    1bitLLM: SiLU, sub-norms. With Llama 3's vocabulary it is a 2B-4T
//   that
//                             an old converter named so (facts 3.6): relu^2
//   llama, qwen3              SiLU; qwen3 normalises heads of q and k
// Sub-norms are those that layer 0 has. Activations: gguf_weights.h. Without output.weight the
// embedding is tied.
//
// What ends a sequence: the eos, eot and eom ids of the metadata, and tokens spelled as known ends
// of a turn (<|eot_id|>, <|im_end|>, ...), which the 2B-4T file and others leave out of the
// metadata. bos_token_id is -1 where the file says that prompts do not begin with it.
//
// Throws kBadFile (missing or inconsistent field, named with its value) or kUnsupported (another
// architecture or rope, biases, experts).
ModelConfig ReadGgufConfig(const GgufFile& file);

}  // namespace tern

#endif  // TERN_ENGINE_GGUF_CONFIG_H_
