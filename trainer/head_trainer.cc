#include "trainer/head_trainer.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "engine/error.h"
#include "kernels/check.h"
#include "trainer/permutation.h"

namespace tern {
namespace {

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

std::vector<float> LossWeights(size_t heads, double decay) {
  std::vector<double> weights(heads);
  double sum = 0;
  for (size_t k = 0; k < heads; ++k) sum += weights[k] = std::pow(decay, static_cast<double>(k));
  std::vector<float> shares;
  for (double weight : weights) shares.push_back(static_cast<float>(weight / sum));
  return shares;
}

void ShareSums(ProcessGroup& group, std::vector<HeadSums>& sums) {
  std::vector<double> values;  // counts below 2^53 stay exact
  for (const HeadSums& head : sums) {
    for (const uint64_t count : {head.rows, head.hits, head.top})
      values.push_back(static_cast<double>(count));
    values.push_back(head.loss);
  }
  group.Sum(values);
  for (size_t k = 0; k < sums.size(); ++k) {
    const auto count = [&](size_t i) { return static_cast<uint64_t>(values[4 * k + i]); };
    sums[k] = {.rows = count(0), .loss = values[4 * k + 3], .hits = count(1), .top = count(2)};
  }
}

// Empties `sums` into lists of one value per head.
struct HeadFigures {
  explicit HeadFigures(std::vector<HeadSums>& sums) {
    for (HeadSums& head : sums) {
      const double rows = static_cast<double>(std::max<uint64_t>(1, head.rows));
      loss.push_back(head.loss / rows);
      top1.push_back(static_cast<double>(head.hits) / rows);
      top5.push_back(static_cast<double>(head.top) / rows);
      head = {};
    }
  }
  std::vector<double> loss, top1, top5;
};

}  // namespace

HeadPassOptions PassOptions(const HeadTrainerOptions& options, std::vector<TokenId> by_frequency,
                            size_t teacher_top) {
  HeadPassOptions pass;
  pass.heads = static_cast<size_t>(options.heads);
  pass.layers = static_cast<size_t>(options.layers);
  pass.batch = static_cast<size_t>(options.batch);
  pass.bfloat16 = options.bfloat16;
  pass.own_vocabularies = options.own_projection;
  pass.sees_root = options.sees_root;
  pass.part = {std::move(by_frequency), static_cast<size_t>(options.loss_shortlist),
               static_cast<size_t>(options.loss_samples), teacher_top};
  return pass;
}

HeadTrainer::HeadTrainer(const Model& model, const HeadRows& rows,
                         const HeadTrainerOptions& options, uint64_t seed, MedusaHeadsInfo info)
    : model_(model),
      rows_(rows),
      states_(model, rows.cache(), options.hidden_memory),
      options_(options),
      info_(std::move(info)),
      shortlist_(TokensByFrequency(rows.cache())),
      successors_(SuccessorsIn(rows.cache())),
      heads_(static_cast<size_t>(options.heads)),
      d_(static_cast<size_t>(model.config.hidden_size)),
      shape_({heads_, static_cast<size_t>(options.layers), d_, static_cast<size_t>(options.rank),
              options.ternary, options.sees_root,
              options.own_projection ? static_cast<size_t>(model.config.vocab_size) : 0}),
      parameters_(shape_.size()),
      gradients_(AlignedBuffer<float>::Zeroed(shape_.size())),
      head_weights_(LossWeights(heads_, options.loss_decay)),
      training_sums_(heads_),
      held_out_sums_(heads_),
      hidden_(static_cast<size_t>(options.batch) * d_),
      roots_(hidden_.size()),
      root_(d_),
      targets_(static_cast<size_t>(options.batch) * heads_),
      teacher_top_(
          options.teacher_weight > 0 ? static_cast<size_t>(rows.cache().info().teacher_top_k) : 0),
      teacher_ids_(targets_.size() * teacher_top_),
      teacher_probs_(targets_.size() * teacher_top_) {
  TERN_CHECK(options.heads >= 1 && options.heads <= kMaxMedusaHeads && options.batch >= 1);
  CheckSameBackbone(rows.cache(), model);
  if (options.teacher_weight > 0 && teacher_top_ == 0) {
    throw BadFile({rows.cache().dir() + "/manifest.json", "teacher_top_k",
                   "1 or more, for this --loss", "0", "distill again with --teacher-top-k"});
  }
  shape_.Initialise(seed, model.OutputEmbedding(), parameters_.span());
  pass_ = MakeHeadPass(model.OutputEmbedding(), PassOptions(options, shortlist_, teacher_top_));
  RefreshWeights();
}

void HeadTrainer::StartFrom(const MedusaHeads& heads) {
  TERN_CHECK(options_.rank == 0 && !options_.ternary && heads.count == options_.heads &&
             heads.blocks.size() == static_cast<size_t>(options_.layers));
  float* weights = parameters_.data() + shape_.slices().front().offset;
  float* biases = parameters_.data() + shape_.biases().offset;
  for (const MedusaBlock& block : heads.blocks) {
    weights = std::ranges::transform(block.weights.span(), weights, [](BFloat16 w) {
                return w.ToFloat();
              }).out;
    biases = std::ranges::copy(block.biases.span(), biases).out;
  }
  if (heads.sees_root()) {
    TERN_CHECK(options_.sees_root);
    std::ranges::transform(heads.root_weights.span(),
                           parameters_.data() + shape_.root_weights().offset,
                           [](BFloat16 w) { return w.ToFloat(); });
  }
  if (heads.vocabularies.size() > 0) {
    TERN_CHECK(options_.own_projection &&
               heads.vocabularies.size() == shape_.vocabularies().size());
    std::ranges::transform(heads.vocabularies.span(),
                           parameters_.data() + shape_.vocabularies().offset,
                           [](BFloat16 w) { return w.ToFloat(); });
  }
  RefreshWeights();
}

void HeadTrainer::RefreshWeights() { SetWeights(shape_.Weights(parameters_.span()), *pass_); }

double HeadTrainer::Run(std::span<const int32_t> rows, float scale, HeadGradients* gradients,
                        std::vector<HeadSums>& sums) {
  TERN_CHECK(rows.size() == static_cast<size_t>(options_.batch)) << rows.size();
  for (size_t b = 0; b < rows.size(); ++b) {
    const HeadRows::Place place = rows_.Locate(static_cast<uint64_t>(rows[b]));
    std::copy_n(states_.Of(place.text).Row(place.position), d_, hidden_.data() + b * d_);
    if (options_.sees_root) {
      RootInput(model_, place.sequence.tokens[place.position + 1], root_);
      std::ranges::transform(root_, roots_.data() + b * d_, BFloat16::FromFloat);
    }
    for (size_t k = 0; k < heads_; ++k) {
      const size_t target = place.position + 2 + k;  // head k + 1 predicts token t + 1 + (k + 1)
      const auto& tokens = place.sequence.tokens;
      targets_[b * heads_ + k] = target < place.end ? tokens[target] : -1;
      if (gradients != nullptr && target < place.end) SetTeacher(b * heads_ + k, place, target);
    }
  }
  // Of the rows alone: a resumed run draws what an uninterrupted one does.
  uint64_t seed = 0;
  for (int32_t row : rows) seed = Mix64(seed, static_cast<uint64_t>(row));
  HeadBatch batch{std::as_const(hidden_).View(rows.size(), d_),
                  std::as_const(roots_).View(rows.size(), d_), targets_, seed};
  if (teacher_top_ > 0 && gradients != nullptr) {
    batch.teacher_ids = {teacher_ids_.data(), targets_.size(), teacher_top_};
    batch.teacher_probs = {teacher_probs_.data(), targets_.size(), teacher_top_};
    batch.teacher_weight = options_.teacher_weight;
  }
  return pass_->Run(batch, head_weights_, scale, gradients, sums);
}

// What the teacher said in place of token `target`: its row is that of the token before.
void HeadTrainer::SetTeacher(size_t row, const HeadRows::Place& place, size_t target) {
  if (teacher_top_ == 0) return;
  const TeacherRows& teacher = place.sequence.teacher;
  std::copy_n(teacher.ids.Row(target - 1), teacher_top_, teacher_ids_.data() + row * teacher_top_);
  std::copy_n(teacher.probs.Row(target - 1), teacher_top_,
              teacher_probs_.data() + row * teacher_top_);
}

double HeadTrainer::ForwardBackward(std::span<const int32_t> tokens, float scale) {
  HeadGradients gradients = shape_.Gradients(gradients_.span());
  const double loss = Run(tokens, scale, &gradients, training_sums_);
  if (!options_.biases) std::ranges::fill(gradients.biases, 0.0f);
  shape_.Accumulate(parameters_.span(), gradients_.span());
  return loss;
}

double HeadTrainer::Loss(std::span<const int32_t> tokens) {
  const double loss = Run(tokens, 0, nullptr, held_out_sums_);
  for (size_t b = 0; b < tokens.size(); ++b) {
    if (targets_[(b + 1) * heads_ - 1] >= 0)
      simulator_.Add(pass_->ranks().subspan(b * heads_, heads_), tokens[b] % 2 == 1);
  }
  return loss;
}

MedusaHeads HeadTrainer::Heads() {
  MedusaHeads heads = ZeroMedusaHeads(options_.heads, model_.config.hidden_size, options_.layers);
  const auto [weights, biases, root_weights, vocabularies] = shape_.Weights(parameters_.span());
  const size_t width = heads_ * d_;
  for (size_t l = 0; l < heads.blocks.size(); ++l) {
    MedusaBlock& block = heads.blocks[l];
    std::transform(weights.Row(l * width), weights.Row(l * width) + width * d_,
                   block.weights.data(), BFloat16::FromFloat);
    std::ranges::transform(biases.subspan(l * width, width), block.biases.data(), RoundToBFloat16);
  }
  if (options_.sees_root) {
    heads.root_weights = AlignedBuffer<BFloat16>(width * d_);
    std::transform(root_weights.data, root_weights.data + width * d_, heads.root_weights.data(),
                   BFloat16::FromFloat);
  }
  if (options_.own_projection) {
    heads.vocabularies = AlignedBuffer<BFloat16>(vocabularies.rows * d_);
    std::transform(vocabularies.data, vocabularies.data + vocabularies.rows * d_,
                   heads.vocabularies.data(), BFloat16::FromFloat);
  }
  heads.info = info_;
  heads.shortlist = shortlist_;
  heads.successors = successors_;
  return heads;
}

void HeadTrainer::Export(const std::string& dir) {
  SaveMedusaHeads(dir, Heads(), model_.config.vocab_size);
}

std::string HeadTrainer::Suspect(std::span<const int32_t> tokens) {
  std::vector<HeadSums> unused(heads_);
  Run(tokens, 0, nullptr, unused);
  const std::span<const float> losses = pass_->losses();
  size_t worst = 0;
  for (size_t r = 0; r < losses.size() && std::isfinite(losses[worst]); ++r) {
    if (!(losses[r] <= losses[worst])) worst = r;
  }
  const size_t row = worst / heads_;
  const HeadRows::Place place = rows_.Locate(static_cast<uint64_t>(tokens[row]));
  const auto hidden = std::as_const(hidden_).View(tokens.size(), d_).RowSpan(row);
  const bool finite =
      std::ranges::all_of(hidden, [](BFloat16 x) { return std::isfinite(x.ToFloat()); });
  char loss[64];
  std::snprintf(loss, sizeof(loss), "head %zu has loss %.4g", worst % heads_ + 1,
                static_cast<double>(losses[worst]));
  return "text " + std::to_string(place.text) + ", token " + std::to_string(place.position) +
         " of the data, whose " + (finite ? loss : "hidden state is not finite");
}

void HeadTrainer::ShareTrainingFigures(ProcessGroup& group) { ShareSums(group, training_sums_); }

void HeadTrainer::ShareHeldOutFigures(ProcessGroup& group) {
  ShareSums(group, held_out_sums_);
  if (group.size() > 1) simulator_.Share(group);
}

nlohmann::json HeadTrainer::TakeTrainingFigures() {
  const HeadFigures figures(training_sums_);
  std::string note = "top-1";
  for (double share : figures.top1) {
    char text[16];
    std::snprintf(text, sizeof(text), " %.3f", share);
    note += text;
  }
  return {{"head_loss", figures.loss},
          {"head_top1", figures.top1},
          {"head_top5", figures.top5},
          {"note", note}};
}

nlohmann::json HeadTrainer::TakeHeldOutFigures() {
  const HeadFigures figures(held_out_sums_);
  nlohmann::json json = {{"held_out_head_loss", figures.loss},
                         {"held_out_head_top1", figures.top1},
                         {"held_out_head_top5", figures.top5}};
  const SpeedSimulator simulator = std::exchange(simulator_, {});
  if (!costs_) return json;
  const SimulatedSpeed speed = simulator.Best(*costs_);
  json[kSpeedFigure] = speed.tokens_per_second;
  json["acceptance_length"] = speed.acceptance_length;
  json["simulated_rows"] = speed.rows;
  return json;
}

}  // namespace tern
