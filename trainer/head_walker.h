// What draft heads say at the places of texts that are known, as the drafter would hear it.
#ifndef TERN_TRAINER_HEAD_WALKER_H_
#define TERN_TRAINER_HEAD_WALKER_H_

#include <algorithm>
#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "engine/draft_calibration.h"
#include "engine/draft_logits.h"
#include "engine/medusa_heads.h"
#include "engine/model.h"
#include "kernels/bfloat16.h"
#include "kernels/gumbel_noise.h"
#include "kernels/sum_exp.h"
#include "kernels/top_k.h"

namespace tern {

// A text written plainly.
struct CalibrationText {
  std::vector<TokenId> tokens;
  std::vector<BFloat16> hidden;  // [tokens - 1, d] of every token but the last
  size_t prompt_length = 0;
  float temperature = 0.0f;
  uint32_t stream = 0;
};

// What one head says at one place.
struct HeadGuess {
  size_t range, head;
  std::span<const float> scaled, noise;  // [tokens] logits / temperature; noise is empty if greedy
  std::span<const float> values;         // their sum, the noise weighted
  std::span<const ScoredIndex> best;     // of values
  int32_t came;                          // index of the token that came, -1: not among them
  size_t rank;                           // its place in best, best.size() where it has none

  // Of best[rank] with the values divided by `spread`.
  float Claimed(size_t at, float spread) const {
    const float shifted = best[at].value - best[0].value, scale = 1.0f / spread;
    return SumExpMinus({&shifted, 1}, 0.0f, scale) / SumExpMinus(values, best[0].value, scale);
  }
};

// Places of texts, through the eyes of the drafter.
class HeadWalker {
 public:
  HeadWalker(const Model& model, const MedusaHeads& heads, uint64_t seed)
      : logits_(model, heads),
        width_(static_cast<size_t>(heads.hidden_size)),
        seed_(seed),
        hidden_(width_),
        scaled_(logits_.tokens().size()),
        values_(scaled_.size()),
        noise_(scaled_.size()) {}

  // Calls fn for every head of every place as long as the heads before had the token that came
  // among their candidates.
  template <class Fn>
  void Walk(const std::vector<const CalibrationText*>& texts, const std::vector<float>& noises,
            const Fn& fn) {
    for (const CalibrationText* const text : texts) {
      for (size_t place = text->prompt_length - 1; place + 2 < text->tokens.size(); ++place)
        WalkHeads(*text, place, noises, fn);
    }
  }

  int32_t heads() const { return logits_.heads(); }

 private:
  template <class Fn>
  void WalkHeads(const CalibrationText& text, size_t place, const std::vector<float>& noises,
                 const Fn& fn) {
    for (size_t i = 0; i < width_; ++i) hidden_[i] = text.hidden[place * width_ + i].ToFloat();
    const size_t known = std::min(noises.size(), text.tokens.size() - place - 2);
    const MatView<const float> logits =
        logits_.Evaluate(hidden_, text.tokens[place + 1], 0, static_cast<int32_t>(known));
    std::array<ScoredIndex, DraftCalibration::kRanks> room;
    const auto best = std::span(room).first(std::min(DraftCalibration::kRanks, scaled_.size()));
    for (size_t k = 0; k < known; ++k) {
      const size_t position = place + 2 + k;
      const bool sampled = text.temperature > 0.0f;
      const std::span<const float> noise = Sum(text, place, k, logits.RowSpan(k), noises[k]);
      TopK(values_, best);
      const int32_t came = IndexOf(text.tokens[position]);
      const auto found = std::ranges::find(best, came, &ScoredIndex::index);
      const auto rank = static_cast<size_t>(found - best.begin());
      fn(HeadGuess{DraftCalibration::RangeOf(text.temperature), k, scaled_,
                   sampled ? noise : std::span<const float>(), values_, best, came, rank});
      if (rank == best.size()) return;
    }
  }
  // Of head k + 1.
  std::span<const float> Sum(const CalibrationText& text, size_t place, size_t k,
                             std::span<const float> logits, float weight) {
    const size_t position = place + 2 + k;
    const bool sampled = text.temperature > 0.0f;
    const float scale = sampled ? 1.0f / text.temperature : 1.0f;
    std::ranges::copy(logits, scaled_.begin());
    logits_.AddSuccessors(static_cast<int32_t>(k) + 1, text.tokens[position - 1], scaled_);
    for (float& value : scaled_) value *= scale;
    values_ = scaled_;
    if (!sampled) return {};
    ApproximateGumbelNoiseOf(seed_, text.stream, static_cast<uint32_t>(position), logits_.tokens(),
                             noise_);
    for (size_t i = 0; i < values_.size(); ++i) values_[i] += weight * noise_[i];
    return noise_;
  }
  int32_t IndexOf(TokenId token) const {
    const auto tokens = logits_.tokens();
    const auto at = std::ranges::lower_bound(tokens, token);
    return at != tokens.end() && *at == token ? static_cast<int32_t>(at - tokens.begin()) : -1;
  }

  DraftLogits logits_;
  size_t width_;
  uint64_t seed_;
  std::vector<float> hidden_, scaled_, values_, noise_;
};

}  // namespace tern

#endif  // TERN_TRAINER_HEAD_WALKER_H_
