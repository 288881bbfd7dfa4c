// A contract between draft heads and the engine that runs them: a short text, and how much of it
// the heads predicted when they were trained. Where they later predict much less of it, something
// between backbone and heads has changed that no shape tells. A file of its own beside Medusa
// heads, tern_sample.json: {"tokens": [id, ...], "right": [of head 1, .., K]}.
#ifndef TERN_ENGINE_HEADS_SAMPLE_H_
#define TERN_ENGINE_HEADS_SAMPLE_H_

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "engine/batch.h"

namespace tern {

struct Model;
struct MedusaHeads;

// What a head is asked is cheap, so that loading stays quick: which of the text's own tokens comes
// k + 1 places behind each token. One pass of the model over the text, and its tokens' logits.
struct HeadsSample {
  static constexpr size_t kTokens = 32;  // that a recorded text has at most
  std::vector<TokenId> tokens;           // none: there is no sample
  std::vector<int32_t> right;            // [K] places where head k was right

  int64_t places() const;  // of all heads
};

// The part of `text` where the model begins to write, behind `prompt_length` tokens, with what the
// heads say of it.
HeadsSample RecordSample(const Model& model, const MedusaHeads& heads,
                         std::span<const TokenId> text, size_t prompt_length);

// What is wrong with heads that are much less often right than heads.sample says; empty = nothing,
// or there is no sample. "Much": by more than a sixteenth of the places, as rounding differs
// between instruction sets and decides between tokens that are about as likely.
std::string SampleMismatch(const Model& model, const MedusaHeads& heads);

// No sample where there is no such file in `dir`. Throws kBadFile where it does not hold 3 to
// kTokens ids below `vocab_size` and counts of `heads` heads.
HeadsSample ReadSample(const std::string& dir, int32_t heads, int32_t vocab_size);
// Atomically; removes the file where there is no sample.
void WriteSample(const std::string& dir, const HeadsSample& sample);

}  // namespace tern

#endif  // TERN_ENGINE_HEADS_SAMPLE_H_
