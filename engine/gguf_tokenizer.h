// The tokenizer that a GGUF file carries in its metadata (tokenizer.ggml.*).
#ifndef TERN_ENGINE_GGUF_TOKENIZER_H_
#define TERN_ENGINE_GGUF_TOKENIZER_H_

#include <memory>

#include "engine/bpe_tokenizer.h"
#include "engine/gguf.h"
#include "engine/sentencepiece_proto.h"
#include "engine/tokenizer.h"

namespace tern {

// Models "gpt2" (byte-level, by tokenizer.ggml.pre), "llama" (sentencepiece's BPE) and "t5"
// (sentencepiece's unigram). Throws kBadFile where the metadata is missing or contradicts itself,
// kUnsupported for other models.
std::unique_ptr<Tokenizer> LoadGgufTokenizer(const GgufFile& file);

// The vocabulary of models "gpt2" and "llama". Throws as LoadGgufTokenizer does.
BpeVocabulary ReadGgufBpe(const GgufFile& file);

// Models "llama" and "t5" as sentencepiece's own file has them. Tokens behind the last that is
// learned or a byte are `added`: text is cut at them before the model sees it.
struct GgufSentencePiece {
  SentencePieceModel model;
  std::vector<AddedPiece> added;
};
GgufSentencePiece ReadGgufSentencePiece(const GgufFile& file);

}  // namespace tern

#endif  // TERN_ENGINE_GGUF_TOKENIZER_H_
