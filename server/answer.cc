#include "server/answer.h"

#include <iterator>
#include <utility>

namespace tern {
namespace {

OrderedJson StepsJson(const std::vector<TextStep>& steps) {
  OrderedJson list = OrderedJson::array();
  for (const TextStep& step : steps)
    list.push_back(OrderedJson{{"tokens", step.tokens}, {"drafted", step.drafted}});
  return list;
}

}  // namespace

Answer::Answer(AnswerHead head, const ApiRequest& request, const Tokenizer& tokenizer,
               std::span<const Sequence> sequences)
    : head_(std::move(head)), request_(request), tokenizer_(tokenizer), choices_(sequences.size()) {
  const auto n = static_cast<size_t>(request.n);
  std::vector<std::string> names;
  for (const ToolSignature& tool : request.tools.callable) names.push_back(tool.name);
  for (size_t i = 0; i < choices_.size(); ++i) {
    const std::vector<TokenId>& ids = sequences[i].prompt;
    if (i % n == 0) prompt_tokens_ += static_cast<int64_t>(ids.size());
    Choice& choice = choices_[i];
    if (request.tools.choice != ToolRequest::Choice::kNone)
      choice.calls.emplace(request.tools.form, names);
    if (request.echo) choice.echo.emplace(tokenizer, request.prompts[i / n], ids);
    if (request.generation.logprobs < 0) continue;
    const size_t before = choice.echo ? choice.echo->characters() : 0;
    choice.tokens.emplace_back(tokenizer, request.generation.logprobs, before);
  }
}

// What whole answers and chunks have in common, without choices.
OrderedJson Answer::Frame(const char* object) const {
  return {{"id", head_.id},
          {"object", object},
          {"created", head_.created},
          {"model", head_.model},
          {"system_fingerprint", head_.fingerprint}};
}

// `text` is null in the chunk that ends a choice; `finish_reason` in all others.
OrderedJson Answer::Chunk(size_t choice, const std::string* text,
                          const std::vector<ShownToken>& shown, const TokenRun& tokens,
                          const char* finish_reason) const {
  OrderedJson json = {{"index", choice}};
  if (chat()) {
    OrderedJson& delta = json["delta"] = OrderedJson::object();
    if (text != nullptr) delta["content"] = *text;
  } else {
    json["text"] = text != nullptr ? *text : "";
  }
  json["logprobs"] =
      shown.empty() ? OrderedJson() : LogprobsJson(request_.dialect, tokenizer_, shown);
  json["finish_reason"] = finish_reason != nullptr ? OrderedJson(finish_reason) : OrderedJson();
  if (request_.return_token_ids) {
    json["token_ids"] = tokens.ids;
    json["steps"] = StepsJson(tokens.steps);
  }

  OrderedJson chunk = Frame(chat() ? "chat.completion.chunk" : "text_completion");
  chunk["choices"] = OrderedJson::array({std::move(json)});
  // With include_usage every chunk but the last says that it has none.
  if (request_.include_usage) chunk["usage"] = nullptr;
  return chunk;
}

std::string Answer::BeginStream() {
  std::string events;
  const bool scored = request_.generation.logprobs >= 0;  // TakePrompt echoes then
  for (size_t i = 0; i < choices_.size() && request_.echo && !scored; ++i)
    events += ToEvent(Chunk(i, &choices_[i].echo->text(), {}, {}, nullptr));
  if (!chat()) return events;
  for (size_t i = 0; i < choices_.size(); ++i) {
    const std::string empty;
    OrderedJson chunk = Chunk(i, &empty, {}, {}, nullptr);
    chunk["choices"][0]["delta"] = {{"role", "assistant"}, {"content", ""}};
    events += ToEvent(chunk);
  }
  return events;
}

std::string Answer::TakePrompt(const JobEvent& event) {
  Choice& choice = choices_[event.sequence];
  std::vector<ShownToken> tokens = choice.echo->Tokens(
      tokenizer_, event.prompt, static_cast<size_t>(request_.generation.logprobs));
  if (request_.stream)
    return ToEvent(Chunk(event.sequence, &choice.echo->text(), tokens, {}, nullptr));
  choice.prompt = std::move(tokens);
  return "";
}

// The tokens of `event` and earlier ones that the text shows, now that it has grown by
// `text_bytes`. At a text's end, those without text belong to it unless a stop cut them off.
std::vector<ShownToken> Answer::Shown(const JobEvent& event, size_t text_bytes) {
  if (request_.generation.logprobs < 0) return {};
  TextTokens& tokens = choices_[event.sequence].tokens.front();
  tokens.Add(event.tokens);
  std::vector<ShownToken> shown = tokens.Take(text_bytes);
  if (event.kind != JobEvent::Kind::kFinish) return shown;
  const FinishReason reason = event.result.finish_reason;
  if (reason == FinishReason::kStopString) return shown;
  // Whoever has the prompt scored counts tokens from either end: all of them are listed.
  if (reason == FinishReason::kEos && !request_.echo) return shown;
  std::vector<ShownToken> rest = tokens.TakeRest();
  std::move(rest.begin(), rest.end(), std::back_inserter(shown));
  return shown;
}

void Answer::Count(size_t choice, const GenerationResult& result) {
  ++finished_;
  // The other choices of a prompt find what its first one ran.
  if (choice % static_cast<size_t>(request_.n) == 0) cached_tokens_ += result.timings.cached_tokens;
  completion_tokens_ += static_cast<int64_t>(result.token_ids.size());
  timings_.push_back(result.timings);
}

std::string Answer::Stream(const JobEvent& event) {
  const size_t choice = event.sequence;
  if (event.kind == JobEvent::Kind::kPiece) {
    const std::vector<ShownToken> shown = Shown(event, event.text.size());
    auto& calls = choices_[choice].calls;
    const std::string text = calls ? calls->Feed(event.text) : event.text;
    if (text.empty() && shown.empty() && !request_.return_token_ids) return "";
    return ToEvent(Chunk(choice, &text, shown, event.tokens, nullptr));
  }
  return EndOfChoice(event);
}

// What was held back, calls and the reason.
std::string Answer::EndOfChoice(const JobEvent& event) {
  const size_t choice = event.sequence;
  Count(choice, event.result);
  const std::vector<ShownToken> shown = Shown(event, 0);
  std::string events, reason(ToString(event.result.finish_reason));
  if (choices_[choice].calls) {
    const ToolCallReader::Rest rest = choices_[choice].calls->Finish();
    if (!rest.text.empty()) events += ToEvent(Chunk(choice, &rest.text, {}, {}, nullptr));
    for (size_t i = 0; i < rest.calls.size(); ++i) {
      OrderedJson chunk = Chunk(choice, nullptr, {}, {}, nullptr);
      OrderedJson call = {{"index", i}};
      call.update(ToolCallJson(rest.calls[i], CallId(choice, i)));
      chunk["choices"][0]["delta"] = {{"tool_calls", OrderedJson::array({std::move(call)})}};
      events += ToEvent(chunk);
    }
    if (!rest.calls.empty() && reason == "stop") reason = "tool_calls";
  }
  OrderedJson chunk = Chunk(choice, nullptr, shown, event.tokens, reason.c_str());
  return events + (done() ? LastChunk(std::move(chunk)) : ToEvent(chunk));
}

// Of the answer's id, and so as random.
std::string Answer::CallId(size_t choice, size_t call) const {
  return "call_" + head_.id.substr(head_.id.find('-') + 1) + "_" + std::to_string(choice) + "_" +
         std::to_string(call);
}

// `chunk`, the usage where asked for, and the end of the stream. The last object has the timings.
std::string Answer::LastChunk(OrderedJson chunk) const {
  if (!request_.include_usage) {
    chunk["timings"] = TimingsJson(Sum(timings_));
    return ToEvent(chunk) + "data: [DONE]\n\n";
  }
  OrderedJson last = Frame(chat() ? "chat.completion.chunk" : "text_completion");
  last["choices"] = OrderedJson::array();
  last["usage"] = UsageJson(prompt_tokens_, cached_tokens_, completion_tokens_);
  last["timings"] = TimingsJson(Sum(timings_));
  return ToEvent(chunk) + ToEvent(last) + "data: [DONE]\n\n";
}

void Answer::Finish(const JobEvent& event) {
  const GenerationResult& result = event.result;
  Count(event.sequence, result);
  Choice& choice = choices_[event.sequence];
  OrderedJson& json = choice.json;
  std::string reason(ToString(result.finish_reason));
  json = {{"index", event.sequence}};
  if (chat()) {
    OrderedJson& message =
        json["message"] = {{"role", "assistant"}, {"content", result.text}, {"refusal", nullptr}};
    if (auto& calls = choice.calls) {
      const std::string before = calls->Feed(result.text);
      const ToolCallReader::Rest rest = calls->Finish();
      if (!rest.calls.empty()) {
        const std::string content = before + rest.text;
        const bool blank = content.find_first_not_of(" \t\r\n") == std::string::npos;
        message["content"] = blank ? OrderedJson() : OrderedJson(content);
        OrderedJson& list = message["tool_calls"] = OrderedJson::array();
        for (size_t i = 0; i < rest.calls.size(); ++i)
          list.push_back(ToolCallJson(rest.calls[i], CallId(event.sequence, i)));
        if (reason == "stop") reason = "tool_calls";
      }
    }
  } else {
    json["text"] = (choice.echo ? choice.echo->text() : "") + result.text;
  }
  std::vector<ShownToken> shown = std::move(choice.prompt);
  for (ShownToken& token : Shown(event, result.text.size())) shown.push_back(std::move(token));
  json["logprobs"] = request_.generation.logprobs < 0
                         ? OrderedJson()
                         : LogprobsJson(request_.dialect, tokenizer_, shown);
  json["finish_reason"] = reason;
  if (request_.return_token_ids) json["token_ids"] = result.token_ids;
}

OrderedJson Answer::Whole() const {
  OrderedJson answer = Frame(chat() ? "chat.completion" : "text_completion");
  OrderedJson& choices = answer["choices"] = OrderedJson::array();
  for (const Choice& choice : choices_) choices.push_back(choice.json);
  answer["usage"] = UsageJson(prompt_tokens_, cached_tokens_, completion_tokens_);
  answer["timings"] = TimingsJson(Sum(timings_));
  return answer;
}

}  // namespace tern
