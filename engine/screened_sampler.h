// Sampling from a row of which only bounds of the logits are known: half the memory traffic of
// SampleToken with all logits, and the same token.
#ifndef TERN_ENGINE_SCREENED_SAMPLER_H_
#define TERN_ENGINE_SCREENED_SAMPLER_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "engine/sampler.h"
#include "kernels/vocab_screen.h"

namespace tern {

// Whether bounds can be enough: penalties and biases change logits token by token and take them
// all.
bool CanScreen(const SamplingOptions& options);

// The token SampleToken chooses for VocabProjection's logits of this row, or none where the bounds
// do not decide it at a profit: then sample from all logits. Computes exact logits of the few
// tokens that can matter. REQUIRES CanScreen(options). Allocates nothing.
//   greedy           those that may be the largest
//   top-k            those that may be among the k largest
//   top-p            those that may be in the set; its cut, which depends on the sum over all
//   tokens,
//                    by an interval of that sum: both ends must give the same winner
//   min-p            those that may reach min_p times the largest probability
//   none of these    those whose logit / temperature + noise may be the largest
std::optional<TokenId> SampleScreened(ScreenedLogits& screened, size_t row,
                                      const SamplingOptions& options, int32_t position,
                                      SamplerScratch& scratch, const TokenMask* allowed = nullptr);

}  // namespace tern

#endif  // TERN_ENGINE_SCREENED_SAMPLER_H_
