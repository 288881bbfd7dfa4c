#include "trainer/pretrain_benchmark.h"

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "engine/error.h"
#include "engine/memory.h"
#include "trainer/adamw.h"
#include "trainer/machine.h"
#include "trainer/model_presets.h"
#include "trainer/permutation.h"

namespace tern {
namespace {

constexpr double kStateBytes = 4 * sizeof(float);  // per parameter: master, gradient, m, v
constexpr double kHeadroom = 0.9;                  // share of the free memory that a run may take

// A model with as many layers as asked, its optimiser and a random batch.
class Subject {
 public:
  Subject(const BenchmarkRequest& request, int32_t layers)
      : config_(request.config), accumulate_(request.accumulate) {
    config_.num_hidden_layers = layers;
    backbone_ = std::make_unique<Backbone>(config_, request.backbone);
    backbone_->Initialise(request.seed);
    backbone_->RefreshWeights();
    moments_ = std::make_unique<AdamWState>(backbone_->parameters().size());
    const auto rows = static_cast<size_t>(request.backbone.batch);
    tokens_.resize(rows * (static_cast<size_t>(request.backbone.sequence) + 1));
    for (size_t i = 0; i < tokens_.size(); ++i) {
      tokens_[i] =
          static_cast<int32_t>(Mix64(request.seed, i) % static_cast<uint64_t>(config_.vocab_size));
    }
  }
  double macs() const { return backbone_->GemmMacsPerStep(); }
  double parameters() { return static_cast<double>(backbone_->parameters().size()); }
  void Gradients() { backbone_->ForwardBackward(tokens_, 1.0f / static_cast<float>(accumulate_)); }
  void Update() {
    const StepRates tiny{1e-6,
                         0};  // the model stays where it is, and timing does not depend on values
    const double norm = GlobalNorm(backbone_->gradients());
    ApplyAdamW({}, {1, tiny, ClipScale(norm, 1)}, backbone_->slices(), backbone_->parameters(),
               backbone_->gradients(), *moments_);
    backbone_->RefreshWeights();
  }
  void Step() {
    for (int32_t i = 0; i < accumulate_; ++i) Gradients();
    Update();
  }

 private:
  ModelConfig config_;
  int32_t accumulate_;
  std::unique_ptr<Backbone> backbone_;
  std::unique_ptr<AdamWState> moments_;
  std::vector<int32_t> tokens_;
};

ModelConfig WithLayers(ModelConfig config, int32_t layers) {
  config.num_hidden_layers = layers;
  return config;
}

double StateBytes(const ModelConfig& config, int32_t layers) {
  return CountParameters(WithLayers(config, layers)) * kStateBytes;
}

// Of activations and weights in GEMM form. Nothing is computed, so hardly any of the memory is
// touched.
double WorkspaceBytes(const ModelConfig& config, const BackboneOptions& backbone, int32_t layers) {
  return static_cast<double>(Backbone(WithLayers(config, layers), backbone).workspace_bytes());
}

double TrainingBytes(const ModelConfig& config, const BackboneOptions& backbone) {
  const double one = WorkspaceBytes(config, backbone, 1), two = WorkspaceBytes(config, backbone, 2);
  return StateBytes(config, config.num_hidden_layers) + one +
         (config.num_hidden_layers - 1) * (two - one);
}

void RequireRoom(double needed, const BenchmarkResult& result) {
  if (needed <= kHeadroom * result.available_bytes) return;
  const auto megabytes = [](double bytes) {
    return std::to_string(static_cast<long long>(bytes / 1048576)) + " MB";
  };
  throw Unsupported("not even two layers fit in memory: they need " + megabytes(needed) + ", " +
                    megabytes(result.available_bytes) +
                    " are available; take a smaller --size, --batch or --sequence");
}

// Two layers against one: the difference is a layer, what remains is the embedding and the loss.
void Compose(const BenchmarkRequest& request, BenchmarkResult& result, double layers) {
  double one_seconds, two_seconds, update_seconds, one_macs, two_macs, two_parameters;
  {  // one after the other: both together may not fit
    Subject one(request, 1);
    one_macs = one.macs();
    one_seconds = MedianStepSeconds(request.timed_steps, [&] { one.Gradients(); });
  }
  {
    Subject two(request, 2);
    two_macs = two.macs();
    two_parameters = two.parameters();
    two_seconds = MedianStepSeconds(request.timed_steps, [&] { two.Gradients(); });
    update_seconds = MedianStepSeconds(request.timed_steps, [&] { two.Update(); });
  }
  result.composed = true;
  result.layer_seconds = std::max(0.0, two_seconds - one_seconds);
  result.embedding_and_loss_seconds = std::max(0.0, one_seconds - result.layer_seconds);
  result.optimiser_seconds = update_seconds * result.parameters / two_parameters;
  result.step_seconds =
      request.accumulate * (result.embedding_and_loss_seconds + layers * result.layer_seconds) +
      result.optimiser_seconds;
  result.gemm_macs_per_step =
      request.accumulate * (one_macs + (layers - 1) * (two_macs - one_macs));
}

void RequireBytes(double bytes) {
  constexpr double kMost = 9e18;  // what size_t surely holds
  RequireMemory("training this model", static_cast<size_t>(std::min(bytes, kMost)));
}

}  // namespace

void RequireTrainingMemory(const ModelConfig& config, const BackboneOptions& backbone) {
  RequireBytes(StateBytes(config, std::max(2, config.num_hidden_layers)));
  RequireBytes(TrainingBytes(config, backbone));
}

BenchmarkResult BenchmarkPretraining(const BenchmarkRequest& request) {
  BenchmarkResult result;
  const int32_t layers = request.config.num_hidden_layers;
  result.parameters = CountParameters(request.config);
  result.available_bytes = static_cast<double>(AvailableMemoryBytes());
  const double room = kHeadroom * result.available_bytes;
  const double two_state = StateBytes(request.config, 2);
  RequireRoom(two_state, result);  // before anything is allocated
  result.memory_bytes = TrainingBytes(request.config, request.backbone);
  if (request.always_compose || result.memory_bytes > room) {
    RequireRoom(two_state + WorkspaceBytes(request.config, request.backbone, 2), result);
    Compose(request, result, layers);
  } else {
    Subject whole(request, layers);
    result.step_seconds = MedianStepSeconds(request.timed_steps, [&] { whole.Step(); });
    result.gemm_macs_per_step = request.accumulate * whole.macs();
  }
  result.tokens_per_second = static_cast<double>(request.backbone.batch) *
                             request.backbone.sequence * request.accumulate / result.step_seconds;
  return result;
}

}  // namespace tern
