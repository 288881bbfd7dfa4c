// One text while it is distilled: what was given, what the model answered, and what is stored of
// it.
#ifndef TERN_TRAINER_DISTILLED_TEXT_H_
#define TERN_TRAINER_DISTILLED_TEXT_H_

#include <cstdint>
#include <span>
#include <vector>

#include "engine/batch.h"
#include "engine/sampler.h"
#include "trainer/hidden_cache.h"
#include "trainer/stored_tokens.h"

namespace tern {

// A prompt, and for a conversation what comes between the model's answers.
struct DistillPrompt {
  std::vector<TokenId> tokens;  // never none
  // Behind every answer but the last: the end of the answer's turn, what the user says next, and
  // the invitation to answer.
  std::vector<std::vector<TokenId>> replies = {};
  TokenId end = -1;  // with which the model ends an answer; -1: none is known
};

class DistilledText {
 public:
  // `width`: d where hidden states are to be stored, else 0. `top_k`: of a teacher; 0 = none.
  DistilledText(const DistillPrompt& prompt, size_t width, size_t top_k);

  std::span<const TokenId> tokens() const { return text_.tokens; }
  std::span<const uint8_t> assistant() const { return text_.assistant; }  // [n]
  uint64_t answered() const { return answered_; }                         // tokens of answers

  // The next answer. `top` [answer, top_k]: a teacher's most probable tokens in place of each. Ends
  // the text for longer than `max_context` tokens; else goes on with the prompt's next reply. False
  // where that was the last answer.
  bool Answer(std::span<const TokenId> answer, bool ended, std::span<const TokenLogprob> top,
              int32_t max_context);
  // Row `position` of the hidden states, which come in order; position 0 begins anew. Ignored where
  // none are stored.
  void SetHidden(int32_t position, std::span<const float> row);
  // A teacher's most probable tokens in place of `position`.
  void SetTeacher(size_t position, std::span<const TokenLogprob> top);
  // What to store. REQUIRES hidden states of all tokens but the last. The views live until the next
  // call.
  HiddenSequence Finish();

 private:
  void Append(std::span<const TokenId> tokens, uint8_t assistant);
  void DropLast();

  const DistillPrompt& prompt_;
  size_t width_, top_k_, next_reply_ = 0;
  uint64_t answered_ = 0;
  // The teacher's rows are of the token that was chosen there: one below where the cache has them.
  StoredTokens text_;
};

}  // namespace tern

#endif  // TERN_TRAINER_DISTILLED_TEXT_H_
