#include "trainer/head_trainer.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "engine/error.h"
#include "kernels/check.h"

namespace tern {
namespace {

constexpr size_t kSliceAlign = 16;  // floats

void CheckSameBackbone(const HiddenCache& cache, const Model& model) {
  const HiddenCacheInfo& info = cache.info();
  const std::string path = cache.dir() + "/manifest.json";
  const auto require = [&](const char* field, const std::string& expected, const std::string& got) {
    if (expected == got) return;
    throw BadFile({path, std::string("made with another model: ") + field, expected, got,
                   "give the --model that made the data, or distill again"});
  };
  require("hidden_size", std::to_string(model.config.hidden_size),
          std::to_string(info.hidden_size));
  require("vocab_size", std::to_string(model.config.vocab_size), std::to_string(info.vocab_size));
  require("backbone_fingerprint", BackboneFingerprint(model), info.backbone_fingerprint);
}

std::vector<float> HeadWeights(size_t heads, double decay) {
  std::vector<double> weights(heads);
  double sum = 0;
  for (size_t k = 0; k < heads; ++k) sum += weights[k] = std::pow(decay, static_cast<double>(k));
  std::vector<float> shares;
  for (double weight : weights) shares.push_back(static_cast<float>(weight / sum));
  return shares;
}

// Empties `sums` into lists of one value per head.
struct HeadFigures {
  explicit HeadFigures(std::vector<HeadSums>& sums) {
    for (HeadSums& head : sums) {
      const double rows = static_cast<double>(std::max<uint64_t>(1, head.rows));
      loss.push_back(head.loss / rows);
      top1.push_back(static_cast<double>(head.hits) / rows);
      head = {};
    }
  }
  std::vector<double> loss, top1;
};

}  // namespace

HeadTrainer::HeadTrainer(const Model& model, const HeadRows& rows,
                         const HeadTrainerOptions& options, MedusaHeadsInfo info)
    : model_(model),
      rows_(rows),
      states_(model, rows.cache(), options.hidden_memory),
      options_(options),
      info_(std::move(info)),
      shortlist_(TokensByFrequency(rows.cache())),
      heads_(static_cast<size_t>(options.heads)),
      d_(static_cast<size_t>(model.config.hidden_size)),
      head_weights_(HeadWeights(heads_, options.loss_decay)),
      training_sums_(heads_),
      held_out_sums_(heads_),
      hidden_(static_cast<size_t>(options.batch) * d_),
      targets_(static_cast<size_t>(options.batch) * heads_) {
  TERN_CHECK(options.heads >= 1 && options.heads <= kMaxMedusaHeads && options.batch >= 1);
  CheckSameBackbone(rows.cache(), model);
  const size_t weights = heads_ * d_ * d_;
  const size_t biases_at = (weights + kSliceAlign - 1) / kSliceAlign * kSliceAlign;
  slices_.push_back({"heads.linear.weight", 0, heads_ * d_, d_, -1, false, true});
  slices_.push_back({"heads.linear.bias", biases_at, heads_ * d_, 1, -1, false, false});
  parameters_ = AlignedBuffer<float>::Zeroed(biases_at + heads_ * d_);
  gradients_ = AlignedBuffer<float>::Zeroed(biases_at + heads_ * d_);
  pass_ = MakeHeadPass(model.OutputEmbedding(), heads_, static_cast<size_t>(options.batch),
                       options.bfloat16);
  RefreshWeights();
}

void HeadTrainer::RefreshWeights() {
  pass_->SetWeights(std::as_const(parameters_).View(heads_ * d_, d_),
                    parameters_.span().subspan(slices_[1].offset, heads_ * d_));
}

double HeadTrainer::Run(std::span<const int32_t> rows, float scale, HeadGradients* gradients,
                        std::vector<HeadSums>& sums) {
  TERN_CHECK(rows.size() == static_cast<size_t>(options_.batch)) << rows.size();
  for (size_t b = 0; b < rows.size(); ++b) {
    const HeadRows::Place place = rows_.Locate(static_cast<uint64_t>(rows[b]));
    std::copy_n(states_.Of(place.text).Row(place.position), d_, hidden_.data() + b * d_);
    for (size_t k = 0; k < heads_; ++k) {
      const size_t target = place.position + 2 + k;  // head k + 1 predicts token t + 1 + (k + 1)
      const auto& tokens = place.sequence.tokens;
      targets_[b * heads_ + k] = target < place.end ? tokens[target] : -1;
    }
  }
  return pass_->Run({std::as_const(hidden_).View(rows.size(), d_), targets_}, head_weights_, scale,
                    gradients, sums);
}

double HeadTrainer::ForwardBackward(std::span<const int32_t> tokens, float scale) {
  HeadGradients gradients{gradients_.View(heads_ * d_, d_),
                          gradients_.span().subspan(slices_[1].offset, heads_ * d_)};
  return Run(tokens, scale, &gradients, training_sums_);
}

double HeadTrainer::Loss(std::span<const int32_t> tokens) {
  return Run(tokens, 0, nullptr, held_out_sums_);
}

double HeadTrainer::GemmMacsPerStep() const {
  const auto d = static_cast<double>(d_), vocab = static_cast<double>(model_.config.vocab_size);
  // Forward and one of the two backward products each: nothing below the heads is trained, and the
  // projection is frozen.
  return 2.0 * d * (d + vocab) * static_cast<double>(heads_) * options_.batch;
}

MedusaHeads HeadTrainer::Heads() const {
  MedusaHeads heads = ZeroMedusaHeads(options_.heads, model_.config.hidden_size);
  MedusaBlock& block = heads.blocks[0];
  const float* weights = parameters_.data();
  std::transform(weights, weights + block.weights.size(), block.weights.data(),
                 BFloat16::FromFloat);
  std::transform(parameters_.data() + slices_[1].offset,
                 parameters_.data() + slices_[1].offset + block.biases.size(), block.biases.data(),
                 RoundToBFloat16);
  heads.info = info_;
  heads.shortlist = shortlist_;
  return heads;
}

void HeadTrainer::SetHeads(const MedusaHeads& heads) {
  TERN_CHECK(heads.count == options_.heads && heads.hidden_size == model_.config.hidden_size &&
             heads.blocks.size() == 1 && !heads.blocks[0].two_matrices());
  std::ranges::transform(heads.blocks[0].weights.span(), parameters_.data(),
                         [](BFloat16 w) { return w.ToFloat(); });
  std::ranges::copy(heads.blocks[0].biases.span(), parameters_.data() + slices_[1].offset);
  RefreshWeights();
}

void HeadTrainer::Export(const std::string& dir) {
  SaveMedusaHeads(dir, Heads(), model_.config.vocab_size);
}

nlohmann::json HeadTrainer::TakeTrainingFigures() {
  const HeadFigures figures(training_sums_);
  std::string note = "top-1";
  for (double share : figures.top1) {
    char text[16];
    std::snprintf(text, sizeof(text), " %.3f", share);
    note += text;
  }
  return {{"head_loss", figures.loss}, {"head_top1", figures.top1}, {"note", note}};
}

nlohmann::json HeadTrainer::TakeHeldOutFigures() {
  const HeadFigures figures(held_out_sums_);
  return {{"held_out_head_loss", figures.loss}, {"held_out_head_top1", figures.top1}};
}

}  // namespace tern
