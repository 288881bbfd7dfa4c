// A tokenizer of the bytes and some longer pieces, so that tokens cross the borders of a grammar.
// Ids 3 to 258 are the bytes, those behind them the pieces; 1 begins and 2 ends a sequence.
#ifndef TERN_TESTS_SUPPORT_PIECES_TOKENIZER_H_
#define TERN_TESTS_SUPPORT_PIECES_TOKENIZER_H_

#include <string>
#include <utility>
#include <vector>

#include "tests/support/byte_tokenizer.h"

namespace tern {

// Encodes as bytes: what models write is what matters.
class PiecesTokenizer : public ByteTokenizer {
 public:
  explicit PiecesTokenizer(std::vector<std::string> pieces) : pieces_(std::move(pieces)) {}
  int32_t vocab_size() const override { return 259 + static_cast<int32_t>(pieces_.size()); }
  std::string_view PieceBytes(TokenId id) const override {
    return id < 259 ? ByteTokenizer::PieceBytes(id) : pieces_[static_cast<size_t>(id) - 259];
  }

 private:
  std::vector<std::string> pieces_;
};

// What JSON is made of, and words.
inline std::vector<std::string> JsonPieces() {
  std::vector<std::string> pieces = {
      "{\"",      "\":",   "\": ", "\",",     "\", ",     "\"}",      "\"},", "}",
      "}}",       "},{",   "[]",   "[{",      "{}",       "[[",       "]]",   "]}",
      "\": \"",   "\",\"", ",\"",  "\n",      "\n  ",     "    ",     "\\\"", "\\u",
      "\\ud83d",  "\\n",   "null", "true",    "false",    "nul",      "12",   "100",
      "0.5",      "-1",    "1e",   "e5",      "alpha",    "zeta",     "name", "\"name\"",
      "children", "point", "ta",   "g\":",    "\xc3\xa9", "\xe2\x82", "\xac", "\xf0\x9f\x98\x80",
      "yes\"",    "x\":",  "y",    "id\": 5", "free",     "abc",      "ab\"", "<tool_call>\n"};
  for (const char* word : {"hello", "world", " the", " cat", "sat", " on"}) {
    pieces.push_back(word);
    pieces.push_back(std::string(word) + "\"");
  }
  return pieces;
}

}  // namespace tern

#endif  // TERN_TESTS_SUPPORT_PIECES_TOKENIZER_H_
