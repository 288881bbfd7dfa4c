#include "trainer/head_parameters.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>

#include "kernels/bfloat16.h"
#include "kernels/check.h"
#include "kernels/dense_matmul.h"
#include "kernels/parallel.h"
#include "trainer/permutation.h"

namespace tern {
namespace {

constexpr size_t kSliceAlign = 16;  // floats

// The ternary values of one head's block.
void Quantise(const float* masters, size_t n, float* out) {
  double sum = 0;
  for (size_t i = 0; i < n; ++i) sum += static_cast<double>(std::fabs(masters[i]));
  const float scale = RoundToBFloat16(static_cast<float>(sum / static_cast<double>(n)));
  for (size_t i = 0; i < n; ++i) {
    out[i] = scale > 0 ? scale * std::clamp(std::nearbyint(masters[i] / scale), -1.0f, 1.0f) : 0;
  }
}

}  // namespace

HeadParameters::HeadParameters(const HeadShape& shape) : shape_(shape) {
  TERN_CHECK(shape.rank == 0 || !shape.ternary);
  const auto add = [&](const std::string& name, size_t rows, size_t cols, bool decays) {
    slices_.push_back({name, size_, rows, cols, -1, false, decays});
    size_ = (size_ + rows * cols + kSliceAlign - 1) / kSliceAlign * kSliceAlign;
  };
  if (shape.rank > 0) {
    add("heads.linear.weight.a", shape.outputs(), shape.rank, true);
    add("heads.linear.weight.b", shape.layers * shape.heads * shape.rank, shape.d, true);
    weights_gradient_ = AlignedBuffer<float>(shape.outputs() * shape.d);
  } else {
    add("heads.linear.weight", shape.outputs(), shape.d, true);
  }
  if (shape.rank > 0 || shape.ternary) weights_ = AlignedBuffer<float>(shape.outputs() * shape.d);
  add("heads.linear.bias", shape.outputs(), 1, false);
  if (shape.sees_root) add("heads.root.weight", shape.heads * shape.d, shape.d, true);
  if (shape.vocabulary > 0)
    add("heads.lm_head.weight", shape.heads * shape.vocabulary, shape.d, true);
}

void SetWeights(const HeadWeights& weights, HeadPass& pass) {
  pass.SetWeights(weights.weights, weights.biases);
  if (weights.root_weights.rows > 0) pass.SetRootWeights(weights.root_weights);
  if (weights.vocabularies.rows > 0) pass.SetVocabularies(weights.vocabularies);
}

void HeadParameters::Initialise(uint64_t seed, MatView<const BFloat16> table,
                                std::span<float> parameters) const {
  std::ranges::fill(parameters, 0.0f);
  for (size_t r = 0; r < shape_.heads * shape_.vocabulary; ++r) {
    const BFloat16* row = table.Row(r % shape_.vocabulary);
    std::transform(row, row + shape_.d, parameters.data() + vocabularies().offset + r * shape_.d,
                   [](BFloat16 x) { return x.ToFloat(); });
  }
  if (shape_.rank == 0) return;
  // Even on +-sqrt(3 / d): rows of B have norm 1 on average.
  const double bound = std::sqrt(3.0 / static_cast<double>(shape_.d));
  for (size_t i = 0; i < slices_[1].size(); ++i) {
    const double share = static_cast<double>(Mix64(seed, i) >> 11) * 0x1p-53;
    parameters[slices_[1].offset + i] = static_cast<float>((2 * share - 1) * bound);
  }
}

HeadWeights HeadParameters::Weights(std::span<const float> parameters) {
  const size_t blocks = shape_.layers * shape_.heads, d = shape_.d, r = shape_.rank;
  HeadWeights all{{parameters.data(), shape_.outputs(), d},
                  parameters.subspan(biases().offset, shape_.outputs())};
  if (shape_.sees_root)
    all.root_weights = {parameters.data() + root_weights().offset, shape_.heads * d, d};
  if (shape_.vocabulary > 0) {
    all.vocabularies = {parameters.data() + vocabularies().offset, shape_.heads * shape_.vocabulary,
                        d};
  }
  if (weights_.size() == 0) return all;
  if (shape_.ternary) {
    ParallelFor(blocks, 1, [&](size_t begin, size_t end) {
      for (size_t i = begin; i < end; ++i)
        Quantise(parameters.data() + i * d * d, d * d, weights_.data() + i * d * d);
    });
  } else {
    const float* a = parameters.data();
    const float* b = parameters.data() + slices_[1].offset;
    for (size_t i = 0; i < blocks; ++i) {
      DenseMatmul(MatView<const float>(a + i * d * r, d, r), Transpose::kNo,
                  MatView<const float>(b + i * r * d, r, d), Transpose::kNo, 0.0f,
                  weights_.View(shape_.outputs(), d).Rows(i * d, d));
    }
  }
  all.weights = std::as_const(weights_).View(shape_.outputs(), d);
  return all;
}

HeadGradients HeadParameters::Gradients(std::span<float> gradients) {
  HeadGradients all{{gradients.data(), shape_.outputs(), shape_.d},
                    gradients.subspan(biases().offset, shape_.outputs())};
  if (shape_.sees_root) {
    all.root_weights = {gradients.data() + root_weights().offset, shape_.heads * shape_.d,
                        shape_.d};
  }
  if (shape_.vocabulary > 0) {
    all.vocabularies = {gradients.data() + vocabularies().offset, shape_.heads * shape_.vocabulary,
                        shape_.d};
  }
  if (shape_.rank == 0) return all;
  std::ranges::fill(weights_gradient_.span(), 0.0f);
  all.weights = weights_gradient_.View(shape_.outputs(), shape_.d);
  return all;
}

void HeadParameters::Accumulate(std::span<const float> parameters, std::span<float> gradients) {
  if (shape_.rank == 0) return;
  const size_t d = shape_.d, r = shape_.rank, b_at = slices_[1].offset;
  for (size_t i = 0; i < shape_.layers * shape_.heads; ++i) {
    const MatView<const float> dw(weights_gradient_.data() + i * d * d, d, d);
    const MatView<const float> a(parameters.data() + i * d * r, d, r);
    const MatView<const float> b(parameters.data() + b_at + i * r * d, r, d);
    DenseMatmul(dw, Transpose::kNo, b, Transpose::kYes, 1.0f,
                MatView<float>(gradients.data() + i * d * r, d, r));
    DenseMatmul(a, Transpose::kYes, dw, Transpose::kNo, 1.0f,
                MatView<float>(gradients.data() + b_at + i * r * d, r, d));
  }
}

}  // namespace tern
