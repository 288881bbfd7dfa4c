// Scalar twins of the kernels: slow, obvious, in double precision, sharing no code with them. For
// tests. Where a kernel's contract fixes fp32 or integer results exactly, so does its twin.
#ifndef TERN_KERNELS_REFERENCE_H_
#define TERN_KERNELS_REFERENCE_H_

#include <cstdint>
#include <span>

#include "kernels/attention.h"
#include "kernels/bfloat16.h"
#include "kernels/int8_pack.h"
#include "kernels/mat_view.h"
#include "kernels/quantize.h"
#include "kernels/ternary_pack.h"
#include "kernels/top_k.h"

namespace tern::reference {

// Exact: the fp32 steps of the contract, one element at a time. Finite x only.
void QuantizeRows(MatView<const float> x, const QuantizedRows& out);

void RmsNorm(MatView<const float> x, std::span<const float> gain, float eps, MatView<double> y);

// The weight at (row, column) of a packed matrix, read off the picture in ternary_pack.h.
int UnpackWeight(const TernaryView& packed, size_t row, size_t column);

// The byte at (r, c) of the Hugging Face layout of weights [rows, cols].
uint8_t HuggingFaceByte(MatView<const int8_t> weights, size_t r, size_t c);

float TernarizeAbsMean(MatView<const float> weights, MatView<int8_t> out);

// Exact: y = float(dot) * (x.scales[i] * w_scale), for unpacked weights [rows, K].
void TernaryMatmul(MatView<const int8_t> weights, float w_scale, const QuantizedRows& x,
                   MatView<float> y);

// Exact, scales of any kind: the contract's order in fp32.
void WeightOnlyMatmul(const TernaryView& w, MatView<const float> x, MatView<float> y);

// The value of the code at (row, column) of a packed matrix, read off the picture in int8_pack.h.
int UnpackInt8(const Int8Matrix& packed, size_t row, size_t column);

// Exact: y = float(dot) * (x.scales[i] * scales[r]), for codes [rows, K].
void Int8Matmul(MatView<const int8_t> weights, std::span<const float> scales,
                const QuantizedRows& x, MatView<float> y);

void ApplyRope(double theta, size_t head_dim, std::span<const int32_t> positions,
               MatView<const float> x, MatView<double> y);

void ReluSquaredGate(MatView<const float> gate, MatView<const float> up, MatView<double> out);

void SiluGate(MatView<const float> gate, MatView<const float> up, MatView<double> out);

void ResidualSilu(std::span<const float> x, MatView<const float> bias, MatView<const float> z,
                  MatView<double> out);

void Attention(MatView<const float> q, const KvLayerView& kv, std::span<const AttentionRow> rows,
               size_t heads, MatView<double> out);

void VocabProjection(MatView<const float> hidden, MatView<const BFloat16> embedding,
                     MatView<double> logits);

double LogSumExp(std::span<const float> x);

double SumExpMinus(std::span<const float> x, float shift);

// Exact.
void TopK(std::span<const float> values, std::span<ScoredIndex> out);

}  // namespace tern::reference

#endif  // TERN_KERNELS_REFERENCE_H_
