// What was said in a chat, and the prompt that it makes for the next answer.
#ifndef TERN_TOOLS_CONVERSATION_H_
#define TERN_TOOLS_CONVERSATION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "engine/chat_template.h"
#include "engine/config.h"
#include "engine/tokenizer.h"

namespace tern {

// Where the model has no chat template that works here, all turns are one text that it continues.
class Conversation {
 public:
  struct Prompt {
    std::vector<TokenId> ids;
    size_t dropped = 0;  // messages that were left out for the first time
  };

  // All outlive this. `max_context`: tokens of a prompt and its answer.
  Conversation(const ModelConfig& config, const Tokenizer& tokenizer, const ChatTemplate& chat,
               int32_t max_context)
      : config_(config), tokenizer_(tokenizer), chat_(chat), max_context_(max_context) {}

  bool has_template() const { return chat_.Problem().empty(); }
  bool empty() const { return messages_.empty(); }
  // Empty: none. It is never left out of a prompt.
  void SetSystem(std::string text) { system_ = std::move(text); }
  void AddUser(std::string text) { messages_.push_back({"user", std::move(text)}); }
  void AddAnswer(std::string text) { messages_.push_back({"assistant", std::move(text)}); }
  // Takes back the last message.
  void RemoveLast();
  // Takes back the last message where it is an answer.
  void RemoveAnswer();
  void Clear();

  // The prompt for the next answer, of at most `wanted` tokens. From the first message on, as many
  // are left out, now and later, as it takes for the answer to have those, or a quarter of the
  // context; never the last one. Throws Error(kInvalidArgument) where that alone does not fit.
  Prompt Next(int32_t wanted);
  // Everything, also what is left out, as {"messages": [{role, content}, ..]}.
  std::string Json() const;

 private:
  std::vector<ChatMessage> Kept() const;
  std::vector<TokenId> Encode() const;

  const ModelConfig& config_;
  const Tokenizer& tokenizer_;
  const ChatTemplate& chat_;
  const int32_t max_context_;
  std::string system_;
  std::vector<ChatMessage> messages_;
  size_t first_ = 0;  // that is still part of prompts
};

}  // namespace tern

#endif  // TERN_TOOLS_CONVERSATION_H_
