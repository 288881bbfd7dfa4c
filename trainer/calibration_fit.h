// Fits how far draft heads' probabilities are to be believed (engine/draft_calibration.h), on texts
// that the model writes from prompts the heads were not trained on.
#ifndef TERN_TRAINER_CALIBRATION_FIT_H_
#define TERN_TRAINER_CALIBRATION_FIT_H_

#include <array>
#include <cstdint>
#include <functional>
#include <vector>

#include "engine/draft_calibration.h"
#include "engine/medusa_heads.h"
#include "engine/model.h"
#include "engine/tokenizer.h"
#include "kernels/kv_block.h"
#include "trainer/prompt_file.h"

namespace tern {

// One of each range of temperatures.
inline constexpr std::array<float, DraftCalibration::kRanges> kFittedTemperatures = {0.0f, 0.4f,
                                                                                     0.7f, 1.0f};

struct CalibrationOptions {
  int32_t max_tokens = 128;  // of each text
  int32_t parallel = 8;      // texts written at once
  uint64_t seed = 0;
  KvType kv_type = KvType::kBFloat16;
};

// A head's first candidates at one temperature, where the heads before had the token that came
// among their candidates. Without the calibration it is "before".
struct HeadTruth {
  int64_t places = 0;
  double came_before = 0.0, came = 0.0;          // share of the places where they were right
  double expected_before = 0.0, expected = 0.0;  // the mean probability they were given
  // How far the two lie apart, by tenths of the probability, on average over the places.
  double error_before = 0.0, error = 0.0;
  float noise = 1.0f;                        // lambda as fitted
  std::array<double, 3> came_by_noise = {};  // lambda 0, 1 and as fitted; 0 where it is greedy
};

struct CalibrationReport {
  DraftCalibration calibration;  // by all texts
  // Of every other prompt, by a calibration of the others: what it says of texts it has not seen.
  std::array<std::vector<HeadTruth>, DraftCalibration::kRanges> truths;  // [range][head - 1]
};

// Called when another text is written; there are prompts * kFittedTemperatures of them.
using CalibrationProgress = std::function<void(size_t texts_done)>;

// Keeps the texts' hidden states in memory: 2 bytes * hidden_size * tokens * 4 temperatures. Throws
// Error(kBadFile) naming file and line of a prompt that does not fit the context, and
// Error(kInvalidArgument) where the texts are too few or too short to say anything.
CalibrationReport FitCalibration(const Model& model, const Tokenizer& tokenizer,
                                 const MedusaHeads& heads, const std::vector<Prompt>& prompts,
                                 const CalibrationOptions& options,
                                 const CalibrationProgress& progress = {});

// The same for prompts that are tokens already; none is longer than the context.
CalibrationReport FitCalibration(const Model& model, const Tokenizer& tokenizer,
                                 const MedusaHeads& heads,
                                 const std::vector<std::vector<TokenId>>& prompts,
                                 const CalibrationOptions& options,
                                 const CalibrationProgress& progress = {});

}  // namespace tern

#endif  // TERN_TRAINER_CALIBRATION_FIT_H_
