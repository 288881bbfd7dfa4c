// What clients ask about tokens and the model without a pass of it: bodies in, answers out. No
// network. Two servers' forms of the same questions are understood: llama.cpp's and vLLM's.
#ifndef TERN_SERVER_TOKEN_ENDPOINTS_H_
#define TERN_SERVER_TOKEN_ENDPOINTS_H_

#include <cstddef>
#include <string_view>

#include "server/response_codec.h"
#include "server/served_model.h"

namespace tern {

// All throw RequestError (400) naming the field.

// POST /tokenize. {"content", add_special, parse_special, with_pieces} gives {"tokens"}, pieces
// being texts, or bytes where they are no characters; {"prompt", add_special_tokens,
// return_token_strs} or {"messages"} gives {"count", "max_model_len", "tokens", "token_strs"}.
OrderedJson TokenizeJson(const ServedModel& served, std::string_view body);
// POST /detokenize. {"tokens"} gives the text under both servers' names, "content" and "prompt".
OrderedJson DetokenizeJson(const ServedModel& served, std::string_view body);
// POST /apply-template. {"messages"} gives {"prompt"}, the text that the model would continue.
OrderedJson ApplyTemplateJson(const ServedModel& served, std::string_view body);
// GET /props, of which `slots` texts are written at once.
OrderedJson PropsJson(const ServedModel& served, size_t slots);

}  // namespace tern

#endif  // TERN_SERVER_TOKEN_ENDPOINTS_H_
