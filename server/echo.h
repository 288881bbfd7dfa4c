// A prompt that its answer repeats (`echo`).
#ifndef TERN_SERVER_ECHO_H_
#define TERN_SERVER_ECHO_H_

#include <cstddef>
#include <string>
#include <vector>

#include "engine/prompt_scores.h"
#include "engine/tokenizer.h"
#include "server/api_types.h"
#include "server/text_tokens.h"

namespace tern {

class Echo {
 public:
  // `ids` are the prompt's, beginning-of-sequence token included.
  Echo(const Tokenizer& tokenizer, const PromptInput& prompt, std::vector<TokenId> ids);

  const std::string& text() const { return text_; }
  size_t characters() const;  // of the text
  // Its tokens with their log-probabilities and `top_count` others each; the first has none.
  std::vector<ShownToken> Tokens(const Tokenizer& tokenizer, const PromptScores& scores,
                                 size_t top_count) const;

 private:
  std::string text_;
  std::vector<TokenId> ids_;
};

}  // namespace tern

#endif  // TERN_SERVER_ECHO_H_
