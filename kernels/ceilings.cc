#include "kernels/ceilings.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/ceilings.cc"
#include "kernels/foreach_int_target-inl.h"
// After foreach_target.
#include <atomic>

#include "kernels/aligned_buffer.h"
#include "kernels/parallel.h"
#include "kernels/ternary_matmul-inl.h"

TERN_BEFORE_INT_DOT();
namespace tern {
namespace HWY_NAMESPACE {

using Bytes = hn::ScalableTag<uint8_t>;

// Eight vectors at a time, so that loads never wait for additions.
uint64_t Read(const uint8_t* memory, size_t bytes) {
  const Bytes d;
  constexpr size_t kAtOnce = 8;
  const size_t lanes = hn::Lanes(d), step = kAtOnce * lanes;
  hn::Vec<Bytes> sums[kAtOnce];
  for (auto& sum : sums) sum = hn::Zero(d);
  size_t i = 0;
  for (; i + step <= bytes; i += step) {
#pragma GCC unroll 8
    for (size_t v = 0; v < kAtOnce; ++v)
      sums[v] = hn::Xor(sums[v], hn::Load(d, memory + i + v * lanes));
  }
  for (size_t v = 1; v < kAtOnce; ++v) sums[0] = hn::Xor(sums[0], sums[v]);
  HWY_ALIGN uint8_t folded[HWY_MAX_BYTES];
  hn::Store(sums[0], d, folded);
  uint64_t result = 0;
  for (size_t l = 0; l < lanes; ++l) result = result * 31 + folded[l];
  for (; i < bytes; ++i) result = result * 31 + memory[i];
  return result;
}

inline constexpr size_t kSums =
    12;  // independent ones, more than latency x rate; with the codes 16

#if TERN_INT_DOT_VECTORS

// One step of the integer kernels' inner loop: with VNNI into int32; else into int16, without the
// widening that a kernel does now and then.
HWY_INLINE DotVec Step(DotVec sum, DotVec weights, DotVec codes) {
#if HWY_TARGET == HWY_AVX3_DL || TERN_NEON_DOT
  return DotStep(sum, weights, codes);
#else
  return AddPairs(sum, PairProducts(weights, codes));
#endif
}

// `lines` is a power of two. Returns the products done.
size_t Multiply(const uint8_t* weights, size_t lines, const int8_t* codes, size_t steps,
                int32_t* sink) {
  const DotInt d;
  DotVec sums[kSums], factors[3];
  for (DotVec& sum : sums) sum = hn::Zero(d);
  for (size_t f = 0; f < 3; ++f) factors[f] = BroadcastCodes(codes + 4 * f);
  for (size_t i = 0; i < steps; ++i) {
    const DotVec line = LoadLine<kCacheLine / 4>(weights, i & (lines - 1));
#pragma GCC unroll 12
    for (size_t s = 0; s < kSums; ++s) sums[s] = Step(sums[s], line, factors[s % 3]);
  }
  for (size_t s = 1; s < kSums; ++s) sums[0] = hn::Add(sums[0], sums[s]);
  *sink = hn::GetLane(sums[0]);
  return steps * kSums * hn::Lanes(d) * 4;
}

#else

size_t Multiply(const uint8_t* weights, size_t lines, const int8_t* codes, size_t steps,
                int32_t* sink) {
  int32_t sums[kSums] = {};
  for (size_t i = 0; i < steps; ++i) {
    const uint8_t* line = weights + (i & (lines - 1)) * kCacheLine;
    for (size_t s = 0; s < kSums; ++s) sums[s] += line[s] * codes[s];
  }
  for (size_t s = 0; s < kSums; ++s) *sink += sums[s];
  return steps * kSums;
}

#endif

}  // namespace HWY_NAMESPACE
}  // namespace tern
TERN_AFTER_INT_DOT();

#if HWY_ONCE
namespace tern {
HWY_EXPORT(Read);
HWY_EXPORT(Multiply);

uint64_t ReadOnce(std::span<const uint8_t> memory) {
  const auto read = TERN_INT_DISPATCH(Read);
  std::atomic<uint64_t> all{0};
  ParallelFor(memory.size() / kCacheLine, 4096, [&](size_t begin, size_t end) {
    all += read(memory.data() + begin * kCacheLine, (end - begin) * kCacheLine);
  });
  return all;
}

size_t MultiplyIntegers(size_t steps) {
  constexpr size_t kLines = 64;
  const auto multiply = TERN_INT_DISPATCH(Multiply);
  AlignedBuffer<uint8_t> weights(kLines * kCacheLine);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<uint8_t>(i % 3);
  const int8_t codes[16] = {1, -2, 3, -4, 5, -6, 7, -8, 9, -10, 11, -12, 13, -14, 15, -16};
  std::atomic<size_t> products{0};
  std::atomic<int32_t> sink{0};
  ParallelFor(static_cast<size_t>(ThreadCount()), 1, [&](size_t begin, size_t end) {
    for (size_t thread = begin; thread < end; ++thread) {
      int32_t sum = 0;
      products += multiply(weights.data(), kLines, codes, steps, &sum);
      sink += sum;
    }
  });
  return products;
}

}  // namespace tern
#endif  // HWY_ONCE
