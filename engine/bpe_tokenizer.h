// Byte-pair encoding from the tokens and merges of a file: byte-level (Llama 3, Qwen, Falcon, GPT-2
// and their kin), or over characters with byte fallback (sentencepiece's BPE, as Llama 2's).
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
  enum class Spelling {
    kByteLevel,   // as in byte_alphabet.h
    kSpaceMarks,  // plain text with U+2581 for a space; bytes without a character are "<0xAB>"
  };
  enum class Prefix {
    kNone,
    kSpace,           // every text gets a space before it, which Decode takes off again
    kSpaceIfMissing,  // unless it begins with one (so Decode may take off one too many)
  };
  std::string where;                // the file: begins the messages of errors
  std::vector<std::string> tokens;  // [V] spelled; kControl and kUserDefined as plain text
  std::vector<TokenType> types;     // [V]
  std::vector<std::string> merges;  // "left right", spelled; the first is merged first
  Spelling spelling = Spelling::kByteLevel;
  Prefix prefix = Prefix::kNone;
  std::vector<SplitStage> stages;  // in order
  bool ignore_merges = false;      // a piece that is a token stays whole, whatever the merges say
  bool nfc = false;                // text is brought to Unicode's normal form C first
  TokenId bos = -1;                // what every prompt begins with; -1: nothing
  TokenId eos = -1;                // -1: none
};

// The tokenizer of `vocabulary`. Some vocabularies lack bytes that their training text lacked:
// Encode leaves those out, as the reference does, and where nfc is set it gives normal form C;
// everything else decodes to what it was. Throws kBadFile where the vocabulary contradicts itself,
// kUnsupported where it cannot spell ASCII.
std::unique_ptr<Tokenizer> MakeBpeTokenizer(const BpeVocabulary& vocabulary);

// Tokens of Llama 3's vocabulary, by which files that do not name their rules are recognised.
inline constexpr size_t kLlama3Tokens = 128256;

// Sets stages, ignore_merges and nfc to what GGUF's tokenizer.ggml.pre names; tokens must be there.
// Where `pre` is empty (old files), a vocabulary of Llama 3's size has Llama 3's. Throws
// kUnsupported for other names.
void SetPreTokenizer(std::string_view pre, BpeVocabulary& vocabulary);

// The reverse: a name of `vocabulary`'s stages and nfc; "" where GGUF has none for them.
std::string PreTokenizerName(const BpeVocabulary& vocabulary);

// Makes a sentencepiece BPE model's rules (GGUF's tokenizer.ggml.model "llama") of its tokens,
// types and their `scores`: neighbours are merged whose union scores highest. Sets merges and
// spelling. Throws kBadFile where there are not as many scores as tokens.
void SetSentencePieceMerges(std::span<const float> scores, BpeVocabulary& vocabulary);

}  // namespace tern

#endif  // TERN_ENGINE_BPE_TOKENIZER_H_
