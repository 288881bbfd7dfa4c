// Text <-> token ids: sentencepiece models and byte-level byte-pair encoding.
#ifndef TERN_ENGINE_TOKENIZER_H_
#define TERN_ENGINE_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/added_tokens.h"
#include "engine/batch.h"

namespace tern {

// What a token is for, in the numbers of sentencepiece and of GGUF's tokenizer.ggml.token_type.
enum class TokenType : uint8_t {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,      // never made from a user's text; adds nothing to a text
  kUserDefined = 4,  // found in any text by its spelling, before all others
  kUnused = 5,
  kByte = 6,  // sentencepiece's "<0xAB>"
};

// Thread-safe after construction.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual int32_t vocab_size() const = 0;
  virtual TokenId bos() const = 0;  // what every prompt begins with; -1: nothing
  virtual TokenId eos() const = 0;  // -1: none
  // No control token is ever made, whatever `text` spells. Any byte string is accepted, bytes that
  // are not valid UTF-8 too, and Decode(Encode(s)) == s for every s (MakeBpeTokenizer names the few
  // exceptions).
  virtual std::vector<TokenId> Encode(std::string_view text) const = 0;
  virtual std::string Decode(const std::vector<TokenId>& ids) const = 0;
  // The bytes that one token adds to a text (control tokens add none). Decode is their
  // concatenation, less the space that some tokenizers put before every text.
  virtual std::string_view PieceBytes(TokenId id) const = 0;
  // Tokens that a chat template writes by their spelling ("<|eot_id|>").
  virtual std::vector<AddedToken> ControlTokens() const { return {}; }
};

// A stretch of a rendered prompt.
struct PromptPart {
  std::string text;
  bool from_template = false;  // its author may write control tokens; a message's may not
};

// Ids of the parts' texts in a row. Control tokens spelled in a template's part become their ids
// and end a text; between them everything is encoded as one text, template and messages together.
std::vector<TokenId> EncodeParts(const Tokenizer& tokenizer, std::span<const PromptPart> parts);

// The tokenizer of a Hugging Face directory: tokenizer.model where it is a sentencepiece model,
// with what the JSON files add to it; else tokenizer.json. Or that of a GGUF file. Throws
// kNotFound, kBadFile where the files contradict themselves or each other, kUnsupported.
std::unique_ptr<Tokenizer> LoadTokenizer(const std::string& dir);

// Whether it is tokenizer.model that decides the tokenizer of a Hugging Face directory.
bool HasSentencePieceModel(const std::string& dir);

// A token that other files add to a sentencepiece model's.
struct AddedPiece {
  AddedToken token;
  bool control = false;  // else found in any text
};
// Throws kBadFile where the file is damaged or an added token has the id of another piece,
// kUnsupported where it has no byte pieces or normalises text.
std::unique_ptr<Tokenizer> LoadSentencePiece(const std::string& model_path,
                                             const std::vector<AddedPiece>& added = {});
// The same of a serialised model; `where` begins the messages of errors.
std::unique_ptr<Tokenizer> MakeSentencePiece(const std::string& serialized,
                                             const std::string& where,
                                             const std::vector<AddedPiece>& added);

}  // namespace tern

#endif  // TERN_ENGINE_TOKENIZER_H_
