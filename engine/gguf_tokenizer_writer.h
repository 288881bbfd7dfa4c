// A model's tokenizer and chat template as the metadata of a GGUF file.
#ifndef TERN_ENGINE_GGUF_TOKENIZER_WRITER_H_
#define TERN_ENGINE_GGUF_TOKENIZER_WRITER_H_

#include <string>

#include "engine/config.h"
#include "engine/gguf_writer.h"

namespace tern {

// tokenizer.* of the Hugging Face directory or GGUF file at `model_path`; the model has `config`.
//   byte-level BPE         "gpt2", with the name of its rules in tokenizer.ggml.pre
//   BPE of characters      "llama"
//   sentencepiece          "llama" (BPE) or "t5" (unigram)
// Tokens go up to config.vocab_size, as other programs want; a GGUF file's own are copied. eos, eot
// and eom are the first three of `config`. GgufSpecialTokens where there is no tokenizer. Throws
// kUnsupported, naming it, for what GGUF's metadata cannot say.
GgufMetadataToWrite GgufTokenizerMetadata(const std::string& model_path, const ModelConfig& config);

// bos, eos, eot and eom of `config` alone.
GgufMetadataToWrite GgufSpecialTokens(const ModelConfig& config);

}  // namespace tern

#endif  // TERN_ENGINE_GGUF_TOKENIZER_WRITER_H_
