#include "tools/conversation.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "engine/error.h"
#include "engine/generation.h"

namespace tern {

void Conversation::RemoveLast() {
  messages_.pop_back();
  first_ = std::min(first_, messages_.size());
}

void Conversation::RemoveAnswer() {
  if (!messages_.empty() && messages_.back().role == "assistant") RemoveLast();
}

void Conversation::Clear() {
  messages_.clear();
  first_ = 0;
}

std::vector<ChatMessage> Conversation::Kept() const {
  std::vector<ChatMessage> kept;
  if (!system_.empty()) kept.push_back({"system", system_});
  kept.insert(kept.end(), messages_.begin() + static_cast<ptrdiff_t>(first_), messages_.end());
  return kept;
}

std::vector<TokenId> Conversation::Encode() const {
  if (has_template()) return EncodeChat(config_, tokenizer_, chat_, Kept());
  std::string text;
  for (const ChatMessage& message : Kept()) text += message.content;
  return EncodePrompt(config_, tokenizer_, text);
}

Conversation::Prompt Conversation::Next(int32_t wanted) {
  const auto room = static_cast<size_t>(std::max(1, std::min(wanted, max_context_ / 4)));
  const auto context = static_cast<size_t>(max_context_);
  const size_t before = first_;
  std::vector<TokenId> ids = Encode();
  while (ids.size() + room > context && first_ + 1 < messages_.size()) {
    // With a question goes its answer: templates want them in turns.
    do ++first_;
    while (first_ + 1 < messages_.size() && messages_[first_].role != "user");
    ids = Encode();
  }
  if (ids.size() >= context) {
    first_ = before;
    throw InvalidArgument("this message alone makes a prompt of " + std::to_string(ids.size()) +
                          " tokens, expected fewer than the context's " +
                          std::to_string(max_context_) + "; shorten it or raise --context");
  }
  return {std::move(ids), first_ - before};
}

std::string Conversation::Json() const {
  nlohmann::ordered_json list = nlohmann::ordered_json::array();
  if (!system_.empty()) list.push_back({{"role", "system"}, {"content", system_}});
  for (const ChatMessage& message : messages_)
    list.push_back({{"role", message.role}, {"content", message.content}});
  const nlohmann::ordered_json json = {{"messages", std::move(list)}};
  return json.dump(2, ' ', false, nlohmann::ordered_json::error_handler_t::replace) + "\n";
}

}  // namespace tern
