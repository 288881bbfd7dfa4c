// Medusa heads in training, as the training loop sees them.
#ifndef TERN_TRAINER_HEAD_TRAINER_H_
#define TERN_TRAINER_HEAD_TRAINER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "engine/medusa_heads.h"
#include "engine/model.h"
#include "trainer/head_parameters.h"
#include "trainer/head_pass.h"
#include "trainer/head_rows.h"
#include "trainer/hidden_states.h"
#include "trainer/simulated_speed.h"
#include "trainer/trainable.h"

namespace tern {

struct HeadTrainerOptions {
  int32_t heads = 4;   // K
  int32_t layers = 1;  // L, residual blocks of each head
  int32_t rank = 0;    // of their weights; 0: full
  bool ternary = false;
  bool biases = true;     // false: they stay 0
  bool sees_root = true;  // heads read the root, too (engine/root_weights.h)
  bool own_projection =
      false;  // every head's own vocabulary projection, which begins as the model's
  int32_t loss_shortlist = 0;  // most frequent tokens, which training always looks at ...
  int32_t loss_samples = 0;    // ... and drawn ones; 0: the whole vocabulary
  int32_t batch = 256;         // rows per micro-batch
  float teacher_weight = 0;    // of the teacher's probabilities in the training loss
  double loss_decay = 0.8;     // head k counts loss_decay^(k-1), over the sum of these
  bool bfloat16 = true;        // bf16 GEMM inputs where the CPU has them; false forces fp32
  // Of hidden states that the cache does not store: bytes kept once they are computed.
  uint64_t hidden_memory = uint64_t{4} << 30;
};

// The pass of such heads, with the tokens in the order of their frequency, and `teacher_top` of a
// teacher for each target.
HeadPassOptions PassOptions(const HeadTrainerOptions& options, std::vector<TokenId> by_frequency,
                            size_t teacher_top = 0);

// Inputs are row numbers of `rows`. Heads begin as the identity: every one predicts what the
// backbone predicts for t+1.
class HeadTrainer final : public Trainable {
 public:
  // `model`, `rows` and its cache outlive the trainer. `seed` is that of what begins random. `info`
  // goes into exported heads. Throws kBadFile where the cache was made with another backbone, or
  // lacks the teacher's probabilities that the loss needs.
  HeadTrainer(const Model& model, const HeadRows& rows, const HeadTrainerOptions& options,
              uint64_t seed, MedusaHeadsInfo info);

  const std::vector<ParameterSlice>& slices() const override { return shape_.slices(); }
  std::span<float> parameters() override { return parameters_.span(); }
  std::span<float> gradients() override { return gradients_.span(); }
  void RefreshWeights() override;
  double ForwardBackward(std::span<const int32_t> tokens, float scale) override;
  double Loss(std::span<const int32_t> tokens) override;
  std::vector<LayerQuantisation> QuantisationStats() const override { return {}; }
  std::span<const int8_t> TernaryCodes() const override { return {}; }
  double GemmMacsPerStep() const override { return pass_->GemmMacs(); }
  void Export(const std::string& dir) override;
  std::string Suspect(std::span<const int32_t> tokens) override;
  void ShareTrainingFigures(ProcessGroup& group) override;
  void ShareHeldOutFigures(ProcessGroup& group) override;
  nlohmann::json TakeTrainingFigures() override;
  nlohmann::json TakeHeldOutFigures() override;

  // Begins with `heads` instead. REQUIRES plain heads of the options' count and layers, with
  // vocabularies and root weights only where the options say own_projection and sees_root.
  void StartFrom(const MedusaHeads& heads);

  // Costs by which held-out figures then hold simulated_tokens_per_second, acceptance_length and
  // simulated_rows.
  void SetCosts(CostCurve costs) { costs_ = std::move(costs); }
  static constexpr char kSpeedFigure[] = "simulated_tokens_per_second";

  // The heads as Export writes them.
  MedusaHeads Heads();
  // The residual blocks' outputs of the last input, [batch * heads, d].
  void Outputs(MatView<float> out) const { pass_->Outputs(out); }

 private:
  void SetTeacher(size_t row, const HeadRows::Place& place, size_t target);
  double Run(std::span<const int32_t> rows, float scale, HeadGradients* gradients,
             std::vector<HeadSums>& sums);

  const Model& model_;
  const HeadRows& rows_;
  HiddenStates states_;
  HeadTrainerOptions options_;
  MedusaHeadsInfo info_;
  std::vector<TokenId> shortlist_;
  DraftSuccessors successors_;
  size_t heads_, d_;
  HeadParameters shape_;
  AlignedBuffer<float> parameters_, gradients_;
  std::unique_ptr<HeadPass> pass_;
  std::vector<float> head_weights_;                      // [K]
  std::vector<HeadSums> training_sums_, held_out_sums_;  // [K]
  std::optional<CostCurve> costs_;
  SpeedSimulator simulator_;          // of the held-out places since the last figures
  AlignedBuffer<BFloat16> hidden_;    // [B, d]
  AlignedBuffer<BFloat16> roots_;     // [B, d]
  std::vector<float> root_;           // [d] of one
  std::vector<int32_t> targets_;      // [B, K]
  size_t teacher_top_;                // T of the data, 0 where the loss has no teacher
  std::vector<TokenId> teacher_ids_;  // [B K, T]
  std::vector<float> teacher_probs_;
};

}  // namespace tern

#endif  // TERN_TRAINER_HEAD_TRAINER_H_
