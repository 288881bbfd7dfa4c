// Reads the tokenizer files of Hugging Face directories that are JSON.
#ifndef TERN_ENGINE_TOKENIZER_JSON_READER_H_
#define TERN_ENGINE_TOKENIZER_JSON_READER_H_

#include <memory>
#include <string>
#include <vector>

#include "engine/bpe_tokenizer.h"
#include "engine/tokenizer.h"

namespace tern {

// The contents of a folder's files; empty for those that are not there.
struct TokenizerFiles {
  std::string dir;                                             // begins the messages of errors
  std::string tokenizer_json, tokenizer_config, added_tokens;  // each .json
};
TokenizerFiles ReadTokenizerFiles(const std::string& dir);

// tokenizer.json as it stands. Throws as MakeJsonTokenizer does.
BpeVocabulary ReadTokenizerJson(const TokenizerFiles& files);

// The tokenizer of tokenizer.json, with tokenizer_config.json for the end token. Byte-level BPE,
// and BPE over characters with byte fallback; whatever in the file changes ids and is not known
// here is kUnsupported, named. Throws kBadFile.
std::unique_ptr<Tokenizer> MakeJsonTokenizer(const TokenizerFiles& files);

// The tokens that JSON files add to a sentencepiece model's, of the first that has them:
// tokenizer_config.json, tokenizer.json, added_tokens.json. Throws kBadFile.
std::vector<AddedPiece> AddedPieces(const TokenizerFiles& files);

}  // namespace tern

#endif  // TERN_ENGINE_TOKENIZER_JSON_READER_H_
