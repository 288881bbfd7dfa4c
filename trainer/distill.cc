#include "trainer/distill.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <utility>

#include "engine/scheduler.h"
#include "kernels/check.h"

namespace tern {
namespace {

// Texts on their way, in the order of their prompts: the file keeps that order, whichever is ready
// first.
class Texts {
 public:
  Texts(const Model& model, const Tokenizer& tokenizer, std::span<const DistillPrompt> prompts,
        const DistillOptions& options, HiddenCacheWriter& writer)
      : prompts_(prompts),
        width_(writer.info().hidden_stored ? static_cast<size_t>(model.config.hidden_size) : 0),
        top_k_(static_cast<size_t>(writer.info().teacher_top_k)),
        scheduler_(model, tokenizer, LimitsFor(model, prompts, options)),
        most_(2 * static_cast<size_t>(options.parallel)),
        writer_(writer),
        next_(writer.sequences()) {
    generation_.sampling = options.sampling;
    generation_.max_tokens = options.max_tokens;
    generation_.draft = DraftMode::kOff;  // there are no heads yet, and texts share the passes
    if (top_k_ > 0) generation_.logprobs = writer.info().teacher_top_k;
  }

  // Runs passes until another text is written; false where all are.
  bool WriteNext(DistillCounts* counts) {
    while (true) {
      while (texts_.size() < most_ && next_ < prompts_.size()) Begin();
      if (texts_.empty()) return false;
      if (texts_.front().done) break;
      scheduler_.Step();
    }
    DistilledText& text = texts_.front().text;
    counts->generated_tokens += text.answered();
    counts->tokens += text.tokens().size();
    writer_.Append(text.Finish());
    texts_.pop_front();
    return true;
  }

 private:
  struct Text {
    DistilledText text;
    uint32_t stream;
    bool done = false;
  };

  // No more cache than the longest texts fill.
  SchedulerLimits LimitsFor(const Model& model, std::span<const DistillPrompt> prompts,
                            const DistillOptions& options) const {
    SchedulerLimits limits;
    limits.max_sequences = options.parallel;
    limits.max_context = LongestText(prompts, options.max_tokens, model.config);
    limits.max_rows = 1;
    limits.prefill_chunk = std::min(limits.prefill_chunk, limits.max_context);
    limits.kv_type = options.kv_type;
    // A conversation is read again for every answer; but hidden states come of what is run only.
    limits.reuse_prefixes = width_ == 0;
    return limits;
  }

  void Begin() {
    // A deque's elements stay where they are while others come and go at its ends.
    Text& text = texts_.emplace_back(
        Text{{prompts_[next_], width_, top_k_}, static_cast<uint32_t>(next_), false});
    ++next_;
    Continue(text);
  }

  void Continue(Text& text) {
    generation_.sampling.stream = text.stream;
    TextRequest request;
    request.prompt.assign(text.text.tokens().begin(), text.text.tokens().end());
    request.options = generation_;
    if (width_ > 0) {
      request.on_hidden = [&text](int32_t position, std::span<const float> row) {
        text.text.SetHidden(position, row);
      };
    }
    request.on_finish = [this, &text](const GenerationResult& result) {
      const bool ended = result.finish_reason == FinishReason::kEos;
      text.done =
          !text.text.Answer(result.token_ids, ended, result.top_logprobs, scheduler_.max_context());
      if (!text.done) Continue(text);
    };
    scheduler_.Submit(std::move(request));
  }

  std::span<const DistillPrompt> prompts_;
  const size_t width_, top_k_;
  GenerationOptions generation_;
  std::deque<Text> texts_;
  Scheduler scheduler_;
  const size_t most_;  // begun and not written
  HiddenCacheWriter& writer_;
  size_t next_;  // prompt to begin
};

}  // namespace

int32_t LongestText(std::span<const DistillPrompt> prompts, int32_t max_tokens,
                    const ModelConfig& config) {
  size_t longest = 1;
  const auto answer = static_cast<size_t>(max_tokens);
  for (const DistillPrompt& prompt : prompts) {
    size_t length = prompt.tokens.size() + answer;
    for (const std::vector<TokenId>& reply : prompt.replies) length += reply.size() + answer;
    longest = std::max(longest, length);
  }
  return static_cast<int32_t>(
      std::min(longest, static_cast<size_t>(config.max_position_embeddings)));
}

DistillCounts Distill(const Model& model, const Tokenizer& tokenizer,
                      std::span<const DistillPrompt> prompts, const DistillOptions& options,
                      HiddenCacheWriter& writer, const DistillCallback& on_text) {
  using Clock = std::chrono::steady_clock;
  DistillCounts counts;
  counts.prompts = writer.sequences();
  Texts texts(model, tokenizer, prompts, options, writer);
  const Clock::time_point start = Clock::now();
  while (texts.WriteNext(&counts)) {
    ++counts.prompts;
    counts.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (on_text) on_text(counts);
  }
  writer.Finish();
  return counts;
}

}  // namespace tern
