// Tokenizers in the format of Hugging Face's `tokenizers` library, tokenizer.json.
#ifndef TERN_ENGINE_TOKENIZER_JSON_WRITER_H_
#define TERN_ENGINE_TOKENIZER_JSON_WRITER_H_

#include <span>
#include <string>

#include "engine/bpe_tokenizer.h"
#include "engine/sentencepiece_proto.h"

namespace tern {

// Ids agree with sentencepiece's on any text that holds neither U+2581 nor the spelling of a
// control or byte piece ("</s>", "<0x41>"): those the library cannot tell from the pieces
// themselves. `added`: tokens behind the model's own.
std::string SentencePieceTokenizerJson(const SentencePieceModel& model,
                                       std::span<const AddedPiece> added);

// REQUIRES the byte-level spelling. Tokens of type kUnused are left out, and so are merges that no
// text needs: those of tokens that are found by their spelling.
std::string ByteLevelTokenizerJson(const BpeVocabulary& vocabulary);

}  // namespace tern

#endif  // TERN_ENGINE_TOKENIZER_JSON_WRITER_H_
