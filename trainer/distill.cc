#include "trainer/distill.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <utility>

#include "engine/scheduler.h"
#include "kernels/check.h"

namespace tern {
namespace {

// No more cache than the longest texts fill.
SchedulerLimits LimitsFor(const Model& model, const std::vector<std::vector<TokenId>>& prompts,
                          const DistillOptions& options) {
  size_t longest = 1;
  for (const std::vector<TokenId>& prompt : prompts) longest = std::max(longest, prompt.size());
  const int64_t wanted = static_cast<int64_t>(longest) + options.max_tokens;
  SchedulerLimits limits;
  limits.max_sequences = options.parallel;
  limits.max_context =
      static_cast<int32_t>(std::min<int64_t>(wanted, model.config.max_position_embeddings));
  limits.max_rows = 1;
  limits.prefill_chunk = std::min(limits.prefill_chunk, limits.max_context);
  limits.kv_type = options.kv_type;
  return limits;
}

// Texts on their way, in the order of their prompts: the file keeps that order, whichever is ready
// first.
class Texts {
 public:
  Texts(const Model& model, const Tokenizer& tokenizer,
        const std::vector<std::vector<TokenId>>& prompts, const DistillOptions& options,
        HiddenCacheWriter& writer)
      : prompts_(prompts),
        width_(static_cast<size_t>(model.config.hidden_size)),
        scheduler_(model, tokenizer, LimitsFor(model, prompts, options)),
        most_(2 * static_cast<size_t>(options.parallel)),
        writer_(writer),
        next_(writer.sequences()) {
    generation_.sampling = options.sampling;
    generation_.max_tokens = options.max_tokens;
    generation_.draft = DraftMode::kOff;  // there are no heads yet, and texts share the passes
  }

  // Runs passes until another text is written; false where all are.
  bool WriteNext(uint64_t* generated_tokens) {
    while (true) {
      while (texts_.size() < most_ && next_ < prompts_.size()) Begin();
      if (texts_.empty()) return false;
      if (texts_.front().done) break;
      scheduler_.Step();
    }
    Text& text = texts_.front();
    text.hidden.resize(text.hidden.size() + width_);  // the last token was sampled and never run
    TERN_CHECK(text.hidden.size() == text.tokens.size() * width_) << text.hidden.size();
    writer_.Append({text.tokens,
                    {text.hidden.data(), text.tokens.size(), width_},
                    static_cast<int32_t>(text.prompt_length)});
    *generated_tokens += text.tokens.size() - text.prompt_length;
    texts_.pop_front();
    return true;
  }

 private:
  struct Text {
    std::vector<TokenId> tokens;
    std::vector<BFloat16> hidden;
    size_t prompt_length = 0;
    bool done = false;
  };

  void Begin() {
    // A deque's elements stay where they are while others come and go at its ends.
    Text& text = texts_.emplace_back();
    text.tokens = prompts_[next_];
    text.prompt_length = text.tokens.size();
    generation_.sampling.stream = static_cast<uint32_t>(next_++);
    scheduler_.Submit(
        {.prompt = text.tokens,
         .options = generation_,
         .on_step = {},
         .on_hidden =
             [this, &text](int32_t position, std::span<const float> row) {
               TERN_CHECK(text.hidden.size() == static_cast<size_t>(position) * width_) << position;
               for (const float value : row) text.hidden.push_back(BFloat16::FromFloat(value));
             },
         .on_finish =
             [&text](GenerationResult result) {
               text.tokens.insert(text.tokens.end(), result.token_ids.begin(),
                                  result.token_ids.end());
               text.done = true;
             }});
  }

  const std::vector<std::vector<TokenId>>& prompts_;
  const size_t width_;
  GenerationOptions generation_;
  std::deque<Text> texts_;
  Scheduler scheduler_;
  const size_t most_;  // begun and not written
  HiddenCacheWriter& writer_;
  size_t next_;  // prompt to begin
};

}  // namespace

DistillCounts Distill(const Model& model, const Tokenizer& tokenizer,
                      const std::vector<std::vector<TokenId>>& prompts,
                      const DistillOptions& options, HiddenCacheWriter& writer,
                      const DistillCallback& on_text) {
  using Clock = std::chrono::steady_clock;
  DistillCounts counts;
  counts.prompts = writer.sequences();
  Texts texts(model, tokenizer, prompts, options, writer);
  const Clock::time_point start = Clock::now();
  while (texts.WriteNext(&counts.generated_tokens)) {
    ++counts.prompts;
    counts.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (on_text) on_text(counts);
  }
  writer.Finish();
  return counts;
}

}  // namespace tern
