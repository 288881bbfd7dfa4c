// The part of twin_checks.h that training needs for products: dense ones, and attention.
#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/dense_matmul.h"
#include "kernels/findings.h"
#include "kernels/training_attention.h"
#include "kernels/training_reference.h"
#include "kernels/twin_checks.h"

namespace tern {
namespace {

// Small integers are exact in bf16 and their sums exact in fp32, so every order gives the same
// bits while k * 127 * 4 + 127 < 2^24.
template <class T>
void CheckProduct(Transpose ta, Transpose tb, float beta, size_t m, size_t k, size_t n,
                  Findings& findings) {
  RandomData random(7);
  const bool at = ta == Transpose::kYes, bt = tb == Transpose::kYes;
  // Strides beyond the width: the GEMM must not read or write what lies between rows.
  const size_t a_stride = (at ? m : k) + 3, b_stride = (bt ? k : n) + 5, c_stride = n + 2;
  std::vector<T> a((at ? k : m) * a_stride), b((bt ? n : k) * b_stride);
  std::vector<float> c(m * c_stride, 11.0f);
  std::vector<double> expected(c.size(), 11.0);
  for (T& value : a) value = FromFloat<T>(random.Code());
  for (T& value : b) value = FromFloat<T>(static_cast<float>(random.Below(9)) - 4.0f);
  DenseMatmul(MatView<const T>(a.data(), at ? k : m, at ? m : k, a_stride), ta,
              MatView<const T>(b.data(), bt ? n : k, bt ? k : n, b_stride), tb, beta,
              MatView<float>(c.data(), m, n, c_stride));
  for (size_t i = 0; i < m; ++i) {
    for (size_t j = 0; j < n; ++j) {
      double& sum = expected[i * c_stride + j];
      sum *= static_cast<double>(beta);
      for (size_t p = 0; p < k; ++p) {
        sum += double{AsFloat(a[at ? p * a_stride + i : i * a_stride + p])} *
               static_cast<double>(AsFloat(b[bt ? j * b_stride + p : p * b_stride + j]));
      }
    }
  }
  findings.Near(sizeof(T) == 2 ? "bf16" : "fp32",
                MatView<const double>(expected.data(), m, c_stride),
                MatView<const float>(c.data(), m, c_stride), {});
}

// Inputs that are exact in bf16, as E and as floats.
template <class E>
struct Input {
  Input(size_t rows_in, size_t cols_in, RandomData& random)
      : rows(rows_in), cols(cols_in), elements(rows * cols), floats(rows * cols) {
    const AlignedBuffer<BFloat16> values = random.BFloat16s(rows * cols);
    for (size_t i = 0; i < floats.size(); ++i) {
      floats[i] = values[i].ToFloat();
      elements[i] = FromFloat<E>(floats[i]);
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
void CheckAttentionOf(size_t tokens, size_t heads, size_t head_dim, Findings& findings) {
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
  findings.Near("TrainingAttention", out_twin.View(tokens, width), out.View(tokens, width),
                {.absolute = out_bound});
  // dscore = p (dp - dot) scale; |dp|, |dot| <= head_dim, each with head_dim roundings of sums of
  // that size, dot also with the errors of out. Per unit of p:
  const double dscore = scale * ((p + 3 * u) * 2 * dims + 2 * dims * dims * u + dims * out_bound) +
                        2 * dims * scale * w;
  findings.Near("TrainingAttentionGrad of q", dq_twin.View(tokens, width), dq.View(tokens, width),
                {.absolute = dscore + t * u * 2 * dims * scale});
  // A key's gradients add over queries and heads; the probabilities it gets there are the scale of
  // the error: dv at dout = 1 is their sum.
  AlignedBuffer<float> ones(tokens * width);
  std::fill(ones.span().begin(), ones.span().end(), 1.0f);
  AlignedBuffer<double> unused_q(dq.size()), unused_k(dk.size()), mass(dv.size());
  reference::TrainingAttentionGrad(twin, ones.View(tokens, width), unused_q.View(tokens, width),
                                   unused_k.View(tokens, head_dim), mass.View(tokens, head_dim));
  const double additions = t * static_cast<double>(heads) * u;
  findings.Near(
      "TrainingAttentionGrad of k", dk_twin.View(tokens, head_dim), dk.View(tokens, head_dim),
      {.relative = dscore + additions * 2 * dims * scale, .scale = mass.View(tokens, head_dim)});
  findings.Near("TrainingAttentionGrad of v", dv_twin.View(tokens, head_dim),
                dv.View(tokens, head_dim),
                {.relative = p + additions, .scale = mass.View(tokens, head_dim)});
}

}  // namespace

std::string CheckDenseMatmul(size_t m, size_t k, size_t n) {
  Findings findings;
  for (const Transpose ta : {Transpose::kNo, Transpose::kYes}) {
    for (const Transpose tb : {Transpose::kNo, Transpose::kYes}) {
      for (const float beta : {0.0f, 1.0f}) {
        CheckProduct<float>(ta, tb, beta, m, k, n, findings);
        if (HasBFloat16Matmul()) CheckProduct<BFloat16>(ta, tb, beta, m, k, n, findings);
      }
    }
  }
  return findings.text();
}

std::string CheckTrainingAttention(size_t tokens, size_t heads, size_t head_dim) {
  Findings findings;
  CheckAttentionOf<float>(tokens, heads, head_dim, findings);
  if (HasBFloat16Matmul()) CheckAttentionOf<BFloat16>(tokens, heads, head_dim, findings);
  return findings.text();
}

}  // namespace tern
