// The tokenizer that a GGUF file carries in its metadata (tokenizer.ggml.*).
#ifndef TERN_ENGINE_GGUF_TOKENIZER_H_
#define TERN_ENGINE_GGUF_TOKENIZER_H_

#include <memory>

#include "engine/gguf.h"
#include "engine/tokenizer.h"

namespace tern {

// Models "gpt2" (byte-level, by tokenizer.ggml.pre) and "llama" (sentencepiece's BPE). Throws
// kBadFile where the metadata is missing or contradicts itself, kUnsupported for other models.
std::unique_ptr<Tokenizer> LoadGgufTokenizer(const GgufFile& file);

}  // namespace tern

#endif  // TERN_ENGINE_GGUF_TOKENIZER_H_
