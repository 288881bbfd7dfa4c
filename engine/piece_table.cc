#include "engine/piece_table.h"

#include "engine/error.h"

namespace tern {

std::string WithSpaces(std::string piece) {
  for (size_t at = 0; (at = piece.find(kSpaceMark, at)) != std::string::npos; ++at) {
    piece.replace(at, kSpaceMark.size(), " ");
  }
  return piece;
}

std::string PieceTableTokenizer::Decode(const std::vector<TokenId>& ids) const {
  std::string text;
  for (const TokenId id : ids) text += PieceBytes(id);
  if (puts_space_ && text.starts_with(' ')) text.erase(0, 1);
  return text;
}

std::string_view PieceTableTokenizer::PieceBytes(TokenId id) const {
  if (id < 0 || id >= vocab_size()) {
    throw InvalidArgument("token id " + std::to_string(id) + ": expected 0 to " +
                          std::to_string(vocab_size() - 1));
  }
  return bytes_[static_cast<size_t>(id)];
}

}  // namespace tern
