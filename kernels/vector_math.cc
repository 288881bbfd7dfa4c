#include "kernels/vector_math.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>

#include "kernels/check.h"

namespace tern {
namespace {

// All of this is double arithmetic with nothing but +, -, *, / in a written order, compiled without
// contraction: the same bits everywhere.
constexpr double kLn2 = 0x1.62e42fefa39efp-1;
constexpr double kLog2E = 0x1.71547652b82fep+0;

// exp(x) for x in [-88, 89] to about 2^-27: x = n ln 2 + r, |r| <= 0.3466, and e^r by its Taylor
// polynomial of degree 7, whose remainder is below 0.3466^8 / 8! * 1.1 = 6e-9.
double ExpInRange(double x) {
  constexpr double kRound = 0x1.8p52;  // adding and subtracting it rounds to an integer
  const double n = (x * kLog2E + kRound) - kRound;
  const double r = x - n * kLn2;
  double p = 1.0 / 5040;
  p = p * r + 1.0 / 720;
  p = p * r + 1.0 / 120;
  p = p * r + 1.0 / 24;
  p = p * r + 1.0 / 6;
  p = p * r + 0.5;
  p = p * r + 1.0;
  p = p * r + 1.0;
  const auto exponent = static_cast<uint64_t>(static_cast<int64_t>(n) + 1023);
  return p * std::bit_cast<double>(exponent << 52);
}

// log(x) for finite x > 0 that is normal as a double: x = 2^e m, m in [sqrt(1/2), sqrt(2)), and
// log m = 2 atanh(s), s = (m - 1) / (m + 1), |s| <= 0.1716: terms to s^11, remainder relative
// 0.1716^12 / 13 = 5e-11.
double LogPositive(double x) {
  constexpr uint64_t kSqrtHalf = 0x3FE6A09E667F3BCDull;
  constexpr uint64_t kOne = 0x3FF0000000000000ull;
  const uint64_t bits = std::bit_cast<uint64_t>(x) + (kOne - kSqrtHalf);
  const double e = static_cast<double>(static_cast<int64_t>(bits >> 52) - 1023);
  const double m = std::bit_cast<double>((bits & 0x000FFFFFFFFFFFFFull) + kSqrtHalf);
  const double s = (m - 1.0) / (m + 1.0);
  const double s2 = s * s;
  double p = 1.0 / 11;
  p = p * s2 + 1.0 / 9;
  p = p * s2 + 1.0 / 7;
  p = p * s2 + 1.0 / 5;
  p = p * s2 + 1.0 / 3;
  p = p * s2 + 1.0;
  return e * kLn2 + 2.0 * s * p;
}

}  // namespace

float Exp(float x) {
  if (std::isnan(x)) return x;
  if (x > 88.72283f) return std::numeric_limits<float>::infinity();
  if (x < -87.33654f) return 0.0f;
  return static_cast<float>(ExpInRange(x));
}

float Log(float x) {
  if (std::isnan(x) || x == std::numeric_limits<float>::infinity()) return x;
  if (x == 0.0f) return -std::numeric_limits<float>::infinity();
  if (x < 0.0f) return std::numeric_limits<float>::quiet_NaN();
  return static_cast<float>(LogPositive(x));
}

float LogSumExp(std::span<const float> x) {
  TERN_CHECK(!x.empty()) << "log-sum-exp of nothing";
  float max = x[0];
  for (const float value : x) max = value > max || std::isnan(value) ? value : max;
  if (!std::isfinite(max)) return max;
  double sum = 0;
  for (const float value : x) {
    // Below this a term adds less than 2^-57 of the sum, and exp would leave its range.
    const double shifted = static_cast<double>(value) - static_cast<double>(max);
    if (shifted > -80.0) sum += ExpInRange(shifted);
  }
  return static_cast<float>(static_cast<double>(max) + LogPositive(sum));
}

PhiloxBlock Philox4x32(PhiloxBlock counter, uint32_t key0, uint32_t key1) {
  constexpr uint64_t kMultiplier0 = 0xD2511F53, kMultiplier1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  for (int round = 0; round < 10; ++round) {
    const uint64_t product0 = kMultiplier0 * counter[0];
    const uint64_t product1 = kMultiplier1 * counter[2];
    counter = {
        static_cast<uint32_t>(product1 >> 32) ^ counter[1] ^ key0, static_cast<uint32_t>(product1),
        static_cast<uint32_t>(product0 >> 32) ^ counter[3] ^ key1, static_cast<uint32_t>(product0)};
    key0 += kWeyl0;
    key1 += kWeyl1;
  }
  return counter;
}

uint64_t CounterRandom(uint64_t seed, uint32_t stream, uint32_t position, uint32_t token) {
  const PhiloxBlock block = Philox4x32({token, position, stream, 0}, static_cast<uint32_t>(seed),
                                       static_cast<uint32_t>(seed >> 32));
  return static_cast<uint64_t>(block[1]) << 32 | block[0];
}

float GumbelNoise(uint64_t seed, uint32_t stream, uint32_t position, uint32_t token) {
  const auto high = static_cast<uint32_t>(CounterRandom(seed, stream, position, token) >> 32);
  const double u = (static_cast<double>(high) + 0.5) * 0x1p-32;
  return static_cast<float>(-LogPositive(-LogPositive(u)));
}

}  // namespace tern
