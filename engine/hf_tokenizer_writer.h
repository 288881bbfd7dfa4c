// A GGUF file's tokenizer and chat template as the files of a Hugging Face directory.
#ifndef TERN_ENGINE_HF_TOKENIZER_WRITER_H_
#define TERN_ENGINE_HF_TOKENIZER_WRITER_H_

#include <string>

#include "engine/gguf.h"

namespace tern {

// Writes tokenizer.json, tokenizer_config.json and special_tokens_map.json into the folder `dir`,
// and tokenizer.model for sentencepiece's kinds. A chat template that is known to be a faulty copy
// of the model's own (BitNet 2B's in GGUF) becomes the own one. Nothing where the file has no
// tokenizer. Throws as LoadGgufTokenizer does, and kUnsupported, naming it, for what these files
// cannot hold.
void WriteHfTokenizer(const GgufFile& file, const std::string& dir);

}  // namespace tern

#endif  // TERN_ENGINE_HF_TOKENIZER_WRITER_H_
