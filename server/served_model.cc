#include "server/served_model.h"

#include "engine/error.h"
#include "engine/generator.h"

namespace tern {

void CheckIds(const ServedModel& served, const std::vector<TokenId>& ids,
              const std::string& param) {
  for (size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= 0 && ids[i] < served.config.vocab_size) continue;
    const std::string at = param + "[" + std::to_string(i) + "]";
    throw BadField(at, at + " is " + std::to_string(ids[i]) + ", expected a token id from 0 to " +
                           std::to_string(served.config.vocab_size - 1));
  }
}

std::vector<TokenId> EncodeText(const ServedModel& served, const PromptInput& prompt,
                                const std::string& param) {
  if (const auto* ids = std::get_if<std::vector<TokenId>>(&prompt)) {
    CheckIds(served, *ids, param);
    return *ids;
  }
  const std::string& text = std::get<std::string>(prompt);
  // An empty prompt asks for any text: what follows the beginning.
  if (text.empty() && served.config.bos_token_id >= 0) return {served.config.bos_token_id};
  if (text.empty()) throw BadField(param, param + " is empty, expected at least one character");
  return EncodePrompt(served.config, served.tokenizer, text);
}

void RequireChatTemplate(const ServedModel& served) {
  if (const std::string problem = served.chat_template.Problem(); !problem.empty())
    throw RequestError(400, "no_chat_template", problem, "messages");
}

std::vector<TokenId> EncodeMessages(const ServedModel& served,
                                    std::span<const ChatMessage> messages,
                                    std::span<const std::string> tools) {
  RequireChatTemplate(served);
  try {
    return EncodeChat(served.config, served.tokenizer, served.chat_template, messages, tools);
  } catch (const Error& error) {
    throw BadField("messages", error.what());
  }
}

}  // namespace tern
