// What a request asks to be continued: prompts of /v1/completions, messages of
// /v1/chat/completions.
#ifndef TERN_SERVER_PROMPT_FIELDS_H_
#define TERN_SERVER_PROMPT_FIELDS_H_

#include <vector>

#include "server/api_types.h"
#include "server/json_fields.h"

namespace tern {

// A list of token ids, whatever the vocabulary; may be empty. Throws RequestError (400) naming the
// entry.
std::vector<TokenId> ParseIds(const Json& value, const std::string& path);

// Of the field "prompt": a string, a list of token ids, or a list of either. Throws RequestError
// (400) naming the field and the entry.
std::vector<PromptInput> ParsePrompts(const JsonFields& fields);

// Of the field "messages", at least one; contents are text. Throws RequestError (400) naming the
// field of the message.
std::vector<ChatMessage> ParseMessages(const JsonFields& fields);

}  // namespace tern

#endif  // TERN_SERVER_PROMPT_FIELDS_H_
