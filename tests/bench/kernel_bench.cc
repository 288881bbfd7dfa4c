// Times the kernels that a forward pass spends its time in, and prints one JSON object per line.
//   kernel_bench                  the usual shapes
//   kernel_bench small            the ternary products of small models, 1 to 16 rows
//   kernel_bench weight_only      fp32 rows by ternary weights with a scale per 128
//   kernel_bench draft            what a step with draft heads computes, and the same in bf16
//   kernel_bench M K N [TARGET]   one ternary product: M rows, K inputs, N outputs; TARGET: a cap
// Times are the best of many runs on warm caches: bounds of what the code can do, not of a decode
// step, whose weights come from memory.
#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <iostream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "kernels/attention.h"
#include "kernels/dispatch.h"
#include "kernels/int8_matmul.h"
#include "kernels/parallel.h"
#include "kernels/sum_exp.h"
#include "kernels/ternary_matmul.h"
#include "kernels/top_k.h"
#include "kernels/vocab_projection.h"
#include "kernels/weight_only_matmul.h"

namespace tern {
namespace {

constexpr double kSecondsPerCase = 0.1;
constexpr double kSecondsPerBatch = 2e-5;

// Calls go in batches of several microseconds, so that reading the clock does not count.
template <class Fn>
double BestSeconds(const Fn& fn) {
  using Clock = std::chrono::steady_clock;
  double best = 1e9, total = 0;
  size_t calls = 1;
  for (int run = 0; run < 3 || total < kSecondsPerCase; ++run) {
    const Clock::time_point start = Clock::now();
    for (size_t i = 0; i < calls; ++i) fn();
    const double seconds = std::chrono::duration<double>(Clock::now() - start).count();
    best = std::min(best, seconds / static_cast<double>(calls));
    if (seconds < kSecondsPerBatch) calls *= 2;
    total += seconds;
  }
  return best;
}

void Print(const std::string& kernel, size_t m, size_t k, size_t n, double products,
           double seconds) {
  nlohmann::ordered_json line = {
      {"kernel", kernel}, {"target", CurrentTarget()}, {"threads", ThreadCount()}};
  line["m"] = m;
  line["k"] = k;
  line["n"] = n;
  line["us"] = seconds * 1e6;
  line["gmac_per_s"] = products / seconds * 1e-9;
  std::cout << line.dump() << std::endl;
}

void BenchTernary(size_t m, size_t k, size_t n) {
  const AlignedBuffer<int8_t> weights = AlignedBuffer<int8_t>::Zeroed(n * k);
  const TernaryMatrix packed = PackTernary(weights.View(n, k), 1.0f);
  AlignedBuffer<int8_t> codes = AlignedBuffer<int8_t>::Zeroed(m * PadK(k));
  AlignedBuffer<float> scales = AlignedBuffer<float>::Zeroed(m), y(m * n);
  AlignedBuffer<int32_t> sums = AlignedBuffer<int32_t>::Zeroed(m);
  const QuantizedRows x = {codes.View(m, PadK(k)), scales.span(), sums.span()};
  const double seconds = BestSeconds([&] { TernaryMatmul(packed.View(), x, y.View(m, n)); });
  Print("ternary_matmul", m, k, n, static_cast<double>(m * k * n), seconds);
}

void BenchWeightOnly(size_t m, size_t k, size_t n) {
  const size_t groups = (k + 127) / 128;
  const AlignedBuffer<int8_t> weights = AlignedBuffer<int8_t>::Zeroed(n * k);
  AlignedBuffer<float> scales(n * groups), y(m * n);
  for (size_t i = 0; i < scales.size(); ++i) scales[i] = 1.0f + static_cast<float>(i % 7);
  const TernaryMatrix packed = PackTernaryGroups(weights.View(n, k), scales.View(n, groups), 128);
  const AlignedBuffer<float> x = AlignedBuffer<float>::Zeroed(m * k);
  const double seconds =
      BestSeconds([&] { WeightOnlyMatmul(packed.View(), x.View(m, k), y.View(m, n)); });
  Print("weight_only_matmul", m, k, n, static_cast<double>(m * k * n), seconds);
}

void BenchVocab(size_t m, size_t k, size_t n) {
  const AlignedBuffer<BFloat16> embedding = AlignedBuffer<BFloat16>::Zeroed(n * k);
  const AlignedBuffer<float> hidden = AlignedBuffer<float>::Zeroed(m * k);
  AlignedBuffer<float> logits(m * n);
  const double seconds = BestSeconds(
      [&] { VocabProjection(hidden.View(m, k), embedding.View(n, k), logits.View(m, n)); });
  Print("vocab_projection", m, k, n, static_cast<double>(m * k * n), seconds);
}

void BenchInt8(size_t m, size_t k, size_t n) {
  const AlignedBuffer<BFloat16> weights = AlignedBuffer<BFloat16>::Zeroed(n * k);
  const Int8Matrix packed = PackInt8(weights.View(n, k));
  AlignedBuffer<int8_t> codes = AlignedBuffer<int8_t>::Zeroed(m * PadK(k));
  AlignedBuffer<float> scales = AlignedBuffer<float>::Zeroed(m), y(m * n);
  AlignedBuffer<int32_t> sums = AlignedBuffer<int32_t>::Zeroed(m);
  const QuantizedRows x = {codes.View(m, PadK(k)), scales.span(), sums.span()};
  const double seconds = BestSeconds([&] { Int8Matmul(packed, x, y.View(m, n)); });
  Print("int8_matmul", m, k, n, static_cast<double>(m * k * n), seconds);
}

// The 8 largest of m rows of n logits, and the normaliser of each row.
void BenchTopK(size_t m, size_t n) {
  AlignedBuffer<float> logits(m * n);
  uint32_t state = 1;
  for (float& value : logits.span()) {
    state = state * 1664525 + 1013904223;
    value = static_cast<float>(state >> 8) * 0x1p-20f;
  }
  std::array<ScoredIndex, 8> best;
  const double top = BestSeconds([&] {
    for (size_t r = 0; r < m; ++r) TopK(logits.View(m, n).RowSpan(r), best);
  });
  Print("top_8", m, 1, n, static_cast<double>(m * n), top);
  float sum = 0.0f;
  const double exps = BestSeconds([&] {
    for (size_t r = 0; r < m; ++r) sum += SumExpMinus(logits.View(m, n).RowSpan(r), 16.0f);
  });
  Print("sum_exp", m, 1, n, static_cast<double>(m * n), exps);
}

// m rows that see k positions; n = width of the query row.
void BenchAttention(KvType type, size_t m, size_t length, size_t heads, size_t kv_heads,
                    size_t head_dim) {
  const size_t blocks = length / kKvBlock + 1, width = heads * head_dim;
  const size_t bytes = blocks * kv_heads * KvBlockBytes(type, head_dim);
  const auto k = AlignedBuffer<std::byte>::Zeroed(bytes);
  const auto v = AlignedBuffer<std::byte>::Zeroed(bytes);
  const KvLayerView kv = {k.data(), v.data(), kv_heads, head_dim, type};
  std::vector<int32_t> table;
  for (size_t b = 0; b < blocks; ++b) table.push_back(static_cast<int32_t>(b));
  const auto last = static_cast<int32_t>(length) - 1;
  const std::vector<AttentionRow> rows(m, {table.data(), &last, last, 1});
  const AlignedBuffer<float> q = AlignedBuffer<float>::Zeroed(m * width);
  AlignedBuffer<float> out(m * width);
  AlignedBuffer<float> scratch(
      AttentionScratchFloats(static_cast<size_t>(ThreadCount()), head_dim, length));
  const double seconds = BestSeconds(
      [&] { Attention(q.View(m, width), kv, rows, heads, scratch.span(), out.View(m, width)); });
  Print(type == KvType::kInt8 ? "attention, int8" : "attention", m, length, width,
        2.0 * static_cast<double>(m * length * width), seconds);
}

int Run(int argc, char** argv) {
  if (argc >= 4) {
    if (argc >= 5 && !SetMaxTarget(argv[4])) {
      std::cerr << "this CPU does not run target " << argv[4] << "\n";
      return 2;
    }
    BenchTernary(std::strtoul(argv[1], nullptr, 10), std::strtoul(argv[2], nullptr, 10),
                 std::strtoul(argv[3], nullptr, 10));
    return 0;
  }
  if (argc == 2 && argv[1] == std::string("small")) {
    for (const auto& [k, n] : {std::pair<size_t, size_t>{192, 512}, {256, 256}, {256, 768}}) {
      for (size_t m = 1; m <= 16; ++m) BenchTernary(m, k, n);
    }
    return 0;
  }
  if (argc == 2 && argv[1] == std::string("weight_only")) {
    for (const auto& [k, n] : {std::pair<size_t, size_t>{256, 768}, {2560, 6912}}) {
      for (const size_t m : {1u, 2u, 4u, 8u, 64u}) BenchWeightOnly(m, k, n);
    }
    return 0;
  }
  if (argc == 2 && argv[1] == std::string("draft")) {
    for (const size_t n : {256u, 1024u, 2048u, 4096u}) {
      for (const size_t m : {1u, 2u, 4u, 8u}) BenchInt8(m, 256, n);
    }
    for (const size_t m : {1u, 4u}) BenchVocab(m, 256, m == 1 ? 1024 : 4096);
    for (const size_t n : {1024u, 4096u}) BenchTopK(4, n);
    return 0;
  }
  const std::pair<size_t, size_t> shapes[] = {{256, 768}, {768, 256}, {2560, 6912}, {6912, 2560}};
  for (const auto& [k, n] : shapes) {
    for (const size_t m : {1u, 2u, 4u, 8u, 64u}) BenchTernary(m, k, n);
  }
  for (const size_t m : {1u, 4u, 16u}) BenchVocab(m, 256, 8192);
  for (const size_t m : {1u, 4u, 16u}) BenchVocab(m, 2560, 32768);
  for (const KvType type : {KvType::kBFloat16, KvType::kInt8}) {
    for (const size_t m : {1u, 8u, 64u}) BenchAttention(type, m, 512, 4, 2, 64);
    for (const size_t m : {1u, 8u, 64u}) BenchAttention(type, m, 1024, 20, 5, 128);
  }
  return 0;
}

}  // namespace
}  // namespace tern

int main(int argc, char** argv) { return tern::Run(argc, argv); }
