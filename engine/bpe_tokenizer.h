// Byte-level byte-pair encoding: the tokenizers of Llama 3, Qwen, Falcon, GPT-2 and their kin.
#ifndef TERN_ENGINE_BPE_TOKENIZER_H_
#define TERN_ENGINE_BPE_TOKENIZER_H_

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/pre_tokenizer.h"
#include "engine/tokenizer.h"

namespace tern {

// A tokenizer as its file gives it; nothing in it needs to be consistent yet.
struct BpeVocabulary {
  std::string where;                // the file, and the part of it: begins the messages of errors
  std::vector<std::string> tokens;  // [V] spelled as in byte_alphabet.h; kControl and kUserDefined
                                    // as plain text
  std::vector<TokenType> types;     // [V]
  std::vector<std::string> merges;  // "left right", spelled; the first is merged first
  std::vector<SplitStage> stages;   // in order
  bool ignore_merges = false;       // a piece that is a token stays whole, whatever the merges say
  bool nfc = false;                 // text is brought to Unicode's normal form C first
  TokenId bos = -1;                 // what every prompt begins with; -1: nothing
  TokenId eos = -1;                 // -1: none
};

// The tokenizer of `vocabulary`. Where its nfc is set, Decode(Encode(s)) is s in normal form C.
// Throws kBadFile where it contradicts itself, kUnsupported where some byte has no token.
std::unique_ptr<Tokenizer> MakeBpeTokenizer(const BpeVocabulary& vocabulary);

// Sets stages, ignore_merges and nfc to what GGUF's tokenizer.ggml.pre names; tokens must be there.
// Where `pre` is empty (old files), a vocabulary of Llama 3's size has Llama 3's. Throws
// kUnsupported for other names.
void SetPreTokenizer(std::string_view pre, BpeVocabulary& vocabulary);

}  // namespace tern

#endif  // TERN_ENGINE_BPE_TOKENIZER_H_
