#include "trainer/distilled_text.h"

#include <algorithm>
#include <cmath>

#include "kernels/check.h"

namespace tern {

DistilledText::DistilledText(const DistillPrompt& prompt, size_t width, size_t top_k)
    : prompt_(prompt), width_(width), top_k_(top_k) {
  TERN_CHECK(!prompt.tokens.empty());
  Append(prompt.tokens, 0);
}

void DistilledText::Append(std::span<const TokenId> tokens, uint8_t assistant) {
  text_.tokens.insert(text_.tokens.end(), tokens.begin(), tokens.end());
  text_.assistant.resize(text_.tokens.size(), assistant);
  text_.teacher_ids.resize(text_.tokens.size() * top_k_);
  text_.teacher_probs.resize(text_.tokens.size() * top_k_);
}

void DistilledText::DropLast() {
  text_.tokens.pop_back();
  text_.assistant.pop_back();
  text_.teacher_ids.resize(text_.tokens.size() * top_k_);
  text_.teacher_probs.resize(text_.tokens.size() * top_k_);
}

bool DistilledText::Answer(std::span<const TokenId> answer, bool ended,
                           std::span<const TokenLogprob> top, int32_t max_context) {
  const size_t begin = text_.tokens.size();
  Append(answer, 1);
  answered_ += answer.size();
  if (!top.empty()) {
    TERN_CHECK(top.size() == answer.size() * top_k_) << top.size();
    for (size_t i = 0; i < answer.size(); ++i)
      SetTeacher(begin + i, top.subspan(i * top_k_, top_k_));
  }
  if (next_reply_ == prompt_.replies.size()) return false;
  const std::vector<TokenId>& reply = prompt_.replies[next_reply_];
  // At least one token of an answer must fit.
  if (text_.tokens.size() + reply.size() >= static_cast<size_t>(max_context)) return false;
  ++next_reply_;
  size_t skipped = 0;
  if (ended && !answer.empty()) {
    // The template ends an answer with the token that the model ended it with (some put a space
    // before), which stands there once; or with none, then a chat goes on without it.
    constexpr size_t kFront = 3;
    const auto front = std::span(reply).first(std::min(reply.size(), kFront));
    const auto found = std::ranges::find(front, answer.back());
    if (found != front.end()) {
      skipped = static_cast<size_t>(found - front.begin()) + 1;
    } else {
      DropLast();
    }
  }
  Append(std::span(reply).subspan(skipped), 0);
  return true;
}

void DistilledText::SetHidden(int32_t position, std::span<const float> row) {
  if (width_ == 0) return;
  if (position == 0) text_.hidden.clear();
  TERN_CHECK(row.size() == width_ && text_.hidden.size() == static_cast<size_t>(position) * width_)
      << position;
  for (const float value : row) text_.hidden.push_back(BFloat16::FromFloat(value));
}

void DistilledText::SetTeacher(size_t position, std::span<const TokenLogprob> top) {
  TERN_CHECK(top.size() == top_k_ && position < text_.tokens.size());
  for (size_t k = 0; k < top_k_; ++k) {
    text_.teacher_ids[position * top_k_ + k] = top[k].token;
    text_.teacher_probs[position * top_k_ + k] = std::min(1.0f, std::exp(top[k].logprob));
  }
}

HiddenSequence DistilledText::Finish() {
  const size_t n = text_.tokens.size();
  HiddenSequence sequence;
  sequence.tokens = text_.tokens;
  const auto first = std::ranges::find(text_.assistant, 1);
  sequence.prompt_length = static_cast<int32_t>(first - text_.assistant.begin());
  sequence.assistant = text_.assistant;
  if (width_ > 0) {
    text_.hidden.resize(text_.hidden.size() + width_);  // the last token was never run
    TERN_CHECK(text_.hidden.size() == n * width_) << text_.hidden.size();
    sequence.hidden = {text_.hidden.data(), n, width_};
  }
  if (top_k_ > 0) {
    text_.teacher_ids.erase(text_.teacher_ids.begin(),
                            text_.teacher_ids.begin() + static_cast<std::ptrdiff_t>(top_k_));
    text_.teacher_probs.erase(text_.teacher_probs.begin(),
                              text_.teacher_probs.begin() + static_cast<std::ptrdiff_t>(top_k_));
    text_.teacher_ids.resize(n * top_k_);
    text_.teacher_probs.resize(n * top_k_);
    sequence.teacher = {{text_.teacher_ids.data(), n, top_k_},
                        {text_.teacher_probs.data(), n, top_k_}};
  }
  return sequence;
}

}  // namespace tern
