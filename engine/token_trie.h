// The bytes of all tokens as a tree: what a grammar allows is found for tokens that begin alike
// once.
#ifndef TERN_ENGINE_TOKEN_TRIE_H_
#define TERN_ENGINE_TOKEN_TRIE_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "engine/tokenizer.h"

namespace tern {

// Immutable, thread-safe.
class TokenTrie {
 public:
  // A node stands for the bytes from the root to it. Nodes come before what is below them, so that
  // all of it is the nodes up to `end`.
  struct Node {
    int32_t end;                      // the first node that is not below this one
    int32_t first_token, last_token;  // [first, last) of tokens(): those of exactly these bytes
    uint16_t depth;                   // bytes; 1 for the children of the root, which is no node
    uint8_t byte;                     // the last of them
  };

  // Tokens of `eos` end a text and tokens without bytes add nothing: they have no node.
  // `vocab_size` is the model's, at least the tokenizer's; `tokenizer` outlives this. Throws
  // Error(kUnsupported) where a byte is no token by itself: a text could not go on then.
  TokenTrie(const Tokenizer& tokenizer, std::span<const TokenId> eos, int32_t vocab_size);

  std::span<const Node> nodes() const { return nodes_; }
  std::span<const TokenId> TokensOf(const Node& node) const {
    return std::span<const TokenId>(tokens_).subspan(
        static_cast<size_t>(node.first_token),
        static_cast<size_t>(node.last_token - node.first_token));
  }
  std::span<const TokenId> eos() const { return eos_; }
  bool IsEos(TokenId token) const;
  int32_t vocab_size() const { return vocab_size_; }
  // Nothing where the tokenizer has no such token.
  std::string_view Bytes(TokenId token) const {
    return token < tokenizer_.vocab_size() ? tokenizer_.PieceBytes(token) : std::string_view();
  }
  size_t longest() const { return longest_; }  // token, in bytes

 private:
  const Tokenizer& tokenizer_;
  std::vector<TokenId> eos_;
  int32_t vocab_size_;
  std::vector<Node> nodes_;
  std::vector<TokenId> tokens_;  // by their bytes, then by id
  size_t longest_ = 0;
};

}  // namespace tern

#endif  // TERN_ENGINE_TOKEN_TRIE_H_
