// What requests and errors of the HTTP API are, apart from JSON and HTTP.
#ifndef TERN_SERVER_API_TYPES_H_
#define TERN_SERVER_API_TYPES_H_

#include <cstdint>
#include <optional>
#include <stdexcept>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "engine/chat_template.h"
#include "engine/generation_options.h"
#include "engine/tool_calls.h"

namespace tern {

// Which of the two OpenAI endpoints a request came to: they differ in the prompt's form and in the
// answer's shape.
enum class Dialect { kCompletion, kChat };

using PromptInput = std::variant<std::string, std::vector<TokenId>>;

// What a request wants its text to be: the field response_format.
struct OutputFormat {
  enum class Kind { kText, kJsonObject, kJsonSchema };
  Kind kind = Kind::kText;
  std::string schema;  // of kJsonSchema, as it was sent
};

// The functions that an answer may call: the fields tools and tool_choice.
struct ToolRequest {
  enum class Choice { kNone, kAuto, kRequired };
  Choice choice = Choice::kNone;
  std::vector<ToolSignature> functions;
  std::vector<std::string> descriptions;      // of each, for the chat template
  std::vector<ToolSignature> callable;        // all, or the one that tool_choice names
  bool several = true;                        // calls in an answer
  ToolCallForm form = ToolCallForm::kMarked;  // the model's; set by the service
};

struct ApiRequest {
  Dialect dialect = Dialect::kCompletion;
  std::string model;                  // empty: whichever is served
  std::vector<PromptInput> prompts;   // of a completion, at least one
  std::vector<ChatMessage> messages;  // of a chat, at least one
  GenerationOptions generation;       // seed is set only where has_seed; grammar never
  OutputFormat output;
  ToolRequest tools;  // of a chat
  bool has_seed = false;
  int32_t n = 1;                 // texts per prompt
  double timeout_seconds = 0.0;  // from arrival to the answer's end; 0: as the server says
  bool stream = false;
  bool include_usage = false;     // a last chunk with the usage
  bool return_token_ids = false;  // choices carry token_ids
  bool echo = false;              // of a completion: the text begins with the prompt
  bool writes = true;             // false: max_tokens is 0, only the echo is wanted
};

// Texts of one request at most: prompts times n.
inline constexpr int32_t kMaxChoices = 128;

// An answer that is an error: {"error": {message, type, param, code}}.
struct RequestError : std::runtime_error {
  RequestError(int http_status, std::string error_code, const std::string& message,
               std::string parameter = "")
      : std::runtime_error(message),
        status(http_status),
        code(std::move(error_code)),
        param(std::move(parameter)) {}
  int status;
  std::string code;             // empty: null
  std::string param;            // the request's field; empty: null
  int retry_after_seconds = 0;  // sent as a header where positive
};
// 400 of a field that is missing, of a wrong type or out of range.
inline RequestError BadField(const std::string& param, const std::string& message) {
  return {400, "invalid_value", message, param};
}
// 400 of a field or value that the API knows and this server does not do.
inline RequestError UnsupportedField(const std::string& param, const std::string& message) {
  return {400, "unsupported_parameter", message, param};
}

}  // namespace tern

#endif  // TERN_SERVER_API_TYPES_H_
