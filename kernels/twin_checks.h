// Kernels against their scalar twins on random inputs of a shape, under the target in force, at
// tolerances derived beside each comparison. For tests, which go through many shapes, and for the
// self-test (self_test.h), which takes a few.
#ifndef TERN_KERNELS_TWIN_CHECKS_H_
#define TERN_KERNELS_TWIN_CHECKS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/attention.h"
#include "kernels/random_data.h"
#include "kernels/ternary_pack.h"

namespace tern {

// All: "" where kernel and twin agree, else the first difference in words.

std::string CheckQuantizeRows(size_t cols);
std::string CheckRmsNorm(size_t cols);
std::string CheckRmsNormQuantize(size_t cols);  // against RmsNorm and QuantizeRows
std::string CheckTernaryMatmul(size_t n, size_t rows, size_t k);
// A row in n of the matrix, and a column in n, as what is listed; none and all of them.
std::string CheckTernarySparse(size_t n, size_t rows, size_t k);
std::string CheckWeightOnlyMatmul(size_t n, size_t rows, size_t k, size_t group_cols);
std::string CheckInt8Matmul(size_t n, size_t rows, size_t k);
std::string CheckApplyRope(size_t head_dim);
std::string CheckReluSquaredGate(size_t cols);
std::string CheckSiluGate(size_t cols);
std::string CheckResidualSilu(size_t cols);
std::string CheckAddInPlace(size_t cols);
// That a K or V vector is stored as kv_block.h says, beside others that stay as they are.
std::string CheckKvBlock(KvType type, size_t head_dim);
std::string CheckAttention(KvType type, size_t head_dim, size_t kv_heads, size_t group);
std::string CheckVocabProjection(size_t n, size_t vocab, size_t d);
std::string CheckSumExp(size_t n);  // LogSumExp too
std::string CheckTopK(uint32_t seed);

// Training: each kernel in fp32 and, where it has one, in bf16.
std::string CheckTrainingRows(size_t cols);       // scaling, rounding, gates, sums
std::string CheckTrainingGradients(size_t cols);  // norm, softmax, cross-entropy
std::string CheckRotateHead(size_t head_dim);
// As DenseMatmul is: on all operands' layouts, exact in integers.
std::string CheckDenseMatmul(size_t m, size_t k, size_t n);
std::string CheckTrainingAttention(size_t tokens, size_t heads, size_t head_dim);

// What goes into CheckWeightOnlyMatmul: random weights and scales [rows, groups].
struct WeightOnlyInput {
  WeightOnlyInput(size_t rows, size_t k, size_t group_cols, RandomData& random);
  AlignedBuffer<int8_t> codes;  // [rows, k]
  size_t groups;
  AlignedBuffer<float> scales;
  TernaryMatrix packed;
};

// What goes into CheckAttention: a random cache, and rows of several lengths: short and long
// prefixes, ends of blocks and of what attention reduces at a time, tree tails.
struct AttentionInput {
  static constexpr size_t kBlocks = 6;
  AttentionInput(KvType type, size_t heads, size_t kv_heads, size_t head_dim, uint32_t seed);
  size_t Width() const { return heads * kv.head_dim; }
  MatView<const float> Q() const { return q.View(rows.size(), Width()); }
  AlignedBuffer<float> Run(std::span<const AttentionRow> which, MatView<const float> queries);
  // K and V in a slot of a block, all dimensions.
  void Set(size_t block, size_t kv_head, size_t slot, std::span<const float> values);

  size_t heads;
  RandomData random;
  AlignedBuffer<std::byte> k, v;
  KvLayerView kv;
  std::vector<int32_t> table = {3, 0, 5, 1, 2, 4, 1, 3, 5,
                                0, 4, 2, 0, 3, 1, 5, 2, 4};  // 1152 slots
  std::vector<std::vector<int32_t>> tails;
  std::vector<AttentionRow> rows;
  AlignedBuffer<float> q;
};

}  // namespace tern

#endif  // TERN_KERNELS_TWIN_CHECKS_H_
