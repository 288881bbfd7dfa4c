// What tokenizers of every kind share: the bytes of each token, and sentencepiece's mark for a
// space.
#ifndef TERN_ENGINE_PIECE_TABLE_H_
#define TERN_ENGINE_PIECE_TABLE_H_

#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer.h"

namespace tern {

inline constexpr std::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581

// `piece` with spaces for its marks.
std::string WithSpaces(std::string piece);

// A tokenizer whose tokens add fixed bytes to a text.
class PieceTableTokenizer : public Tokenizer {
 public:
  int32_t vocab_size() const override { return static_cast<int32_t>(bytes_.size()); }
  std::string Decode(const std::vector<TokenId>& ids) const override;
  // Throws kInvalidArgument for an id outside the table.
  std::string_view PieceBytes(TokenId id) const override;

 protected:
  std::vector<std::string> bytes_;  // [V] what each token adds to a text
  bool puts_space_ = false;         // before a text; Decode takes it away
};

}  // namespace tern

#endif  // TERN_ENGINE_PIECE_TABLE_H_
