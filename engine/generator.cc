#include "engine/generator.h"

namespace tern {
namespace {

SchedulerLimits OnePlace(const GeneratorLimits& limits) {
  return {.max_sequences = 1,
          .max_context = limits.max_context,
          .max_rows = limits.max_rows,
          .prefill_chunk = limits.prefill_chunk,
          .kv_type = limits.kv_type,
          .fixed_threads = limits.fixed_threads,
          .costs = limits.costs};
}

// What there is one of, for the one place.
DraftingParts Once(std::vector<std::unique_ptr<Drafter>>& drafters,
                   std::unique_ptr<Planner>& planner) {
  return {[&drafters] { return std::move(drafters); }, [&planner] { return std::move(planner); }};
}

}  // namespace

Generator::Generator(const Model& model, const Tokenizer& tokenizer, const GeneratorLimits& limits,
                     std::vector<std::unique_ptr<Drafter>> drafters,
                     std::unique_ptr<Planner> planner)
    : scheduler_(model, tokenizer, OnePlace(limits), Once(drafters, planner)) {}

GenerationResult Generator::Generate(std::span<const TokenId> prompt,
                                     const GenerationOptions& options,
                                     const TextCallback& on_text) {
  if (!on_text) return Generate(prompt, options, StepCallback());
  return Generate(prompt, options, [&on_text](const StepProgress& progress) {
    if (!progress.piece.empty()) on_text(progress.piece);
    return true;
  });
}

GenerationResult Generator::Generate(std::span<const TokenId> prompt,
                                     const GenerationOptions& options,
                                     const StepCallback& on_step) {
  GenerationResult text;
  const Scheduler::Id id = scheduler_.Submit(
      {.prompt = {prompt.begin(), prompt.end()},
       .options = options,
       .on_step = on_step,
       .on_hidden = hidden_sink_,
       .on_finish = [&text](GenerationResult result) { text = std::move(result); }});
  try {
    while (scheduler_.Step()) {
    }
  } catch (...) {
    scheduler_.Drop(id);
    throw;
  }
  return text;
}

}  // namespace tern
