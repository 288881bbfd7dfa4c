// Medusa heads in training, as the training loop sees them.
#ifndef TERN_TRAINER_HEAD_TRAINER_H_
#define TERN_TRAINER_HEAD_TRAINER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine/medusa_heads.h"
#include "engine/model.h"
#include "trainer/head_pass.h"
#include "trainer/head_rows.h"
#include "trainer/hidden_states.h"
#include "trainer/trainable.h"

namespace tern {

struct HeadTrainerOptions {
  int32_t heads = 4;        // K
  int32_t batch = 256;      // rows per micro-batch
  double loss_decay = 0.8;  // head k counts loss_decay^(k-1), over the sum of these
  bool bfloat16 = true;     // bf16 GEMM inputs where the CPU has them; false forces fp32
  // Of hidden states that the cache does not store: bytes kept once they are computed.
  uint64_t hidden_memory = uint64_t{4} << 30;
};

// Inputs are row numbers of `rows`. Heads begin with zeros: every one predicts what the backbone
// predicts for t+1.
class HeadTrainer final : public Trainable {
 public:
  // `model`, `rows` and its cache outlive the trainer. `info` goes into exported heads. Throws
  // kBadFile where the cache was made with another backbone.
  HeadTrainer(const Model& model, const HeadRows& rows, const HeadTrainerOptions& options,
              MedusaHeadsInfo info);

  const std::vector<ParameterSlice>& slices() const override { return slices_; }
  std::span<float> parameters() override { return parameters_.span(); }
  std::span<float> gradients() override { return gradients_.span(); }
  void RefreshWeights() override;
  double ForwardBackward(std::span<const int32_t> tokens, float scale) override;
  double Loss(std::span<const int32_t> tokens) override;
  std::vector<LayerQuantisation> QuantisationStats() const override { return {}; }
  std::span<const int8_t> TernaryCodes() const override { return {}; }
  double GemmMacsPerStep() const override;
  void Export(const std::string& dir) override;
  nlohmann::json TakeTrainingFigures() override;
  nlohmann::json TakeHeldOutFigures() override;

  // The heads as Export writes them.
  MedusaHeads Heads() const;
  // Takes over the values of `heads`, which have this trainer's shape.
  void SetHeads(const MedusaHeads& heads);
  // The residual blocks' outputs of the last input, [batch * heads, d].
  void Outputs(MatView<float> out) const { pass_->Outputs(out); }

 private:
  double Run(std::span<const int32_t> rows, float scale, HeadGradients* gradients,
             std::vector<HeadSums>& sums);

  const Model& model_;
  const HeadRows& rows_;
  HiddenStates states_;
  HeadTrainerOptions options_;
  MedusaHeadsInfo info_;
  std::vector<TokenId> shortlist_;
  size_t heads_, d_;
  std::vector<ParameterSlice> slices_;  // weights [K d, d], biases [K d]
  AlignedBuffer<float> parameters_, gradients_;
  std::unique_ptr<HeadPass> pass_;
  std::vector<float> head_weights_;                      // [K]
  std::vector<HeadSums> training_sums_, held_out_sums_;  // [K]
  AlignedBuffer<BFloat16> hidden_;                       // [B, d]
  std::vector<int32_t> targets_;                         // [B, K]
};

}  // namespace tern

#endif  // TERN_TRAINER_HEAD_TRAINER_H_
