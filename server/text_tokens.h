// Which tokens a piece of streamed text shows: pieces are held back for stop strings and characters
// in parts, so tokens and text do not arrive together.
#ifndef TERN_SERVER_TEXT_TOKENS_H_
#define TERN_SERVER_TEXT_TOKENS_H_

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "engine/tokenizer.h"
#include "server/job.h"

namespace tern {

struct ShownToken {
  TokenId id = 0;
  float logprob = 0.0f;  // NaN: nothing predicts it, being the first of an echoed prompt
  std::vector<TokenLogprob> top;
  size_t text_offset = 0;  // characters of the text before it
};

// The bytes that a token adds to a text: none where the tokenizer has no such piece.
std::string_view TokenBytes(const Tokenizer& tokenizer, TokenId id);

// A text's. A model may have more ids than its tokenizer has pieces: those add nothing.
std::string DecodeIds(const Tokenizer& tokenizer, std::vector<TokenId> ids);

// Those that `bytes` begin; a character in parts counts with its first byte.
size_t Characters(std::string_view bytes);

// Of one text whose request asked for log-probabilities.
class TextTokens {
 public:
  // `top_count` as GenerationOptions::logprobs; `offset` characters stand before the text.
  // `tokenizer` outlives this.
  TextTokens(const Tokenizer& tokenizer, int32_t top_count, size_t offset)
      : tokenizer_(tokenizer), top_count_(static_cast<size_t>(top_count)), characters_(offset) {}

  void Add(const TokenRun& run);
  // The text grew by `bytes`: the tokens not yet taken that begin in what is now shown.
  std::vector<ShownToken> Take(size_t bytes);
  // Those that are left: they show nothing, being cut off by a stop string or without text.
  std::vector<ShownToken> TakeRest();

 private:
  struct Waiting {
    ShownToken token;
    size_t begin = 0;  // bytes of the text before it
  };
  const Tokenizer& tokenizer_;
  const size_t top_count_;
  size_t bytes_ = 0;   // of all tokens added
  size_t characters_;  // of them and what stands before the text
  size_t shown_bytes_ = 0;
  std::deque<Waiting> waiting_;
};

}  // namespace tern

#endif  // TERN_SERVER_TEXT_TOKENS_H_
