#include "engine/added_tokens.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace tern {
namespace {

constexpr std::string_view kSpace = " \t\n\v\f\r";

uint8_t First(const AddedToken& token) { return static_cast<uint8_t>(token.text.front()); }

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& token) { return token.text.empty(); });
  std::stable_sort(tokens_.begin(), tokens_.end(), [](const AddedToken& a, const AddedToken& b) {
    return First(a) != First(b) ? First(a) < First(b) : a.text.size() > b.text.size();
  });
  for (size_t i = 0; i < tokens_.size(); ++i) {
    auto& [begin, end] = of_[First(tokens_[i])];
    if (end == 0) begin = i;
    end = i + 1;
  }
}

const AddedToken* AddedTokenMatcher::Find(std::string_view text) const {
  const auto [begin, end] = of_[static_cast<uint8_t>(text.front())];
  for (size_t i = begin; i < end; ++i) {
    if (text.starts_with(tokens_[i].text)) return &tokens_[i];
  }
  return nullptr;
}

void AddedTokenMatcher::Scan(std::string_view text,
                             const std::function<void(std::string_view)>& on_text,
                             const std::function<void(TokenId)>& on_token) const {
  size_t begin = 0;
  for (size_t at = 0; at < text.size();) {
    const AddedToken* token = Find(text.substr(at));
    if (token == nullptr) {
      ++at;
      continue;
    }
    std::string_view before = text.substr(begin, at - begin);
    if (token->lstrip) before = before.substr(0, before.find_last_not_of(kSpace) + 1);
    if (!before.empty()) on_text(before);
    on_token(token->id);
    at += token->text.size();
    if (token->rstrip) at = std::min(text.find_first_not_of(kSpace, at), text.size());
    begin = at;
  }
  if (begin < text.size()) on_text(text.substr(begin));
}

}  // namespace tern
