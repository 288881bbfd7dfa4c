// One text at a time: a scheduler with one place, for programs that wait for each text.
#ifndef TERN_ENGINE_GENERATOR_H_
#define TERN_ENGINE_GENERATOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/scheduler.h"

namespace tern {

// Receives the text as it grows; the pieces end at UTF-8 boundaries and add up to the text.
using TextCallback = std::function<void(std::string_view piece)>;

// What a generator allocates for.
struct GeneratorLimits {
  int32_t max_context = 0;  // tokens of prompt and text together; 0 = the model's
  int32_t max_rows = kMaxRows;
  int32_t prefill_chunk = 256;
  // Every pass uses all of ThreadCount(), also of a small model where fewer are faster.
  bool fixed_threads = false;
  KvType kv_type = KvType::kBFloat16;      // the texts depend on it
  std::shared_ptr<const CostTable> costs;  // null: what rows cost is measured
};

// Not thread-safe. Between the first token and the last it allocates nothing.
class Generator {
 public:
  // `model` and `tokenizer` outlive the generator. `drafters` propose beside the built-in n-gram
  // look-up. `planner` replaces the shape and the off switch of modes auto, tree and chain: it
  // decides alone.
  Generator(const Model& model, const Tokenizer& tokenizer, const GeneratorLimits& limits = {},
            std::vector<std::unique_ptr<Drafter>> drafters = {},
            std::unique_ptr<Planner> planner = nullptr);

  // token_ids, text, logprobs and finish_reason depend on the model, the prompt and the options
  // without draft, max_rows and prefill_chunk; never on drafters, threads or time (but for the
  // LOSSY options.typical). max_rows and
  // prefill_chunk are capped by the limits. Throws Error(kInvalidArgument) for options out of
  // range, an empty prompt, one that leaves no room in the context, or an id outside the
  // vocabulary.
  GenerationResult Generate(std::span<const TokenId> prompt, const GenerationOptions& options,
                            const TextCallback& on_text = {});
  GenerationResult Generate(std::span<const TokenId> prompt, const GenerationOptions& options,
                            const StepCallback& on_step);

  // Of all later texts; empty: none. Changes nothing else.
  void SetHiddenSink(HiddenSink sink) { hidden_sink_ = std::move(sink); }

  int32_t max_context() const { return scheduler_.max_context(); }
  // What steps have cost so far.
  const StepCost& cost() const { return scheduler_.cost(); }

 private:
  Scheduler scheduler_;
  HiddenSink hidden_sink_;
};

}  // namespace tern

#endif  // TERN_ENGINE_GENERATOR_H_
