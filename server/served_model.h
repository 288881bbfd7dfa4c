// The model that is served, and how prompts become its token ids.
#ifndef TERN_SERVER_SERVED_MODEL_H_
#define TERN_SERVER_SERVED_MODEL_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/chat_template.h"
#include "engine/config.h"
#include "engine/tokenizer.h"
#include "server/api_types.h"

namespace tern {

// Everything outlives whoever uses it. Thread-safe.
struct ServedModel {
  const ModelConfig& config;
  const Tokenizer& tokenizer;
  const ChatTemplate& chat_template;
  std::string id;           // the API's name of the model
  std::string fingerprint;  // system_fingerprint of every answer
  int32_t max_context = 0;  // tokens of prompt and text together
  int64_t created = 0;      // Unix time, seconds
};

// Throws RequestError (400) naming the entry where one of `ids` is outside the vocabulary.
void CheckIds(const ServedModel& served, const std::vector<TokenId>& ids, const std::string& param);
// A completion's prompt. Throws RequestError (400) where it has no token.
std::vector<TokenId> EncodeText(const ServedModel& served, const PromptInput& prompt,
                                const std::string& param);
// A chat's, with descriptions of functions to call. Throws RequestError (400): `no_chat_template`,
// or what the template refuses.
std::vector<TokenId> EncodeMessages(const ServedModel& served,
                                    std::span<const ChatMessage> messages,
                                    std::span<const std::string> tools = {});
// Throws RequestError (400, `no_chat_template`) where the model has none that can be run.
void RequireChatTemplate(const ServedModel& served);

}  // namespace tern

#endif  // TERN_SERVER_SERVED_MODEL_H_
