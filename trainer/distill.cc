#include "trainer/distill.h"

#include <algorithm>
#include <chrono>

#include "engine/generator.h"
#include "kernels/check.h"

namespace tern {
namespace {

// No more cache than the longest text fills.
GeneratorLimits LimitsFor(const Model& model, const std::vector<std::vector<TokenId>>& prompts,
                          const DistillOptions& options) {
  size_t longest = 1;
  for (const std::vector<TokenId>& prompt : prompts) longest = std::max(longest, prompt.size());
  const int64_t wanted = static_cast<int64_t>(longest) + options.max_tokens;
  GeneratorLimits limits;
  limits.max_context =
      static_cast<int32_t>(std::min<int64_t>(wanted, model.config.max_position_embeddings));
  limits.prefill_chunk = std::min(limits.prefill_chunk, limits.max_context);
  limits.kv_type = options.kv_type;
  return limits;
}

}  // namespace

DistillCounts Distill(const Model& model, const Tokenizer& tokenizer,
                      const std::vector<std::vector<TokenId>>& prompts,
                      const DistillOptions& options, HiddenCacheWriter& writer,
                      const DistillCallback& on_text) {
  using Clock = std::chrono::steady_clock;
  const auto d = static_cast<size_t>(model.config.hidden_size);
  Generator generator(model, tokenizer, LimitsFor(model, prompts, options));
  GenerationOptions generation;
  generation.sampling = options.sampling;
  generation.max_tokens = options.max_tokens;
  generation.draft = DraftMode::kOff;  // there are no heads yet, and stories repeat little

  std::vector<BFloat16> hidden;
  generator.SetHiddenSink([&](int32_t position, std::span<const float> row) {
    TERN_CHECK(hidden.size() == static_cast<size_t>(position) * d) << position;
    for (float value : row) hidden.push_back(BFloat16::FromFloat(value));
  });
  DistillCounts counts;
  counts.prompts = writer.sequences();
  const Clock::time_point start = Clock::now();
  while (counts.prompts < prompts.size()) {
    std::vector<TokenId> text = prompts[counts.prompts];
    const auto prompt_length = static_cast<int32_t>(text.size());
    generation.sampling.stream = static_cast<uint32_t>(counts.prompts);
    hidden.clear();
    const GenerationResult result = generator.Generate(text, generation);
    text.insert(text.end(), result.token_ids.begin(), result.token_ids.end());
    hidden.resize(hidden.size() + d);  // the last token was sampled and never run
    TERN_CHECK(hidden.size() == text.size() * d) << hidden.size();
    writer.Append({text, {hidden.data(), text.size(), d}, prompt_length});
    ++counts.prompts;
    counts.generated_tokens += result.token_ids.size();
    counts.seconds = std::chrono::duration<double>(Clock::now() - start).count();
    if (on_text) on_text(counts);
  }
  writer.Finish();
  return counts;
}

}  // namespace tern
