// exp and log of our own, so that results do not depend on the C library (whose variant changes
// with the CPU), and the counter-based noise that makes sampling a pure function (design idea 3).
#ifndef TERN_KERNELS_VECTOR_MATH_H_
#define TERN_KERNELS_VECTOR_MATH_H_

#include <array>
#include <cstdint>
#include <span>

namespace tern {

// Natural exponential and logarithm of fp32 in plain scalar code: the same bits on every target.
// Exp: relative error < 2^-22, 0 below -87.33, +inf above 88.72. Log: x > 0, relative error < 2^-21
// away from 1 and absolute error < 2^-24 near it.
float Exp(float x);
float Log(float x);

// log(sum(exp(x))) of a non-empty row; fixed order (double accumulation, ascending), the same on
// every target.
float LogSumExp(std::span<const float> x);

// Philox 4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"): a keyed
// bijection of 128-bit counters.
using PhiloxBlock = std::array<uint32_t, 4>;
PhiloxBlock Philox4x32(PhiloxBlock counter, uint32_t key0, uint32_t key1);

// 64 random bits for (seed, stream, position, token); words 0 (low) and 1 of
// Philox4x32 with counter {token, position, stream, 0} and key seed (low word first).
uint64_t CounterRandom(uint64_t seed, uint32_t stream, uint32_t position, uint32_t token);

// Standard Gumbel noise -log(-log(u)) from those bits, u in (0, 1) open at both ends with 32 random
// bits.
float GumbelNoise(uint64_t seed, uint32_t stream, uint32_t position, uint32_t token);

}  // namespace tern

#endif  // TERN_KERNELS_VECTOR_MATH_H_
