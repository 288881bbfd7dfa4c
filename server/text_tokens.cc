#include "server/text_tokens.h"

#include <algorithm>
#include <utility>

namespace tern {
std::string_view TokenBytes(const Tokenizer& tokenizer, TokenId id) {
  return id < tokenizer.vocab_size() ? tokenizer.PieceBytes(id) : std::string_view();
}

std::string DecodeIds(const Tokenizer& tokenizer, std::vector<TokenId> ids) {
  std::erase_if(ids, [&](TokenId id) { return id >= tokenizer.vocab_size(); });
  return tokenizer.Decode(ids);
}

size_t Characters(std::string_view bytes) {
  return static_cast<size_t>(std::ranges::count_if(
      bytes, [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; }));
}

void TextTokens::Add(const TokenRun& run) {
  for (size_t i = 0; i < run.ids.size(); ++i) {
    const auto top = run.top_logprobs.begin() + static_cast<ptrdiff_t>(i * top_count_);
    waiting_.push_back({{run.ids[i],
                         run.logprobs[i],
                         {top, top + static_cast<ptrdiff_t>(top_count_)},
                         characters_},
                        bytes_});
    const std::string_view bytes = TokenBytes(tokenizer_, run.ids[i]);
    bytes_ += bytes.size();
    characters_ += Characters(bytes);
  }
}

std::vector<ShownToken> TextTokens::Take(size_t bytes) {
  shown_bytes_ += bytes;
  std::vector<ShownToken> shown;
  while (!waiting_.empty() && waiting_.front().begin < shown_bytes_) {
    shown.push_back(std::move(waiting_.front().token));
    waiting_.pop_front();
  }
  return shown;
}

std::vector<ShownToken> TextTokens::TakeRest() {
  std::vector<ShownToken> rest;
  for (Waiting& waiting : waiting_) rest.push_back(std::move(waiting.token));
  waiting_.clear();
  return rest;
}

}  // namespace tern
