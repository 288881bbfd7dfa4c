// Reads the tokenizer files of Hugging Face directories that are JSON.
#ifndef TERN_ENGINE_TOKENIZER_JSON_READER_H_
#define TERN_ENGINE_TOKENIZER_JSON_READER_H_

#include <memory>
#include <string>
#include <vector>

#include "engine/bpe_tokenizer.h"
#include "engine/tokenizer.h"

namespace tern {

// `dir`/tokenizer.json, with `dir`/tokenizer_config.json for the end token. Byte-level BPE, and BPE
// over characters with byte fallback; whatever in the file changes ids and is not known here is
// kUnsupported, named. Throws kNotFound, kBadFile.
std::unique_ptr<Tokenizer> LoadTokenizerJson(const std::string& dir);

// The tokens that `dir`'s JSON files add to a sentencepiece model's, of whichever file has them:
// tokenizer_config.json, tokenizer.json, added_tokens.json. Throws kBadFile.
std::vector<AddedPiece> ReadAddedPieces(const std::string& dir);

}  // namespace tern

#endif  // TERN_ENGINE_TOKENIZER_JSON_READER_H_
