// Builds the answer to one request: whole, or as the chunks of a stream.
#ifndef TERN_SERVER_ANSWER_H_
#define TERN_SERVER_ANSWER_H_

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "engine/tokenizer.h"
#include "engine/tool_calls.h"
#include "server/api_types.h"
#include "server/echo.h"
#include "server/event_queue.h"
#include "server/response_codec.h"
#include "server/text_tokens.h"

namespace tern {

// What every object of an answer repeats.
struct AnswerHead {
  std::string id;
  int64_t created = 0;  // Unix time, seconds
  std::string model;
  std::string fingerprint;  // of the program and the model
};

class Answer {
 public:
  // `request` and `tokenizer` outlive this. Choices, one for each of `sequences`, are numbered
  // prompt by prompt.
  Answer(AnswerHead head, const ApiRequest& request, const Tokenizer& tokenizer,
         std::span<const Sequence> sequences);

  // The events of a stream that begin it: the role of each choice of a chat, prompts echoed.
  std::string BeginStream();
  // Takes the scores of an echoed prompt; the events that they give a stream.
  std::string TakePrompt(const JobEvent& event);
  // The events of a stream that one event of the job gives. With the last choice's end come the
  // usage, where asked for, and "[DONE]".
  std::string Stream(const JobEvent& event);
  // Takes the end of a choice.
  void Finish(const JobEvent& event);
  // The whole answer, once done().
  OrderedJson Whole() const;

  bool done() const { return finished_ == choices_.size(); }

 private:
  struct Choice {
    OrderedJson json;                // in the whole answer
    std::vector<TextTokens> tokens;  // one, where log-probabilities are asked for
    std::optional<Echo> echo;
    std::vector<ShownToken> prompt;       // of the echo, until they are shown
    std::optional<ToolCallReader> calls;  // where functions may be called
  };
  OrderedJson Frame(const char* object) const;
  OrderedJson Chunk(size_t choice, const std::string* text, const std::vector<ShownToken>& shown,
                    const TokenRun& tokens, const char* finish_reason) const;
  std::vector<ShownToken> Shown(const JobEvent& event, size_t text_bytes);
  std::string CallId(size_t choice, size_t call) const;
  std::string EndOfChoice(const JobEvent& event);
  void Count(size_t choice, const GenerationResult& result);
  std::string LastChunk(OrderedJson chunk) const;
  bool chat() const { return request_.dialect == Dialect::kChat; }

  const AnswerHead head_;
  const ApiRequest& request_;
  const Tokenizer& tokenizer_;
  int64_t prompt_tokens_ = 0;
  std::vector<Choice> choices_;
  size_t finished_ = 0;
  int64_t cached_tokens_ = 0, completion_tokens_ = 0;
  std::vector<Timings> timings_;
};

}  // namespace tern

#endif  // TERN_SERVER_ANSWER_H_
