#include "trainer/backbone.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

#include "kernels/parallel.h"
#include "kernels/vector_math.h"
#include "trainer/backbone_state.h"
#include "trainer/training_pass.h"

namespace tern {
namespace {

// Two independent normal values from the counter (Box and Muller), so that a weight depends on the
// seed and its place only.
std::pair<double, double> NormalPair(uint64_t seed, uint32_t slice, uint64_t index) {
  const uint64_t bits =
      CounterRandom(seed, slice, static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32));
  const double u = (static_cast<double>(bits >> 32) + 0.5) / 4294967296.0;
  const double v = static_cast<double>(bits & 0xFFFFFFFFu) / 4294967296.0;
  const double radius = std::sqrt(-2.0 * std::log(u)), angle = 2.0 * std::numbers::pi * v;
  return {radius * std::cos(angle), radius * std::sin(angle)};
}

void FillNormal(std::span<float> out, double std, uint64_t seed, uint32_t slice) {
  ParallelFor((out.size() + 1) / 2, 4096, [&](size_t begin, size_t end) {
    for (size_t i = begin; i < end; ++i) {
      const auto [a, b] = NormalPair(seed, slice, i);
      out[2 * i] = static_cast<float>(a * std);
      if (2 * i + 1 < out.size()) out[2 * i + 1] = static_cast<float>(b * std);
    }
  });
}

}  // namespace

struct Backbone::Impl {
  Impl(const ModelConfig& config, const BackboneOptions& options)
      : state(config, options), pass(MakeTrainingPass(state)) {}
  BackboneState state;
  std::unique_ptr<TrainingPass> pass;
};

Backbone::Backbone(const ModelConfig& config, const BackboneOptions& options)
    : impl_(std::make_unique<Impl>(config, options)) {}
Backbone::~Backbone() = default;

const ModelConfig& Backbone::config() const { return impl_->state.config; }
const std::vector<ParameterSlice>& Backbone::slices() const { return impl_->state.slices; }
std::span<float> Backbone::parameters() { return impl_->state.parameters.span(); }
std::span<const float> Backbone::parameters() const {
  return std::as_const(impl_->state).parameters.span();
}
std::span<float> Backbone::gradients() { return impl_->state.gradients.span(); }
size_t Backbone::workspace_bytes() const {
  return impl_->pass->bytes() + impl_->state.codes.size();
}

void Backbone::Initialise(uint64_t seed) {
  constexpr double kStd = 0.02;
  BackboneState& s = impl_->state;
  std::vector<double> deviations(s.slices.size(), kStd);
  // Projections into the residual stream: 2L of them add up there.
  for (const LayerSlices& layer : s.layers) {
    deviations[layer.o] = deviations[layer.down] =
        kStd / std::sqrt(2.0 * static_cast<double>(s.layers.size()));
  }
  for (size_t i = 0; i < s.slices.size(); ++i) {
    const std::span<float> out =
        s.parameters.span().subspan(s.slices[i].offset, s.slices[i].size());
    if (s.slices[i].decays) {
      FillNormal(out, deviations[i], seed, static_cast<uint32_t>(i));
    } else {
      std::fill(out.begin(), out.end(), 1.0f);
    }
  }
  RefreshWeights();
}

void Backbone::RefreshWeights() {
  impl_->state.Quantise();
  impl_->pass->RefreshWeights();
}

double Backbone::ForwardBackward(std::span<const int32_t> tokens, float scale) {
  return impl_->pass->Run(tokens, scale, /*backward=*/true);
}

double Backbone::Loss(std::span<const int32_t> tokens) {
  return impl_->pass->Run(tokens, 1.0f, /*backward=*/false);
}

void Backbone::Logits(std::span<const int32_t> tokens, std::span<float> logits) {
  impl_->pass->Logits(tokens, logits);
}

std::vector<LayerQuantisation> Backbone::QuantisationStats() const {
  const BackboneState& s = impl_->state;
  std::vector<LayerQuantisation> stats = s.quantisation;
  std::vector<size_t> zeros(stats.size()), counts(stats.size());
  for (size_t i = 0; i < s.slices.size(); ++i) {
    if (!s.slices[i].ternary) continue;
    const auto layer = static_cast<size_t>(s.slices[i].layer);
    const auto codes = s.codes.span().subspan(s.code_offsets[i], s.slices[i].size());
    zeros[layer] += static_cast<size_t>(std::count(codes.begin(), codes.end(), int8_t{0}));
    counts[layer] += codes.size();
  }
  for (size_t l = 0; l < stats.size(); ++l) {
    stats[l].zero_share =
        static_cast<float>(static_cast<double>(zeros[l]) / static_cast<double>(counts[l]));
  }
  return stats;
}

std::span<const int8_t> Backbone::TernaryCodes() const {
  return std::as_const(impl_->state.codes).span();
}
std::span<const float> Backbone::WeightScales() const { return impl_->state.weight_scales; }

double Backbone::GemmMacsPerStep() const {
  const BackboneState& s = impl_->state;
  const PassSizes n(s);
  const double rows = static_cast<double>(n.rows);
  double linear = 0;  // of all layers, forward
  for (const ParameterSlice& slice : s.slices) {
    if (slice.ternary) linear += rows * static_cast<double>(slice.size());
  }
  // Two products over the causal half, counted as such: what must be computed, not what blocks
  // compute.
  const double attention =
      rows * static_cast<double>(n.sequence + 1) / 2 * static_cast<double>(2 * n.d * n.layers);
  const double head = rows * static_cast<double>(n.vocab * n.d);
  const double layers_once = linear + attention;
  const double recomputed = s.options.recompute ? layers_once * static_cast<double>(n.layers - 1) /
                                                      static_cast<double>(n.layers)
                                                : 0;
  // Backward: two products for each of a linear; five for two of attention (its scores again).
  return 3 * (linear + head) + 3.5 * attention + recomputed;
}

}  // namespace tern
