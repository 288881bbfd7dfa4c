// The smallest model the loop can train: one row of logits per token. Small enough to reason about,
// with real gradients, and with poisoned tokens that make a batch's loss infinite or huge.
#ifndef TERN_TESTS_TRAINER_BIGRAM_TRAINABLE_H_
#define TERN_TESTS_TRAINER_BIGRAM_TRAINABLE_H_

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "engine/atomic_file.h"
#include "trainer/trainable.h"

namespace tern::test {

inline constexpr int32_t kNanToken = 14, kSpikeToken = 15, kBigramVocabulary = 16;

class BigramTrainable final : public Trainable {
 public:
  BigramTrainable(int32_t batch, int32_t sequence)
      : batch_(static_cast<size_t>(batch)), width_(static_cast<size_t>(sequence) + 1) {
    ParameterSlice slice;
    slice.name = "table";
    slice.rows = slice.cols = kBigramVocabulary;
    slice.layer = 0;
    slice.ternary = slice.decays = true;
    slices_ = {slice};
    parameters_.assign(slice.size(), 0.0f);
    gradients_.assign(slice.size(), 0.0f);
  }
  const std::vector<ParameterSlice>& slices() const override { return slices_; }
  std::span<float> parameters() override { return parameters_; }
  std::span<float> gradients() override { return gradients_; }
  void RefreshWeights() override {
    codes_.resize(parameters_.size());
    for (size_t i = 0; i < codes_.size(); ++i) codes_[i] = parameters_[i] > 0 ? 1 : -1;
  }
  double ForwardBackward(std::span<const int32_t> tokens, float scale) override {
    ++calls;
    return Pass(tokens, scale);
  }
  double Loss(std::span<const int32_t> tokens) override { return Pass(tokens, 0); }
  std::vector<LayerQuantisation> QuantisationStats() const override { return {{0.01f, 0.3f}}; }
  std::span<const int8_t> TernaryCodes() const override { return codes_; }
  double GemmMacsPerStep() const override { return 1; }
  void Export(const std::string& dir) override {
    AtomicFile file(dir + "/model.bin");
    file.Write(parameters_.data(), parameters_.size() * sizeof(float));
    file.Commit();
  }

  // Falls with the distance of the parameters' norm, which rises while training, from best_norm.
  nlohmann::json TakeHeldOutFigures() override {
    double squares = 0;
    for (float p : parameters_) squares += static_cast<double>(p) * static_cast<double>(p);
    return {{"score", -std::fabs(std::sqrt(squares) - best_norm)}};
  }

  int calls = 0;  // of ForwardBackward
  double best_norm = 0;

 private:
  double Pass(std::span<const int32_t> tokens, float scale) {
    const double n = static_cast<double>(batch_ * (width_ - 1));
    double loss = 0;
    bool nan = false, spike = false;
    for (size_t b = 0; b < batch_; ++b) {
      for (size_t t = 0; t + 1 < width_; ++t) {
        const auto from = static_cast<size_t>(tokens[b * width_ + t]);
        const auto to = static_cast<size_t>(tokens[b * width_ + t + 1]);
        nan |= to == kNanToken;
        spike |= to == kSpikeToken;
        loss += RowLoss(from, to, scale / static_cast<float>(n));
      }
    }
    if (nan) return std::numeric_limits<double>::quiet_NaN();
    return loss / n + (spike ? 100 : 0);
  }
  // Cross-entropy of one prediction; adds weight x its gradient.
  double RowLoss(size_t from, size_t to, float weight) {
    const float* row = &parameters_[from * kBigramVocabulary];
    double sum = 0;
    for (int32_t k = 0; k < kBigramVocabulary; ++k) sum += std::exp(static_cast<double>(row[k]));
    for (size_t k = 0; k < kBigramVocabulary; ++k) {
      const double p = std::exp(static_cast<double>(row[k])) / sum;
      gradients_[from * kBigramVocabulary + k] +=
          weight * static_cast<float>(p - (k == to ? 1 : 0));
    }
    return std::log(sum) - row[to];
  }
  size_t batch_, width_;
  std::vector<ParameterSlice> slices_;
  std::vector<float> parameters_, gradients_;
  std::vector<int8_t> codes_;
};

}  // namespace tern::test

#endif  // TERN_TESTS_TRAINER_BIGRAM_TRAINABLE_H_
