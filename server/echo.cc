#include "server/echo.h"

#include <cmath>
#include <utility>

namespace tern {
Echo::Echo(const Tokenizer& tokenizer, const PromptInput& prompt, std::vector<TokenId> ids)
    : text_(std::holds_alternative<std::string>(prompt) ? std::get<std::string>(prompt)
                                                        : DecodeIds(tokenizer, ids)),
      ids_(std::move(ids)) {}

size_t Echo::characters() const { return Characters(text_); }

std::vector<ShownToken> Echo::Tokens(const Tokenizer& tokenizer, const PromptScores& scores,
                                     size_t top_count) const {
  std::vector<ShownToken> tokens;
  size_t all = 0;
  for (const TokenId id : ids_) all += Characters(TokenBytes(tokenizer, id));
  // Some tokenizers put a space before every text, which the text does not have.
  const size_t total = characters(), ahead = all > total ? all - total : 0;
  size_t at = 0;
  for (size_t i = 0; i < ids_.size(); ++i) {
    ShownToken& token = tokens.emplace_back();
    token.id = ids_[i];
    token.text_offset = at > ahead ? at - ahead : 0;
    token.logprob = i == 0 ? std::nanf("") : scores.logprobs[i - 1];
    if (i > 0) {
      const auto top = scores.top_logprobs.begin() + static_cast<ptrdiff_t>((i - 1) * top_count);
      token.top.assign(top, top + static_cast<ptrdiff_t>(top_count));
    }
    at += Characters(TokenBytes(tokenizer, ids_[i]));
  }
  return tokens;
}

}  // namespace tern
