// What attention over a context adds to a pass of the 2B-4T shape, where keys and values come from
// memory: all 30 layers one after the other, bf16 and int8 and a plain read of the same bytes in
// turns, so that other programs disturb them alike.
//   kv_bench [CONTEXT [THREADS]]     2048 tokens, all cores
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/attention.h"
#include "kernels/ceilings.h"
#include "kernels/dispatch.h"
#include "kernels/parallel.h"
#include "kernels/random_data.h"

namespace tern {
namespace {

constexpr size_t kLayers = 30, kHeads = 20, kKvHeads = 5, kHeadDim = 128;
constexpr int kRounds = 21;

double Median(std::vector<double> values) {
  std::nth_element(values.begin(), values.begin() + kRounds / 2, values.end());
  return values[kRounds / 2];
}

template <class Fn>
double Milliseconds(const Fn& fn) {
  const auto start = std::chrono::steady_clock::now();
  fn();
  return std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start)
      .count();
}

class Cache {
 public:
  Cache(KvType type, size_t blocks, RandomData& random)
      : type_(type),
        layer_bytes_(blocks * kKvHeads * KvBlockBytes(type, kHeadDim)),
        k_(kLayers * layer_bytes_),
        v_(kLayers * layer_bytes_) {
    const AlignedBuffer<float> x = random.Floats(kHeadDim);
    for (size_t at = 0; at < k_.size(); at += KvBlockBytes(type, kHeadDim)) {
      for (size_t slot = 0; slot < kKvBlock; ++slot) {
        StoreKey(type, x.span(), k_.data() + at, slot);
        StoreValue(type, x.span(), v_.data() + at, slot);
      }
    }
  }
  KvLayerView Layer(size_t layer) const {
    const size_t begin = layer * layer_bytes_;
    return {k_.data() + begin, v_.data() + begin, kKvHeads, kHeadDim, type_};
  }
  size_t bytes() const { return k_.size() + v_.size(); }
  double ReadMilliseconds() const {
    return Milliseconds([&] {
      for (const AlignedBuffer<std::byte>* b : {&k_, &v_})
        ReadOnce({reinterpret_cast<const uint8_t*>(b->data()), b->size()});
    });
  }

 private:
  KvType type_;
  size_t layer_bytes_;
  AlignedBuffer<std::byte> k_, v_;
};

void Run(size_t context) {
  RandomData random(1);
  const size_t blocks = context / kKvBlock + 1, width = kHeads * kHeadDim;
  const Cache caches[] = {{KvType::kBFloat16, blocks, random}, {KvType::kInt8, blocks, random}};
  std::vector<int32_t> table;
  for (size_t b = 0; b < blocks; ++b) table.push_back(static_cast<int32_t>(b));
  const auto last = static_cast<int32_t>(context);
  std::printf("%s, %d threads, context %zu: %.1f MB as bf16, %.1f MB as int8\n",
              CurrentTarget().c_str(), ThreadCount(), context,
              1e-6 * static_cast<double>(caches[0].bytes()),
              1e-6 * static_cast<double>(caches[1].bytes()));
  std::printf("%4s %9s %9s %12s %12s   ms, medians of %d\n", "rows", "bf16", "int8", "bf16 read",
              "int8 read", kRounds);
  for (const size_t m : {1u, 4u, 8u}) {
    const std::vector<AttentionRow> rows(m, {table.data(), &last, last, 1});
    const AlignedBuffer<float> q = random.Floats(m * width);
    AlignedBuffer<float> out(m * width),
        scratch(AttentionScratchFloats(static_cast<size_t>(ThreadCount()), kHeadDim, context + 1));
    std::vector<double> times[2], reads[2];
    for (int round = 0; round < kRounds; ++round) {
      for (size_t type = 0; type < 2; ++type) {
        times[type].push_back(Milliseconds([&] {
          for (size_t layer = 0; layer < kLayers; ++layer) {
            Attention(q.View(m, width), caches[type].Layer(layer), rows, kHeads, scratch.span(),
                      out.View(m, width));
          }
        }));
        reads[type].push_back(caches[type].ReadMilliseconds());
      }
    }
    std::printf("%4zu %9.2f %9.2f %12.2f %12.2f\n", m, Median(times[0]), Median(times[1]),
                Median(reads[0]), Median(reads[1]));
  }
}

}  // namespace
}  // namespace tern

int main(int argc, char** argv) {
  if (argc > 2) tern::SetThreadCount(std::max(1, std::atoi(argv[2])));
  tern::Run(argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 2048);
}
