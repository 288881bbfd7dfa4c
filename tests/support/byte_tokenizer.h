// A tokenizer without a file: ids 3 to 258 are the bytes, 1 begins and 2 ends a sequence. Fits
// TinyConfig.
#ifndef TERN_TESTS_SUPPORT_BYTE_TOKENIZER_H_
#define TERN_TESTS_SUPPORT_BYTE_TOKENIZER_H_

#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer.h"

namespace tern {

class ByteTokenizer : public Tokenizer {
 public:
  static constexpr TokenId kFirstByte = 3;
  ByteTokenizer() {
    for (int byte = 0; byte < 256; ++byte) bytes_[byte] = static_cast<char>(byte);
  }
  int32_t vocab_size() const override { return 259; }
  TokenId bos() const override { return 1; }
  TokenId eos() const override { return 2; }
  std::vector<TokenId> Encode(std::string_view text) const override {
    std::vector<TokenId> ids;
    for (char c : text) ids.push_back(kFirstByte + static_cast<unsigned char>(c));
    return ids;
  }
  std::string Decode(const std::vector<TokenId>& ids) const override {
    std::string text;
    for (TokenId id : ids) text += PieceBytes(id);
    return text;
  }
  std::string_view PieceBytes(TokenId id) const override {
    return id < kFirstByte ? std::string_view() : std::string_view(&bytes_[id - kFirstByte], 1);
  }

 private:
  char bytes_[256];
};

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_BYTE_TOKENIZER_H_
