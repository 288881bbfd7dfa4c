// Text <-> token ids. Today sentencepiece models; other kinds arrive as further factories.
#ifndef TERN_ENGINE_TOKENIZER_H_
#define TERN_ENGINE_TOKENIZER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/batch.h"

namespace tern {

// Thread-safe after construction.
class Tokenizer {
 public:
  virtual ~Tokenizer() = default;
  virtual int32_t vocab_size() const = 0;
  virtual TokenId bos() const = 0;  // -1: none
  virtual TokenId eos() const = 0;  // -1: none
  // No special tokens are added. Any byte string is accepted: bytes that are not valid UTF-8 become
  // byte tokens, so Decode(Encode(s)) == s for every s.
  virtual std::vector<TokenId> Encode(std::string_view text) const = 0;
  virtual std::string Decode(const std::vector<TokenId>& ids) const = 0;
  // The bytes that one token adds to a text (control tokens add none). Decode is their
  // concatenation.
  virtual std::string_view PieceBytes(TokenId id) const = 0;
};

// Loads `dir`/tokenizer.model. Throws kNotFound or kBadFile.
std::unique_ptr<Tokenizer> LoadTokenizer(const std::string& dir);
std::unique_ptr<Tokenizer> LoadSentencePiece(const std::string& model_path);

}  // namespace tern

#endif  // TERN_ENGINE_TOKENIZER_H_
