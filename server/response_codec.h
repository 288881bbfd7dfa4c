// The parts of answers as JSON. Pure: no model, no network. Key order is that of the OpenAI API's
// documentation.
#ifndef TERN_SERVER_RESPONSE_CODEC_H_
#define TERN_SERVER_RESPONSE_CODEC_H_

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string>

#include "engine/stats.h"
#include "engine/tokenizer.h"
#include "server/api_types.h"
#include "server/text_tokens.h"

namespace tern {

using OrderedJson = nlohmann::ordered_json;

// One line. Bytes that are not UTF-8 become U+FFFD.
std::string ToText(const OrderedJson& json);
// An event of a server-sent stream.
std::string ToEvent(const OrderedJson& json);

// {"error": {message, type, param, code}}; the type follows from the status.
OrderedJson ErrorJson(const RequestError& error);
// The `timings` of every result.
OrderedJson TimingsJson(const Timings& timings);
// Of several texts made one after the other.
Timings Sum(std::span<const Timings> all);
OrderedJson UsageJson(int64_t prompt_tokens, int64_t cached_tokens, int64_t completion_tokens);

// The two shapes of log-probabilities: parallel lists, or a list of objects.
OrderedJson LogprobsJson(Dialect dialect, const Tokenizer& tokenizer,
                         std::span<const ShownToken> tokens);

// A call as messages and deltas have it.
OrderedJson ToolCallJson(const ToolCall& call, const std::string& id);

OrderedJson ModelJson(const std::string& id, int64_t created, int32_t max_context);

}  // namespace tern

#endif  // TERN_SERVER_RESPONSE_CODEC_H_
