// AdamW (Loshchilov and Hutter 2019) on flat buffers, and the norm that clipping needs.
#ifndef TERN_TRAINER_ADAMW_H_
#define TERN_TRAINER_ADAMW_H_

#include <cstdint>
#include <span>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "trainer/backbone.h"
#include "trainer/schedule.h"

namespace tern {

struct AdamWOptions {
  double beta1 = 0.9;
  double beta2 = 0.95;
  double epsilon = 1e-8;
};

// First and second moments, laid out as the parameters.
struct AdamWState {
  explicit AdamWState(size_t parameters)
      : m(AlignedBuffer<float>::Zeroed(parameters)), v(AlignedBuffer<float>::Zeroed(parameters)) {}
  AlignedBuffer<float> m, v;
};

// Euclidean norm, summed in double in fixed blocks: the same bits for every thread count.
double GlobalNorm(std::span<const float> values);

// What gradients are multiplied by so that their norm is at most `limit` (0: no limit).
double ClipScale(double norm, double limit);

// Update number `update` (from 1) of every slice, with gradients times `gradient_scale`; decoupled
// weight decay where the slice decays. Gradients are 0 afterwards. Elements between slices are left
// alone.
struct AdamWStep {
  uint64_t update;
  StepRates rates;
  double gradient_scale;
};
void ApplyAdamW(const AdamWOptions& options, const AdamWStep& step,
                const std::vector<ParameterSlice>& slices, std::span<float> parameters,
                std::span<float> gradients, AdamWState& state);

}  // namespace tern

#endif  // TERN_TRAINER_ADAMW_H_
