#include "kernels/training_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/dense_matmul.h"
#include "kernels/training_reference.h"
#include "tests/kernels/every_target.h"
#include "tests/support/comparator.h"
#include "tests/support/random_data.h"

namespace tern::test {
namespace {

// Inputs that are exact in bf16, as E and as floats.
template <class E>
struct Input {
  Input(size_t rows_in, size_t cols_in, RandomData& random)
      : rows(rows_in), cols(cols_in), elements(rows * cols), floats(rows * cols) {
    const AlignedBuffer<BFloat16> values = random.BFloat16s(rows * cols);
    for (size_t i = 0; i < floats.size(); ++i) {
      floats[i] = values[i].ToFloat();
      if constexpr (sizeof(E) == 2) {
        elements[i] = values[i];
      } else {
        elements[i] = floats[i];
      }
    }
  }
  MatView<const E> View() const { return elements.View(rows, cols); }
  MatView<const float> Floats() const { return floats.View(rows, cols); }
  size_t rows, cols;
  AlignedBuffer<E> elements;
  AlignedBuffer<float> floats;
};

// Forward and backward against the twins. All inputs are at most 1 in magnitude; u is one fp32
// rounding, w one rounding of E.
template <class E>
void ExpectTwins(size_t tokens, size_t heads, size_t head_dim) {
  SCOPED_TRACE(::testing::Message() << tokens << " tokens, " << heads << " x " << head_dim);
  const size_t width = heads * head_dim;
  RandomData random(static_cast<uint32_t>(tokens + heads));
  const Input<E> q(tokens, width, random), k(tokens, head_dim, random), v(tokens, head_dim, random),
      dout(tokens, width, random);
  AlignedBuffer<float> out(tokens * width), dq(tokens * width), dk(tokens * head_dim),
      dv(tokens * head_dim), log_sums(heads * tokens);
  const AttentionInputs<E> in = {q.View(), k.View(), v.View(), heads};
  AttentionTrainingScratch<E> scratch;
  TrainingAttention(in, scratch, log_sums.span(), out.View(tokens, width));
  TrainingAttentionGrad(
      in, log_sums.span(), scratch,
      {out.View(tokens, width), dout.Floats(), dout.View(), dq.View(tokens, width),
       dk.View(tokens, head_dim), dv.View(tokens, head_dim)});

  const reference::CausalAttention twin = {q.Floats(), k.Floats(), v.Floats(), heads};
  AlignedBuffer<double> out_twin(out.size()), dq_twin(dq.size()), dk_twin(dk.size()),
      dv_twin(dv.size());
  reference::TrainingAttention(twin, out_twin.View(tokens, width));
  reference::TrainingAttentionGrad(twin, dout.Floats(), dq_twin.View(tokens, width),
                                   dk_twin.View(tokens, head_dim), dv_twin.View(tokens, head_dim));

  const double u = 0x1p-24, w = sizeof(E) == 2 ? 0x1p-8 : 0.0;
  const double dims = static_cast<double>(head_dim), t = static_cast<double>(tokens);
  const double scale = 1 / std::sqrt(dims);
  // A score: head_dim products of at most 1 added up, times the scale: largest sqrt(head_dim).
  // A probability: twice that error, the argument's roundings, a sum of T terms, exp and log.
  const double largest = std::sqrt(dims);
  const double p = 2 * scale * dims * dims * u + (6 * largest + t / 4 + 32) * u + w;
  const double out_bound = p + t * u;  // probabilities sum to 1, |v| <= 1, T additions
  EXPECT_TRUE(
      AllNear(out_twin.View(tokens, width), out.View(tokens, width), {.absolute = out_bound}));
  // dscore = p (dp - dot) scale; |dp|, |dot| <= head_dim, each with head_dim roundings of sums of
  // that size, dot also with the errors of out. Per unit of p:
  const double dscore = scale * ((p + 3 * u) * 2 * dims + 2 * dims * dims * u + dims * out_bound) +
                        2 * dims * scale * w;
  EXPECT_TRUE(AllNear(dq_twin.View(tokens, width), dq.View(tokens, width),
                      {.absolute = dscore + t * u * 2 * dims * scale}));
  // A key's gradients add over queries and heads; the probabilities it gets there are the scale of
  // the error: dv at dout = 1 is their sum.
  AlignedBuffer<float> ones(tokens * width);
  std::fill(ones.span().begin(), ones.span().end(), 1.0f);
  AlignedBuffer<double> unused_q(dq.size()), unused_k(dk.size()), mass(dv.size());
  reference::TrainingAttentionGrad(twin, ones.View(tokens, width), unused_q.View(tokens, width),
                                   unused_k.View(tokens, head_dim), mass.View(tokens, head_dim));
  const double additions = t * static_cast<double>(heads) * u;
  EXPECT_TRUE(AllNear(
      dk_twin.View(tokens, head_dim), dk.View(tokens, head_dim),
      {.relative = dscore + additions * 2 * dims * scale, .scale = mass.View(tokens, head_dim)}));
  EXPECT_TRUE(AllNear(dv_twin.View(tokens, head_dim), dv.View(tokens, head_dim),
                      {.relative = p + additions, .scale = mass.View(tokens, head_dim)}));
}

// One token, a block of queries exactly, one more, and one head.
template <class E>
void ExpectTwinsOfAllShapes() {
  HasBFloat16Matmul();  // oneDNN takes the target in force at its first use for good: the highest
  OnEveryTarget([] {
    ExpectTwins<E>(1, 2, 8);
    ExpectTwins<E>(5, 3, 24);
    ExpectTwins<E>(128, 1, 16);
    ExpectTwins<E>(129, 2, 16);
    ExpectTwins<E>(150, 1, 7);
  });
}

TEST(TrainingAttention, EqualsTheTwins) { ExpectTwinsOfAllShapes<float>(); }

TEST(TrainingAttention, EqualsTheTwinsInBFloat16) {
  if (!HasBFloat16Matmul()) GTEST_SKIP() << "no bf16 matrix multiplication on this CPU";
  ExpectTwinsOfAllShapes<BFloat16>();
}

}  // namespace
}  // namespace tern::test
