#include "server/request_codec.h"

#include <algorithm>
#include <array>
#include <initializer_list>
#include <limits>
#include <span>
#include <string>

#include "engine/error.h"
#include "server/json_fields.h"
#include "server/output_format.h"
#include "server/prompt_fields.h"
#include "server/tool_fields.h"

namespace tern {
namespace {

constexpr int32_t kDefaultCompletionTokens = 16;  // the OpenAI API's
constexpr int64_t kMaxInt32 = std::numeric_limits<int32_t>::max();

// --- Fields that would change the answer, were they not ignored.

struct Refused {
  const char* name;
  std::array<const char*, 2> harmless;  // strings that ask for nothing, beside empty values
};
constexpr Refused kRefused[] = {{"audio", {}},
                                {"function_call", {"none", "auto"}},
                                {"functions", {}},
                                {"grammar", {}},
                                {"guided_choice", {}},
                                {"guided_grammar", {}},
                                {"guided_json", {}},
                                {"guided_regex", {}},
                                {"json_schema", {}},
                                {"min_tokens", {}},
                                {"prompt_logprobs", {}},
                                {"structured_outputs", {}},
                                {"suffix", {}},
                                {"use_beam_search", {}},
                                {"web_search_options", {}}};

void RefuseWhatIsNotDone(const JsonFields& fields) {
  for (const Refused& refused : kRefused) {
    const Json* value = fields.Find(refused.name);
    if (value == nullptr || AsksForNothing(*value)) continue;
    const auto is_value = [&](const char* text) { return text != nullptr && *value == text; };
    if (std::any_of(refused.harmless.begin(), refused.harmless.end(), is_value)) continue;
    throw UnsupportedField(
        refused.name, std::string(refused.name) + " is not supported by this server; leave it out");
  }
  if (const Json* modalities = fields.Find("modalities")) {
    if (*modalities != Json::array({"text"})) {
      throw UnsupportedField("modalities", "modalities: only [\"text\"] is supported");
    }
  }
}

// --- Options.

void ParseSampling(const JsonFields& fields, SamplingOptions& sampling) {
  sampling.temperature = static_cast<float>(fields.Number("temperature").value_or(1.0));
  sampling.top_p = static_cast<float>(fields.Number("top_p").value_or(1.0));
  // The API's range begins with 0, the engine's just above: the best token alone.
  if (sampling.top_p == 0.0f) sampling.top_p = std::numeric_limits<float>::min();
  sampling.min_p = static_cast<float>(fields.Number("min_p").value_or(0.0));
  // Some clients write -1 for all.
  sampling.top_k = static_cast<int32_t>(
      std::max<int64_t>(fields.Integer("top_k", -1, kMaxInt32).value_or(0), 0));
  sampling.repetition_penalty = static_cast<float>(fields.Number("repetition_penalty").value_or(1));
  sampling.frequency_penalty = static_cast<float>(fields.Number("frequency_penalty").value_or(0));
  sampling.presence_penalty = static_cast<float>(fields.Number("presence_penalty").value_or(0));
}

void ParseLogitBias(const JsonFields& fields, SamplingOptions& sampling) {
  const Json* value = fields.Find("logit_bias");
  if (value == nullptr) return;
  if (!value->is_object()) throw WrongValue("logit_bias", *value, "an object of token ids");
  for (const auto& [key, bias] : value->items()) {
    const bool digits =
        !key.empty() && key.size() <= 9 && key.find_first_not_of("0123456789") == std::string::npos;
    if (!digits) {
      throw BadField("logit_bias", "logit_bias has the key " + Json(key).dump(-1, ' ', true) +
                                       ", expected a token id");
    }
    if (!bias.is_number()) throw WrongValue("logit_bias." + key, bias, "a number");
    sampling.logit_bias[static_cast<TokenId>(std::stol(key))] = bias.get<float>();
  }
}

void ParseStop(const JsonFields& fields, GenerationOptions& generation) {
  const Json* value = fields.Find("stop");
  if (value == nullptr) return;
  if (value->is_string()) {
    generation.stops = {value->get<std::string>()};
    return;
  }
  if (!value->is_array()) throw WrongValue("stop", *value, "a string or a list of strings");
  for (const Json& stop : *value) {
    if (!stop.is_string()) throw WrongValue("stop", stop, "a string or a list of strings");
    generation.stops.push_back(stop.get<std::string>());
  }
}

void ParseEcho(const JsonFields& fields, ApiRequest& request) {
  request.echo = fields.Bool("echo").value_or(false);
  if (request.echo && request.dialect == Dialect::kChat)
    throw UnsupportedField("echo", "echo is of completions only; leave it out");
}

void ParseMaxTokens(const JsonFields& fields, ApiRequest& request) {
  const int64_t least = request.echo ? 0 : 1;
  const auto older = fields.Integer("max_tokens", least, kMaxInt32);
  const auto newer = fields.Integer("max_completion_tokens", least, kMaxInt32);
  if (older && newer && *older != *newer) {
    throw BadField("max_completion_tokens", "max_completion_tokens is " + std::to_string(*newer) +
                                                " and max_tokens " + std::to_string(*older) +
                                                ", expected one of them or the same value");
  }
  const int64_t otherwise =
      request.dialect == Dialect::kChat ? kMaxInt32 : kDefaultCompletionTokens;
  const int64_t tokens = newer.value_or(older.value_or(otherwise));
  request.writes = tokens > 0;
  // The engine writes one at least, which is not shown then.
  request.generation.max_tokens = static_cast<int32_t>(std::max<int64_t>(tokens, 1));
}

// The completions endpoint takes a count; the chat endpoint takes a switch and a count.
void ParseLogprobs(const JsonFields& fields, ApiRequest& request) {
  int32_t& wanted = request.generation.logprobs;
  if (request.dialect == Dialect::kCompletion) {
    wanted = static_cast<int32_t>(fields.Integer("logprobs", 0, kMaxLogprobs).value_or(-1));
    return;
  }
  const bool on = fields.Bool("logprobs").value_or(false);
  const auto top = fields.Integer("top_logprobs", 0, kMaxLogprobs);
  if (top && !on) {
    throw BadField("top_logprobs",
                   "top_logprobs is given without logprobs, expected \"logprobs\": "
                   "true beside it");
  }
  wanted = on ? static_cast<int32_t>(top.value_or(0)) : -1;
}

void ParseSpeculation(const JsonFields& fields, GenerationOptions& generation) {
  const Json* value = fields.Find("speculation");
  if (value == nullptr) return;
  if (!value->is_object()) throw WrongValue("speculation", *value, "an object");
  for (const auto& [key, entry] : value->items()) {
    if (key != "mode" && key != "max_rows") {
      throw BadField("speculation." + key,
                     "speculation has a field \"" + key + "\", expected mode and max_rows only");
    }
  }
  const JsonFields speculation(*value, "speculation.");
  if (const auto mode = speculation.String("mode")) {
    try {
      generation.draft = ParseDraftMode(*mode);
    } catch (const Error&) {
      throw WrongValue("speculation.mode", *mode, "auto, tree, chain, ngram or off");
    }
  }
  if (const auto rows = speculation.Integer("max_rows", 1, kMaxRows))
    generation.max_rows = static_cast<int32_t>(*rows);
}

void ParseStreaming(const JsonFields& fields, ApiRequest& request) {
  request.stream = fields.Bool("stream").value_or(false);
  const Json* options = fields.Find("stream_options");
  if (options == nullptr) return;
  if (!options->is_object()) throw WrongValue("stream_options", *options, "an object");
  if (!request.stream) {
    throw BadField("stream_options",
                   "stream_options is given without stream, expected \"stream\": true beside it");
  }
  request.include_usage =
      JsonFields(*options, "stream_options.").Bool("include_usage").value_or(false);
}

void ParseCounts(const JsonFields& fields, ApiRequest& request) {
  request.n = static_cast<int32_t>(fields.Integer("n", 1, kMaxChoices).value_or(1));
  const auto best_of = fields.Integer("best_of", 1, kMaxChoices);
  if (best_of && *best_of != request.n) {
    throw UnsupportedField("best_of", "best_of is " + std::to_string(*best_of) +
                                          ", expected the value of n, " +
                                          std::to_string(request.n));
  }
  const size_t choices =
      std::max<size_t>(request.prompts.size(), 1) * static_cast<size_t>(request.n);
  if (choices > static_cast<size_t>(kMaxChoices)) {
    throw BadField("n", "the request asks for " + std::to_string(choices) +
                            " texts, expected at most " + std::to_string(kMaxChoices));
  }
}

// Calls of functions are text of their own form.
void CheckTools(const ApiRequest& request) {
  if (request.tools.choice == ToolRequest::Choice::kNone) return;
  if (request.dialect == Dialect::kCompletion)
    throw UnsupportedField("tools", "tools are taken by chats only, expected none in a completion");
  if (request.output.kind != OutputFormat::Kind::kText) {
    throw BadField("response_format",
                   "response_format is given beside tools, expected one of them; or tool_choice "
                   "\"none\"");
  }
}

// Limits that the engine itself sets; its messages begin with the field's name.
void CheckLimits(const GenerationOptions& generation) {
  try {
    generation.Validate();
  } catch (const Error& error) {
    const std::string message = error.what();
    throw BadField(message.substr(0, message.find(' ')), message);
  }
}

}  // namespace

ApiRequest ParseRequest(Dialect dialect, std::string_view body) {
  const Json json = ParseObject(body);
  const JsonFields fields(json);
  ApiRequest request;
  request.dialect = dialect;
  request.model = fields.String("model").value_or("");
  if (dialect == Dialect::kChat) {
    request.messages = ParseMessages(fields);
  } else {
    request.prompts = ParsePrompts(fields);
  }
  RefuseWhatIsNotDone(fields);
  ParseEcho(fields, request);
  ParseCounts(fields, request);
  ParseStreaming(fields, request);
  ParseMaxTokens(fields, request);
  ParseLogprobs(fields, request);
  GenerationOptions& generation = request.generation;
  ParseSampling(fields, generation.sampling);
  ParseLogitBias(fields, generation.sampling);
  ParseStop(fields, generation);
  ParseSpeculation(fields, generation);
  generation.ignore_eos = fields.Bool("ignore_eos").value_or(false);
  request.output = ParseOutputFormat(fields, body);
  request.tools = ParseTools(fields, body);
  CheckTools(request);
  const bool formatted = request.output.kind != OutputFormat::Kind::kText ||
                         request.tools.choice == ToolRequest::Choice::kRequired;
  if (formatted && generation.ignore_eos) {
    throw BadField("ignore_eos",
                   "ignore_eos is true, expected false where the text has a form to keep to");
  }
  if (const auto seed = fields.Integer("seed", std::numeric_limits<int64_t>::min(),
                                       std::numeric_limits<int64_t>::max())) {
    generation.sampling.seed = static_cast<uint64_t>(*seed);
    request.has_seed = true;
  }
  if (const auto timeout = fields.Number("timeout")) {
    if (!(*timeout > 0.0)) throw WrongValue("timeout", json["timeout"], "seconds, more than 0");
    request.timeout_seconds = *timeout;
  }
  request.return_token_ids = fields.Bool("return_token_ids").value_or(false);
  CheckLimits(generation);
  return request;
}

}  // namespace tern
