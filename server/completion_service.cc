#include "server/completion_service.h"

#include <algorithm>
#include <chrono>
#include <random>
#include <utility>

#include "engine/error.h"
#include "server/request_codec.h"

namespace tern {
namespace {

using std::chrono::milliseconds;
constexpr milliseconds kPoll{50};         // between two looks whether the client has gone
constexpr milliseconds kKeepAlive{5000};  // silence after which a stream sends a comment

uint64_t RandomSeed() {
  std::random_device device;
  return (static_cast<uint64_t>(device()) << 32) | device();
}

std::string NewId(const char* prefix) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string id = prefix;
  uint64_t number = RandomSeed();
  for (int i = 0; i < 16; ++i, number >>= 4) id += kDigits[number & 15];
  return id;
}

int64_t UnixSeconds() {
  return std::chrono::duration_cast<std::chrono::seconds>(
             std::chrono::system_clock::now().time_since_epoch())
      .count();
}

AnswerHead NewHead(const ApiRequest& request, const ServedModel& served) {
  return {NewId(request.dialect == Dialect::kChat ? "chatcmpl-" : "cmpl-"), UnixSeconds(),
          served.id, served.fingerprint};
}

RequestError Failed(const JobEvent& event) {
  return {500, "internal_error", "the request failed: " + event.text};
}

// The nearer of the server's and the request's, where there are any.
std::optional<std::chrono::steady_clock::time_point> Deadline(
    std::chrono::steady_clock::time_point arrival, double servers, double requests) {
  constexpr double kLongest = 1e9;  // seconds; the clock holds more
  if (servers <= 0.0 && requests <= 0.0) return std::nullopt;
  const double seconds = std::min(
      {kLongest, servers > 0.0 ? servers : kLongest, requests > 0.0 ? requests : kLongest});
  return arrival + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                       std::chrono::duration<double>(seconds));
}

}  // namespace

Exchange::Exchange(ComputeThread& compute, ApiRequest request, const ServedModel& served,
                   std::vector<Sequence> sequences, const ServiceOptions& options)
    : compute_(compute),
      request_(std::move(request)),
      events_(std::make_shared<EventQueue>(request_.stream)),
      job_(std::make_shared<Job>()),
      answer_(NewHead(request_, served), request_, served.tokenizer, sequences),
      tokenizer_(served.tokenizer),
      recorder_(request_.writes ? options.recorder : nullptr),
      deadline_(Deadline(job_->arrival, options.deadline_seconds, request_.timeout_seconds)) {
  job_->sequences = std::move(sequences);
  job_->sink = events_;
  if (compute_.TrySubmit(job_)) return;
  RequestError full(429, "queue_full", "too many requests are waiting; try again later");
  full.retry_after_seconds = compute_.RetryAfterSeconds();
  throw full;
}

Exchange::~Exchange() {
  if (!answer_.done()) compute_.Cancel(job_);
}

// For the trainer.
void Exchange::Record(const JobEvent& finish) const {
  const std::vector<TokenId>& prompt = job_->sequences[finish.sequence].prompt;
  recorder_->Add(DecodeIds(tokenizer_, prompt), prompt, finish.result.text,
                 finish.result.token_ids);
}

// The job's next event, or nothing where none comes soon. Throws where the time is over.
std::optional<JobEvent> Exchange::Next() {
  if (deadline_ && Clock::now() > *deadline_) {
    throw RequestError(504, "deadline_exceeded",
                       "the request took longer than it or the server allows");
  }
  std::optional<JobEvent> event = events_->Next(kPoll);
  if (event && event->kind == JobEvent::Kind::kFinish && recorder_ != nullptr) Record(*event);
  if (request_.writes || !event) return event;
  if (event->kind == JobEvent::Kind::kPiece) return std::nullopt;
  // The token that the engine wrote behind the prompt was not asked for.
  event->tokens = {};
  event->result.token_ids.clear();
  event->result.text.clear();
  event->result.finish_reason = FinishReason::kMaxTokens;
  return event;
}

std::string Exchange::Whole(const GoneCheck& gone) {
  while (!answer_.done()) {
    const std::optional<JobEvent> event = Next();
    if (gone()) return "";
    if (!event) continue;
    if (event->kind == JobEvent::Kind::kPrompt) {
      answer_.TakePrompt(*event);
      continue;
    }
    if (event->kind == JobEvent::Kind::kError) throw Failed(*event);
    answer_.Finish(*event);
  }
  return ToText(answer_.Whole());
}

bool Exchange::Stream(const Writer& write, const GoneCheck& gone) {
  try {
    return StreamEvents(write, gone);
  } catch (const RequestError& error) {
    // The status is sent long since: an error can only be an event.
    return write(ToEvent(ErrorJson(error)));
  }
}

bool Exchange::StreamEvents(const Writer& write, const GoneCheck& gone) {
  if (!write(answer_.BeginStream())) return false;
  milliseconds silent{0};
  while (!answer_.done()) {
    const std::optional<JobEvent> event = Next();
    if (gone()) return false;
    if (!event) {
      silent += kPoll;
      if (silent < kKeepAlive) continue;
      silent = milliseconds(0);
      if (!write(": waiting\n\n")) return false;
      continue;
    }
    silent = milliseconds(0);
    if (event->kind == JobEvent::Kind::kError) throw Failed(*event);
    const bool prompt = event->kind == JobEvent::Kind::kPrompt;
    // Empty where a piece may be a call's begin and is held back.
    const std::string events = prompt ? answer_.TakePrompt(*event) : answer_.Stream(*event);
    if (!events.empty() && !write(events)) return false;
  }
  return true;
}

void CompletionService::CheckModel(const std::string& id, const std::string& param) const {
  if (id == served_.id) return;
  throw RequestError(
      404, "model_not_found",
      "the model \"" + id + "\" does not exist here, expected \"" + served_.id + "\" or none",
      param);
}

// What the prompt describes: nothing where nothing may be called.
std::span<const std::string> CompletionService::ToolsOf(const ApiRequest& request) {
  if (request.tools.choice == ToolRequest::Choice::kNone) return {};
  return request.tools.descriptions;
}

void CompletionService::CheckTools(const ApiRequest& request) const {
  if (request.tools.choice == ToolRequest::Choice::kNone) return;
  const ChatTemplate& chat = served_.chat_template;
  if (!chat.TakesTools()) {
    throw UnsupportedField("tools", "tools: this model's chat template (" + chat.family() +
                                        ") has no place for functions; leave them out");
  }
  if (request.tools.choice == ToolRequest::Choice::kRequired && chat.ThinksFirst()) {
    throw UnsupportedField("tool_choice",
                           "tool_choice: this model's answers begin with a thought and cannot be "
                           "made to call a function at once, expected auto or none");
  }
}

std::vector<std::vector<TokenId>> CompletionService::EncodeAll(const ApiRequest& request) const {
  std::vector<std::vector<TokenId>> all;
  if (request.dialect == Dialect::kChat) {
    RequireChatTemplate(served_);
    CheckTools(request);
    all.push_back(EncodeMessages(served_, request.messages, ToolsOf(request)));
  } else {
    const bool one = request.prompts.size() == 1;
    for (size_t i = 0; i < request.prompts.size(); ++i)
      all.push_back(EncodeText(served_, request.prompts[i],
                               one ? "prompt" : "prompt[" + std::to_string(i) + "]"));
  }
  for (const std::vector<TokenId>& ids : all) {
    if (ids.size() < static_cast<size_t>(served_.max_context)) continue;
    throw RequestError(400, "context_length_exceeded",
                       "this model's context is " + std::to_string(served_.max_context) +
                           " tokens, prompt and answer together, and the prompt has " +
                           std::to_string(ids.size()) + "; shorten it",
                       request.dialect == Dialect::kChat ? "messages" : "prompt");
  }
  return all;
}

std::shared_ptr<Exchange> CompletionService::Begin(Dialect dialect, std::string_view body) {
  ApiRequest request = ParseRequest(dialect, body);
  if (!request.model.empty()) CheckModel(request.model, "model");
  const auto& bias = request.generation.sampling.logit_bias;
  if (!bias.empty() && bias.rbegin()->first >= served_.config.vocab_size) {
    throw BadField("logit_bias", "logit_bias has the token id " +
                                     std::to_string(bias.rbegin()->first) + ", expected 0 to " +
                                     std::to_string(served_.config.vocab_size - 1));
  }
  if (served_.chat_template.TakesTools()) request.tools.form = served_.chat_template.CallForm();
  request.generation.grammar = grammars_.Get(request.output, request.tools);
  if (!request.has_seed) request.generation.sampling.seed = RandomSeed();
  std::vector<Sequence> sequences;
  for (const std::vector<TokenId>& ids : EncodeAll(request)) {
    // The noise of choice i depends on i and not on the prompts around it.
    for (int32_t i = 0; i < request.n; ++i) {
      Sequence& sequence = sequences.emplace_back(Sequence{ids, request.generation});
      sequence.options.sampling.stream = static_cast<uint32_t>(i);
      sequence.score_prompt = request.echo && request.generation.logprobs >= 0;
    }
  }
  return std::make_shared<Exchange>(compute_, std::move(request), served_, std::move(sequences),
                                    options_);
}

}  // namespace tern
