#include "server/response_codec.h"

#include <cmath>
#include <utility>

#include "engine/utf8.h"

namespace tern {
namespace {

OrderedJson NullWhereEmpty(const std::string& text) {
  return text.empty() ? OrderedJson() : OrderedJson(text);
}

const char* ErrorType(int status) {
  switch (status) {
    case 404:
      return "not_found_error";
    case 429:
      return "rate_limit_error";
    default:
      return status >= 500 ? "server_error" : "invalid_request_error";
  }
}

// A token's text as JSON can say it: bytes that are no characters are spelt as the API does,
// "bytes:\\xf0\\x9f", so that they stay apart.
std::string TokenText(const Tokenizer& tokenizer, TokenId id) {
  const std::string_view bytes = TokenBytes(tokenizer, id);
  std::string_view rest = bytes;
  while (const size_t length = Utf8Length(rest)) rest.remove_prefix(length);
  if (rest.empty()) return std::string(bytes);
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text = "bytes:";
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += {'\\', 'x', kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return text;
}

OrderedJson ChatToken(const Tokenizer& tokenizer, TokenId id, float logprob) {
  OrderedJson bytes = OrderedJson::array();
  for (const char c : TokenBytes(tokenizer, id)) bytes.push_back(static_cast<unsigned char>(c));
  return {{"token", TokenText(tokenizer, id)}, {"logprob", logprob}, {"bytes", std::move(bytes)}};
}

OrderedJson ChatLogprobs(const Tokenizer& tokenizer, std::span<const ShownToken> tokens) {
  OrderedJson content = OrderedJson::array();
  for (const ShownToken& token : tokens) {
    OrderedJson entry = ChatToken(tokenizer, token.id, token.logprob);
    OrderedJson& top = entry["top_logprobs"] = OrderedJson::array();
    for (const TokenLogprob& other : token.top)
      top.push_back(ChatToken(tokenizer, other.token, other.logprob));
    content.push_back(std::move(entry));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

OrderedJson CompletionLogprobs(const Tokenizer& tokenizer, std::span<const ShownToken> tokens) {
  OrderedJson json = {{"tokens", OrderedJson::array()},
                      {"token_logprobs", OrderedJson::array()},
                      {"top_logprobs", OrderedJson::array()},
                      {"text_offset", OrderedJson::array()}};
  for (const ShownToken& token : tokens) {
    json["tokens"].push_back(TokenText(tokenizer, token.id));
    json["text_offset"].push_back(token.text_offset);
    if (std::isnan(token.logprob)) {
      json["token_logprobs"].push_back(nullptr);
      json["top_logprobs"].push_back(nullptr);
      continue;
    }
    json["token_logprobs"].push_back(token.logprob);
    // Tokens of the same text share a key: the most probable, which comes first, keeps it.
    OrderedJson top = OrderedJson::object();
    for (const TokenLogprob& other : token.top)
      top.emplace(TokenText(tokenizer, other.token), other.logprob);
    json["top_logprobs"].push_back(std::move(top));
  }
  return json;
}

}  // namespace

std::string ToText(const OrderedJson& json) {
  return json.dump(-1, ' ', false, OrderedJson::error_handler_t::replace);
}

std::string ToEvent(const OrderedJson& json) { return "data: " + ToText(json) + "\n\n"; }

OrderedJson ErrorJson(const RequestError& error) {
  return {{"error",
           {{"message", error.what()},
            {"type", ErrorType(error.status)},
            {"param", NullWhereEmpty(error.param)},
            {"code", NullWhereEmpty(error.code)}}}};
}

OrderedJson DraftersJson(const Timings& timings) {
  OrderedJson json;
  for (size_t i = 0; i < kDrafterNames.size(); ++i) {
    const DraftCounts& counts = timings.by_drafter[i];
    json[kDrafterNames[i]] = {{"drafted", counts.drafted}, {"accepted", counts.accepted}};
  }
  return json;
}

OrderedJson TimingsJson(const Timings& timings) {
  OrderedJson json = {{"prompt_tokens_per_second", timings.prompt_tokens_per_second()},
                      {"decode_tokens_per_second", timings.decode_tokens_per_second()},
                      {"prompt_seconds", timings.prompt_seconds},
                      {"decode_seconds", timings.decode_seconds},
                      {"draft_seconds", timings.draft_seconds},
                      {"plan_seconds", timings.plan_seconds},
                      {"threads", timings.threads},
                      {"steps", timings.steps},
                      {"verify_steps", timings.verify_steps},
                      {"drafted", timings.drafted},
                      {"accepted", timings.accepted},
                      {"drafters", DraftersJson(timings)},
                      {"acceptance_length", timings.acceptance_length()},
                      {"screened", timings.screened},
                      {"screen_fallbacks", timings.screen_fallbacks},
                      {"draft", timings.draft_mode}};
  if (!timings.lossy.empty()) json["lossy"] = timings.lossy;
  if (!timings.draft_reason.empty()) json["draft_reason"] = timings.draft_reason;
  return json;
}

Timings Sum(std::span<const Timings> all) {
  Timings sum;
  for (const Timings& timings : all) {
    sum.prompt_tokens += timings.prompt_tokens;
    sum.cached_tokens += timings.cached_tokens;
    sum.prompt_seconds += timings.prompt_seconds;
    sum.decode_tokens += timings.decode_tokens;
    sum.decode_seconds += timings.decode_seconds;
    sum.draft_seconds += timings.draft_seconds;
    sum.plan_seconds += timings.plan_seconds;
    sum.threads = timings.threads;
    sum.steps += timings.steps;
    sum.verify_steps += timings.verify_steps;
    sum.drafted += timings.drafted;
    sum.accepted += timings.accepted;
    sum.screened += timings.screened;
    sum.screen_fallbacks += timings.screen_fallbacks;
    for (size_t i = 0; i < sum.by_drafter.size(); ++i) {
      sum.by_drafter[i].drafted += timings.by_drafter[i].drafted;
      sum.by_drafter[i].accepted += timings.by_drafter[i].accepted;
    }
    for (size_t i = 0; i < sum.accepted_at_depth.size(); ++i)
      sum.accepted_at_depth[i] += timings.accepted_at_depth[i];
    sum.draft_mode = timings.draft_mode;
    sum.draft_reason = timings.draft_reason;
    if (!timings.lossy.empty()) sum.lossy = timings.lossy;
  }
  return sum;
}

OrderedJson UsageJson(int64_t prompt_tokens, int64_t cached_tokens, int64_t completion_tokens) {
  return {{"prompt_tokens", prompt_tokens},
          {"completion_tokens", completion_tokens},
          {"total_tokens", prompt_tokens + completion_tokens},
          {"prompt_tokens_details", {{"cached_tokens", cached_tokens}}}};
}

OrderedJson LogprobsJson(Dialect dialect, const Tokenizer& tokenizer,
                         std::span<const ShownToken> tokens) {
  return dialect == Dialect::kChat ? ChatLogprobs(tokenizer, tokens)
                                   : CompletionLogprobs(tokenizer, tokens);
}

OrderedJson ToolCallJson(const ToolCall& call, const std::string& id) {
  return {{"id", id},
          {"type", "function"},
          {"function", {{"name", call.name}, {"arguments", call.arguments}}}};
}

OrderedJson ModelJson(const std::string& id, int64_t created, int32_t max_context) {
  return {{"id", id},
          {"object", "model"},
          {"created", created},
          {"owned_by", "tern"},
          {"max_model_len", max_context}};
}

}  // namespace tern
