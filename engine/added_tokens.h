// Tokens that are found in a text by their spelling, before any pattern or merge.
#ifndef TERN_ENGINE_ADDED_TOKENS_H_
#define TERN_ENGINE_ADDED_TOKENS_H_

#include <array>
#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/batch.h"

namespace tern {

struct AddedToken {
  std::string text;
  TokenId id = -1;
  bool lstrip = false;  // takes the white space before it along
  bool rstrip = false;  // and behind it
};

// Leftmost, of several there the longest. Thread-safe after construction.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  bool empty() const { return tokens_.empty(); }
  // Calls `on_text` for each stretch between tokens that is not empty and `on_token` for each
  // token, in order.
  void Scan(std::string_view text, const std::function<void(std::string_view)>& on_text,
            const std::function<void(TokenId)>& on_token) const;

 private:
  const AddedToken* Find(std::string_view text) const;

  std::vector<AddedToken> tokens_;                   // by first byte, the longest first
  std::array<std::pair<size_t, size_t>, 256> of_{};  // [begin, end) in tokens_ of a first byte
};

}  // namespace tern

#endif  // TERN_ENGINE_ADDED_TOKENS_H_
