#include "kernels/self_test.h"

#include <functional>
#include <initializer_list>

#include "kernels/findings.h"
#include "kernels/parallel.h"
#include "kernels/quantized_data.h"
#include "kernels/ternary_matmul.h"
#include "kernels/twin_checks.h"

namespace tern {
namespace {

// Small shapes with every kind of remainder, and one of a layer's size.
struct Shape {
  size_t n, rows, k;
};
constexpr Shape kProducts[] = {{1, 33, 77}, {2, 16, 256}, {5, 5, 15}, {9, 80, 300}, {4, 256, 768}};
constexpr size_t kWidths[] = {1, 17, 64, 257, 768};

std::string OfWidths(std::string (*check)(size_t)) {
  for (const size_t width : kWidths) {
    const std::string problem = check(width);
    if (!problem.empty()) return std::to_string(width) + " wide: " + problem;
  }
  return "";
}

std::string OfProducts(const std::function<std::string(size_t, size_t, size_t)>& check) {
  for (const auto& [n, rows, k] : kProducts) {
    const std::string problem = check(n, rows, k);
    if (!problem.empty()) {
      return (std::ostringstream() << n << " x " << k << " x " << rows << ": " << problem).str();
    }
  }
  return "";
}

std::string WeightOnly() {
  return OfProducts([](size_t n, size_t rows, size_t k) {
    const std::string whole = CheckWeightOnlyMatmul(n, rows, k, k);
    return whole.empty() ? CheckWeightOnlyMatmul(n, rows, k, 128) : whole;
  });
}

std::string HeadShapes(const std::function<std::string(size_t)>& check) {
  for (const size_t head_dim : {16u, 64u, 128u}) {
    const std::string problem = check(head_dim);
    if (!problem.empty()) return "heads of " + std::to_string(head_dim) + ": " + problem;
  }
  return "";
}

std::string KvTypes(const std::function<std::string(KvType, size_t)>& check) {
  for (const KvType type : {KvType::kBFloat16, KvType::kInt8}) {
    const std::string problem = HeadShapes([&](size_t head_dim) { return check(type, head_dim); });
    if (!problem.empty()) return (type == KvType::kInt8 ? "int8, " : "bf16, ") + problem;
  }
  return "";
}

std::string TopKs() {
  for (const uint32_t seed : {1u, 2u, 3u}) {
    const std::string problem = CheckTopK(seed);
    if (!problem.empty()) return problem;
  }
  return "";
}

// A product that is split over threads, against its rows alone on one.
std::string Threads() {
  constexpr size_t kRows = 256, kK = 768, kN = 37;
  RandomData random(11);
  const AlignedBuffer<int8_t> weights = random.Ternaries(kRows * kK);
  const TernaryMatrix packed = PackTernary(weights.View(kRows, kK), 0.01f);
  QuantizedData x = RandomQuantized(kN, kK, random);
  AlignedBuffer<float> alone(kN * kRows), together(kN * kRows);
  TernaryMatmul(packed.View(), x.Rows(), together.View(kN, kRows));
  const WithThreads one(1);
  for (size_t i = 0; i < kN; ++i) {
    TernaryMatmul(packed.View(), x.Rows(i, 1), alone.View(kN, kRows).Rows(i, 1));
  }
  return BitDifference(alone.View(kN, kRows), together.View(kN, kRows));
}

}  // namespace

std::vector<KernelCheck> CheckKernels() {
  const std::string threads = Threads();
  const WithThreads one(1);  // where other programs hold the cores, threads wait for one another
  return {
      {"QuantizeRows", OfWidths(CheckQuantizeRows)},
      {"RmsNorm", OfWidths(CheckRmsNorm)},
      {"RmsNormQuantize", OfWidths(CheckRmsNormQuantize)},
      {"TernaryMatmul", OfProducts(CheckTernaryMatmul)},
      {"ternary sparse", OfProducts(CheckTernarySparse)},
      {"WeightOnlyMatmul", WeightOnly()},
      {"Int8Matmul", OfProducts(CheckInt8Matmul)},
      {"ApplyRope", HeadShapes(CheckApplyRope)},
      {"ReluSquaredGate", OfWidths(CheckReluSquaredGate)},
      {"SiluGate", OfWidths(CheckSiluGate)},
      {"ResidualSilu", OfWidths(CheckResidualSilu)},
      {"AddInPlace", OfWidths(CheckAddInPlace)},
      {"KV blocks", KvTypes(CheckKvBlock)},
      {"Attention",
       KvTypes([](KvType type, size_t head_dim) { return CheckAttention(type, head_dim, 2, 3); })},
      {"VocabProjection", OfProducts(CheckVocabProjection)},
      {"SumExp", OfWidths(CheckSumExp)},
      {"TopK", TopKs()},
      {"ParallelFor", threads},
      {"training rows", OfWidths(CheckTrainingRows)},
      {"training gradients", OfWidths(CheckTrainingGradients)},
      {"RotateHead", HeadShapes(CheckRotateHead)},
      {"DenseMatmul", OfProducts(CheckDenseMatmul)},
      {"TrainingAttention", CheckTrainingAttention(129, 2, 16)},
  };
}

}  // namespace tern
