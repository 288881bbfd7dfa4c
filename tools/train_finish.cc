#include "tools/train_finish.h"

#include <algorithm>
#include <cstdio>
#include <memory>
#include <numeric>
#include <vector>

#include "engine/draft_calibration.h"
#include "engine/error.h"
#include "engine/heads_gguf.h"
#include "engine/heads_sample.h"
#include "engine/medusa_heads.h"
#include "engine/tokenizer.h"
#include "tools/report.h"
#include "trainer/calibration_fit.h"
#include "trainer/head_rows.h"

namespace tern {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kSampled = 16;  // texts that the sample is chosen from

// Numbers of the texts set aside, `most` at most.
std::vector<uint64_t> HeldOut(const HiddenCache& cache, double share, size_t most) {
  const uint64_t all = cache.sequences();
  std::vector<uint64_t> texts;
  for (uint64_t i = all - HeldOutTexts(all, share); i < all && texts.size() < most; ++i)
    texts.push_back(TextInOrder(i, all));
  return texts;
}

// Of some texts that of which the heads know most: there a change is seen best.
HeadsSample BestSample(const TrainedOn& on, const MedusaHeads& heads, double share) {
  const auto right = [](const HeadsSample& sample) {
    return std::accumulate(sample.right.begin(), sample.right.end(), int64_t{0});
  };
  HeadsSample best;
  for (const uint64_t text : HeldOut(on.cache, share, kSampled)) {
    const HiddenSequence sequence = on.cache.Sequence(text);
    HeadsSample sample =
        RecordSample(on.model, heads, sequence.tokens, static_cast<size_t>(sequence.prompt_length));
    if (best.tokens.empty() || right(sample) > right(best)) best = std::move(sample);
  }
  return best;
}

std::vector<std::vector<TokenId>> HeldOutPrompts(const TrainedOn& on, const TrainOptions& options) {
  const auto context = static_cast<size_t>(on.model.config.max_position_embeddings);
  std::vector<std::vector<TokenId>> prompts;
  for (const uint64_t text :
       HeldOut(on.cache, options.held_out, static_cast<size_t>(options.calibrate))) {
    const HiddenSequence sequence = on.cache.Sequence(text);
    const auto prompt = sequence.tokens.first(static_cast<size_t>(sequence.prompt_length));
    if (prompt.size() < context) prompts.emplace_back(prompt.begin(), prompt.end());
  }
  return prompts;
}

// Places it was fitted on; 0 where the texts say too little.
int64_t Calibrate(const TrainedOn& on, const MedusaHeads& heads, const TrainOptions& options,
                  const CommonOptions& common) {
  const std::vector<std::vector<TokenId>> prompts = HeldOutPrompts(on, options);
  const std::unique_ptr<Tokenizer> tokenizer = LoadTokenizer(on.model_dir);
  CalibrationOptions fit;
  fit.seed = common.seed;
  Progress progress("calibration", "texts",
                    static_cast<double>(prompts.size() * kFittedTemperatures.size()));
  try {
    const CalibrationReport report =
        FitCalibration(on.model, *tokenizer, heads, prompts, fit,
                       [&](size_t done) { progress.Update(static_cast<double>(done)); });
    WriteCalibration(options.out, report.calibration);
    return report.calibration.tokens;
  } catch (const Error& error) {
    if (error.kind() != Error::Kind::kInvalidArgument) throw;
    std::fprintf(stderr, "tern: warning: no %s\n", error.what());
    return 0;
  }
}

}  // namespace

Json FinishHeads(const TrainedOn& on, const TrainOptions& options, const CommonOptions& common) {
  const MedusaHeads heads = LoadMedusaHeads(options.out, on.model);
  Json done;
  if (options.calibrate > 0) done["calibrated_on"] = Calibrate(on, heads, options, common);
  const HeadsSample sample = BestSample(on, heads, options.held_out);
  WriteSample(options.out, sample);
  done["sample"] = {{"places", sample.places()}, {"right", sample.right}};
  if (!options.gguf.empty()) {
    WriteHeadsGguf(options.gguf, heads);
    done["gguf"] = options.gguf;
  }
  if (options.pt) {
    SaveMedusaTorch(options.out, heads);
    done["pt"] = options.out + "/" + kMedusaTorch;
  }
  return done;
}

}  // namespace tern
