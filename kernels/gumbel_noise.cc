#include "kernels/gumbel_noise.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "kernels/gumbel_noise.cc"
#include <hwy/foreach_target.h>
// After foreach_target.
#include <hwy/contrib/math/math-inl.h>

#include "kernels/simd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace tern {
namespace HWY_NAMESPACE {

using WordTag = hn::RebindToUnsigned<FloatTag>;
using WordVec = hn::Vec<WordTag>;

// High and low halves of the 64-bit products of all lanes.
HWY_INLINE void WideMul(WordVec a, WordVec b, WordVec* high, WordVec* low) {
  const WordTag d;
  const hn::RepartitionToWide<WordTag> wide;
  const auto even = hn::MulEven(a, b);
  const auto odd = hn::MulEven(hn::BitCast(d, hn::ShiftRight<32>(hn::BitCast(wide, a))), b);
  const auto mask = hn::Set(wide, 0xFFFFFFFFu);
  *low = hn::BitCast(d, hn::Or(hn::And(even, mask), hn::ShiftLeft<32>(odd)));
  *high = hn::BitCast(d, hn::Or(hn::ShiftRight<32>(even), hn::AndNot(mask, odd)));
}

// Word 1 of Philox4x32 with counter {token, position, stream, 0}, a token a lane.
HWY_INLINE WordVec RandomWords(WordVec token, uint32_t position, uint32_t stream, uint32_t key0,
                               uint32_t key1) {
  const WordTag d;
  const WordVec multiplier0 = hn::Set(d, 0xD2511F53), multiplier1 = hn::Set(d, 0xCD9E8D57);
  WordVec c0 = token, c1 = hn::Set(d, position), c2 = hn::Set(d, stream), c3 = hn::Zero(d);
  for (int round = 0; round < 10; ++round) {
    WordVec high0, low0, high1, low1;
    WideMul(c0, multiplier0, &high0, &low0);
    WideMul(c2, multiplier1, &high1, &low1);
    c0 = hn::Xor(hn::Xor(high1, c1), hn::Set(d, key0));
    c2 = hn::Xor(hn::Xor(high0, c3), hn::Set(d, key1));
    c1 = low1;
    c3 = low0;
    key0 += 0x9E3779B9;
    key1 += 0xBB67AE85;
  }
  return c1;
}

// (x + 1/2) 2^-32 for 31-bit x, whose rounding to 24 bits is a relative error.
HWY_INLINE FloatVec Fraction(WordVec x) {
  const FloatTag d;
  const FloatVec value = hn::ConvertTo(d, hn::BitCast(IntTag(), x));
  return hn::Mul(hn::Add(value, hn::Set(d, 0.5f)), hn::Set(d, 0x1p-32f));
}

// -log(-log(u)), u = (word + 1/2) 2^-32. Above one half by 1 - u, so that no bits of it are lost.
HWY_INLINE FloatVec Noise(WordVec word) {
  const FloatTag d;
  const WordTag dw;
  const WordVec half = hn::Set(dw, 0x80000000u);
  const auto upper = hn::Ne(hn::And(word, half), hn::Zero(dw));
  // At most 2^31 - 1 in both cases.
  const FloatVec u = Fraction(hn::IfThenElse(upper, hn::Xor(word, hn::Set(dw, ~0u)), word));
  const FloatVec log =
      hn::IfThenElse(hn::RebindMask(d, upper), hn::Log1p(d, hn::Neg(u)), hn::Log(d, u));
  return hn::Neg(hn::Log(d, hn::Neg(log)));
}

// Of `count` tokens: tokens[i], or where that is null first + i.
void NoiseOf(uint64_t seed, uint32_t stream, uint32_t position, const int32_t* tokens,
             uint32_t first, size_t count, float* noise) {
  const FloatTag d;
  const WordTag dw;
  const IntTag di;
  const size_t lanes = hn::Lanes(d);
  const auto key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  alignas(64) int32_t part[16] = {};
  for (size_t i = 0; i < count; i += lanes) {
    const bool whole = count - i >= lanes;
    WordVec of = hn::Iota(dw, static_cast<uint32_t>(first + i));
    if (tokens != nullptr) {
      if (!whole) std::memcpy(part, tokens + i, (count - i) * sizeof(int32_t));
      of = hn::BitCast(dw, whole ? hn::LoadU(di, tokens + i) : hn::Load(di, part));
    }
    const FloatVec value = Noise(RandomWords(of, position, stream, key0, key1));
    if (!whole) return StorePart(value, d, noise + i, count - i);
    hn::StoreU(value, d, noise + i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace tern
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
#include "kernels/check.h"
#include "kernels/parallel.h"

namespace tern {
HWY_EXPORT(NoiseOf);

void ApproximateGumbelNoise(uint64_t seed, uint32_t stream, uint32_t position,
                            std::span<float> noise) {
  const auto fill = HWY_DYNAMIC_DISPATCH(NoiseOf);
  // About 6 ns a token and core at the worst.
  ParallelFor(noise.size(), 4096, [&](size_t begin, size_t end) {
    fill(seed, stream, position, nullptr, static_cast<uint32_t>(begin), end - begin,
         noise.data() + begin);
  });
}

void ApproximateGumbelNoiseOf(uint64_t seed, uint32_t stream, uint32_t position,
                              std::span<const int32_t> tokens, std::span<float> noise) {
  TERN_CHECK(noise.size() == tokens.size()) << noise.size() << " of " << tokens.size();
  HWY_DYNAMIC_DISPATCH(NoiseOf)
  (seed, stream, position, tokens.data(), 0, tokens.size(), noise.data());
}

}  // namespace tern
#endif  // HWY_ONCE
