#include "engine/token_trie.h"

#include <algorithm>
#include <cstdio>
#include <limits>
#include <string>

#include "engine/error.h"

namespace tern {
namespace {

// No text that a grammar describes has these bytes, as none is valid UTF-8 with them.
bool InUtf8(int byte) { return byte <= 0xF4 && byte != 0xC0 && byte != 0xC1; }

}  // namespace

TokenTrie::TokenTrie(const Tokenizer& tokenizer, std::span<const TokenId> eos, int32_t vocab_size)
    : tokenizer_(tokenizer), eos_(eos.begin(), eos.end()), vocab_size_(vocab_size) {
  std::ranges::sort(eos_);
  eos_.erase(std::unique(eos_.begin(), eos_.end()), eos_.end());
  constexpr size_t kLongest = std::numeric_limits<uint16_t>::max();
  for (TokenId id = 0; id < tokenizer.vocab_size(); ++id) {
    const size_t size = tokenizer.PieceBytes(id).size();
    if (size > 0 && size <= kLongest && !IsEos(id)) tokens_.push_back(id);
  }
  std::ranges::stable_sort(tokens_, {}, [&](TokenId id) { return tokenizer.PieceBytes(id); });

  std::vector<size_t> open;  // the nodes from the root to the last token's
  std::string_view last;
  bool single[256] = {};
  for (size_t i = 0; i < tokens_.size(); ++i) {
    const std::string_view bytes = tokenizer.PieceBytes(tokens_[i]);
    longest_ = std::max(longest_, bytes.size());
    const auto at = static_cast<int32_t>(i);
    const auto differ = std::mismatch(bytes.begin(), bytes.end(), last.begin(), last.end()).first;
    const auto common = static_cast<size_t>(differ - bytes.begin());
    for (; open.size() > common; open.pop_back())
      nodes_[open.back()].end = static_cast<int32_t>(nodes_.size());
    for (size_t depth = common; depth < bytes.size(); ++depth) {
      open.push_back(nodes_.size());
      nodes_.push_back(
          {0, at, at, static_cast<uint16_t>(depth + 1), static_cast<uint8_t>(bytes[depth])});
    }
    nodes_[open.back()].last_token = at + 1;
    if (bytes.size() == 1) single[static_cast<uint8_t>(bytes[0])] = true;
    last = bytes;
  }
  for (const size_t node : open) nodes_[node].end = static_cast<int32_t>(nodes_.size());

  for (int byte = 0x09; byte < 256; ++byte) {
    if (single[byte] || !InUtf8(byte) || (byte < 0x20 && byte != '\t' && byte != '\n')) continue;
    char hex[8];
    std::snprintf(hex, sizeof(hex), "0x%02x", byte);
    throw Unsupported(std::string("the tokenizer has no token for the byte ") + hex +
                      " alone, expected one for every byte: its texts cannot be kept to a grammar");
  }
}

bool TokenTrie::IsEos(TokenId token) const { return std::ranges::binary_search(eos_, token); }

}  // namespace tern
