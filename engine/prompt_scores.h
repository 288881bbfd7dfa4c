// Log-probabilities of a prompt's own tokens, from the hidden states of its rows.
#ifndef TERN_ENGINE_PROMPT_SCORES_H_
#define TERN_ENGINE_PROMPT_SCORES_H_

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

#include "engine/model.h"
#include "engine/sampler.h"
#include "kernels/aligned_buffer.h"

namespace tern {

// Of the tokens behind the first, which nothing predicts.
struct PromptScores {
  std::vector<float> logprobs;             // [prompt - 1]
  std::vector<TokenLogprob> top_logprobs;  // [prompt - 1, top]
};

// Takes what a HiddenSink takes. The bits are those that generating the same tokens would report.
class PromptScorer {
 public:
  // `model` outlives this; `top` most probable tokens are kept for each, 0 or more.
  PromptScorer(const Model& model, std::span<const TokenId> prompt, int32_t top);

  // The next position's hidden state (post-final-norm, [d]), from 0 on; those of the prompt's last
  // token and behind it are ignored. True where this call completed the scores.
  bool Add(int32_t position, std::span<const float> hidden);
  // REQUIRES that Add said true.
  PromptScores Take() { return std::move(scores_); }

 private:
  void Score();

  const Model& model_;
  std::vector<TokenId> prompt_;
  size_t top_;
  size_t waiting_ = 0;           // rows of hidden_ without scores
  AlignedBuffer<float> hidden_;  // [kRows, d]
  AlignedBuffer<float> logits_;  // [kRows, V]
  SamplerScratch scratch_;
  PromptScores scores_;
};

}  // namespace tern

#endif  // TERN_ENGINE_PROMPT_SCORES_H_
