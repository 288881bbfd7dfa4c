// Gumbel noise for a whole vocabulary at vector speed, to find the few tokens whose exact noise
// (vector_math.h) can decide a draw.
#ifndef TERN_KERNELS_GUMBEL_NOISE_H_
#define TERN_KERNELS_GUMBEL_NOISE_H_

#include <cstdint>
#include <span>

namespace tern {

// No noise is larger: u has 32 random bits, so -log(-log(u)) <= -log(2^-33) = 22.87.
inline constexpr float kMaxGumbelNoise = 23.0f;
// |ApproximateGumbelNoise - GumbelNoise| is less, for every u: both logarithms are within 4 ulp,
// and the inner one's relative error is the outer one's absolute error.
inline constexpr float kGumbelNoiseError = 1e-4f;

// noise[t] ~ GumbelNoise(seed, stream, position, t). Bits depend on the target; runs on all
// threads.
void ApproximateGumbelNoise(uint64_t seed, uint32_t stream, uint32_t position,
                            std::span<float> noise);
// noise[i] ~ that of tokens[i]; on the calling thread.
void ApproximateGumbelNoiseOf(uint64_t seed, uint32_t stream, uint32_t position,
                              std::span<const int32_t> tokens, std::span<float> noise);

}  // namespace tern

#endif  // TERN_KERNELS_GUMBEL_NOISE_H_
